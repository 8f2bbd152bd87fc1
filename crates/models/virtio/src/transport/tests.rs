use super::*;
use crate::EntropySource;
use crate::rig::{self, Guest, Slot};
use core::cell::Cell;
use ports::fake::FakeEntropy;
use proptest::prelude::*;
use specs::virtio::device_id;

type Entropy<'a> = Slot<'a, EntropySource<FakeEntropy>>;

fn entropy(guest: &Guest) -> Entropy<'_> {
    let source = EntropySource::new(FakeEntropy(Cell::new(Some(1))));
    VirtioMmio::new(source, &guest.memory, &guest.line)
}

#[test]
fn constants_read_as_they_should() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert_eq!(rig::read(&device, mmio::MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(rig::read(&device, mmio::VERSION), 2);
    assert_eq!(rig::read(&device, mmio::DEVICE_ID), device_id::ENTROPY);
    assert_eq!(rig::read(&device, mmio::VENDOR_ID).to_le_bytes(), *b"BRMB");
    assert_eq!(rig::read(&device, mmio::SHM_LEN_LOW), u32::MAX);
    assert_eq!(rig::read(&device, mmio::SHM_BASE_HIGH), u32::MAX);
    assert_eq!(rig::read(&device, 0x0c0), 0, "QueueReset is not offered");
}

#[test]
fn registers_take_words_only_and_survive_the_rest() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    for width in [Width::W8, Width::W16, Width::W64] {
        assert_eq!(device.read(mmio::MAGIC_VALUE, width), 0);
        let _ = device.write(mmio::STATUS, width, 1);
    }
    assert_eq!(rig::read(&device, mmio::STATUS), 0);
    for offset in 0..mmio::REGION_BYTES {
        for width in [Width::W8, Width::W16, Width::W32, Width::W64] {
            device.read(offset, width);
            let _ = device.write(offset, width, u64::MAX);
        }
    }
    rig::write(&device, mmio::STATUS, 0);
    assert!(rig::negotiate(&device, 0));
}

#[test]
fn features_are_negotiated() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert_eq!(rig::offered(&device), TRANSPORT_FEATURES);
    rig::write(&device, mmio::DEVICE_FEATURES_SEL, 2);
    assert_eq!(rig::read(&device, mmio::DEVICE_FEATURES), 0);
    assert!(rig::negotiate(&device, feature::EVENT_IDX));
    assert!(!rig::negotiate(&device, 1 << 5), "not offered");
    // Without VERSION_1: a legacy driver.
    rig::write(&device, mmio::STATUS, 0);
    rig::write(&device, mmio::STATUS, 3);
    rig::write(&device, mmio::STATUS, 3 | status::FEATURES_OK);
    assert_eq!(rig::read(&device, mmio::STATUS), 3);
    rig::write(&device, mmio::STATUS, 3 | status::FEATURES_OK | status::DRIVER_OK);
    assert_eq!(rig::read(&device, mmio::STATUS), 3, "no DRIVER_OK without features");
    // What was agreed is fixed.
    assert!(rig::negotiate(&device, 0));
    rig::write(&device, mmio::DRIVER_FEATURES_SEL, 0);
    rig::write(&device, mmio::DRIVER_FEATURES, u32::MAX);
    rig::driver_ok(&device);
    assert_eq!(rig::read(&device, mmio::STATUS), 15);
}

#[test]
fn queues_are_selected_placed_and_taken_away() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, 0));
    rig::write(&device, mmio::QUEUE_SEL, 1);
    assert_eq!(rig::read(&device, mmio::QUEUE_NUM_MAX), 0);
    rig::write(&device, mmio::QUEUE_SEL, 0);
    assert_eq!(rig::read(&device, mmio::QUEUE_NUM_MAX), 16);
    let mut queue = guest.queue(&device, 0, 16, 0);
    assert_eq!(rig::read(&device, mmio::QUEUE_READY), 1);
    // A live queue is not moved.
    rig::write(&device, mmio::QUEUE_DESC_LOW, 0);
    rig::driver_ok(&device);
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert!(queue.pop_used().unwrap().is_some());
    rig::write(&device, mmio::QUEUE_READY, 0);
    assert_eq!(rig::read(&device, mmio::QUEUE_READY), 0);
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert_eq!(queue.pop_used(), Ok(None));
}

#[test]
fn a_queue_that_lies_wrong_is_a_guest_fault() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, 0));
    rig::write(&device, mmio::QUEUE_NUM, 17);
    rig::write(&device, mmio::QUEUE_READY, 1);
    assert_eq!(rig::read(&device, mmio::QUEUE_READY), 0);
    assert_ne!(rig::read(&device, mmio::STATUS) & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(rig::read(&device, mmio::INTERRUPT_STATUS), 0, "not before DRIVER_OK");
    rig::write(&device, mmio::STATUS, 0);
    assert_eq!(rig::read(&device, mmio::STATUS), 0);
    assert_eq!(device.link().last_fault(), Some(crate::queue::QueueFault::Size));
}

#[test]
fn a_broken_device_rests_until_it_is_reset() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    rig::send(&device, 0, &mut queue, &[guest.readable(&[1])]);
    assert_ne!(rig::read(&device, mmio::STATUS) & status::DEVICE_NEEDS_RESET, 0);
    assert!(guest.line.high.get());
    rig::write(&device, mmio::INTERRUPT_ACK, mmio::INTERRUPT_CONFIG);
    assert!(!guest.line.high.get());
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert_eq!(queue.pop_used(), Ok(None));
    rig::write(&device, mmio::STATUS, 0);
    assert_eq!((rig::read(&device, mmio::STATUS), rig::read(&device, mmio::INTERRUPT_STATUS)), (0, 0));
}

#[test]
fn a_reset_lowers_the_line_and_forgets() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert!(guest.line.high.get());
    rig::write(&device, mmio::STATUS, 0);
    assert!(!guest.line.high.get());
    assert_eq!(rig::read(&device, mmio::INTERRUPT_STATUS), 0);
    rig::write(&device, mmio::QUEUE_SEL, 0);
    assert_eq!(rig::read(&device, mmio::QUEUE_READY), 0);
    assert!(rig::negotiate(&device, 0));
}

#[test]
fn the_line_follows_the_status_and_a_bit_left_over_is_a_new_edge() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, 0));
    let mut queue = guest.queue(&device, 0, 16, 0);
    rig::driver_ok(&device);
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert_eq!(guest.line.edges.get(), 1);
    device.announce_config_change();
    assert_eq!(guest.line.edges.get(), 1);
    rig::write(&device, mmio::INTERRUPT_ACK, mmio::INTERRUPT_USED);
    assert!(guest.line.high.get());
    assert_eq!(guest.line.edges.get(), 2);
    assert_eq!(rig::read(&device, mmio::INTERRUPT_STATUS), mmio::INTERRUPT_CONFIG);
    rig::write(&device, mmio::INTERRUPT_ACK, mmio::INTERRUPT_CONFIG);
    assert!(!guest.line.high.get());
    rig::write(&device, mmio::INTERRUPT_ACK, u32::MAX);
    assert_eq!(guest.line.edges.get(), 2);
}

#[test]
fn event_indices_hold_interrupts_back() {
    let guest = Guest::new(1 << 16);
    let device = entropy(&guest);
    assert!(rig::negotiate(&device, feature::EVENT_IDX));
    let mut queue = guest.queue(&device, 0, 16, feature::EVENT_IDX);
    rig::driver_ok(&device);
    queue.disarm();
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert!(!guest.line.high.get());
    assert!(queue.arm(), "it has finished meanwhile");
    queue.pop_used().unwrap();
    assert!(!queue.arm());
    rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
    assert!(guest.line.high.get());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 5 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any accesses in any order, then a reset: the device comes up again, and the line is low.
    #[test]
    fn any_accesses_then_a_reset(
        accesses in prop::collection::vec(
            (0..0x110_u64 / 4, any::<bool>(), prop_oneof![Just(0_u32), 1..32_u32, any::<u32>()]),
            0..if cfg!(miri) { 30 } else { 200 },
        ),
    ) {
        let guest = Guest::new(1 << 16);
        let device = entropy(&guest);
        for (word, is_write, value) in accesses {
            if is_write {
                let _ = device.write(word * 4, Width::W32, value.into());
            } else {
                device.read(word * 4, Width::W32);
            }
        }
        rig::write(&device, mmio::STATUS, 0);
        prop_assert_eq!(rig::read(&device, mmio::STATUS), 0);
        prop_assert!(!guest.line.high.get());
        prop_assert!(rig::negotiate(&device, feature::EVENT_IDX));
        let mut queue = guest.queue(&device, 0, 16, feature::EVENT_IDX);
        rig::driver_ok(&device);
        rig::send(&device, 0, &mut queue, &[guest.writable(4)]);
        prop_assert!(queue.pop_used().unwrap().is_some());
    }
}
