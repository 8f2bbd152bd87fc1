//! `./bramble pi`: what goes on the FAT partition of a Raspberry Pi 4's card, beside the firmware (docs/pi/README.md).
//!
//! `./bramble up --board raspi4b` boots from the same files.

use crate::cli::parse_mib;
use crate::guests::Guests;
use crate::run::step;
use crate::{build, install};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use system::card::{self, CardImage};
use system::{ArchiveBuilder, Artifacts};

/// The firmware of a Pi 4 that can't be left out.
const FIRMWARE: [&str; 2] = ["start4.elf", "fixup4.dat"];
/// The trees of the boards, which the firmware completes. The first is Debian's own where no folder is given.
const TREES: [&str; 3] = ["bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4.dtb"];

/// What `pi` makes.
#[derive(clap::Args)]
pub struct PiOptions {
    /// The folder; it is made, and files of these names in it are replaced.
    #[arg(long, value_name = "DIR", default_value = "pi-card")]
    pub out: PathBuf,
    /// Boot the VMs of this host document instead of the demo's; its files lie beside it. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub vm: Vec<PathBuf>,
    /// Take the Pi's firmware (start4.elf, fixup4.dat, device trees) from this folder, instead of from Debian's
    /// raspi-firmware.
    #[arg(long, value_name = "DIR")]
    pub firmware: Option<PathBuf>,
    /// Make an image of a whole card as well, for a card writer or for QEMU.
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
    let guests = Guests::open(at)?;
    let mut archive = ArchiveBuilder::new();
    for file in &options.vm {
        archive.append(ArchiveBuilder::from_document(file)?)?;
    }
    if options.vm.is_empty() {
        guests.add_debian(&mut archive, "debian-1", true)?;
        guests.add_small(&mut archive, "small-2")?;
    }
    let out = &options.out;
    write_card(&guests, &image, &archive, out)?;
    add_firmware(&guests, options.firmware.as_deref(), out)?;
    eprintln!("bramble: {} holds what goes on the card", out.display());
    if let Some(path) = &options.image {
        let mib = u64::from(options.size);
        let fat = fat_mib(out, path)?;
        step("write the card's image", || CardImage::make(path, mib, fat, out).map(|_| ()))?;
        eprintln!(
            "bramble: {} is a card of {mib} MiB with these files in partition 1; partition 2 is for a guest",
            path.display()
        );
    }
    Ok(())
}

/// Room for the files, overlays, and a second kernel.
fn fat_mib(folder: &Path, image: &Path) -> Result<u64> {
    let mut bytes = 0;
    for name in card::files_of(folder, image)? {
        bytes += fs::metadata(folder.join(name))?.len();
    }
    Ok((bytes >> 20) + 64)
}

/// Writes what is ours, and the device tree of Debian's kernel package; the tree's path.
pub fn write_card(
    guests: &Guests<'_>,
    image: &Path,
    archive: &ArchiveBuilder,
    out: &Path,
) -> Result<PathBuf> {
    step("write the card's files", || {
        card::write_folder(out, image, archive)?;
        let tree = out.join(TREES[0]);
        fs::copy(guests.pi4_tree()?, &tree)?;
        Ok(tree)
    })
}

/// Brings the Pi's own firmware, from a person's folder or from Debian.
fn add_firmware(guests: &Guests<'_>, folder: Option<&Path>, out: &Path) -> Result<()> {
    if let Some(folder) = folder {
        return copy_firmware(folder, out);
    }
    let packaged = guests.pi_firmware().and_then(|folder| copy_firmware(&folder, out));
    packaged.with_context(|| {
        format!(
            "{} is complete but for the Pi's firmware ({}): give a folder that has it with --firmware DIR",
            out.display(),
            FIRMWARE.join(", ")
        )
    })
}

fn copy_firmware(from: &Path, out: &Path) -> Result<()> {
    let missing: Vec<&str> = FIRMWARE.into_iter().filter(|name| !from.join(name).is_file()).collect();
    if !missing.is_empty() {
        bail!("{} has no {}", from.display(), missing.join(" and no "));
    }
    let trees = TREES.into_iter().filter(|name| from.join(name).is_file());
    for name in FIRMWARE.into_iter().chain(trees) {
        fs::copy(from.join(name), out.join(name)).with_context(|| format!("can't copy {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_firmware_is_refused_by_the_names_of_what_is_missing() {
        let folder = std::env::temp_dir().join(format!("bramble-pi-{}", std::process::id()));
        let out = folder.join("out");
        fs::create_dir_all(&out).unwrap();
        fs::write(folder.join("start4.elf"), "firmware").unwrap();
        let said = copy_firmware(&folder, &out).unwrap_err().to_string();
        assert!(said.ends_with("has no fixup4.dat"), "{said}");
        fs::write(folder.join("fixup4.dat"), "firmware").unwrap();
        fs::write(folder.join("bcm2711-rpi-400.dtb"), "tree").unwrap();
        copy_firmware(&folder, &out).unwrap();
        let mut names: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["bcm2711-rpi-400.dtb", "fixup4.dat", "start4.elf"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
