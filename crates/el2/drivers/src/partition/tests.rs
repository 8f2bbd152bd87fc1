#![allow(clippy::cast_possible_truncation)]

use super::*;
use proptest::prelude::*;
use specs::Pa;
use std::vec;

const DISK: usize = 4096;

/// A GPT as `sgdisk` lays it out, both copies.
fn gpt(partitions: &[(u64, u64)]) -> Vec<u8> {
    let mut image = vec![0; DISK * SECTOR];
    image[446 + 4] = 0xee;
    image[446 + 8] = 1;
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut entries = vec![0u8; 128 * 128];
    for (index, (first, last)) in partitions.iter().enumerate() {
        let entry = &mut entries[index * 128..][..128];
        entry[..16].fill(0xb0);
        entry[16] = u8::try_from(index).unwrap() + 1;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        entry[56] = b'p';
    }
    let last = DISK as u64 - 1;
    for (own, other, array) in [(1, last, 2), (last, 1, last - 32)] {
        image[array as usize * SECTOR..][..entries.len()].copy_from_slice(&entries);
        let mut header = [0u8; SECTOR];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        for (at, value) in [(24, own), (32, other), (40, 34), (48, last - 33), (72, array)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&(!crc32(!0, &entries)).to_le_bytes());
        let sum = !crc32(!0, &header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        image[own as usize * SECTOR..][..SECTOR].copy_from_slice(&header);
    }
    image
}

fn mbr(image: &mut [u8], at: usize, entries: &[(u8, u32, u32)]) {
    let sector = &mut image[at * SECTOR..][..SECTOR];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    for (index, (kind, first, sectors)) in entries.iter().enumerate() {
        let entry = &mut sector[446 + index * 16..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
    }
}

fn ranges(table: &PartitionTable) -> Vec<(u32, u64, u64)> {
    table.partitions.iter().map(|p| (p.number, p.first.0, p.sectors)).collect()
}

#[test]
fn crc32_is_the_standard_one() {
    assert_eq!(!crc32(!0, b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_gpt_is_read() {
    let table = scan_image(&gpt(&[(64, 127), (128, 2047)]));
    assert_eq!(ranges(&table), [(1, 64, 64), (2, 128, 1920)]);
    assert!(table.complaints.is_empty(), "{:?}", table.complaints);
    assert_eq!(table.partitions[0].name[0], u16::from(b'p'));
}

#[test]
fn a_damaged_primary_gives_way_to_the_backup() {
    for damage in [SECTOR + 50, 2 * SECTOR + 3] {
        let mut image = gpt(&[(64, 127)]);
        image[damage] ^= 1;
        let table = scan_image(&image);
        assert_eq!(ranges(&table), [(1, 64, 64)], "damage at {damage}");
        assert_eq!(table.complaints, [Complaint::PrimaryDamaged]);
        image[DISK * SECTOR - SECTOR + 50] ^= 1;
        let table = scan_image(&image);
        assert_eq!((ranges(&table), table.complaints.as_slice()), (vec![], &[Complaint::BothDamaged][..]));
    }
}

#[test]
fn what_lies_outside_or_overlaps_is_left_out() {
    let table = scan_image(&gpt(&[(64, 127), (100, 200), (3000, 9000), (20, 40), (300, 299)]));
    assert_eq!(ranges(&table), [(1, 64, 64)]);
    use Complaint::{OutsideDisk, Overlaps};
    assert_eq!(table.complaints, [Overlaps(2), OutsideDisk(3), OutsideDisk(4), OutsideDisk(5)]);
}

#[test]
fn an_mbr_with_logical_partitions_is_read() {
    let mut image = vec![0; DISK * SECTOR];
    mbr(&mut image, 0, &[(0x0c, 64, 100), (0x83, 200, 10), (0x05, 1000, 1000), (0x83, 5000, 10)]);
    mbr(&mut image, 1000, &[(0x83, 10, 50), (0x05, 100, 60)]);
    mbr(&mut image, 1100, &[(0x83, 10, 50)]);
    let table = scan_image(&image);
    assert_eq!(ranges(&table), [(1, 64, 100), (2, 200, 10), (5, 1010, 50), (6, 1110, 50)]);
    assert_eq!(table.complaints, [Complaint::OutsideDisk(4)]);
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let mut image = vec![0; DISK * SECTOR];
    mbr(&mut image, 0, &[(0x05, 1000, 1000)]);
    mbr(&mut image, 1000, &[(0, 0, 0), (0x05, 0, 60)]);
    assert_eq!(scan_image(&image).complaints, [Complaint::TooMany]);
}

#[test]
fn an_empty_disk_says_so() {
    assert_eq!(scan_image(&[0; 512]).complaints, [Complaint::NoTable]);
    assert_eq!(scan_image(&[]).complaints, [Complaint::NoTable]);
}

/// Answers with what it was asked.
struct Echo(Vec<(u64, BlockOp)>);

impl BlockBackend for Echo {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: 1000, read_only: false, block_bytes: 512, discard: true }
    }
    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        self.0.push((request.sector.0, request.op));
        Submitted::Done(Ok(()))
    }
    fn complete(&mut self) -> Option<BlockCompletion> {
        None
    }
}

#[test]
fn a_window_lets_nothing_out() {
    let table = scan_image(&gpt(&[(100, 199)]));
    let mut window = Window::new(Echo(vec![]), &table.partitions[0]);
    assert_eq!(window.geometry().sectors, 100);
    let memory = ports::fake::FakeMemory::new(specs::Ipa(0), 4096);
    let data = [ports::Span { start: Pa(0), bytes: 1024 }];
    let mut submit = |op, sector, data| {
        let request =
            BlockRequest { token: ports::Token(1), op, sector: Sector(sector), data, memory: &memory };
        window.submit(&request)
    };
    let refused = Submitted::Done(Err(BlockError::OutOfRange));
    assert_eq!(submit(BlockOp::Read, 98, &data), Submitted::Done(Ok(())));
    assert_eq!(submit(BlockOp::Read, 99, &data), refused);
    assert_eq!(submit(BlockOp::Write, u64::MAX, &data), refused);
    assert_eq!(submit(BlockOp::Discard { sectors: 101 }, 0, &[]), refused);
    assert_eq!(submit(BlockOp::Flush, 0, &[]), Submitted::Done(Ok(())));
    assert_eq!(window.disk.0, [(198, BlockOp::Read), (100, BlockOp::Flush)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    /// Whatever is on the disk, what comes out lies on the disk, overlaps nothing, and the scan ends.
    #[test]
    fn nothing_outside_the_disk_comes_out(
        partitions in prop::collection::vec((0u64..5000, 0u64..5000), 0..6),
        flips in prop::collection::vec((0usize..40 * SECTOR, any::<u8>()), 0..4),
        as_mbr: bool,
    ) {
        let mut image = gpt(&partitions);
        if as_mbr {
            image[450] = 0x05;
        }
        for (at, value) in flips {
            image[at] = value;
        }
        let table = scan_image(&image);
        for (index, a) in table.partitions.iter().enumerate() {
            prop_assert!(a.first.0 > 0 && a.sectors > 0 && a.first.0 + a.sectors <= DISK as u64);
            for b in &table.partitions[..index] {
                prop_assert!(a.first.0 >= b.first.0 + b.sectors || b.first.0 >= a.first.0 + a.sectors);
            }
        }
    }
}

/// An image behind a driver that ends each request at the next question, and can't read one sector.
struct Slow {
    image: Vec<u8>,
    waits: Option<BlockCompletion>,
    bad: u64,
}

impl BlockBackend for Slow {
    fn geometry(&self) -> BlockGeometry {
        let sectors = (self.image.len() / SECTOR) as u64;
        BlockGeometry { sectors, read_only: false, block_bytes: 512, discard: false }
    }
    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        assert!(self.waits.is_none() && request.op == BlockOp::Read, "one read in flight");
        let at = request.sector.0 as usize * SECTOR;
        request.memory.write_span(request.data[0], &self.image[at..at + SECTOR]);
        let result = if request.sector.0 == self.bad { Err(BlockError::Io) } else { Ok(()) };
        self.waits = Some(BlockCompletion { token: request.token, result });
        Submitted::InFlight
    }
    fn complete(&mut self) -> Option<BlockCompletion> {
        self.waits.take()
    }
}

#[test]
fn a_driver_that_takes_its_time_gives_the_same_table() {
    use ports::fake::FakeMemory;
    let memory = FakeMemory::new(specs::Ipa(0), SECTOR);
    let buffer = ports::Span { start: Pa(FakeMemory::PA_OFFSET), bytes: BUFFER_BYTES };
    let image = gpt(&[(64, 127), (128, 255)]);
    // Sector 1 is the header: then the backup serves.
    for bad in [u64::MAX, 1] {
        let mut disk = Slow { image: image.clone(), waits: None, bad };
        let mut reader = Reader::new(DISK as u64, buffer);
        while !reader.poll(&mut disk, &memory as &dyn ports::GuestMemory) {}
        let table = reader.finish();
        assert_eq!(ranges(&table), [(1, 64, 64), (2, 128, 128)]);
        assert_eq!(table.complaints.is_empty(), bad == u64::MAX);
    }
}
