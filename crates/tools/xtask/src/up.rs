//! `./bramble up`: a host in QEMU, its serial line on the terminal and on a socket for `./bramble console`.

mod attach;
mod check;
mod line;

pub use attach::attach;

use crate::cli::UpOptions;
use crate::guests::Guests;
use crate::run::step;
use crate::{build, install, pi};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use system::{ArchiveBuilder, Artifacts, Board, HostDisk, MachineConfig};

/// Boots a host and stays with it until it ends, or (with `--check`) until it has shown that it works.
pub fn up(at: &Artifacts, options: &UpOptions) -> Result<ExitCode> {
    let board = options.board;
    let cpus = options.cpus.unwrap_or(board.default_cpus());
    let memory_mib = options.memory.unwrap_or(board.default_memory_mib());
    board.admit(cpus, memory_mib)?;
    install::ensure(at, &[])?;
    let image = build::image(at)?;
    let guests = Guests::open(at)?;
    let (archive, disks) = vms(&guests, options)?;
    let mut config = MachineConfig::new(board, &image, &at.run().join("up.log"));
    config.cpus = cpus;
    config.memory_mib = memory_mib;
    config.append.clone_from(&options.append);
    config.disks = disks;
    config.uplink = board.has_virtio();
    if board == Board::Raspi4b {
        // From the very files that go on a Pi's card.
        let folder = at.run().join("pi-card");
        config.tree = Some(pi::write_card(&guests, &image, &archive, &folder)?);
        config.image = folder.join("kernel8.img");
        config.archive = Some(folder.join("boot.cpio"));
        system::scene::seed(&mut config)?;
    } else {
        config.archive = Some(write_archive(at, &archive, "up")?);
    }
    if options.check {
        check::check(&config, &archive, &guests, options.json)
    } else {
        line::serve(at, &config)
    }
}

/// The VMs of `--vm`, else two Debian guests. In QEMU a Pi has no disk but its RAM, which is enough for one of them
/// and a small one.
fn vms(guests: &Guests<'_>, options: &UpOptions) -> Result<(ArchiveBuilder, Vec<HostDisk>)> {
    let mut archive = ArchiveBuilder::new();
    let mut disks = Vec::new();
    for file in &options.vm {
        archive.append(ArchiveBuilder::from_document(file)?)?;
    }
    if options.vm.is_empty() {
        let in_ram = !options.board.has_virtio();
        disks.extend(guests.add_debian(&mut archive, "debian-1", in_ram)?);
        if in_ram {
            guests.add_small(&mut archive, "small-2")?;
        } else {
            disks.extend(guests.add_debian(&mut archive, "debian-2", in_ram)?);
        }
    }
    Ok((archive, disks))
}

/// Writes the boot archive of the run called `name`.
fn write_archive(at: &Artifacts, archive: &ArchiveBuilder, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(at.run()).context("can't make target/bramble/run")?;
    let path = at.run().join(format!("{name}.cpio"));
    step("write the boot archive", || archive.write(&path))?;
    Ok(path)
}
