//! Partition tables: finding the datastore on a card, and laying out a new card. A partition that is not ours is
//! never opened for writing.

use super::device::FilePort;
use anyhow::{Context, Result, bail, ensure};
use datastore::PARTITION_TYPE;
use gpt::disk::LogicalBlockSize;
use gpt::partition_types::{OperatingSystem, Type};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Smallest store that the tool makes.
pub const MIN_BYTES: u64 = 64 * MIB;
/// Smallest store that the format has.
const LEAST_BYTES: u64 = 16 * MIB;

fn partition_type() -> Result<Type> {
    let guid = PARTITION_TYPE.parse().context("the partition type's GUID")?;
    Ok(Type { guid, os: OperatingSystem::Custom("Bramble".into()) })
}

/// Length of a file or block device.
fn length(file: &mut File) -> Result<u64> {
    Ok(file.seek(SeekFrom::End(0))?)
}

/// Opens a file or block device. For writing nobody else may have it: another `bramblectl`, QEMU, or, of a block device, the
/// kernel's mounts; for reading nobody may write to it.
fn claim(path: &Path, write: bool, options: &mut OpenOptions) -> Result<File> {
    let name = path.display();
    let kind = path.metadata().map(|found| found.file_type());
    ensure!(
        !kind.as_ref().is_ok_and(|kind| kind.is_dir()),
        "{name} is a folder; name a file, a partition or a card"
    );
    if write && kind.is_ok_and(|kind| kind.is_block_device()) {
        options.custom_flags(OFlags::EXCL.bits().cast_signed());
    }
    let in_use = || format!("{name} is in use by another program; end or unmount that first");
    let file = match options.read(true).write(write).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => bail!(in_use()),
        opened => opened.with_context(|| name.to_string())?,
    };
    let locked = if write { file.try_lock() } else { file.try_lock_shared() };
    // A file system without locks is no reason to refuse.
    ensure!(!matches!(locked, Err(TryLockError::WouldBlock)), in_use());
    Ok(file)
}

/// QEMU locks its images by another kind of lock, which is lost as soon as the program closes any descriptor of the file.
fn claim_from_qemu(file: &File, path: &Path) -> Result<()> {
    let locked = rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive);
    let taken = matches!(locked, Err(Errno::AGAIN | Errno::ACCESS));
    ensure!(!taken, "{} is in use by a virtual machine; end that first", path.display());
    Ok(())
}

/// The datastore in a file: the file itself, or the partition with our type in its GPT.
pub fn open(path: &Path, write: bool) -> Result<FilePort> {
    let mut file = claim(path, write, &mut OpenOptions::new())?;
    ensure_own_partition(path)?;
    let bytes = length(&mut file)?;
    let partition = find_partition(path)?;
    if write {
        claim_from_qemu(&file, path)?;
    }
    let (start, bytes) = partition.unwrap_or((0, bytes));
    ensure!(bytes >= LEAST_BYTES, "{} has {bytes} bytes: too small for a datastore", path.display());
    Ok(FilePort::new(file, start, bytes))
}

/// Start and length of the datastore's partition, where there is a partition table.
fn find_partition(path: &Path) -> Result<Option<(u64, u64)>> {
    let size = LogicalBlockSize::Lb512;
    let Ok(disk) = gpt::GptConfig::new().writable(false).logical_block_size(size).open(path) else {
        return Ok(None);
    };
    let ours = partition_type()?.guid;
    let mut found = disk.partitions().values().filter(|p| p.part_type_guid.guid == ours);
    let Some(partition) = found.next() else {
        bail!("{} has a partition table, but no datastore partition; nothing was touched", path.display());
    };
    ensure!(found.next().is_none(), "{} has several datastore partitions; name one", path.display());
    Ok(Some((partition.bytes_start(size)?, partition.bytes_len(size)?)))
}

/// Whether nothing is at `start` (the first 4 MiB are zeroes) that a new store would destroy. Some file systems leave the
/// first 64 KiB to others.
pub fn is_blank(path: &Path, start: u64) -> Result<bool> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    file.seek(SeekFrom::Start(start))?;
    let mut head = Vec::new();
    file.take(4 * MIB).read_to_end(&mut head)?;
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
    let too_small =
        |found: u64| format!("{} has {} MiB; a datastore needs at least 64 MiB", path.display(), found / MIB);
    if !path.exists() {
        let bytes = bytes.with_context(|| format!("{} is not there; --size makes a file", path.display()))?;
        ensure!(bytes >= MIN_BYTES, too_small(bytes));
    }
    let mut file = claim(path, true, OpenOptions::new().create(true).truncate(false))?;
    if let Some(bytes) = bytes
        && file.metadata()?.is_file()
    {
        file.set_len(bytes)?;
    }
    let found = length(&mut file)?;
    ensure!(found >= MIN_BYTES, too_small(found));
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
