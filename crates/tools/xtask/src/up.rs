//! `./bramble up`: a host in QEMU, its serial line on the terminal and on a socket for `./bramble console`.

mod attach;
mod check;
mod line;
mod store;

pub use attach::attach;

use crate::cli::UpOptions;
use crate::guests::Guests;
use crate::run::{quiet, step};
use crate::{build, install, pi};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use system::{ArchiveBuilder, Artifacts, Board, MachineConfig, cli};

/// Boots a host and stays with it until it ends, or (with `--check`) until it has shown that it works.
pub fn up(at: &Artifacts, options: &UpOptions) -> Result<ExitCode> {
    let board = options.board;
    let cpus = options.cpus.unwrap_or(board.default_cpus());
    let memory_mib = options.memory.unwrap_or(board.default_memory_mib());
    board.admit(cpus, memory_mib)?;
    install::ensure(at, &[])?;
    let image = build::image(at)?;
    let guests = Guests::open(at)?;
    let mut config = MachineConfig::new(board, &image, &at.run().join("up.log"));
    config.cpus = cpus;
    config.memory_mib = memory_mib;
    config.append.clone_from(&options.append);
    config.uplink = board.has_virtio();
    let port = if config.uplink { Some(cli::free_port(PORT)?) } else { None };
    config.forwards = port.map(|port| (port, 443)).into_iter().collect();
    let archive = if board == Board::Raspi4b {
        // From the very files that go on a Pi's card.
        let archive = in_ram(&guests, options)?;
        let folder = at.run().join("pi-card");
        config.tree = Some(pi::write_card(&guests, &image, &archive, &folder)?);
        config.image = folder.join("kernel8.img");
        config.archive = Some(folder.join("boot.cpio"));
        system::scene::seed(&mut config)?;
        archive
    } else {
        on_disk(at, &guests, options, &mut config)?
    };
    if options.check {
        check::check(at, &config, &archive, &guests, port, options.json)
    } else {
        line::serve(at, &config, port)
    }
}

/// The port that `up` tries first, so that an address can be remembered.
const PORT: u16 = 8443;

/// The VMs of `--vm` in a boot archive; without, two Debian guests in a datastore. What the host has of them.
fn on_disk(
    at: &Artifacts,
    guests: &Guests<'_>,
    options: &UpOptions,
    config: &mut MachineConfig,
) -> Result<ArchiveBuilder> {
    let mut archive = ArchiveBuilder::new();
    if options.vm.is_empty() {
        quiet(build::cargo(at).args(["build", "--quiet", "--package", "bramblectl"]))?;
        let mut disks = Vec::new();
        for name in ["debian-1", "debian-2"] {
            disks.extend(guests.add_debian(&mut archive, name, false)?);
        }
        let name = if options.check { "check-datastore.img" } else { "datastore.img" };
        let fresh = options.fresh || options.check;
        config.disks.push(store::disk(&at.out().join("up").join(name), &archive, &disks, fresh)?);
    } else {
        for file in &options.vm {
            archive.append(ArchiveBuilder::from_document(file)?)?;
        }
        config.archive = Some(write_archive(at, &archive, "up")?);
    }
    Ok(archive)
}

/// The VMs of `--vm`, else a Debian guest and a small one: in QEMU a Pi has no disk but its RAM.
fn in_ram(guests: &Guests<'_>, options: &UpOptions) -> Result<ArchiveBuilder> {
    let mut archive = ArchiveBuilder::new();
    for file in &options.vm {
        archive.append(ArchiveBuilder::from_document(file)?)?;
    }
    if options.vm.is_empty() {
        guests.add_debian(&mut archive, "debian-1", true)?;
        guests.add_small(&mut archive, "small-2")?;
    }
    Ok(archive)
}

/// Writes the boot archive of the run called `name`.
fn write_archive(at: &Artifacts, archive: &ArchiveBuilder, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(at.run()).context("can't make target/bramble/run")?;
    let path = at.run().join(format!("{name}.cpio"));
    step("write the boot archive", || archive.write(&path))?;
    Ok(path)
}
