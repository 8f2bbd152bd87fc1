//! An initramfs of busybox, an `init`, and kernel modules in their order.

use super::kernel::Kernel;
use crate::apt::Arm64;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use system::cpio::CpioWriter;

/// An initramfs being written.
pub struct Initramfs {
    cpio: CpioWriter<BufWriter<File>>,
}

impl Initramfs {
    /// With busybox, the usual folders, a console, and `modules` of `kernel` (loaded by `/load-modules`).
    pub fn create(packages: &Arm64, kernel: &Kernel, modules: &[&str], to: &Path) -> Result<Self> {
        let mut cpio = CpioWriter::new(BufWriter::new(File::create(to)?));
        for folder in ["bin", "sbin", "dev", "proc", "sys", "etc", "root", "tmp", "run", "mnt", "modules"] {
            cpio.directory(folder)?;
        }
        // The kernel opens it before anything can mount a file system on /dev.
        cpio.character_device("dev/console", 5, 1)?;
        cpio.character_device("dev/null", 1, 3)?;
        let unpacked = packages.unpacked("busybox-static")?;
        let merged = unpacked.join("usr/bin/busybox");
        let busybox = if merged.is_file() { merged } else { unpacked.join("bin/busybox") };
        cpio.file("bin/busybox", 0o755, &fs::read(&busybox).context("no busybox")?)?;
        cpio.symlink("bin/sh", "busybox")?;
        let mut load = String::from("#!/bin/sh\n");
        for (name, content) in kernel.modules_in_order(modules)? {
            cpio.file(&format!("modules/{name}.ko"), 0o644, &content)?;
            load.push_str(&format!("/bin/busybox insmod /modules/{name}.ko\n"));
        }
        cpio.file("load-modules", 0o755, load.as_bytes())?;
        Ok(Self { cpio })
    }

    /// Adds a script or another file that may be run.
    pub fn program(mut self, name: &str, text: &str) -> Result<Self> {
        self.cpio.file(name, 0o755, text.as_bytes())?;
        Ok(self)
    }

    /// Adds folders, each after the one that it lies in.
    pub fn folders(mut self, names: &[&str]) -> Result<Self> {
        for name in names {
            self.cpio.directory(name)?;
        }
        Ok(self)
    }

    /// Adds a program or library.
    pub fn bytes(mut self, name: &str, content: &[u8]) -> Result<Self> {
        self.cpio.file(name, 0o755, content)?;
        Ok(self)
    }

    /// Adds a file.
    pub fn file(mut self, name: &str, text: &str) -> Result<Self> {
        self.cpio.file(name, 0o644, text.as_bytes())?;
        Ok(self)
    }

    /// Completes the file.
    pub fn finish(self) -> Result<()> {
        self.cpio.finish()?;
        Ok(())
    }
}
