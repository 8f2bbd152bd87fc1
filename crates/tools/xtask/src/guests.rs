//! The demo's and the tests' guests, made from Debian's packages for arm64 and kept under `target/`.
//!
//! Every file is made once; all are made anew when Debian has a newer kernel, or how they are made has changed here.

mod debian;
mod firmware;
mod initramfs;
mod kernel;
mod peers;
mod small;

use crate::apt::Arm64;
pub use crate::apt::debian_version;
use crate::run::step;
use anyhow::{Context, Result};
use api::host::Boot;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use system::archive::{host_disk, image_disk, nic, vm};
use system::{ArchiveBuilder, Artifacts, HostDisk};

/// The guests of one checkout.
pub struct Guests<'a> {
    at: &'a Artifacts,
    packages: Arm64,
}

impl<'a> Guests<'a> {
    /// Opens the packages, and removes guests that are made of something else.
    pub fn open(at: &'a Artifacts) -> Result<Self> {
        let packages = Arm64::open(at)?;
        // All kernels of a suite are of one version.
        let kernels = packages.version("linux-image-arm64")?;
        renew(&at.guest(""), &format!("kernels {kernels}\nrecipes {}\n", recipes(at.root())?))?;
        Ok(Self { at, packages })
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

    /// Debian's generic kernel and a whole Debian: `debian-kernel`, `debian-initrd`, `debian-root.img`.
    pub fn debian(&self) -> Result<()> {
        self.small()?;
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-arm64")?;
        self.file("debian-kernel", |to| kernel.copy_image(to))?;
        self.file("debian-initrd", |to| debian::initramfs(&self.packages, &kernel, to))?;
        let cloud = kernel::Kernel::of(&self.packages, "linux-image-cloud-arm64")?;
        self.file("debian-root.img", |to| {
            debian::root(&self.packages, &self.at.guest("cloud-kernel"), &cloud, to)
        })
    }

    /// The small guest on a disk that firmware boots, and that firmware: `small.qcow2`, `edk2.fd`.
    pub fn small_disk(&self) -> Result<()> {
        self.small()?;
        self.edk2()?;
        let [kernel, initrd] = ["cloud-kernel", "small-initrd"].map(|name| self.at.guest(name));
        self.file("small.qcow2", |to| firmware::make_small_disk(&self.packages, &kernel, &initrd, to))
    }

    fn edk2(&self) -> Result<()> {
        self.file("edk2.fd", |to| firmware::copy_edk2(&self.packages, to))
    }

    /// Guests that bring their own firmware: `edk2.fd`, `u-boot.bin`, `installer.iso`, `installed.img`.
    pub fn firmware(&self) -> Result<()> {
        self.debian()?;
        self.edk2()?;
        self.file("u-boot.bin", |to| firmware::copy_u_boot(&self.packages, to))?;
        self.file("installer.iso", |to| firmware::make_installer(&self.packages, to))?;
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-arm64")?;
        let root = self.at.guest("debian-root.img");
        self.file("installed.img", |to| firmware::make_installed_disk(&self.packages, &kernel, &root, to))
    }

    /// Where the kernel called `name` in boot archives comes from: the package and its file's bytes.
    pub fn origin(&self, name: &str) -> Result<Option<(String, Vec<u8>)>> {
        let meta = match name {
            "cloud-kernel" => "linux-image-cloud-arm64",
            "debian-kernel" => "linux-image-arm64",
            _ => return Ok(None),
        };
        let kernel = kernel::Kernel::of(&self.packages, meta)?;
        let (package, bytes) = kernel.packaged_image(&self.packages)?;
        Ok(Some((package.to_owned(), bytes)))
    }

    /// The Pi's boot firmware, which is not ours to give: Debian's package of it, unpacked.
    pub fn pi_firmware(&self) -> Result<PathBuf> {
        Ok(self.packages.unpacked("raspi-firmware")?.join("usr/lib/raspi-firmware"))
    }

    /// The suite's Xen.
    pub fn xen(&self) -> Result<PathBuf> {
        self.file("xen", |to| peers::copy_xen(&self.packages, to))?;
        Ok(self.at.guest("xen"))
    }

    /// A host with KVM, as an initramfs for the cloud kernel. It has the test guest of now in it, so it is made anew.
    pub fn kvm_host(&self) -> Result<PathBuf> {
        self.small()?;
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-cloud-arm64")?;
        let to = self.at.guest("kvm-initrd");
        peers::make_kvm_host(&self.packages, &kernel, &self.at.test_guest("test-guest"), &to)?;
        Ok(to)
    }

    /// Adds a small guest to `archive`.
    pub fn add_small(&self, archive: &mut ArchiveBuilder, name: &str) -> Result<()> {
        self.small()?;
        let mut small = vm(name, 2, 128);
        small.boot = self.boot(archive, "cloud-kernel", "small-initrd")?;
        small.boot.command_line = Some(format!("console=ttyAMA0 hostname={name}"));
        small.nics.push(nic());
        archive.vm(small);
        Ok(())
    }

    /// Adds a whole Debian to `archive`, its disk in RAM or (then a disk with the returned settings must be given to
    /// the machine) one of the host's. What it writes is gone when the machine ends.
    pub fn add_debian(
        &self,
        archive: &mut ArchiveBuilder,
        name: &str,
        in_ram: bool,
    ) -> Result<Option<HostDisk>> {
        self.debian()?;
        // QEMU's tree of a Pi names the RAM below 1 GiB only, 960 MiB, and half of that is the disk then.
        let mut debian = vm(name, 2, if in_ram { 256 } else { 512 });
        debian.boot = self.boot(archive, "debian-kernel", "debian-initrd")?;
        debian.boot.command_line = Some(format!("console=ttyAMA0 root=/dev/vda systemd.hostname={name}"));
        let root = self.at.guest("debian-root.img");
        let disk = if in_ram {
            archive.file("debian-root.img", &root)?;
            debian.disks.push(image_disk("debian-root.img", false));
            None
        } else {
            debian.disks.push(host_disk(name));
            Some(HostDisk { path: root, serial: name.to_owned(), snapshot: true })
        };
        debian.nics.push(nic());
        archive.vm(debian);
        Ok(disk)
    }

    fn boot(&self, archive: &mut ArchiveBuilder, kernel: &str, initrd: &str) -> Result<Boot> {
        for name in [kernel, initrd] {
            archive.file(name, &self.at.guest(name))?;
        }
        Ok(Boot { kernel: Some(kernel.to_owned()), initrd: Some(initrd.to_owned()), ..Boot::default() })
    }

    /// The device tree of a Pi 4, as Debian's kernel package has it.
    pub fn pi4_tree(&self) -> Result<PathBuf> {
        let kernel = kernel::Kernel::of(&self.packages, "linux-image-arm64")?;
        self.file("bcm2711-rpi-4-b.dtb", |to| kernel.copy_tree("broadcom/bcm2711-rpi-4-b.dtb", to))?;
        Ok(self.at.pi4_tree())
    }
}

/// Empties a folder whose files are not made of this.
fn renew(folder: &Path, made_of: &str) -> Result<()> {
    let note = folder.join("made-of");
    if fs::read_to_string(&note).is_ok_and(|before| before == made_of) {
        return Ok(());
    }
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(fs::write(note, made_of)?)
}

/// One sum of everything that says how guests are made.
fn recipes(root: &Path) -> Result<String> {
    let here = root.join("crates/tools/xtask/src");
    let mut files = vec![here.join("guests.rs")];
    for folder in ["guests", "guests/files"] {
        for entry in fs::read_dir(here.join(folder))? {
            files.extend(Some(entry?.path()).filter(|path| path.is_file()));
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(fs::read(&file).with_context(|| format!("can't read {}", file.display()))?);
    }
    Ok(sha256(&all))
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_something_else_goes() -> Result<()> {
        let folder = Artifacts::here().run().join("made-of");
        let file = folder.join("kernel");
        renew(&folder, "kernels 1")?;
        fs::write(&file, "1")?;
        renew(&folder, "kernels 1")?;
        assert!(file.is_file());
        renew(&folder, "kernels 2")?;
        assert!(!file.exists());
        Ok(fs::remove_dir_all(folder)?)
    }
}
