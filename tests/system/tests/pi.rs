//! A Raspberry Pi 4 with a card: a guest's disk is a partition of it.

use anyhow::{Result, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use system::archive::{host_disk, vm};
use system::scene::{log_in, on, shell};
use system::{Artifacts, Board};

/// The serial number that QEMU's card has in its CID.
const SERIAL: &str = "sd-deadbeef";
/// First sector of the card's one partition.
const FIRST: u32 = 2048;

/// A card of `mib` MiB with an MBR and one partition to its end.
fn card(path: &Path, mib: u64) -> Result<()> {
    let mut file = File::create(path)?;
    file.set_len(mib << 20)?;
    let sectors = u32::try_from(mib << 11)? - FIRST;
    let mut sector = [0; 512];
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&FIRST.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all(&sector)?;
    Ok(())
}

/// What a guest flushed to its disk is on the card when QEMU is killed.
fn partition(name: &str, mib: u64) -> Result<()> {
    let at = Artifacts::here();
    std::fs::create_dir_all(at.run())?;
    let path = at.run().join(format!("{name}.img"));
    card(&path, mib)?;
    let mut scene = on(Board::Raspi4b, name).menu();
    let drive = format!("if=sd,format=raw,file={}", path.display());
    scene.config.extra.extend(["-drive".into(), drive.into()]);
    let mut guest = vm("one", 2, 256);
    guest.boot.kernel = Some(String::from("cloud-kernel"));
    guest.boot.initrd = Some(String::from("small-initrd"));
    guest.boot.command_line = Some(String::from("console=ttyAMA0 hostname=one"));
    let mut disk = host_disk(SERIAL);
    disk.partition = Some(1);
    guest.disks.push(disk);
    let files = ["cloud-kernel", "small-initrd"].map(|file| (file, at.guest(file)));
    let mut machine = scene.vm(guest, &files)?.start()?;
    log_in(&mut machine, "one")?;
    let sectors = shell(&mut machine, "cat /sys/block/vda/size")?;
    ensure!(
        sectors.contains(&((mib << 11) - u64::from(FIRST)).to_string()),
        "the disk has {sectors} sectors"
    );
    let write = "yes from the guest | head -c 300000 > /tmp/a; dd if=/tmp/a of=/dev/vda bs=4096 seek=3 conv=fsync 2>&1";
    shell(&mut machine, write)?;
    let same = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=4096 skip=3 count=74 2>/dev/null | head -c 300000 | cmp - /tmp/a && echo the-same";
    let said = shell(&mut machine, same)?;
    ensure!(said.contains("the-same"), "read back: {said}");
    drop(machine);
    let mut file = File::open(&path)?;
    file.seek(SeekFrom::Start(u64::from(FIRST) * 512 + 3 * 4096))?;
    let mut bytes = vec![0; 300_000];
    file.read_exact(&mut bytes)?;
    ensure!(bytes.starts_with(b"from the guest\nfrom the guest\n"), "the card holds something else");
    std::fs::remove_file(&path)?;
    Ok(())
}

#[test]
fn a_partition_of_a_card_of_64_mib() -> Result<()> {
    partition("card-small", 64)
}

#[test]
fn a_partition_of_a_card_of_64_gib() -> Result<()> {
    partition("card-large", 65_536)
}
