//! Room for a datastore on a disk: what is on it, and its GPT with one partition more.
//!
//! Called by `vmkernel` when a person asks for a datastore; calls a [`BlockBackend`], one request in flight, and waits for
//! nothing. No sector of a partition is written: the table's own are, the copy at the end first, so that a power cut leaves
//! one that is whole. Only tables of the usual form are changed: entries of 128 bytes in 32 sectors behind the header, their
//! copy at the end of the disk. Source: UEFI Specification 2.10, 5.3 "GUID Partition Table (GPT) Disk Layout".

use super::{OURS, Partition, PartitionKind, SECTOR, SECTOR_U64, bytes_at, crc32, u32_at, u64_at};
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;
use ports::{BlockBackend, BlockOp, BlockRequest, GuestMemory, Sector, Span, Submitted, Token};

/// Sectors of the buffer.
const PIECE: u64 = 8;
/// Bytes of the buffer.
pub const BUFFER_BYTES: u32 = 4096;
/// A partition of ours starts at a multiple of this: erase blocks of cards are 4 MiB or less.
const ALIGN: u64 = 8192;
/// Sectors of the smallest datastore: 64 MiB.
pub const LEAST: u64 = 131_072;
/// Sectors of a table without its MBR: header and entries.
const TABLE: u64 = 33;
const ENTRY: usize = 128;
/// Bytes that are summed at a time: some 15 instructions each.
const SUMMED: usize = 2048;
/// Sectors at the start and at the end that are zero on a blank disk: no file system or volume manager leaves both.
const HEAD: u64 = 2048;
const TAIL: u64 = 256;

const _: () = assert!(PIECE * SECTOR_U64 == BUFFER_BYTES as u64);

/// What is on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Blank,
    /// A GPT that can be changed.
    Gpt {
        /// The longest run that no partition has, aligned.
        free: Option<Run>,
        /// It has a partition of ours.
        ours: bool,
    },
    /// Something else: the whole disk would have to be taken.
    Foreign,
}

/// Sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The first.
    pub first: u64,
    /// How many.
    pub sectors: u64,
}

/// The disk failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// A disk, with a buffer of [`BUFFER_BYTES`] that it reaches.
pub struct Access<'a, B> {
    /// The disk.
    pub disk: B,
    /// Where the buffer is.
    pub memory: &'a dyn GuestMemory,
    /// The buffer.
    pub buffer: Span,
}

impl<B: BlockBackend> Access<'_, B> {
    /// Sectors of the disk.
    fn sectors(&self) -> u64 {
        self.disk.geometry().sectors
    }

    /// One request, of at most a buffer.
    async fn transfer(&mut self, op: BlockOp, sector: u64, bytes: u32) -> Result<(), Failed> {
        let span = Span { bytes, ..self.buffer };
        let data = [span];
        let data = data.get(..usize::from(op != BlockOp::Flush)).unwrap_or_default();
        let mut in_flight = false;
        poll_fn(|_| {
            if !in_flight {
                let sector = Sector(sector);
                let request = BlockRequest { token: Token(0), op, sector, data, memory: self.memory };
                match self.disk.submit(&request) {
                    Submitted::Done(result) => return Poll::Ready(result.map_err(|_| Failed)),
                    Submitted::InFlight => in_flight = true,
                    Submitted::Full => return Poll::Pending,
                }
            }
            match self.disk.complete() {
                Some(end) => Poll::Ready(end.result.map_err(|_| Failed)),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn read(&mut self, sector: u64, sectors: u64) -> Result<Vec<u8>, Failed> {
        let mut all = Vec::new();
        let mut at = sector;
        let end = sector.saturating_add(sectors);
        while at < end {
            let count = PIECE.min(end.saturating_sub(at));
            let bytes = u32::try_from(count.saturating_mul(SECTOR_U64)).map_err(|_| Failed)?;
            self.transfer(BlockOp::Read, at, bytes).await?;
            let mut piece = [0; BUFFER_BYTES as usize];
            let piece = piece.get_mut(..bytes as usize).ok_or(Failed)?;
            self.memory.read_span(Span { bytes, ..self.buffer }, piece);
            all.extend_from_slice(piece);
            at = at.saturating_add(count);
        }
        Ok(all)
    }

    async fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), Failed> {
        let mut at = sector;
        for piece in from.chunks(BUFFER_BYTES as usize) {
            let bytes = u32::try_from(piece.len()).map_err(|_| Failed)?;
            self.memory.write_span(Span { bytes, ..self.buffer }, piece);
            self.transfer(BlockOp::Write, at, bytes).await?;
            at = at.saturating_add(PIECE);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failed> {
        self.transfer(BlockOp::Flush, 0, 0).await
    }

    async fn is_zero(&mut self, first: u64, sectors: u64) -> Result<bool, Failed> {
        let end = first.saturating_add(sectors);
        let mut at = first;
        while at < end {
            let count = PIECE.min(end.saturating_sub(at));
            if self.read(at, count).await?.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(count);
        }
        Ok(true)
    }

    /// Looks at what is on the disk.
    pub async fn examine(&mut self) -> Result<Found, Failed> {
        let sectors = self.sectors();
        if sectors < HEAD.saturating_add(TAIL) {
            return Ok(Found::Foreign);
        }
        if self.read(0, 1).await?.iter().all(|byte| *byte == 0) {
            let blank =
                self.is_zero(0, HEAD).await? && self.is_zero(sectors.saturating_sub(TAIL), TAIL).await?;
            return Ok(if blank { Found::Blank } else { Found::Foreign });
        }
        Ok(match self.table().await? {
            Some(table) => Found::Gpt { free: table.longest(), ours: table.has_ours() },
            None => Found::Foreign,
        })
    }

    async fn table(&mut self) -> Result<Option<Table>, Failed> {
        let bytes = self.read(0, TABLE.saturating_add(1)).await?;
        let Some((table, wanted)) = Table::parse(&bytes, self.sectors()) else { return Ok(None) };
        Ok((sum(&table.entries).await == wanted).then_some(table))
    }

    /// The whole disk's room, when nothing on it is kept.
    pub fn whole(&self) -> Option<Run> {
        Table::empty(self.sectors(), [0; 16])?.longest()
    }

    /// Adds the partition to the disk's GPT, or, with a GUID for the disk, writes a GPT that has nothing else.
    /// `None`: the table is not what it was.
    pub async fn add(
        &mut self,
        run: Run,
        id: [u8; 16],
        whole_disk: Option<[u8; 16]>,
    ) -> Result<Option<Partition>, Failed> {
        let sectors = self.sectors();
        let table = match whole_disk {
            Some(disk) => Table::empty(sectors, disk),
            None => self.table().await?,
        };
        let Some((table, partition)) = table.and_then(|table| table.with(run, id)) else { return Ok(None) };
        let [first, last] = table.copies(sum(&table.entries).await);
        if whole_disk.is_some() {
            // What was there ends before something new begins.
            self.write(0, &[0; SECTOR]).await?;
            self.flush().await?;
        }
        self.write(sectors.saturating_sub(TABLE), &last).await?;
        self.flush().await?;
        self.write(1, &first).await?;
        self.flush().await?;
        if whole_disk.is_some() {
            self.write(0, &protective(sectors)).await?;
            self.flush().await?;
        }
        Ok(Some(partition))
    }
}

/// A GPT of the usual form.
#[derive(Clone, Debug)]
struct Table {
    header: [u8; SECTOR],
    entries: Vec<u8>,
    first_usable: u64,
    last_usable: u64,
    disk_sectors: u64,
}

impl Table {
    /// From the disk's first sectors; and what the entries' sum is to be. Offsets as in [`super::Header`], and AlternateLBA 32.
    fn parse(bytes: &[u8], disk_sectors: u64) -> Option<(Self, u32)> {
        let mbr: [u8; SECTOR] = bytes_at(bytes, 0)?;
        let kinds = super::mbr_entries(&mbr).map(|entry| entry.kind);
        // A protective MBR: one that names partitions itself would no longer say the same.
        let is_protective = kinds.contains(&0xee) && kinds.iter().all(|kind| matches!(kind, 0 | 0xee));
        if bytes.get(510..512) != Some(&[0x55, 0xaa]) || !is_protective {
            return None;
        }
        let header: [u8; SECTOR] = bytes_at(bytes, SECTOR)?;
        let known = super::Header::parse(&header, false, disk_sectors)?;
        let last = disk_sectors.checked_sub(1)?;
        let size = usize::try_from(known.entries).ok()?.checked_mul(ENTRY)?;
        let usual = known.entry_bytes as usize == ENTRY
            && known.entries_at == 2
            && size.div_ceil(SECTOR) <= 32
            && u64_at(&header, 32)? == last
            && known.first_usable >= TABLE.saturating_add(1)
            && known.last_usable < disk_sectors.saturating_sub(TABLE);
        let entries = bytes.get(SECTOR.checked_mul(2)?..)?.get(..size)?.to_vec();
        let (first_usable, last_usable) = (known.first_usable, known.last_usable);
        let table = Self { header, entries, first_usable, last_usable, disk_sectors };
        usual.then_some((table, known.entries_crc))
    }

    /// Without a partition.
    fn empty(disk_sectors: u64, disk: [u8; 16]) -> Option<Self> {
        let (first_usable, last_usable) = (34_u64, disk_sectors.checked_sub(TABLE.saturating_add(1))?);
        let mut header = [0; SECTOR];
        let fields: [(usize, &[u8]); 9] = [
            (0, b"EFI PART"),
            (8, &0x0001_0000_u32.to_le_bytes()),
            (12, &92_u32.to_le_bytes()),
            (40, &first_usable.to_le_bytes()),
            (48, &last_usable.to_le_bytes()),
            (56, &disk),
            (80, &128_u32.to_le_bytes()),
            (84, &128_u32.to_le_bytes()),
            (72, &2_u64.to_le_bytes()),
        ];
        fields.iter().for_each(|(at, bytes)| put(&mut header, *at, bytes));
        let entries = alloc::vec![0; 128 * ENTRY];
        Some(Self { header, entries, first_usable, last_usable, disk_sectors })
    }

    fn partitions(&self) -> impl Iterator<Item = (&[u8], u64, u64)> {
        self.entries.chunks_exact(ENTRY).filter_map(|entry| {
            let is_used = entry.get(..16)?.iter().any(|byte| *byte != 0);
            is_used.then_some((entry, u64_at(entry, 32)?, u64_at(entry, 40)?))
        })
    }

    fn has_ours(&self) -> bool {
        let kind = |entry| bytes_at(entry, 0).map(PartitionKind::Guid);
        self.partitions().any(|(entry, ..)| kind(entry) == Some(OURS))
    }

    /// The longest run that no partition has.
    fn longest(&self) -> Option<Run> {
        let mut taken: Vec<(u64, u64)> = self.partitions().map(|(_, first, last)| (first, last)).collect();
        taken.sort_unstable();
        let end = self.last_usable.saturating_add(1);
        let mut at = self.first_usable;
        let mut longest: Option<Run> = None;
        for (first, last) in taken.into_iter().chain([(end, end)]) {
            let start = at.checked_next_multiple_of(ALIGN)?;
            let room = first.min(end).saturating_sub(start);
            let sectors = room.saturating_sub(room % PIECE);
            if sectors > longest.map_or(0, |run| run.sectors) {
                longest = Some(Run { first: start, sectors });
            }
            at = at.max(last.saturating_add(1));
        }
        longest
    }

    /// With a partition of ours in a run that is free; it, too.
    fn with(mut self, run: Run, id: [u8; 16]) -> Option<(Self, Partition)> {
        let last = run.first.checked_add(run.sectors)?.checked_sub(1)?;
        let inside = run.first >= self.first_usable && last <= self.last_usable && run.sectors != 0;
        let free = self.partitions().all(|(_, first, end)| end < run.first || first > last);
        let is_free = |entry: &[u8]| entry.get(..16).is_some_and(|kind| kind.iter().all(|byte| *byte == 0));
        let place = self.entries.chunks_exact(ENTRY).position(is_free)?;
        let PartitionKind::Guid(kind) = OURS else { return None };
        let mut name = [0_u16; 36];
        name.iter_mut().zip("datastore".encode_utf16()).for_each(|(to, from)| *to = from);
        let entry = self.entries.chunks_exact_mut(ENTRY).nth(place)?;
        entry.fill(0);
        put(entry, 0, &kind);
        put(entry, 16, &id);
        put(entry, 32, &run.first.to_le_bytes());
        put(entry, 40, &last.to_le_bytes());
        for (at, unit) in (56..).step_by(2).zip(name) {
            put(entry, at, &unit.to_le_bytes());
        }
        let number = u32::try_from(place).ok()?.checked_add(1)?;
        let (first, sectors) = (Sector(run.first), run.sectors);
        let partition = Partition { number, kind: OURS, id, first, sectors, name };
        (inside && free).then_some((self, partition))
    }

    /// The table behind the MBR, and its copy at the end: header and entries, entries and header.
    fn copies(&self, crc: u32) -> [Vec<u8>; 2] {
        let mut entries = self.entries.clone();
        entries.resize(32 * SECTOR, 0);
        let last = self.disk_sectors.saturating_sub(1);
        let header = |own: u64, other: u64, entries_at: u64| {
            let mut header = self.header;
            put(&mut header, 24, &own.to_le_bytes());
            put(&mut header, 32, &other.to_le_bytes());
            put(&mut header, 72, &entries_at.to_le_bytes());
            put(&mut header, 88, &crc.to_le_bytes());
            put(&mut header, 16, &[0; 4]);
            let size = u32_at(&header, 12).and_then(|size| usize::try_from(size).ok()).unwrap_or(92);
            let sum = !crc32(!0, header.get(..size).unwrap_or_default());
            put(&mut header, 16, &sum.to_le_bytes());
            header
        };
        let copy = header(last, 1, self.disk_sectors.saturating_sub(TABLE));
        [[&header(1, last, 2)[..], &entries].concat(), [&entries, &copy[..]].concat()]
    }
}

/// The sum of a table's entries, a piece at a time: whoever polls has no long step by it.
async fn sum(entries: &[u8]) -> u32 {
    let mut crc = !0;
    for piece in entries.chunks(SUMMED) {
        crc = crc32(crc, piece);
        let mut waited = false;
        poll_fn(|_| if core::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
    !crc
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    let into = into.get_mut(at..).unwrap_or_default();
    into.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// The MBR that says to those who do not know GPT that the disk is taken (5.2.3 "Protective MBR").
fn protective(disk_sectors: u64) -> [u8; SECTOR] {
    let mut mbr = [0; SECTOR];
    let sectors = u32::try_from(disk_sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    put(&mut mbr, 446, &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    put(&mut mbr, 454, &1_u32.to_le_bytes());
    put(&mut mbr, 458, &sectors.to_le_bytes());
    put(&mut mbr, 510, &[0x55, 0xaa]);
    mbr
}

#[cfg(test)]
#[path = "make_tests.rs"]
#[expect(clippy::cast_possible_truncation, reason = "tests run on 64-bit hosts, with small numbers")]
mod tests;
