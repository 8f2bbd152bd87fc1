//! Guests that bring their own firmware: Debian's EDK2 and U-Boot, an installer ISO, an installed disk, a small one.

use super::debian;
use super::kernel::Kernel;
use crate::apt::Arm64;
use crate::run::{command, quiet};
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes of a sector of the disk.
const SECTOR: u64 = 512;
/// Where the EFI partition starts, in sectors.
const EFI_START: u64 = 2048;
/// Its size: a kernel, its initramfs, GRUB, and as much again.
const EFI_SECTORS: u64 = (128 << 20) / SECTOR;
const ROOT_START: u64 = EFI_START + EFI_SECTORS;

/// Copies Debian's EDK2.
pub fn copy_edk2(packages: &Arm64, to: &Path) -> Result<()> {
    copy(&packages.unpacked("qemu-efi-aarch64")?.join("usr/share/qemu-efi-aarch64/QEMU_EFI.fd"), to)
}

/// Copies Debian's U-Boot.
pub fn copy_u_boot(packages: &Arm64, to: &Path) -> Result<()> {
    copy(&packages.unpacked("u-boot-qemu")?.join("usr/lib/u-boot/qemu_arm64/u-boot.bin"), to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("no {}", from.display()))?;
    Ok(())
}

fn grub_modules(packages: &Arm64) -> Result<PathBuf> {
    Ok(packages.unpacked("grub-efi-arm64-bin")?.join("usr/lib/grub/arm64-efi"))
}

/// Debian's installer, as an ISO that firmware can boot (the package has kernel and initrd only).
pub fn make_installer(packages: &Arm64, to: &Path) -> Result<()> {
    let version = super::debian_version()?;
    let package = packages.unpacked(&format!("debian-installer-{version}-netboot-arm64"))?;
    let images =
        package.join(format!("usr/lib/debian-installer/images/{version}/arm64/text/debian-installer/arm64"));
    let folder = fresh_folder(to)?;
    fs::create_dir_all(folder.join("boot/grub"))?;
    copy(&images.join("linux"), &folder.join("linux"))?;
    copy(&images.join("initrd.gz"), &folder.join("initrd.gz"))?;
    fs::write(folder.join("boot/grub/grub.cfg"), include_str!("files/installer-grub.cfg"))?;
    let mut grub = command("grub-mkrescue", ["-d"]);
    quiet(grub.arg(grub_modules(packages)?).arg("-o").arg(to).arg(&folder))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A disk as an installation leaves it: an EFI partition with GRUB, kernel and initramfs, and Debian on the second.
pub fn make_installed_disk(packages: &Arm64, kernel: &Kernel, root: &Path, to: &Path) -> Result<()> {
    let folder = fresh_folder(to)?;
    kernel.copy_image(&folder.join("vmlinuz"))?;
    debian::initramfs(packages, kernel, &folder.join("initrd"))?;
    let efi = make_efi_partition(packages, &folder, include_str!("files/installed-grub.cfg"))?;
    let root_sectors = fs::metadata(root)?.len().div_ceil(SECTOR);
    let table = format!("start={ROOT_START}, size={root_sectors}, type=linux\n");
    partition(to, ROOT_START + root_sectors, &table)?;
    copy_sparse(&efi, to, EFI_START * SECTOR)?;
    copy_sparse(root, to, ROOT_START * SECTOR)?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A disk with an EFI partition and nothing else: GRUB and the small guest, as a qcow2 file.
pub fn make_small_disk(packages: &Arm64, kernel: &Path, initrd: &Path, to: &Path) -> Result<()> {
    let folder = fresh_folder(to)?;
    copy(kernel, &folder.join("vmlinuz"))?;
    copy(initrd, &folder.join("initrd"))?;
    let efi = make_efi_partition(packages, &folder, include_str!("files/small-grub.cfg"))?;
    let disk = folder.join("disk");
    partition(&disk, ROOT_START, "")?;
    copy_sparse(&efi, &disk, EFI_START * SECTOR)?;
    quiet(command("qemu-img", ["convert", "-f", "raw", "-O", "qcow2"]).arg(&disk).arg(to))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn fresh_folder(beside: &Path) -> Result<PathBuf> {
    let folder = beside.with_extension("folder");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A partition that firmware boots: GRUB with this configuration, and the folder's `vmlinuz` and `initrd`.
fn make_efi_partition(packages: &Arm64, folder: &Path, config: &str) -> Result<PathBuf> {
    let file = folder.join("grub.cfg");
    fs::write(&file, config)?;
    let mut grub = command("grub-mkstandalone", ["-O", "arm64-efi", "-d"]);
    grub.arg(grub_modules(packages)?).arg("-o").arg(folder.join("BOOTAA64.EFI"));
    quiet(grub.arg(format!("boot/grub/grub.cfg={}", file.display())))?;
    let to = folder.join("efi.img");
    File::create(&to)?.set_len(EFI_SECTORS * SECTOR)?;
    let mtool = |arguments: &[&str]| {
        let (tool, rest) = arguments.split_first().context("no tool")?;
        quiet(command(tool, ["-i"]).arg(&to).args(rest).current_dir(folder).env("MTOOLS_SKIP_CHECK", "1"))
    };
    mtool(&["mformat", "-F", "::"])?;
    mtool(&["mmd", "::EFI", "::EFI/BOOT"])?;
    mtool(&["mcopy", "BOOTAA64.EFI", "::EFI/BOOT/BOOTAA64.EFI"])?;
    mtool(&["mcopy", "vmlinuz", "initrd", "::"])?;
    Ok(to)
}

/// A disk with a GPT: the EFI partition, and `more` as sfdisk reads it, up to the sector `end`.
fn partition(disk: &Path, end: u64, more: &str) -> Result<()> {
    // The backup table takes 33 sectors at the end.
    File::create(disk)?.set_len((end + 2048) * SECTOR)?;
    let table = format!("label: gpt\nstart={EFI_START}, size={EFI_SECTORS}, type=uefi\n{more}");
    let text = disk.with_extension("table");
    fs::write(&text, table)?;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut sfdisk = command("sh", ["-c", "sfdisk -q \"$1\" <\"$2\"", "sh"]);
    quiet(sfdisk.arg(disk).arg(&text).env("PATH", path))?;
    fs::remove_file(&text)?;
    Ok(())
}

/// Copies a file into another at an offset, leaving holes where there are zeros only.
fn copy_sparse(from: &Path, to: &Path, offset: u64) -> Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).open(to)?;
    let mut chunk = vec![0; 1 << 20];
    let mut at = offset;
    loop {
        let count = source.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        if chunk[..count].iter().any(|byte| *byte != 0) {
            target.seek(SeekFrom::Start(at))?;
            target.write_all(&chunk[..count])?;
        }
        at += count as u64;
    }
}
