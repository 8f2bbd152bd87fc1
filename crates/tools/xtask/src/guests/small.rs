//! The small guest: Debian's cloud kernel, busybox, a login on PL011 and on virtio-console. It is up in seconds.

use super::initramfs::Initramfs;
use super::kernel::Kernel;
use crate::apt::Arm64;
use anyhow::Result;
use std::path::Path;

/// In Debian's kernels every virtio driver is a module, the transport too.
pub const VIRTIO: [&str; 5] = ["virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng"];

/// Writes the initramfs.
pub fn make(packages: &Arm64, kernel: &Kernel, to: &Path) -> Result<()> {
    Initramfs::create(packages, kernel, &VIRTIO, to)?
        .program("init", include_str!("files/small-init.sh"))?
        .program("etc/rc", include_str!("files/small-rc.sh"))?
        .program("etc/terminal", include_str!("files/small-terminal.sh"))?
        .program("etc/dhcp", include_str!("files/small-dhcp.sh"))?
        .file("etc/inittab", include_str!("files/small-inittab"))?
        .file("etc/passwd", "root::0:0:root:/root:/bin/sh\n")?
        .file("etc/group", "root:x:0:\n")?
        .file("etc/issue", "small Debian guest \\n on \\l: log in as root, no password\n")?
        .finish()
}
