//! `./bramble pi`: what goes on the FAT partition of a Raspberry Pi 4's card, beside the firmware (docs/pi/README.md).

use crate::guests::Guests;
use crate::run::step;
use crate::{build, install};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use system::{ArchiveBuilder, Artifacts};

/// The firmware's settings: 64 bits, our image, the boot archive behind it, and the serial line of the header's pins,
/// whose clock `enable_uart` holds still.
const CONFIG: &str = "\
arm_64bit=1
kernel=kernel8.img
initramfs boot.cpio followkernel
enable_uart=1
";

/// What is not ours to give.
const README: &str = "\
Copy these files to the first (FAT32) partition of the card, with, from Raspberry Pi's firmware of 2021 or later
(https://github.com/raspberrypi/firmware/tree/stable/boot):

    start4.elf  fixup4.dat  overlays/
    bcm2711-rpi-4-b.dtb, bcm2711-rpi-400.dtb or bcm2711-rpi-cm4.dtb

Serial line: header pins 6 (ground), 8 (transmit), 10 (receive), 3.3 V, 115200 baud.
The guide is docs/pi/README.md.
";

/// What `pi` makes.
#[derive(clap::Args)]
pub struct PiOptions {
    /// The folder; it is made, and files of these names in it are replaced.
    #[arg(long, value_name = "DIR", default_value = "pi-card")]
    pub out: PathBuf,
    /// Boot the VMs of this host document instead of the demo's; its files lie beside it. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub vm: Vec<PathBuf>,
}

/// Makes the folder.
pub fn pi(at: &Artifacts, options: &PiOptions) -> Result<()> {
    install::ensure(at, install::FOR_UP)?;
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
    fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
    step("write the card's files", || {
        fs::copy(&image, out.join("kernel8.img"))?;
        archive.write(&out.join("boot.cpio"))?;
        fs::write(out.join("config.txt"), CONFIG)?;
        fs::write(out.join("README.txt"), README)?;
        Ok(())
    })?;
    eprintln!("bramble: {} holds what goes on the card; its README.txt says what to add", out.display());
    Ok(())
}
