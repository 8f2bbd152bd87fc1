//! The benchmark's peers: a small host with KVM and QEMU for arm64, and Xen.

use super::initramfs::Initramfs;
use super::kernel::Kernel;
use crate::apt::Arm64;
use crate::run::{command, quiet};
use anyhow::{Context, Result, bail};
use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Xen's flat image of the suite.
pub fn copy_xen(packages: &Arm64, to: &Path) -> Result<()> {
    let package = packages.stands_for("xen-system-arm64")?;
    let boot = packages.unpacked(&package)?.join("boot");
    let is_xen = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("xen-")
            && !name.ends_with(".efi")
            && !name.ends_with(".config")
            && !name.ends_with(".map")
    };
    let found = fs::read_dir(&boot)?.flatten().map(|entry| entry.path()).find(is_xen);
    let found = found.with_context(|| format!("no Xen in {}", boot.display()))?;
    let bytes = fs::read(&found)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        quiet(command("sh", ["-c", "gzip -dc <\"$1\" >\"$2\"", "sh"]).arg(&found).arg(to))?;
    } else {
        fs::write(to, bytes)?;
    }
    Ok(())
}

/// An initramfs with QEMU and the libraries that it needs; runs `guest` (the flat test guest) under KVM at once.
pub fn make_kvm_host(packages: &Arm64, kernel: &Kernel, guest: &Path, to: &Path) -> Result<()> {
    let folders = packages.closure_unpacked(&["qemu-system-arm", "?essential"])?;
    let qemu = find(&folders, "qemu-system-aarch64").context("no qemu-system-aarch64 in the packages")?;
    let mut files = BTreeMap::new();
    add_with_libraries(&folders, &qemu, &mut files)?;
    let rom = find(&folders, "efi-virtio.rom");
    let mut initramfs = Initramfs::create(packages, kernel, &["?virtio_mmio", "?virtio_rng"], to)?
        .folders(&["lib", "lib/aarch64-linux-gnu", "usr", "usr/share", "usr/share/qemu"])?
        .program("init", include_str!("files/kvm-init.sh"))?
        .bytes("guest", &fs::read(guest)?)?
        .bytes("bin/qemu", &fs::read(&qemu)?)?;
    if let Some(rom) = rom {
        initramfs = initramfs.bytes("usr/share/qemu/efi-virtio.rom", &fs::read(rom)?)?;
    }
    for (name, path) in &files {
        let at = if name.starts_with("ld-linux") { "lib" } else { "lib/aarch64-linux-gnu" };
        initramfs = initramfs.bytes(&format!("{at}/{name}"), &fs::read(path)?)?;
    }
    initramfs.finish()
}

/// A program or library of the unpacked packages, by its file name.
fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    const PLACES: [&str; 8] = [
        "usr/bin",
        "usr/lib/aarch64-linux-gnu",
        "lib/aarch64-linux-gnu",
        "lib",
        "usr/lib",
        "usr/share/qemu",
        "usr/lib/ipxe/qemu",
        "usr/lib/aarch64-linux-gnu/pulseaudio",
    ];
    let paths = folders.iter().flat_map(|folder| PLACES.map(|place| folder.join(place).join(name)));
    paths.into_iter().find(|path| path.is_file())
}

/// Adds what `program` needs, and what that needs.
fn add_with_libraries(
    folders: &[PathBuf],
    program: &Path,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<()> {
    let bytes = fs::read(program)?;
    for name in needed(&bytes).with_context(|| format!("can't read {}", program.display()))? {
        if files.contains_key(&name) {
            continue;
        }
        let Some(path) = find(folders, &name) else {
            bail!("{} needs {name}, which no package has", program.display())
        };
        files.insert(name, path.clone());
        add_with_libraries(folders, &path, files)?;
    }
    Ok(())
}

/// The names in DT_NEEDED, and the dynamic linker.
fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = file.endian();
    let sections = file.elf_header().sections(endian, bytes)?;
    let mut names = Vec::new();
    if let Some((entries, link)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, link)?;
        for entry in entries.iter().filter(|entry| entry.d_tag.get(endian) == object::elf::DT_NEEDED) {
            let offset = u32::try_from(entry.d_val.get(endian))?;
            let name = strings.get(offset).map_err(|()| anyhow::anyhow!("a name lies outside"))?;
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    if file.section_by_name(".interp").is_some() {
        names.push(String::from("ld-linux-aarch64.so.1"));
    }
    Ok(names)
}
