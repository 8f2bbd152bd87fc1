//! The full Debian guest: its generic kernel, and a root file system made of its packages.
//!
//! The build machine unpacks the packages; an emulated arm64 machine (plain QEMU, without Bramble) runs their scripts
//! once. So nothing needs root, binfmt or a foreign architecture, and the result is what an installation gives
//! (docs/adr/0020-debian-guest-without-root.md).

use super::initramfs::Initramfs;
use super::kernel::Kernel;
use super::small::VIRTIO;
use crate::apt::Arm64;
use crate::run::{command, quiet};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;
use system::{Board, HostDisk, Machine, MachineConfig};

/// What is installed beside Debian's essential packages.
const PACKAGES: [&str; 14] = [
    "?essential",
    "systemd-sysv",
    "udev",
    "dbus",
    "libpam-systemd",
    "login",
    "passwd",
    "kmod",
    "procps",
    "iproute2",
    "iputils-ping",
    "iperf3",
    "e2fsprogs",
    "util-linux",
];

/// Room for the packages (260 MB) and some work. On boards without a disk the whole image lies in RAM.
const SIZE: &str = "400M";

/// The scripts of some hundred packages, emulated, on a loaded machine.
const CONFIGURE: Duration = Duration::from_secs(900);

/// Writes the initramfs that finds the root file system.
pub fn initramfs(packages: &Arm64, kernel: &Kernel, to: &Path) -> Result<()> {
    Initramfs::create(packages, kernel, &modules(), to)?
        .program("init", include_str!("files/debian-init.sh"))?
        .finish()
}

/// ext4 asks for its checksum by name only, which modules.dep does not know. The power button is a GPIO key.
fn modules() -> Vec<&'static str> {
    VIRTIO.into_iter().chain(["?crc32c_generic", "ext4", "gpio_keys", "evdev"]).collect()
}

/// Writes the root file system; `kernel` is the file to boot for it, with its modules in `modules_of`.
pub fn root(packages: &Arm64, kernel: &Path, modules_of: &Kernel, to: &Path) -> Result<()> {
    let folder = to.with_extension("work");
    fs::create_dir_all(&folder)?;
    let configure = folder.join("configure");
    fs::write(&configure, include_str!("files/debian-configure.sh"))?;
    let unpack = folder.join("unpack");
    fs::write(&unpack, include_str!("files/debian-unpack.sh"))?;
    let files = packages.closure(&PACKAGES)?;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut fakeroot = command("fakeroot", ["sh"]);
    quiet(fakeroot.arg(&unpack).arg(to).arg(SIZE).arg(&configure).args(&files).env("PATH", path))?;
    let initrd = folder.join("initrd");
    Initramfs::create(
        packages,
        modules_of,
        &["virtio_mmio", "virtio_blk", "virtio_rng", "?crc32c_generic", "ext4"],
        &initrd,
    )?
    .program("init", include_str!("files/debian-first-init.sh"))?
    .finish()?;
    configure_once(kernel, &initrd, to, &folder.join("configure.log"))?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn configure_once(kernel: &Path, initrd: &Path, disk: &Path, log: &Path) -> Result<()> {
    let mut config = MachineConfig::new(Board::VirtGicv3, kernel, log);
    config.cpus = 2;
    config.memory_mib = 1024;
    config.cpu = String::from("max,pauth=off");
    config.archive = Some(initrd.to_owned());
    config.append = String::from("console=ttyAMA0 quiet");
    config.disks.push(HostDisk { path: disk.to_owned(), serial: String::from("root"), snapshot: false });
    let mut machine = Machine::start(&config)?;
    machine.wait_exit(CONFIGURE).context("Debian's packages were not configured in time")?;
    let text = machine.text();
    if !text.lines().any(|line| line.trim() == "CONFIGURED") {
        bail!("Debian's packages could not be configured; see {}:\n{}", log.display(), last_lines(&text));
    }
    Ok(())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
