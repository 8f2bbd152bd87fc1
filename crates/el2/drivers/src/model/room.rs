//! A disk with anything at all on it, of which room for a datastore is asked. What must hold whatever its table says: no
//! sector of a partition is written, none that was there is lost, and the new one is found again, from either copy.
//!
//! Called by the fuzz target `drivers_room` and by the test below. GPT's header: UEFI Specification 2.10, 5.3.2.

use crate::partition::make::{Access, BUFFER_BYTES, Found, Run};
use crate::partition::{PartitionTable, Scan, Want, crc32};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use ports::fake::FakeMemory;
use ports::{BlockBackend, BlockCompletion, BlockGeometry, BlockOp, BlockRequest, GuestMemory, Submitted};
use specs::{Ipa, IpaRange};
use std::collections::{BTreeMap, BTreeSet};

const SECTOR: usize = 512;
/// Sectors of the smallest disk that is looked at.
const LEAST: u64 = 2304;
/// Sectors of a table: header and entries.
const TABLE: u64 = 33;

/// A disk; sectors that nobody wrote are zero.
struct Disk {
    sectors: u64,
    content: BTreeMap<u64, [u8; SECTOR]>,
    written: BTreeSet<u64>,
}

impl Disk {
    fn sector(&self, sector: u64) -> [u8; SECTOR] {
        self.content.get(&sector).copied().unwrap_or([0; SECTOR])
    }

    fn put(&mut self, first: u64, bytes: &[u8]) {
        for (sector, piece) in (first..self.sectors).zip(bytes.chunks(SECTOR)) {
            let mut whole = self.sector(sector);
            whole[..piece.len()].copy_from_slice(piece);
            self.content.insert(sector, whole);
        }
    }

    /// Makes the start of the disk a GPT whose sums are right; its usable sectors are what the header said, if it is to stay.
    fn become_gpt(&mut self, keeps_range: bool) {
        let mut mbr = [0; SECTOR];
        mbr[446 + 4] = 0xee;
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        let entries: std::vec::Vec<u8> = (2..=TABLE).flat_map(|sector| self.sector(sector)).collect();
        let mut header = self.sector(1);
        let last = self.sectors - 1;
        for (at, number) in [(24, 1), (32, last), (72, 2)] {
            header[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
        }
        if !keeps_range {
            header[40..48].copy_from_slice(&(TABLE + 1).to_le_bytes());
            header[48..56].copy_from_slice(&(last - TABLE - 1).to_le_bytes());
        }
        for (at, number) in
            [(8, 0x1_0000), (12, 92), (80, 128), (84, 128), (88, !crc32(!0, &entries)), (16, 0)]
        {
            header[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
        }
        header[..8].copy_from_slice(b"EFI PART");
        let sum = !crc32(!0, &header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        self.put(0, &mbr);
        self.put(1, &header);
    }

    /// The table has an entry left, and none that ends before it starts.
    fn has_place(&self) -> bool {
        let entries: std::vec::Vec<u8> = (2..=TABLE).flat_map(|sector| self.sector(sector)).collect();
        let number = |entry: &[u8], at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        let (used, free): (std::vec::Vec<_>, std::vec::Vec<_>) =
            entries.chunks(128).partition(|entry| entry[..16].iter().any(|byte| *byte != 0));
        !free.is_empty() && used.iter().all(|entry| number(entry, 32) <= number(entry, 40))
    }

    /// As `vmkernel` reads it at the next start.
    fn scan(&self) -> PartitionTable {
        let mut scan = Scan::new(self.sectors);
        while let Want::Sector(sector) = scan.want() {
            scan.take(&self.sector(sector.0));
        }
        scan.finish()
    }
}

impl BlockBackend for &mut Disk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: self.sectors, read_only: false, block_bytes: 512, discard: false }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let mut at = request.sector.0;
        for span in request.data {
            let mut bytes = std::vec![0; span.bytes as usize];
            let end = at + bytes.len() as u64 / SECTOR as u64;
            assert!(bytes.len().is_multiple_of(SECTOR) && end <= self.sectors, "outside the disk");
            match request.op {
                BlockOp::Write => {
                    request.memory.read_span(*span, &mut bytes);
                    self.put(at, &bytes);
                    self.written.extend(at..end);
                }
                _ => {
                    bytes = (at..end).flat_map(|sector| self.sector(sector)).collect();
                    request.memory.write_span(*span, &bytes);
                }
            }
            at = end;
        }
        Submitted::Done(Ok(()))
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        None
    }
}

fn with<T>(disk: &mut Disk, what: impl AsyncFnOnce(&mut Access<'_, &mut Disk>) -> T) -> T {
    let memory = FakeMemory::new(Ipa(0x1000), BUFFER_BYTES as usize);
    let buffer = memory.resolve(IpaRange::new(Ipa(0x1000), BUFFER_BYTES.into()).unwrap()).unwrap();
    let mut access = Access { disk, memory: &memory, buffer };
    let mut future = pin!(what(&mut access));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// Looks for room on a disk with these bytes on it, and takes it.
pub fn room(bytes: &[u8]) {
    let Some(([flags, a, b, c], content)) = bytes.split_first_chunk() else { return };
    let sectors = LEAST + u64::from(u32::from_le_bytes([*a, *b, *c, 0]));
    let mut disk = Disk { sectors, content: BTreeMap::new(), written: BTreeSet::new() };
    let is_gpt = flags & 1 != 0;
    // With a header to be kept in part, or entries alone.
    disk.put(if is_gpt { 1 + u64::from(flags >> 1 & 1) } else { 0 }, content);
    if is_gpt {
        disk.become_gpt(flags & 2 == 0);
    }
    let found = with(&mut disk, async |access| access.examine().await).unwrap();
    assert!(disk.written.is_empty(), "looking writes nothing");
    match found {
        Found::Gpt { free: Some(run), .. } => take(&mut disk, run, None),
        Found::Blank => {
            if let Some(run) = with(&mut disk, async |access| access.whole()) {
                take(&mut disk, run, Some([2; 16]));
            }
        }
        Found::Gpt { free: None, .. } | Found::Foreign => {}
    }
}

fn take(disk: &mut Disk, run: Run, whole: Option<[u8; 16]>) {
    let sectors = disk.sectors;
    assert!(run.sectors > 0 && run.first > TABLE && run.first + run.sectors <= sectors - TABLE, "{run:?}");
    let before = disk.scan();
    let added = with(disk, async |access| access.add(run, [1; 16], whole).await).unwrap();
    let is_table = |sector: &u64| (1..=TABLE).contains(sector) || *sector >= sectors - TABLE;
    assert!(disk.written.iter().all(|sector| is_table(sector) || *sector == 0 && whole.is_some()));
    let Some(added) = added else {
        assert!(disk.written.is_empty() && whole.is_none() && !disk.has_place(), "free, and not to be had");
        return;
    };
    assert_eq!((added.first.0, added.sectors), (run.first, run.sectors));
    for damaged in [None, Some(1)] {
        if let Some(sector) = damaged {
            disk.content.remove(&sector);
        }
        let after = disk.scan();
        assert!(after.partitions.contains(&added), "the new one is lost");
        assert!(before.partitions.iter().all(|old| after.partitions.contains(old)), "another one is lost");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    /// An entry: its type, and where it starts and ends.
    fn entry() -> impl Strategy<Value = Vec<u8>> {
        let near = (1..9_u64, 0..3_u64).prop_map(|(unit, more)| unit * 8192 + more - 1);
        let first = prop_oneof![0..3000_u64, 0..70_000_u64, near.clone()];
        let last = prop_oneof![8 => near, 1 => any::<u64>()];
        (prop_oneof![1 => Just(0), 8 => Just(1), 1 => Just(2)], first, last).prop_map(
            |(kind, first, last)| {
                // Of one kind it may end before it starts.
                let last: u64 = if kind == 2 { last } else { first.max(last) };
                let mut entry = std::vec![0; 128];
                entry[..16].fill(kind);
                entry[32..40].copy_from_slice(&first.to_le_bytes());
                entry[40..48].copy_from_slice(&last.to_le_bytes());
                entry
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 200 }))]

        #[test]
        fn room_is_taken_from_nobody(
            flags in prop_oneof![0..4_u8, Just(3)],
            size in any::<[u8; 2]>(),
            entries in prop_oneof![prop::collection::vec(entry(), 0..6), prop::collection::vec(entry(), 0..130)],
        ) {
            super::room(&[&[flags, size[0], size[1], 0][..], &entries.concat()].concat());
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            super::room(&bytes);
        }
    }
}
