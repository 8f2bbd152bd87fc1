//! Partition tables: finding the datastore on a card, and laying out a new card. A partition that is not ours is
//! never opened for writing.

use super::device::FilePort;
use anyhow::{Context, Result, bail, ensure};
use datastore::PARTITION_TYPE;
use gpt::disk::LogicalBlockSize;
use gpt::partition_types::{OperatingSystem, Type};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Smallest store that the tool makes.
pub const MIN_BYTES: u64 = 64 * MIB;

fn partition_type() -> Result<Type> {
    let guid = PARTITION_TYPE.parse().context("the partition type's GUID")?;
    Ok(Type { guid, os: OperatingSystem::Custom("Bramble".into()) })
}

/// Length of a file or block device.
fn length(file: &mut File) -> Result<u64> {
    Ok(file.seek(SeekFrom::End(0))?)
}

/// The datastore in a file: the file itself, or the partition with our type in its GPT.
pub fn open(path: &Path, write: bool) -> Result<FilePort> {
    let mut file =
        OpenOptions::new().read(true).write(write).open(path).with_context(|| path.display().to_string())?;
    ensure_own_partition(path)?;
    let bytes = length(&mut file)?;
    let Ok(disk) =
        gpt::GptConfig::new().writable(false).logical_block_size(LogicalBlockSize::Lb512).open(path)
    else {
        return Ok(FilePort::new(file, 0, bytes));
    };
    let ours = partition_type()?.guid;
    let mut found = disk.partitions().values().filter(|p| p.part_type_guid.guid == ours);
    let Some(partition) = found.next() else {
        bail!("{} has a partition table, but no datastore partition; nothing was touched", path.display());
    };
    ensure!(found.next().is_none(), "{} has several datastore partitions; name one", path.display());
    let start = partition.bytes_start(LogicalBlockSize::Lb512)?;
    let len = partition.bytes_len(LogicalBlockSize::Lb512)?;
    Ok(FilePort::new(file, start, len))
}

/// Whether nothing is at `start` (the first 64 KiB are zeroes) that a new store would destroy.
pub fn is_blank(path: &Path, start: u64) -> Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut head = Vec::new();
    file.take(64 << 10).read_to_end(&mut head)?;
    Ok(head.iter().all(|b| *b == 0))
}

/// Refuses a partition of the kernel's (as /dev/sda2) that its table does not call ours.
fn ensure_own_partition(path: &Path) -> Result<()> {
    let Some(name) = path.canonicalize()?.file_name().map(std::ffi::OsStr::to_os_string) else {
        return Ok(());
    };
    let system = Path::new("/sys/class/block").join(&name);
    let Ok(number) = std::fs::read_to_string(system.join("partition")) else { return Ok(()) };
    let disk = system.canonicalize()?;
    let disk = disk.parent().and_then(Path::file_name).context("a partition without a disk")?;
    let disk = Path::new("/dev").join(disk);
    let table = gpt::GptConfig::new().writable(false).open(&disk);
    let table = table.with_context(|| format!("{} has no GPT", disk.display()))?;
    let number: u32 = number.trim().parse().context("a partition's number")?;
    let ours = partition_type()?.guid;
    let is_ours = table.partitions().get(&number).is_some_and(|p| p.part_type_guid.guid == ours);
    ensure!(is_ours, "{} is a partition of another type; nothing was touched", path.display());
    Ok(())
}

/// Makes a file of that size unless it is there, or a device.
pub fn prepare(path: &Path, bytes: Option<u64>) -> Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if let Some(bytes) = bytes
        && file.metadata()?.is_file()
    {
        file.set_len(bytes)?;
    }
    let found = length(&mut file)?;
    ensure!(
        found >= MIN_BYTES,
        "{} has {} MiB; a datastore needs at least 64 MiB",
        path.display(),
        found / MIB
    );
    Ok(found)
}

/// Lays out a card: a FAT boot partition and a datastore partition.
pub fn lay_out_card(path: &Path, boot_bytes: u64) -> Result<()> {
    let config = gpt::GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let sectors = length(&mut file)? / 512;
    let protective = gpt::mbr::ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX));
    protective.overwrite_lba0(&mut file)?;
    let mut disk = config.create_from_device(file, None)?;
    // Erase blocks of cards are 4 MiB or less: both partitions begin at such a border.
    let align = 4 * MIB / 512;
    disk.add_partition("boot", boot_bytes, gpt::partition_types::BASIC, 0, Some(align))?;
    let free: u64 = disk.find_free_sectors().iter().map(|(_, len)| *len).max().unwrap_or(0);
    let bytes = (free.saturating_sub(align)) * 512 / MIB * MIB;
    ensure!(bytes >= MIN_BYTES, "the card is too small");
    disk.add_partition("datastore", bytes, partition_type()?, 0, Some(align))?;
    let boot = disk.partitions().values().find(|p| p.name == "boot").context("boot partition")?.clone();
    let mut file = disk.write()?;
    file.flush()?;
    format_boot(path, boot.bytes_start(LogicalBlockSize::Lb512)?, boot_bytes)
}

/// A FAT file system in the boot partition.
fn format_boot(path: &Path, start: u64, bytes: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut window = Window { file, start, bytes, at: 0 };
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"BRAMBLE    ");
    fatfs::format_volume(&mut window, options).context("formatting the boot partition")
}

/// A part of a file that looks like a whole one.
struct Window {
    file: File,
    start: u64,
    bytes: u64,
    at: u64,
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min((self.bytes - self.at) as usize);
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let n = self.file.read(&mut into[..len])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for Window {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        let len = from.len().min((self.bytes - self.at) as usize);
        self.file.seek(SeekFrom::Start(self.start + self.at))?;
        let n = self.file.write(&from[..len])?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.filter(|at| *at <= self.bytes).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
