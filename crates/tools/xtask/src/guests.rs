//! The demo's and the tests' guests, made from Debian's packages for arm64 and kept under `target/`.
//!
//! Every file is made once; delete `target/bramble/guests` to have them made anew.

mod initramfs;
mod kernel;
mod small;

use crate::apt::Arm64;
use crate::run::step;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use system::archive::{nic, vm};
use system::{ArchiveBuilder, Artifacts};

/// The guests of one checkout.
pub struct Guests<'a> {
    at: &'a Artifacts,
    packages: Arm64,
}

impl<'a> Guests<'a> {
    /// Opens the packages.
    pub fn open(at: &'a Artifacts) -> Result<Self> {
        fs::create_dir_all(at.guest(""))?;
        Ok(Self { at, packages: Arm64::open(at)? })
    }

    /// Makes the file `name` with `make`, unless it is there; it appears only when it is whole.
    fn file(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let to = self.at.guest(name);
        if to.is_file() {
            return Ok(());
        }
        let partial = self.at.guest(&format!("{name}.partial"));
        step(&format!("make {name}"), || make(&partial))?;
        fs::rename(&partial, &to).with_context(|| format!("no {}", to.display()))
    }

    /// Debian's cloud kernel and a small root file system in RAM: `cloud-kernel`, `small-initrd`.
    pub fn small(&self) -> Result<()> {
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-cloud-arm64")?;
        self.file("cloud-kernel", |to| kernel.copy_image(to))?;
        self.file("small-initrd", |to| small::make(&self.packages, &kernel, to))
    }

    /// Adds a small guest to `archive`.
    pub fn add_small(&self, archive: &mut ArchiveBuilder, name: &str) -> Result<()> {
        self.small()?;
        let mut small = vm(name, 2, 256);
        small.boot.kernel = Some(String::from("cloud-kernel"));
        small.boot.initrd = Some(String::from("small-initrd"));
        small.boot.command_line = Some(format!("console=ttyAMA0 hostname={name}"));
        small.nics.push(nic());
        archive.vm(small);
        archive.file("cloud-kernel", &self.at.guest("cloud-kernel"))?;
        archive.file("small-initrd", &self.at.guest("small-initrd"))
    }

    /// The device tree of a Pi 4, as Debian's kernel package has it.
    pub fn pi4_tree(&self) -> Result<()> {
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-arm64")?;
        self.file("bcm2711-rpi-4-b.dtb", |to| kernel.copy_tree("broadcom/bcm2711-rpi-4-b.dtb", to))
    }
}
