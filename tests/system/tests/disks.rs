//! Where a guest's disk lies: a disk of the host, a partition of one, an image in RAM.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use system::archive::{host_disk, image_disk};
use system::scene::{BOOT, log_in, on, shell};
use system::{Board, HostDisk};

const SECTOR: u64 = 512;
const TABLE: &str = "label: gpt\nstart=2048, size=4096\nstart=8192, size=6144\nstart=14336, size=1024\n";

fn partitioned(path: &Path) -> Result<()> {
    File::create(path)?.set_len(16 << 20)?;
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut sfdisk =
        Command::new("sfdisk").arg("-q").arg(path).env("PATH", search).stdin(Stdio::piped()).spawn()?;
    sfdisk.stdin.take().context("no input")?.write_all(TABLE.as_bytes())?;
    ensure!(sfdisk.wait()?.success(), "sfdisk failed");
    Ok(())
}

fn bytes_at(path: &Path, offset: u64, count: usize) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; count];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes with a FLUSH, reads back from the disk itself.
fn pattern(disk: &str, text: &str) -> String {
    format!(
        "yes '{text}' | head -c 200000 > /tmp/a; dd if=/tmp/a of=/dev/{disk} bs=4096 seek=3 conv=fsync 2>&1; \
         echo 3 > /proc/sys/vm/drop_caches; \
         dd if=/dev/{disk} bs=4096 skip=3 count=49 2>/dev/null | head -c 200000 | cmp - /tmp/a"
    )
}

#[test]
fn a_host_disk_a_partition_and_an_image() -> Result<()> {
    let mut scene = on(Board::VirtGicv2, "disks").menu();
    let [whole, parts, image] =
        [scene.file("whole.img")?, scene.file("parts.img")?, scene.file("image.img")?];
    File::create(&whole)?.set_len(8 << 20)?;
    partitioned(&parts)?;
    fs::write(&image, [b"in the archive".as_slice(), &[0; 65522]].concat())?;
    for (path, serial) in [(&whole, "whole"), (&parts, "parts")] {
        scene.config.disks.push(HostDisk { path: path.clone(), serial: serial.into(), snapshot: false });
    }
    scene.archive.file("image.img", &image)?;
    let mut partition = host_disk("parts");
    partition.partition = Some(2);
    let disks = vec![host_disk("whole"), partition, image_disk("image.img", true)];
    let mut machine = scene.small_with("one", disks)?.start()?;
    log_in(&mut machine, "one")?;
    let said = shell(
        &mut machine,
        "cat /sys/block/vd[abc]/size /sys/block/vd[abc]/ro | tr -d '\\r' | tr '\\n' ' '",
    )?;
    ensure!(said.contains("16384 6144 128 0 0 1"), "sizes and read-only: {said}");
    shell(&mut machine, &pattern("vda", "all of it"))?;
    shell(&mut machine, &pattern("vdb", "a part"))?;
    // Requests of one PE meet completions on another.
    let race =
        "for n in 1 2 3 4; do dd if=/dev/vda of=/dev/null bs=512 count=2000 iflag=direct 2>&1 & done; wait";
    shell(&mut machine, race)?;
    let said =
        shell(&mut machine, "head -c 14 /dev/vdc; ! dd if=/tmp/a of=/dev/vdc count=1 conv=fsync 2>&1")?;
    ensure!(said.contains("in the archive"), "{said}");
    // As in a power cut.
    drop(machine);
    ensure!(bytes_at(&whole, 3 * 4096, 10)? == b"all of it\n", "the whole disk has something else");
    ensure!(
        bytes_at(&parts, 8192 * SECTOR + 3 * 4096, 7)? == b"a part\n",
        "the partition has something else"
    );
    for (start, sectors) in [(2048, 4096), (14336, 1024)] {
        let neighbour = bytes_at(&parts, start * SECTOR, (sectors * SECTOR) as usize)?;
        ensure!(neighbour.iter().all(|byte| *byte == 0), "a write in the partition next to it");
    }
    for path in [whole, parts, image] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// A VM starts anew while a disk still has a read of before: what comes late finds RAM that is the VM's still.
#[test]
fn a_read_that_comes_after_a_reset_lands_in_nobodys_ram() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "late-read").cpus(1).test_guest("t", 1, "late-read")?;
    let path = scene.file("slow.img")?;
    fs::write(&path, [vec![0; SECTOR as usize], vec![0xd1; (2 << 20) - SECTOR as usize]].concat())?;
    let drive = format!("if=none,id=slow,format=raw,file={},throttling.bps-read=131072", path.display());
    let device = "virtio-blk-device,drive=slow,serial=slow";
    scene.config.extra.extend(["-drive", &drive, "-device", device].map(Into::into));
    scene.archive.document.vms.last_mut().context("the test guest")?.disks.push(host_disk("slow"));
    let mut machine = scene.start()?;
    machine.expect("t| RESET now", BOOT)?;
    machine.expect("t: waits for what its disks still read and write", BOOT)?;
    machine.expect("t: restarts", BOOT)?;
    let said = machine.expect("t| TESTS DONE", BOOT)?;
    ensure!(said.contains("TEST late-read ok"), "{said}");
    machine.expect("host: all VMs are off", BOOT)?;
    fs::remove_file(path)?;
    Ok(())
}
