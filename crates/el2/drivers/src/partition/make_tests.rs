//! A disk in memory: blank, partitioned, foreign, and cut off in the middle of a change.

use super::{Access, BUFFER_BYTES, Failed, Found, LEAST, Run, SECTOR, Table, protective};
use crate::partition::{OURS, PartitionTable, Scan, Want};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use ports::fake::FakeMemory;
use ports::{
    BlockBackend, BlockCompletion, BlockGeometry, BlockOp, BlockRequest, GuestMemory, Span, Submitted,
};
use specs::{Ipa, IpaRange};
use std::vec::Vec;

const fn geometry(sectors: u64) -> BlockGeometry {
    BlockGeometry { sectors, read_only: false, block_bytes: 512, discard: false }
}

struct Disk {
    bytes: Vec<u8>,
    done: Option<BlockCompletion>,
    /// Sectors that were written, in order.
    written: Vec<u64>,
    /// Writes that are still done.
    left: usize,
}

impl Disk {
    fn new(sectors: u64) -> Self {
        Self {
            bytes: std::vec![0; sectors as usize * SECTOR],
            done: None,
            written: Vec::new(),
            left: usize::MAX,
        }
    }
}

impl BlockBackend for &mut Disk {
    fn geometry(&self) -> BlockGeometry {
        geometry((self.bytes.len() / SECTOR) as u64)
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let at = request.sector.0 as usize * SECTOR;
        for span in request.data {
            let range = at..at + span.bytes as usize;
            match request.op {
                BlockOp::Read => request.memory.write_span(*span, &self.bytes[range]),
                _ if self.left == 0 => {}
                _ => {
                    self.left -= 1;
                    self.written.extend(request.sector.0..request.sector.0 + u64::from(span.bytes) / 512);
                    request.memory.read_span(*span, &mut self.bytes[range]);
                }
            }
        }
        self.done = Some(BlockCompletion { token: request.token, result: Ok(()) });
        Submitted::InFlight
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        self.done.take()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

fn buffer(memory: &FakeMemory) -> Span {
    memory.resolve(IpaRange::new(Ipa(0x1000), BUFFER_BYTES.into()).unwrap()).unwrap()
}

fn with<T>(disk: &mut Disk, what: impl AsyncFnOnce(&mut Access<'_, &mut Disk>) -> T) -> T {
    let memory = FakeMemory::new(Ipa(0x1000), BUFFER_BYTES as usize);
    let buffer = buffer(&memory);
    let mut access = Access { disk, memory: &memory, buffer };
    run(what(&mut access))
}

fn examine(disk: &mut Disk) -> Found {
    with(disk, async |access| access.examine().await).unwrap()
}

/// As `vmkernel` reads it at the next start.
fn scan(disk: &Disk) -> PartitionTable {
    let mut scan = Scan::new((disk.bytes.len() / SECTOR) as u64);
    while let Want::Sector(sector) = scan.want() {
        scan.take(disk.bytes[sector.0 as usize * SECTOR..][..SECTOR].try_into().unwrap());
    }
    scan.finish()
}

const SECTORS: u64 = 400_000;
/// Of another partition's entry.
const LINUX: [u8; 16] = [0xaf; 16];

/// A disk with two partitions of others, and what they hold.
fn partitioned() -> Disk {
    let mut disk = Disk::new(SECTORS);
    let mut table = Table::empty(SECTORS, [7; 16]).unwrap();
    for (n, (first, last)) in [(2048_u64, 20_000_u64), (300_000, SECTORS - 34)].into_iter().enumerate() {
        let entry = &mut table.entries[n * 128..][..128];
        entry[..16].copy_from_slice(&LINUX);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        disk.bytes[first as usize * SECTOR..(last as usize + 1) * SECTOR].fill(0x5a);
    }
    let [first, last] = table.copies(run(super::sum(&table.entries)));
    disk.bytes[..SECTOR].copy_from_slice(&protective(SECTORS));
    disk.bytes[SECTOR..][..first.len()].copy_from_slice(&first);
    let at = disk.bytes.len() - last.len();
    disk.bytes[at..].copy_from_slice(&last);
    disk
}

#[test]
fn a_blank_disk_gets_a_table() {
    let mut disk = Disk::new(SECTORS);
    assert_eq!(examine(&mut disk), Found::Blank);
    let made = with(&mut disk, async |access| {
        let run = access.whole().unwrap();
        assert!(run.sectors > SECTORS - 20_000 && run.first == 8192);
        access.add(run, [1; 16], Some([2; 16])).await
    });
    let made = made.unwrap().unwrap();
    let table = scan(&disk);
    assert_eq!(table.partitions, [made]);
    assert_eq!(table.complaints, []);
    assert_eq!((made.kind, made.number, made.id), (OURS, 1, [1; 16]));
    // The copy at the end says the same.
    disk.bytes[SECTOR..40 * SECTOR].fill(0);
    assert_eq!(scan(&disk).partitions, [made]);
}

#[test]
fn free_space_is_taken_and_no_partition_touched() {
    let mut disk = partitioned();
    let before = scan(&disk);
    let Found::Gpt { free: Some(free), ours: false } = examine(&mut disk) else { panic!("a GPT") };
    assert_eq!(free, Run { first: 24_576, sectors: 275_424 });
    assert!(free.sectors >= LEAST);
    let made = with(&mut disk, async |access| access.add(free, [3; 16], None).await).unwrap().unwrap();
    assert_eq!(made.number, 3);
    assert!(disk.written.iter().all(|sector| (1..34).contains(sector) || *sector >= SECTORS - 33));
    let after = scan(&disk);
    assert_eq!(after.complaints, []);
    assert_eq!(after.partitions, [&before.partitions[..], &[made]].concat());
    assert!(matches!(examine(&mut disk), Found::Gpt { ours: true, .. }));
    // A run that is not free any more is refused, and nothing is written.
    disk.written.clear();
    let again = with(&mut disk, async |access| access.add(free, [4; 16], None).await);
    assert_eq!((again, disk.written.len()), (Ok(None), 0));
}

/// Cut after any number of writes, the partitions of others are there, and ours or nothing.
#[test]
fn a_power_cut_leaves_a_whole_table() {
    for left in 0..12 {
        let mut disk = partitioned();
        let before = scan(&disk);
        let Found::Gpt { free: Some(free), .. } = examine(&mut disk) else { panic!("a GPT") };
        disk.left = left;
        let made = with(&mut disk, async |access| access.add(free, [3; 16], None).await).unwrap().unwrap();
        let after = scan(&disk).partitions;
        let whole = [&before.partitions[..], &[made]].concat();
        assert!(after == before.partitions || after == whole, "{left} writes: {after:?}");
        assert_eq!(after == whole, left >= 6, "{left} writes");
    }
}

#[test]
fn what_is_not_clearly_free_is_foreign() {
    let foreign = |change: &dyn Fn(&mut Disk)| {
        let mut disk = partitioned();
        change(&mut disk);
        examine(&mut disk) == Found::Foreign
    };
    assert!(!foreign(&|_| {}));
    // A file system's superblock behind an empty first sector; one at the end.
    assert!(foreign(&|disk| disk.bytes[..SECTOR].fill(0)));
    for at in [1024, 65_536, (SECTORS as usize - 128) * SECTOR] {
        let mut disk = Disk::new(SECTORS);
        disk.bytes[at] = 1;
        assert_eq!(examine(&mut disk), Found::Foreign, "{at}");
    }
    // An MBR; a damaged table; one whose copy is not at the end.
    assert!(foreign(&|disk| disk.bytes[450] = 0x83));
    assert!(foreign(&|disk| disk.bytes[SECTOR + 60] ^= 1));
    assert!(foreign(&|disk| disk.bytes[2 * SECTOR] ^= 1));
    assert!(foreign(&|disk| disk.bytes.extend([0; 4096])));
    assert_eq!(examine(&mut Disk::new(100)), Found::Foreign);
}

#[test]
fn a_disk_that_fails_is_said_to() {
    struct Broken;
    impl BlockBackend for Broken {
        fn geometry(&self) -> BlockGeometry {
            geometry(SECTORS)
        }
        fn submit(&mut self, _: &BlockRequest<'_>) -> Submitted {
            Submitted::Done(Err(ports::BlockError::Io))
        }
        fn complete(&mut self) -> Option<BlockCompletion> {
            None
        }
    }
    let memory = FakeMemory::new(Ipa(0x1000), BUFFER_BYTES as usize);
    let buffer = buffer(&memory);
    let mut access = Access { disk: Broken, memory: &memory as &dyn GuestMemory, buffer };
    assert_eq!(run(access.examine()), Err(Failed));
}
