use crate::driver_queue::Segment;
use crate::queue::QueueFault;
use crate::rig::{self, Guest, Queue, Slot, disk::Disk};
use crate::{Block, VirtioMmio};
use ports::{BlockError, GuestMemory, Width};
use proptest::prelude::*;
use specs::Ipa;
use specs::virtio::{blk, feature, mmio, status};
use std::vec::Vec;

const SECTORS: usize = 64;

struct Bench<'a> {
    guest: &'a Guest,
    disk: Disk,
    device: Slot<'a, Block<Disk>>,
}

struct Sent {
    head: u16,
    status: Segment,
}

impl<'a> Bench<'a> {
    fn new(guest: &'a Guest, disk: Disk) -> Self {
        let device = VirtioMmio::new(Block::new(disk.clone(), "serial-0123"), &guest.memory, &guest.line);
        Self { guest, disk, device }
    }

    fn up(&self, features: u64) -> Queue<'a> {
        assert!(rig::negotiate(&self.device, features));
        let mut queue = self.guest.queue(&self.device, 0, 128, features);
        rig::driver_ok(&self.device);
        queue.arm();
        queue
    }

    fn send(&self, queue: &mut Queue<'a>, kind: u32, sector: u64, data: Option<Segment>) -> Sent {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let status = self.guest.writable(1);
        let mut segments = std::vec![self.guest.readable(&header)];
        segments.extend(data);
        segments.push(status);
        let head = rig::send(&self.device, 0, queue, &segments).0;
        Sent { head, status }
    }

    fn status(&self, sent: &Sent) -> u8 {
        self.guest.contents(sent.status)[0]
    }

    /// Sends, and takes the answer of a backend that answers at once: status and length in the used ring.
    fn call(&self, queue: &mut Queue<'a>, kind: u32, sector: u64, data: Option<Segment>) -> (u8, u32) {
        let sent = self.send(queue, kind, sector, data);
        let used = queue.pop_used().unwrap().expect("an answer at once");
        assert_eq!(used.head.0, sent.head);
        (self.status(&sent), used.written)
    }
}

const ALL: u64 =
    blk::F_FLUSH | blk::F_DISCARD | blk::F_WRITE_ZEROES | feature::EVENT_IDX | feature::INDIRECT_DESC;

fn pattern(sectors: usize, seed: u8) -> Vec<u8> {
    rig::pattern(sectors * 512, seed)
}

#[test]
fn what_is_written_is_read_back() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    let data = pattern(9, 7);
    assert_eq!(bench.call(&mut queue, blk::T_OUT, 3, Some(guest.readable(&data))), (blk::S_OK, 1));
    assert_eq!(bench.disk.0.borrow().cached[3 * 512..12 * 512], data);
    let into = guest.writable(9 * 512);
    assert_eq!(bench.call(&mut queue, blk::T_IN, 3, Some(into)), (blk::S_OK, 9 * 512 + 1));
    assert_eq!(guest.contents(into), data);
    assert!(guest.line.high.get());
    assert_eq!(rig::read(&bench.device, mmio::INTERRUPT_STATUS), mmio::INTERRUPT_USED);
    rig::write(&bench.device, mmio::INTERRUPT_ACK, mmio::INTERRUPT_USED);
    assert!(!guest.line.high.get());
}

#[test]
fn a_flush_reaches_the_disk_before_it_is_answered() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(4)));
    let mut queue = bench.up(ALL);
    let data = pattern(1, 1);
    let write = bench.send(&mut queue, blk::T_OUT, 0, Some(guest.readable(&data)));
    bench.disk.finish(0);
    let _ = bench.device.poll();
    assert_eq!(queue.pop_used().unwrap().unwrap().head.0, write.head);
    assert_eq!(bench.disk.0.borrow().flushes, 0, "the driver flushes when it wants to");
    let flush = bench.send(&mut queue, blk::T_FLUSH, 0, None);
    assert_eq!(queue.pop_used().unwrap(), None, "nothing is promised yet");
    assert_eq!(bench.status(&flush), 0xee);
    bench.disk.finish(0);
    assert_eq!(bench.disk.0.borrow().stable[..512], data);
    let _ = bench.device.poll();
    assert_eq!(queue.pop_used().unwrap().unwrap().head.0, flush.head);
    assert_eq!(bench.status(&flush), blk::S_OK);
}

#[test]
fn without_flush_every_write_is_stable_when_answered() {
    for slots in [None, Some(1), Some(3)] {
        let guest = Guest::new(1 << 20);
        let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = slots));
        let mut queue = bench.up(0);
        let data = pattern(1, 9);
        let sent: Vec<_> =
            (0..4).map(|n| bench.send(&mut queue, blk::T_OUT, n, Some(guest.readable(&data)))).collect();
        let mut answers = 0;
        while answers < sent.len() {
            if slots.is_some() {
                bench.disk.finish(0);
                let _ = bench.device.poll();
            }
            while let Some(used) = queue.pop_used().unwrap() {
                let at = sent.iter().position(|sent| sent.head == used.head.0).unwrap();
                assert_eq!(bench.status(&sent[at]), blk::S_OK);
                assert_eq!(bench.disk.0.borrow().stable[at * 512..][..512], data);
                answers += 1;
            }
        }
    }
}

#[test]
fn a_failed_flush_behind_a_write_fails_the_write() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(2)));
    let mut queue = bench.up(0);
    let write = bench.send(&mut queue, blk::T_OUT, 0, Some(guest.readable(&pattern(1, 1))));
    bench.disk.finish(0);
    let _ = bench.device.poll();
    bench.disk.0.borrow_mut().fail_with = Some(BlockError::Io);
    bench.disk.finish(0);
    let _ = bench.device.poll();
    assert!(queue.pop_used().unwrap().is_some());
    assert_eq!(bench.status(&write), blk::S_IOERR);
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut raw = sector.to_le_bytes().to_vec();
    raw.extend_from_slice(&sectors.to_le_bytes());
    raw.extend_from_slice(&flags.to_le_bytes());
    raw
}

#[test]
fn discard_and_write_zeroes() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    bench.disk.0.borrow_mut().cached.fill(1);
    let mut ask = |kind, raw: &[u8]| bench.call(&mut queue, kind, 0, Some(guest.readable(raw))).0;
    assert_eq!(ask(blk::T_DISCARD, &range(2, 2, 0)), blk::S_OK);
    assert_eq!(ask(blk::T_WRITE_ZEROES, &range(8, 1, blk::RANGE_UNMAP)), blk::S_OK);
    assert_eq!(ask(blk::T_DISCARD, &range(2, 2, blk::RANGE_UNMAP)), blk::S_UNSUPP);
    assert_eq!(ask(blk::T_WRITE_ZEROES, &range(2, 2, 2)), blk::S_UNSUPP);
    assert_eq!(ask(blk::T_DISCARD, &range(63, 2, 0)), blk::S_IOERR);
    assert_eq!(ask(blk::T_DISCARD, &range(u64::MAX, 2, 0)), blk::S_IOERR);
    assert_eq!(ask(blk::T_DISCARD, &[range(0, 1, 0), range(1, 1, 0)].concat()), blk::S_IOERR);
    assert_eq!(ask(blk::T_DISCARD, &[0; 15]), blk::S_IOERR);
    let disk = bench.disk.0.borrow();
    for (at, sector) in disk.cached.chunks(512).enumerate() {
        let expected = [2, 3].contains(&at).then_some(0xdd).or((at == 8).then_some(0)).unwrap_or(1);
        assert_eq!(sector, [expected; 512], "sector {at}");
    }
}

#[test]
fn discard_is_unsupported_where_it_was_not_agreed() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(0);
    let raw = range(2, 2, 0);
    assert_eq!(bench.call(&mut queue, blk::T_DISCARD, 0, Some(guest.readable(&raw))).0, blk::S_UNSUPP);
    assert_eq!(bench.call(&mut queue, blk::T_WRITE_ZEROES, 0, Some(guest.readable(&raw))).0, blk::S_UNSUPP);
    assert_eq!(bench.call(&mut queue, 99, 0, None).0, blk::S_UNSUPP);
}

#[test]
fn a_read_only_disk_refuses_writes_only() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.read_only = true));
    let offered = rig::offered(&bench.device);
    assert_ne!(offered & blk::F_RO, 0);
    assert_eq!(offered & (blk::F_DISCARD | blk::F_WRITE_ZEROES), 0);
    let mut queue = bench.up(blk::F_RO | blk::F_FLUSH);
    let sector = pattern(1, 3);
    assert_eq!(bench.call(&mut queue, blk::T_OUT, 0, Some(guest.readable(&sector))).0, blk::S_IOERR);
    assert_eq!(bench.call(&mut queue, blk::T_IN, 0, Some(guest.writable(512))).0, blk::S_OK);
    assert_eq!(bench.disk.0.borrow().cached, [0; SECTORS * 512]);
}

#[test]
fn requests_beyond_the_end_or_not_of_sectors_fail() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    for (sector, bytes) in [(63, 1024), (64, 512), (u64::MAX, 512), (0, 511), (0, 513)] {
        let got = bench.call(&mut queue, blk::T_IN, sector, Some(guest.writable(bytes)));
        assert_eq!(got, (blk::S_IOERR, 1), "{sector} {bytes}");
        let data = std::vec![1; bytes];
        assert_eq!(bench.call(&mut queue, blk::T_OUT, sector, Some(guest.readable(&data))).0, blk::S_IOERR);
    }
    assert_eq!(bench.device.device().counters().failed, 10);
}

#[test]
fn the_serial_number_is_read() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    let into = guest.writable(20);
    assert_eq!(bench.call(&mut queue, blk::T_GET_ID, 0, Some(into)), (blk::S_OK, 21));
    assert_eq!(guest.contents(into), *b"serial-0123\0\0\0\0\0\0\0\0\0");
}

#[test]
fn host_errors_become_io_errors() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    for (error, expected) in [
        (BlockError::Io, blk::S_IOERR),
        (BlockError::NoSpace, blk::S_IOERR),
        (BlockError::Unsupported, blk::S_UNSUPP),
    ] {
        bench.disk.0.borrow_mut().fail_with = Some(error);
        assert_eq!(bench.call(&mut queue, blk::T_FLUSH, 0, None).0, expected);
    }
}

#[test]
fn the_configuration_space_says_what_the_disk_is() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let at = |offset: usize, width| bench.device.read(mmio::CONFIG + offset as u64, width);
    assert_eq!(at(blk::config::CAPACITY, Width::W64), SECTORS as u64);
    assert_eq!(at(blk::config::CAPACITY, Width::W8), SECTORS as u64);
    assert_eq!(at(blk::config::SEG_MAX, Width::W32), 126);
    assert_eq!(at(blk::config::BLK_SIZE, Width::W32), 512);
    assert_eq!(at(blk::config::PHYSICAL_BLOCK_EXP, Width::W8), 3);
    assert_eq!(at(blk::config::OPT_IO_SIZE, Width::W32), 8);
    assert_eq!(at(blk::config::MAX_DISCARD_SEG, Width::W32), 1);
    assert_eq!(at(0xff, Width::W32), 0);
}

#[test]
fn a_full_backend_holds_the_queue_back_and_loses_nothing() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(2)));
    let mut queue = bench.up(ALL);
    let sent: Vec<_> = (0..20)
        .map(|n| bench.send(&mut queue, blk::T_OUT, n, Some(guest.readable(&pattern(1, n as u8)))))
        .collect();
    assert_eq!(bench.disk.0.borrow().in_flight.len(), 2);
    let mut answered = Vec::new();
    while answered.len() < sent.len() {
        bench.disk.finish(1);
        let _ = bench.device.poll();
        while let Some(used) = queue.pop_used().unwrap() {
            answered.push(used.head.0);
        }
    }
    assert!(sent.iter().all(|sent| bench.status(sent) == blk::S_OK && answered.contains(&sent.head)));
    for n in 0..20 {
        assert_eq!(bench.disk.0.borrow().cached[n * 512..][..512], pattern(1, n as u8));
    }
    assert_eq!(bench.device.device().in_flight(), 0);
}

#[test]
fn completions_of_before_a_reset_are_dropped() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(4)));
    let mut queue = bench.up(ALL);
    let old: Vec<_> =
        (0..6).map(|n| bench.send(&mut queue, blk::T_OUT, n, Some(guest.readable(&pattern(1, 1))))).collect();
    rig::write(&bench.device, mmio::STATUS, 0);
    assert_eq!(bench.device.device().in_flight(), 4);
    let mut queue = bench.up(ALL);
    bench.disk.0.borrow_mut().slots = Some(8);
    let new = bench.send(&mut queue, blk::T_IN, 0, Some(guest.writable(512)));
    assert_eq!(new.head, old[0].head, "the same slot as before the reset");
    for _ in 0..4 {
        bench.disk.finish(0);
    }
    let _ = bench.device.poll();
    assert_eq!(queue.pop_used().unwrap(), None);
    assert!(
        old.iter().chain([&new]).all(|sent| bench.status(sent) == 0xee),
        "no answer to what is forgotten"
    );
    assert_eq!(bench.device.device().counters().late, 4);
    bench.disk.finish(0);
    let _ = bench.device.poll();
    assert_eq!(queue.pop_used().unwrap().unwrap().head.0, new.head);
    assert_eq!(bench.status(&new), blk::S_OK);
    assert_eq!(bench.device.device().in_flight(), 0);
}

#[test]
fn completions_while_no_driver_is_there_are_counted_off() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(4)));
    let mut queue = bench.up(ALL);
    bench.send(&mut queue, blk::T_FLUSH, 0, None);
    rig::write(&bench.device, mmio::STATUS, 0);
    bench.disk.finish(0);
    let _ = bench.device.poll();
    assert_eq!(bench.device.device().in_flight(), 0);
}

#[test]
fn requests_put_in_before_driver_ok_are_served_after_it() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    assert!(rig::negotiate(&bench.device, ALL));
    let mut queue = guest.queue(&bench.device, 0, 8, ALL);
    let sent = bench.send(&mut queue, blk::T_FLUSH, 0, None);
    assert_eq!(bench.status(&sent), 0xee);
    rig::driver_ok(&bench.device);
    assert_eq!(bench.status(&sent), blk::S_OK);
}

#[test]
fn a_request_without_a_place_for_its_status_needs_a_reset() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS));
    let mut queue = bench.up(ALL);
    rig::send(&bench.device, 0, &mut queue, &[guest.readable(&[0; 16])]);
    assert_ne!(rig::read(&bench.device, mmio::STATUS) & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(rig::read(&bench.device, mmio::INTERRUPT_STATUS), mmio::INTERRUPT_CONFIG);
    assert_eq!(bench.device.link().faults(), 1);
    let mut queue = bench.up(ALL);
    assert_eq!(bench.call(&mut queue, blk::T_FLUSH, 0, None).0, blk::S_OK);
}

#[test]
fn a_head_that_is_in_flight_already_needs_a_reset() {
    let guest = Guest::new(1 << 20);
    let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = Some(4)));
    let mut queue = bench.up(ALL);
    let sent = bench.send(&mut queue, blk::T_FLUSH, 0, None);
    let ring = queue.driver_address();
    guest.memory.write(Ipa(ring + 6), &sent.head.to_le_bytes()).unwrap();
    guest.memory.write(Ipa(ring + 2), &2_u16.to_le_bytes()).unwrap();
    rig::notify(&bench.device, 0);
    assert_eq!(bench.device.link().last_fault(), Some(QueueFault::HeadInFlight));
    assert_eq!(bench.disk.0.borrow().in_flight.len(), 1);
}

#[test]
fn a_request_in_more_runs_than_the_device_keeps_fails_but_is_answered() {
    let guest = Guest::new(4 << 20);
    let bench = Bench::new(&guest, Disk::new(8192));
    let mut queue = bench.up(ALL);
    let data = guest.writable(300 * 4096);
    assert_eq!(bench.call(&mut queue, blk::T_IN, 0, Some(data)), (blk::S_IOERR, 1));
    assert_eq!(bench.device.link().faults(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Write { sector: u64, sectors: usize, cut: usize, seed: u8 },
    Read { sector: u64, sectors: usize, cut: usize },
    Flush,
    Finish(usize),
    Poll,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..60_u64, 1..5_usize, 1..4000_usize, any::<u8>())
            .prop_map(|(sector, sectors, cut, seed)| Step::Write { sector, sectors, cut, seed }),
        3 => (0..60_u64, 1..5_usize, 1..4000_usize)
            .prop_map(|(sector, sectors, cut)| Step::Read { sector, sectors, cut }),
        1 => Just(Step::Flush),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => Just(Step::Poll),
        1 => Just(Step::Reset),
    ]
}

/// A segment in pieces of `cut` bytes: framing is the driver's own affair.
fn pieces(segment: Segment, cut: usize) -> Vec<Segment> {
    let mut parts = Vec::new();
    let mut done = 0;
    while done < segment.bytes {
        let bytes = (segment.bytes - done).min(u32::try_from(cut).unwrap());
        parts.push(Segment { address: segment.address + u64::from(done), bytes, access: segment.access });
        done += bytes;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Against an oracle that applies each request when it is sent. The disk does so, too; what is tested is that
    /// bytes, order, answers and resets are right for any framing, number of slots and order of completion.
    #[test]
    fn any_course_of_requests_matches_the_oracle(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 12 } else { 60 }),
        slots in prop_oneof![Just(None), (1..40_usize).prop_map(Some)],
        features in prop_oneof![Just(ALL), Just(blk::F_FLUSH), Just(0)],
    ) {
        let guest = Guest::new(2 << 20);
        let bench = Bench::new(&guest, Disk::new(SECTORS).with(|disk| disk.slots = slots));
        let mut queue = bench.up(features);
        let mut oracle = std::vec![0; SECTORS * 512];
        let mut open: Vec<Open> = Vec::new();
        for step in steps {
            let (kind, sector, data, cut) = match step {
                Step::Write { sector, sectors, cut, seed } => {
                    (blk::T_OUT, sector, Some(guest.readable(&pattern(sectors, seed))), cut)
                }
                Step::Read { sector, sectors, cut } => {
                    (blk::T_IN, sector, Some(guest.writable(sectors * 512)), cut)
                }
                Step::Flush => (blk::T_FLUSH, 0, None, 16),
                Step::Finish(place) => {
                    if !bench.disk.0.borrow().in_flight.is_empty() {
                        bench.disk.finish(place);
                    }
                    continue;
                }
                Step::Poll => { let _ = bench.device.poll(); continue; }
                Step::Reset => {
                    // What the device has taken was applied, what waits was not: the oracle can't know.
                    open.clear();
                    queue = bench.up(features);
                    oracle.clone_from(&bench.disk.0.borrow().cached);
                    continue;
                }
            };
            let cut = cut.clamp(64, 4000);
            let mut header = [0; 16];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[8..].copy_from_slice(&sector.to_le_bytes());
            let status = guest.writable(1);
            let mut segments = pieces(guest.readable(&header), cut % 16 + 1);
            segments.extend(data.iter().flat_map(|data| pieces(*data, cut)));
            segments.push(status);
            if segments.len() > usize::from(queue.free_descriptors()) {
                continue;
            }
            let end = (sector as usize) * 512 + data.map_or(0, |data| data.bytes as usize);
            let inside = end <= oracle.len();
            let mut expected = None;
            if let (true, Some(data)) = (inside, data) {
                let range = sector as usize * 512..end;
                if kind == blk::T_OUT {
                    oracle[range].copy_from_slice(&guest.contents(data));
                } else {
                    expected = Some((data, oracle[range].to_vec()));
                }
            }
            let head = rig::send(&bench.device, 0, &mut queue, &segments).0;
            open.push((head, status, expected));
            check(&bench, &mut queue, &mut open);
        }
        for _ in 0..if cfg!(miri) { 60 } else { 500 } {
            if !bench.disk.0.borrow().in_flight.is_empty() {
                bench.disk.finish(0);
            }
            let _ = bench.device.poll();
            check(&bench, &mut queue, &mut open);
        }
        prop_assert!(open.is_empty(), "requests without an answer");
        prop_assert_eq!(&bench.disk.0.borrow().cached, &oracle);
        prop_assert_eq!(bench.device.link().faults(), 0);
    }
}

type Open = (u16, Segment, Option<(Segment, Vec<u8>)>);

fn check(bench: &Bench<'_>, queue: &mut Queue<'_>, open: &mut Vec<Open>) {
    while let Some(used) = queue.pop_used().unwrap() {
        let at = open.iter().position(|(head, ..)| *head == used.head.0).expect("a request that is open");
        let (_, status, expected) = open.remove(at);
        assert_ne!(bench.guest.contents(status)[0], 0xee);
        if let Some((data, bytes)) = expected {
            assert_eq!(bench.guest.contents(status)[0], blk::S_OK);
            assert_eq!(bench.guest.contents(data), bytes);
        }
    }
}
