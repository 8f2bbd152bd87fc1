//! Partitions of a disk: GPT, and MBR where there is no GPT; and a window on one of them as a `BlockBackend`.
//!
//! Called by `vmkernel` for each disk found: [`Scan`] asks for sectors, is fed their bytes and ends in a table. It waits
//! for nothing and keeps nothing of the disk but the entries. A disk is input: no entry outside the disk comes out.
//! Source: UEFI Specification 2.10, 5.2 "LBA 0 Format", 5.3 "GUID Partition Table (GPT) Disk Layout".
//!
//! Own parser and not the crate gpt_disk_types: what is read is three structures, its readers want a blocking disk or the
//! whole array in memory at once, and each bound would be checked here again.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod make;
mod reader;

use alloc::vec::Vec;
use core::fmt;
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Submitted,
};

pub use reader::{BUFFER_BYTES, Reader};

/// Bytes of a logical block; other sizes are refused below (4Kn disks are no target).
const SECTOR: usize = 512;
const SECTOR_U64: u64 = 512;
/// Entries that are looked at; GPT's array has 128 on every usual disk.
const MAX_ENTRIES: u32 = 256;
/// Links of a chain of logical partitions that are followed.
const MAX_LOGICAL: usize = 60;

/// The type of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionKind {
    /// GPT: type GUID, as its 16 bytes on the disk.
    Guid([u8; 16]),
    /// MBR: OS type.
    Mbr(u8),
}

/// Type GUID of a datastore's partition, 6272616D-626C-4565-A473-746F72650001 (docs/datastore-format.md): ours to write.
pub const OURS: PartitionKind = PartitionKind::Guid([
    0x6d, 0x61, 0x72, 0x62, 0x6c, 0x62, 0x65, 0x45, 0xa4, 0x73, 0x74, 0x6f, 0x72, 0x65, 0x00, 0x01,
]);

/// One partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number as operating systems count it, from 1; logical MBR partitions from 5.
    pub number: u32,
    /// What it holds.
    pub kind: PartitionKind,
    /// GPT: its own GUID. Zero for MBR.
    pub id: [u8; 16],
    /// First sector.
    pub first: Sector,
    /// Length in sectors, at least 1.
    pub sectors: u64,
    /// GPT: its name, UTF-16LE as on the disk.
    pub name: [u16; 36],
}

/// What was found on a disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionTable {
    /// By ascending number.
    pub partitions: Vec<Partition>,
    /// What was wrong with it; partitions that are not named here can be used.
    pub complaints: Vec<Complaint>,
}

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// Sector 0 has no 0x55AA.
    NoTable,
    /// The primary GPT is damaged; the backup was taken.
    PrimaryDamaged,
    /// Both GPTs are damaged; nothing was taken.
    BothDamaged,
    /// This partition lies outside the disk, or ends before it begins; left out.
    OutsideDisk(u32),
    /// This partition overlaps an earlier one; left out.
    Overlaps(u32),
    /// Entries beyond the first 256, or logical partitions beyond the first 60.
    TooMany,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable => f.write_str("no partition table"),
            Self::PrimaryDamaged => {
                f.write_str("the GPT at the start is damaged, the one at the end was taken")
            }
            Self::BothDamaged => f.write_str("both GPTs are damaged"),
            Self::OutsideDisk(n) => write!(f, "partition {n} lies outside the disk and was left out"),
            Self::Overlaps(n) => write!(f, "partition {n} overlaps another one and was left out"),
            Self::TooMany => f.write_str("more partitions than are looked at"),
        }
    }
}

/// What a scan wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// This sector, by [`Scan::take`].
    Sector(Sector),
    /// Nothing more: see [`Scan::finish`].
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Mbr,
    Header { backup: bool },
    Entries { header: Header, at: u64, crc: u32, left: u64 },
    Logical { container: u64, at: u64, links: usize },
    Done,
}

/// What is needed of a GPT header.
#[derive(Clone, Copy, Debug)]
struct Header {
    backup: bool,
    entries_at: u64,
    entries: u32,
    entry_bytes: u32,
    entries_crc: u32,
    first_usable: u64,
    last_usable: u64,
}

/// Reads a disk's partition table, one sector at a time.
#[derive(Debug)]
pub struct Scan {
    disk_sectors: u64,
    state: State,
    table: PartitionTable,
    /// The entry that a sector cut in two, for entry sizes above 512.
    carried: Vec<u8>,
    next_entry: u32,
}

impl Scan {
    /// Of a disk of `disk_sectors` sectors.
    pub fn new(disk_sectors: u64) -> Self {
        Self {
            disk_sectors,
            state: State::Mbr,
            table: PartitionTable::default(),
            carried: Vec::new(),
            next_entry: 0,
        }
    }

    /// What is wanted next.
    pub fn want(&self) -> Want {
        match self.state {
            State::Mbr => Want::Sector(Sector(0)),
            State::Header { backup: false } => Want::Sector(Sector(1)),
            State::Header { backup: true } => Want::Sector(Sector(self.disk_sectors.saturating_sub(1))),
            State::Entries { at, .. } | State::Logical { at, .. } => Want::Sector(Sector(at)),
            State::Done => Want::Nothing,
        }
    }

    /// Takes the sector that was wanted.
    pub fn take(&mut self, sector: &[u8; SECTOR]) {
        match self.state {
            State::Mbr => self.take_mbr(sector),
            State::Header { backup } => self.take_header(sector, backup),
            State::Entries { header, at, crc, left } => self.take_entries(sector, header, at, crc, left),
            State::Logical { container, at, links } => self.take_logical(sector, container, at, links),
            State::Done => {}
        }
    }

    /// The wanted sector can't be read.
    pub fn take_error(&mut self) {
        match self.state {
            State::Header { backup } => self.gpt_damaged(backup),
            State::Entries { header, .. } => self.gpt_damaged(header.backup),
            State::Mbr => {
                self.complain(Complaint::NoTable);
                self.state = State::Done;
            }
            State::Logical { .. } | State::Done => self.state = State::Done,
        }
    }

    /// The table, once [`Scan::want`] says `Nothing`.
    pub fn finish(self) -> PartitionTable {
        self.table
    }

    fn complain(&mut self, complaint: Complaint) {
        if !self.table.complaints.contains(&complaint) && self.table.complaints.len() < 32 {
            self.table.complaints.push(complaint);
        }
    }

    fn take_mbr(&mut self, sector: &[u8; SECTOR]) {
        self.state = State::Done;
        if sector.get(510..) != Some(&[0x55, 0xaa]) {
            self.complain(Complaint::NoTable);
            return;
        }
        let entries = mbr_entries(sector);
        if entries.iter().any(|entry| entry.kind == 0xee) {
            self.state = State::Header { backup: false };
            return;
        }
        for (number, entry) in (1..).zip(entries) {
            match entry.kind {
                0 => {}
                0x05 | 0x0f | 0x85 => {
                    let start = u64::from(entry.first);
                    self.state = State::Logical { container: start, at: start, links: 0 };
                    if start == 0 || start >= self.disk_sectors {
                        self.complain(Complaint::OutsideDisk(number));
                        self.state = State::Done;
                    }
                }
                kind => self.add(number, PartitionKind::Mbr(kind), entry.first.into(), entry.sectors.into()),
            }
        }
    }

    /// An extended boot record: entry 0 is the logical partition, relative to this record; entry 1 the next record,
    /// relative to the container.
    fn take_logical(&mut self, sector: &[u8; SECTOR], container: u64, at: u64, links: usize) {
        self.state = State::Done;
        if sector.get(510..) != Some(&[0x55, 0xaa]) {
            return;
        }
        let [entry, next, ..] = mbr_entries(sector);
        if entry.kind != 0 {
            let number = u32::try_from(links).unwrap_or(0).saturating_add(5);
            let first = at.saturating_add(entry.first.into());
            self.add(number, PartitionKind::Mbr(entry.kind), first, entry.sectors.into());
        }
        if !matches!(next.kind, 0x05 | 0x0f | 0x85) {
            return;
        }
        let links = links.saturating_add(1);
        let at = container.saturating_add(next.first.into());
        if links >= MAX_LOGICAL {
            self.complain(Complaint::TooMany);
        } else if at < self.disk_sectors {
            self.state = State::Logical { container, at, links };
        }
    }

    fn gpt_damaged(&mut self, backup: bool) {
        self.table.partitions.clear();
        self.table.complaints.clear();
        self.carried.clear();
        self.next_entry = 0;
        if backup || self.disk_sectors < 3 {
            self.complain(Complaint::BothDamaged);
            self.state = State::Done;
        } else {
            self.complain(Complaint::PrimaryDamaged);
            self.state = State::Header { backup: true };
        }
    }

    fn take_header(&mut self, sector: &[u8; SECTOR], backup: bool) {
        let Some(header) = Header::parse(sector, backup, self.disk_sectors) else {
            return self.gpt_damaged(backup);
        };
        let bytes = u64::from(header.entries).saturating_mul(header.entry_bytes.into());
        if header.entries > MAX_ENTRIES {
            self.complain(Complaint::TooMany);
        }
        self.state = State::Entries { header, at: header.entries_at, crc: !0, left: bytes };
    }

    fn take_entries(&mut self, sector: &[u8; SECTOR], header: Header, at: u64, crc: u32, left: u64) {
        let take = usize::try_from(left.min(SECTOR_U64)).unwrap_or(SECTOR);
        let bytes = sector.get(..take).unwrap_or(sector);
        let crc = crc32(crc, bytes);
        let entry_bytes = usize::try_from(header.entry_bytes).unwrap_or(SECTOR);
        self.carried.extend_from_slice(bytes);
        while self.carried.len() >= entry_bytes {
            let entry: Vec<u8> = self.carried.drain(..entry_bytes).collect();
            self.next_entry = self.next_entry.saturating_add(1);
            if self.next_entry <= MAX_ENTRIES {
                self.add_gpt(self.next_entry, &entry, &header);
            }
        }
        let left = left.saturating_sub(SECTOR_U64);
        if left > 0 {
            self.state = State::Entries { header, at: at.saturating_add(1), crc, left };
        } else if !crc == header.entries_crc {
            self.state = State::Done;
        } else {
            self.gpt_damaged(header.backup);
        }
    }

    fn add_gpt(&mut self, number: u32, entry: &[u8], header: &Header) {
        let (Some(kind), Some(id)) = (bytes_at::<16>(entry, 0), bytes_at::<16>(entry, 16)) else { return };
        if kind == [0; 16] {
            return;
        }
        let (Some(first), Some(last)) = (u64_at(entry, 32), u64_at(entry, 40)) else { return };
        if first < header.first_usable || last > header.last_usable || last < first {
            return self.complain(Complaint::OutsideDisk(number));
        }
        let mut name = [0; 36];
        for (into, from) in name.iter_mut().zip(entry.get(56..128).unwrap_or(&[]).chunks_exact(2)) {
            *into = from.try_into().map_or(0, u16::from_le_bytes);
        }
        let sectors = last.saturating_sub(first).saturating_add(1);
        self.add_named(Partition {
            number,
            kind: PartitionKind::Guid(kind),
            id,
            first: Sector(first),
            sectors,
            name,
        });
    }

    fn add(&mut self, number: u32, kind: PartitionKind, first: u64, sectors: u64) {
        let partition = Partition { number, kind, id: [0; 16], first: Sector(first), sectors, name: [0; 36] };
        self.add_named(partition);
    }

    fn add_named(&mut self, partition: Partition) {
        let end = partition.first.0.checked_add(partition.sectors);
        let inside = end.is_some_and(|end| end <= self.disk_sectors);
        if !inside || partition.sectors == 0 || partition.first.0 == 0 {
            return self.complain(Complaint::OutsideDisk(partition.number));
        }
        let end = end.unwrap_or(0);
        let overlaps = self.table.partitions.iter().any(|other| {
            other.first.0 < end && partition.first.0 < other.first.0.saturating_add(other.sectors)
        });
        if overlaps {
            return self.complain(Complaint::Overlaps(partition.number));
        }
        self.table.partitions.push(partition);
    }
}

impl Header {
    /// Offsets of UEFI 2.10, table 5-5: signature 0, size 12, CRC 16, MyLBA 24, FirstUsable 40, LastUsable 48,
    /// PartitionEntryLBA 72, number 80, size 84, CRC of the array 88.
    fn parse(sector: &[u8; SECTOR], backup: bool, disk_sectors: u64) -> Option<Self> {
        if sector.get(..8) != Some(b"EFI PART") {
            return None;
        }
        let size = usize::try_from(u32_at(sector, 12)?).ok().filter(|size| (92..=SECTOR).contains(size))?;
        let mut summed = *sector;
        summed.get_mut(16..20)?.fill(0);
        if !crc32(!0, summed.get(..size)?) != u32_at(sector, 16)? {
            return None;
        }
        let own = if backup { disk_sectors.checked_sub(1)? } else { 1 };
        if u64_at(sector, 24)? != own {
            return None;
        }
        let header = Self {
            backup,
            entries_at: u64_at(sector, 72)?,
            entries: u32_at(sector, 80)?,
            entry_bytes: u32_at(sector, 84)?,
            entries_crc: u32_at(sector, 88)?,
            first_usable: u64_at(sector, 40)?,
            last_usable: u64_at(sector, 48)?,
        };
        // The size of an entry is 128 × 2^n; the array must fit in 1 MiB, ends on the disk and is no header.
        let bytes = u64::from(header.entries).checked_mul(header.entry_bytes.into())?;
        let end = header.entries_at.checked_add(bytes.div_ceil(SECTOR_U64))?;
        let entries_fit = bytes > 0 && bytes <= 1 << 20 && end <= disk_sectors && header.entries_at >= 2;
        let entry_fits = header.entry_bytes.is_power_of_two() && (128..=4096).contains(&header.entry_bytes);
        let usable = header.first_usable >= 2 && header.last_usable < disk_sectors;
        (entries_fit && entry_fits && usable).then_some(header)
    }
}

#[derive(Clone, Copy, Default)]
struct MbrEntry {
    kind: u8,
    first: u32,
    sectors: u32,
}

/// Four entries of 16 bytes from offset 446: OS type 4, first LBA 8, size 12.
fn mbr_entries(sector: &[u8; SECTOR]) -> [MbrEntry; 4] {
    let mut entries = [MbrEntry::default(); 4];
    for (entry, raw) in entries.iter_mut().zip(sector.get(446..510).unwrap_or(&[]).chunks_exact(16)) {
        *entry = MbrEntry {
            kind: raw.get(4).copied().unwrap_or(0),
            first: u32_at(raw, 8).unwrap_or(0),
            sectors: u32_at(raw, 12).unwrap_or(0),
        };
    }
    entries
}

fn bytes_at<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(from: &[u8], at: usize) -> Option<u32> {
    bytes_at(from, at).map(u32::from_le_bytes)
}

fn u64_at(from: &[u8], at: usize) -> Option<u64> {
    bytes_at(from, at).map(u64::from_le_bytes)
}

/// CRC-32 (ISO 3309, reflected 0x04C11DB7), four bits at a time; `!crc32(!0, bytes)` is the usual sum. Also ends the
/// self-test's report, which people copy by hand.
pub fn crc32(mut crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut index: u32 = 0;
        while index < 16 {
            let (mut value, mut bit) = (index, 0);
            while bit < 4 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit = 1u32.wrapping_add(bit);
            }
            #[expect(clippy::indexing_slicing, reason = "index < 16, evaluated by the compiler")]
            {
                table[index as usize] = value;
            }
            index = index.wrapping_add(1);
        }
        table
    };
    for byte in bytes {
        for nibble in [byte & 15, byte >> 4] {
            let index = (crc ^ u32::from(nibble)) & 15;
            crc = crc >> 4 ^ TABLE.get(index as usize).copied().unwrap_or(0);
        }
    }
    crc
}

/// A window on a disk: one partition as a [`BlockBackend`]. Nothing outside it can be named.
pub struct Window<B> {
    /// The disk.
    pub disk: B,
    first: Sector,
    sectors: u64,
}

impl<B: BlockBackend> Window<B> {
    /// On `partition` of `disk`; a partition that a smaller disk cuts off ends at the disk's end.
    pub fn new(disk: B, partition: &Partition) -> Self {
        let room = disk.geometry().sectors.saturating_sub(partition.first.0);
        Self { disk, first: partition.first, sectors: partition.sectors.min(room) }
    }

    fn length(request: &BlockRequest<'_>) -> u64 {
        match request.op {
            BlockOp::Read | BlockOp::Write => {
                let bytes: u64 =
                    request.data.iter().fold(0, |sum, span| sum.saturating_add(span.bytes.into()));
                bytes.div_ceil(SECTOR_U64)
            }
            BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } => sectors.into(),
            BlockOp::Flush => 0,
        }
    }
}

impl<B: BlockBackend> BlockBackend for Window<B> {
    fn geometry(&self) -> BlockGeometry {
        // A card that was taken out has no sectors; nor has then the window.
        let disk = self.disk.geometry();
        let sectors = self.sectors.min(disk.sectors.saturating_sub(self.first.0));
        BlockGeometry { sectors, ..disk }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let end = request.sector.0.checked_add(Self::length(request));
        let sector = self.first.0.checked_add(request.sector.0);
        match (end, sector) {
            (Some(end), Some(sector)) if end <= self.sectors => self.disk.submit(&BlockRequest {
                token: request.token,
                op: request.op,
                sector: Sector(sector),
                data: request.data,
                memory: request.memory,
            }),
            _ => Submitted::Done(Err(BlockError::OutOfRange)),
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        self.disk.complete()
    }
}

/// Scans a whole image that lies in memory: for tests, fuzzing and the tools.
pub fn scan_image(image: &[u8]) -> PartitionTable {
    let sectors = u64::try_from(image.len()).unwrap_or(0) / SECTOR_U64;
    let mut scan = Scan::new(sectors);
    while let Want::Sector(sector) = scan.want() {
        let at = usize::try_from(sector.0).ok().and_then(|index| index.checked_mul(SECTOR));
        match at.and_then(|at| bytes_at::<SECTOR>(image, at)) {
            Some(bytes) => scan.take(&bytes),
            None => scan.take_error(),
        }
    }
    scan.finish()
}

#[cfg(test)]
mod tests;
