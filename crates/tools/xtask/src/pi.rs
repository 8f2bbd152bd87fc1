//! `./bramble pi`: what goes on the FAT partition of a Raspberry Pi 4's card, beside the firmware (docs/pi/README.md).

use crate::cli::parse_mib;
use crate::guests::Guests;
use crate::run::step;
use crate::{build, install};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use system::card::{self, CardImage};
use system::{ArchiveBuilder, Artifacts};

/// What `pi` makes.
#[derive(clap::Args)]
pub struct PiOptions {
    /// The folder; it is made, and files of these names in it are replaced.
    #[arg(long, value_name = "DIR", default_value = "pi-card")]
    pub out: PathBuf,
    /// Boot the VMs of this host document instead of the demo's; its files lie beside it. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub vm: Vec<PathBuf>,
    /// Make an image of a whole card as well, for a card writer or for QEMU; the firmware's files are still to be added.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Size of that card in MiB, or as 8G.
    #[arg(long, value_name = "SIZE", default_value = "4096", value_parser = parse_mib)]
    pub size: u32,
}

/// Makes the folder.
pub fn pi(at: &Artifacts, options: &PiOptions) -> Result<()> {
    install::ensure(at, &[("mformat", "mtools")])?;
    let image = build::image(at)?;
    let mut archive = ArchiveBuilder::new();
    for file in &options.vm {
        archive.append(ArchiveBuilder::from_document(file)?)?;
    }
    if options.vm.is_empty() {
        let guests = Guests::open(at)?;
        guests.add_debian(&mut archive, "debian-1", true)?;
        guests.add_small(&mut archive, "small-2")?;
    }
    let out = &options.out;
    step("write the card's files", || card::write_folder(out, &image, &archive))?;
    eprintln!("bramble: {} holds what goes on the card; its README.txt says what to add", out.display());
    if let Some(path) = &options.image {
        let mib = u64::from(options.size);
        let fat = fat_mib(out)?;
        step("write the card's image", || CardImage::make(path, mib, fat, out).map(|_| ()))?;
        eprintln!(
            "bramble: {} is a card of {mib} MiB with these files in partition 1; partition 2 is for a guest",
            path.display()
        );
    }
    Ok(())
}

/// Room for the files, the firmware's, and a second version of ours.
fn fat_mib(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for name in card::FILES {
        bytes += fs::metadata(folder.join(name)).with_context(|| format!("no {name}"))?.len();
    }
    Ok((bytes >> 20) + 64)
}
