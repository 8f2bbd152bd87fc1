use super::*;
use crate::driver_queue::{Access, Head, Segment};
use crate::rig::{self, Guest, Rings};
use ports::Span;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// Device and driver side of one queue in the same RAM.
struct Pair<'a> {
    device: Queue,
    driver: rig::Queue<'a>,
}

const ALL: u64 = feature::INDIRECT_DESC | feature::EVENT_IDX;

fn pair(guest: &Guest, size: u16, features: u64, start: u16) -> Pair<'_> {
    let rings = Rings { memory: &guest.memory, start: guest.allocate(rig::Queue::bytes(size)) };
    let mut driver = rig::Queue::new(rings, size, features & feature::EVENT_IDX != 0).unwrap();
    let mut device = Queue::new(placement(&driver), 256, features).unwrap();
    driver.start_at(start);
    device.next_available = Wrapping(start);
    device.seen_available = Wrapping(start);
    device.next_used = Wrapping(start);
    device.shown_used = Wrapping(start);
    Pair { device, driver }
}

fn placement(driver: &rig::Queue<'_>) -> Placement {
    Placement {
        size: driver.size(),
        descriptors: Ipa(driver.descriptor_address()),
        available: Ipa(driver.driver_address()),
        used: Ipa(driver.device_address()),
    }
}

fn contents(guest: &Guest, spans: &[Span]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for span in spans {
        let mut part = std::vec![0; span.bytes as usize];
        guest.memory.read_span(*span, &mut part);
        bytes.extend(part);
    }
    bytes
}

#[derive(Clone, Debug)]
struct Shape {
    readable: Vec<usize>,
    writable: Vec<usize>,
    /// Segments from this one on lie in an indirect table.
    indirect_from: Option<usize>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let lengths = || prop::collection::vec(prop_oneof![4 => 1..100_usize, 1 => 4000..9000_usize], 0..5);
    (lengths(), lengths(), prop::option::of(0..8_usize))
        .prop_filter("a chain has a buffer", |(readable, writable, _)| {
            !readable.is_empty() || !writable.is_empty()
        })
        .prop_map(|(readable, writable, indirect_from)| Shape { readable, writable, indirect_from })
}

struct Expected {
    readable: Vec<u8>,
    writable: usize,
}

fn submit(guest: &Guest, driver: &mut rig::Queue<'_>, shape: &Shape, seed: u8) -> Option<(Head, Expected)> {
    let mut segments = Vec::new();
    let mut readable = Vec::new();
    for len in &shape.readable {
        let bytes = rig::pattern(*len, seed);
        segments.push(guest.readable(&bytes));
        readable.extend(bytes);
    }
    segments.extend(shape.writable.iter().map(|len| guest.writable(*len)));
    let direct = shape.indirect_from.map_or(segments.len(), |from| from.min(segments.len() - 1) + 1);
    if direct > usize::from(driver.free_descriptors()) {
        return None;
    }
    let head = match shape.indirect_from {
        None => driver.submit(&segments).unwrap(),
        Some(_) => {
            let (before, inside) = segments.split_at(direct - 1);
            let table = rig::indirect_table(guest, inside);
            rig::submit_indirect(guest, driver, before, table)
        }
    };
    Some((head, Expected { readable, writable: shape.writable.iter().sum() }))
}

#[derive(Clone, Debug)]
enum Step {
    Submit(Shape),
    DriverPublish,
    /// The device takes up to so many chains and answers them; then it goes to sleep, if there is nothing more.
    Device(usize),
    DriverSleep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => shape().prop_map(Step::Submit),
        2 => Just(Step::DriverPublish),
        3 => (0..6_usize).prop_map(Step::Device),
        2 => Just(Step::DriverSleep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 250 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Chains of any shape arrive byte for byte and in order, answers come back, and nobody sleeps through work: who
    /// publishes while the other side sleeps is told to wake it. Indices wrap on the way.
    #[test]
    fn driver_and_device_understand_each_other(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 12 } else { 80 }),
        size in (2..7_u32).prop_map(|n| 1_u16 << n),
        features in prop_oneof![Just(ALL), Just(feature::INDIRECT_DESC)],
        start in prop_oneof![Just(0), 65_500..=65_535_u16],
    ) {
        let guest = Guest::new(8 << 20);
        let Pair { mut device, mut driver } = pair(&guest, size, features, start);
        let memory = &guest.memory;
        let mut chain = Chain::<64>::new();
        let mut expected = BTreeMap::new();
        let mut order = std::collections::VecDeque::new();
        let (mut unpublished, mut device_sleeps, mut driver_sleeps) = (0, !device.arm(memory).unwrap(), !driver.arm());
        for (step, seed) in steps.into_iter().zip(0..) {
            match step {
                Step::Submit(shape) => {
                    if let Some((head, what)) = submit(&guest, &mut driver, &shape, seed) {
                        prop_assert!(expected.insert(head.0, what).is_none());
                        order.push_back(head.0);
                        unpublished += 1;
                    }
                }
                Step::DriverPublish => {
                    let wakes = driver.publish();
                    prop_assert!(!device_sleeps || unpublished == 0 || wakes, "the device sleeps on");
                    device_sleeps &= !wakes;
                    unpublished = 0;
                }
                Step::Device(count) => {
                    for _ in 0..count {
                        if !device.pop(memory, &mut chain).unwrap() {
                            device_sleeps = !device.arm(memory).unwrap();
                            break;
                        }
                        let what = &expected[&chain.head()];
                        prop_assert_eq!(Some(chain.head()), order.pop_front());
                        prop_assert!(chain.is_whole());
                        prop_assert_eq!(chain.readable_bytes() as usize, what.readable.len());
                        prop_assert_eq!(chain.writable_bytes() as usize, what.writable);
                        prop_assert_eq!(&contents(&guest, chain.readable()), &what.readable);
                        prop_assert_eq!(contents(&guest, chain.writable()), std::vec![0xee; what.writable]);
                        device.push_used(memory, chain.head(), chain.writable_bytes()).unwrap();
                    }
                    let moved = device.next_used != device.shown_used;
                    let wakes = device.publish(memory).unwrap();
                    prop_assert!(!driver_sleeps || !moved || wakes, "the driver sleeps on");
                    driver_sleeps &= !wakes;
                }
                Step::DriverSleep => {
                    driver.disarm();
                    loop {
                        while let Some(used) = driver.pop_used().unwrap() {
                            let what = expected.remove(&used.head.0).expect("a request in flight");
                            // What went through an indirect table is not known to the driver's side.
                            prop_assert!(used.written as usize <= what.writable);
                        }
                        if !driver.arm() {
                            break;
                        }
                    }
                    driver_sleeps = true;
                }
            }
        }
    }

    /// Whatever lies in the rings, in whatever way it changes: the device ends each walk, and stays alive.
    #[test]
    fn hostile_rings_end_in_a_fault_or_in_a_chain(
        seed in any::<u64>(), descriptors in prop::collection::vec((any::<u16>(), 0..4_u8, 0..8_u16, 0..20_u16), 16),
        heads in prop::collection::vec(0..20_u16, 16), index in 0..20_u16, hostile in any::<bool>(),
    ) {
        let guest = Guest::new(1 << 16);
        let Pair { mut device, driver } = pair(&guest, 16, ALL, 0);
        for ((at, kind, flags, next), place) in descriptors.into_iter().zip(0..) {
            let addr = match kind {
                0 => rig::RAM.0 + u64::from(at),
                // The descriptor table itself, as an indirect table.
                1 => driver.descriptor_address(),
                2 => u64::MAX - u64::from(at),
                _ => rig::RAM.0,
            };
            let len = u32::from(at) * 16 % 5000;
            rig::patch(&guest, &driver, place, Descriptor { addr, len, flags, next });
        }
        for (head, place) in heads.into_iter().zip(0..) {
            guest.memory.write(Ipa(driver.driver_address() + 4 + place * 2), &head.to_le_bytes()).unwrap();
        }
        guest.memory.write(Ipa(driver.driver_address() + 2), &index.to_le_bytes()).unwrap();
        if hostile {
            guest.memory.make_hostile(seed);
        }
        let mut chain = Chain::<8>::new();
        for _ in 0..40 {
            match device.pop(&guest.memory, &mut chain) {
                Ok(true) => {
                    prop_assert!(chain.readable().len() + chain.writable().len() <= 8);
                    let _ = device.push_used(&guest.memory, chain.head(), 0);
                    let _ = device.publish(&guest.memory);
                }
                Ok(false) => { let _ = device.arm(&guest.memory); }
                Err(_) => break,
            }
        }
    }
}

fn fault(change: impl FnOnce(&Guest, &mut rig::Queue<'_>)) -> Result<bool, QueueFault> {
    let guest = Guest::new(1 << 16);
    let Pair { mut device, mut driver } = pair(&guest, 8, feature::INDIRECT_DESC, 0);
    change(&guest, &mut driver);
    driver.publish();
    device.pop(&guest.memory, &mut Chain::<8>::new())
}

fn one(guest: &Guest, queue: &mut rig::Queue<'_>) -> u16 {
    queue.submit(&[guest.readable(&[1; 8]), guest.writable(8)]).unwrap().0
}

#[test]
fn each_breach_is_its_own_fault() {
    assert_eq!(fault(|guest, queue| assert_eq!(one(guest, queue), 0)), Ok(true));
    let patched = |change: fn(&mut Descriptor)| {
        fault(move |guest, queue| {
            let head = one(guest, queue);
            let mut descriptor = rig::descriptor(guest, queue, head);
            change(&mut descriptor);
            rig::patch(guest, queue, head, descriptor);
        })
    };
    assert_eq!(patched(|at| at.next = 8), Err(QueueFault::DescriptorIndex));
    assert_eq!(patched(|at| at.next = 0), Err(QueueFault::TooLong));
    assert_eq!(patched(|at| at.len = 0), Err(QueueFault::EmptyBuffer));
    assert_eq!(patched(|at| at.addr = 0), Err(QueueFault::BadAddress));
    assert_eq!(patched(|at| at.addr = u64::MAX), Err(QueueFault::BadAddress));
    assert_eq!(patched(|at| at.len = 1 << 16), Err(QueueFault::BadAddress));
    assert_eq!(patched(|at| at.flags |= queue::INDIRECT), Err(QueueFault::Indirect));
    assert_eq!(patched(|at| at.flags = queue::INDIRECT), Err(QueueFault::IndirectLength));
    let swapped = fault(|guest, queue| {
        let head = one(guest, queue);
        rig::patch_flags(guest, queue, head, |flags| flags | queue::WRITE);
        let last = rig::last_of(guest, queue, Head(head));
        rig::patch_flags(guest, queue, last, |flags| flags & !queue::WRITE);
    });
    assert_eq!(swapped, Err(QueueFault::ReadableAfterWritable));
    let nested = fault(|guest, queue| {
        let inner = Descriptor { addr: rig::RAM.0, len: 16, flags: queue::INDIRECT, next: 0 };
        let table = guest.readable(&inner.to_bytes());
        rig::submit_indirect(guest, queue, &[], table);
    });
    assert_eq!(nested, Err(QueueFault::Indirect));
    let looped = fault(|guest, queue| {
        let inner = Descriptor { addr: rig::RAM.0, len: 16, flags: queue::NEXT, next: 0 };
        let table = guest.readable(&inner.to_bytes());
        rig::submit_indirect(guest, queue, &[], table);
    });
    assert_eq!(looped, Err(QueueFault::TooLong));
    let head_outside = fault(|guest, queue| {
        one(guest, queue);
        guest.memory.write(Ipa(queue.driver_address() + 4), &8_u16.to_le_bytes()).unwrap();
    });
    assert_eq!(head_outside, Err(QueueFault::DescriptorIndex));
    let guest = Guest::new(1 << 16);
    let Pair { mut device, driver } = pair(&guest, 8, 0, 0);
    guest.memory.write(Ipa(driver.driver_address() + 2), &9_u16.to_le_bytes()).unwrap();
    assert_eq!(device.arm(&guest.memory), Err(QueueFault::AvailableIndex));
}

#[test]
fn an_indirect_table_needs_the_feature() {
    let guest = Guest::new(1 << 16);
    let Pair { mut device, mut driver } = pair(&guest, 8, 0, 0);
    let table = rig::indirect_table(&guest, &[guest.readable(&[1])]);
    rig::submit_indirect(&guest, &mut driver, &[], table);
    driver.publish();
    assert_eq!(device.pop(&guest.memory, &mut Chain::<8>::new()), Err(QueueFault::Indirect));
}

#[test]
fn a_queue_must_lie_right() {
    let good = Placement { size: 8, descriptors: Ipa(0x1000), available: Ipa(0x2000), used: Ipa(0x3000) };
    assert!(Queue::new(good, 8, 0).is_ok());
    let refuse = |change: fn(&mut Placement)| {
        let mut at = good;
        change(&mut at);
        Queue::new(at, 8, 0).err()
    };
    assert_eq!(refuse(|at| at.size = 16), Some(QueueFault::Size));
    assert_eq!(refuse(|at| at.size = 0), Some(QueueFault::Size));
    assert_eq!(refuse(|at| at.size = 6), Some(QueueFault::Size));
    assert_eq!(refuse(|at| at.descriptors = Ipa(0x1008)), Some(QueueFault::Placement));
    assert_eq!(refuse(|at| at.available = Ipa(0x2001)), Some(QueueFault::Placement));
    assert_eq!(refuse(|at| at.used = Ipa(0x3002)), Some(QueueFault::Placement));
    assert_eq!(refuse(|at| at.used = Ipa(u64::MAX - 3)), Some(QueueFault::Placement));
}

#[test]
fn elements_are_invisible_until_published() {
    let guest = Guest::new(1 << 16);
    let Pair { mut device, mut driver } = pair(&guest, 8, ALL, 65_535);
    let heads: Vec<_> = (0..3).map(|_| driver.submit(&[guest.writable(4)]).unwrap()).collect();
    driver.publish();
    let mut chain = Chain::<8>::new();
    for head in &heads {
        assert!(device.pop(&guest.memory, &mut chain).unwrap());
        assert_eq!(chain.head(), head.0);
        device.push_used(&guest.memory, head.0, 4).unwrap();
    }
    assert_eq!(driver.pop_used(), Ok(None));
    device.unpush_used(1);
    device.unpop(1);
    device.publish(&guest.memory).unwrap();
    assert_eq!(driver.pop_used().unwrap().unwrap().head, heads[0]);
    assert_eq!(driver.pop_used().unwrap().unwrap().head, heads[1]);
    assert_eq!(driver.pop_used(), Ok(None));
    assert!(device.pop(&guest.memory, &mut chain).unwrap());
    assert_eq!(chain.head(), heads[2].0);
}

#[test]
fn the_last_byte_is_found_in_whole_and_in_cut_chains() {
    let guest = Guest::new(1 << 17);
    let Pair { mut device, mut driver } = pair(&guest, 8, ALL, 0);
    let (data, status) = (guest.writable(20_000), guest.writable(3));
    driver.submit(&[data, status]).unwrap();
    driver.publish();
    let segment = |at: u64, bytes| Segment { address: at, bytes, access: Access::Write };
    for (expected_whole, chain) in
        [(false, &mut Chain::<3>::new() as &mut dyn Last), (true, &mut Chain::<16>::new())]
    {
        let (is_whole, last) = chain.last(&mut device, &guest);
        assert_eq!(is_whole, expected_whole);
        guest.memory.write_span(last, &[7]);
        assert_eq!(guest.contents(segment(status.address, 3)), [0xee, 0xee, 7]);
        device.unpop(1);
    }
}

trait Last {
    fn last(&mut self, device: &mut Queue, guest: &Guest) -> (bool, Span);
}

impl<const N: usize> Last for Chain<N> {
    fn last(&mut self, device: &mut Queue, guest: &Guest) -> (bool, Span) {
        assert!(device.pop(&guest.memory, self).unwrap());
        assert_eq!(self.writable_bytes(), 20_003);
        let last = self.take_last_byte().unwrap();
        assert_eq!((self.writable_bytes(), self.take_last_byte()), (20_002, None));
        (self.is_whole(), last)
    }
}
