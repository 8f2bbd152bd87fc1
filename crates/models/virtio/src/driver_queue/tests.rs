use super::*;
use std::{vec, vec::Vec};

/// Two views: what the driver wrote but did not show stays hidden from the device, and the other way round.
struct TwoViews {
    pe: core::cell::RefCell<Vec<u8>>,
    dram: core::cell::RefCell<Vec<u8>>,
}

impl QueueMemory for &TwoViews {
    fn address(&self) -> u64 {
        0x8000_0000
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.pe.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.pe.borrow()[offset..offset + into.len()]);
    }
    fn to_device(&self, offset: usize, bytes: usize) {
        let range = offset..offset + bytes;
        self.dram.borrow_mut()[range.clone()].copy_from_slice(&self.pe.borrow()[range]);
    }
    fn from_device(&self, offset: usize, bytes: usize) {
        let range = offset..offset + bytes;
        self.pe.borrow_mut()[range.clone()].copy_from_slice(&self.dram.borrow()[range]);
    }
}

type Queue<'a> = DriverQueue<&'a TwoViews, 8>;

fn memory() -> TwoViews {
    let bytes = Queue::bytes(8);
    TwoViews { pe: vec![0; bytes].into(), dram: vec![0; bytes].into() }
}

impl TwoViews {
    fn dram16(&self, at: u64) -> u16 {
        let at = usize::try_from(at - 0x8000_0000).unwrap();
        u16::from_le_bytes(self.dram.borrow()[at..at + 2].try_into().unwrap())
    }
    fn device_writes(&self, at: u64, from: &[u8]) {
        let at = usize::try_from(at - 0x8000_0000).unwrap();
        self.dram.borrow_mut()[at..at + from.len()].copy_from_slice(from);
    }
    fn device_uses(&self, queue: &Queue<'_>, index: u16, head: u32, written: u32) {
        let at = queue.device_address() + 4 + u64::from((index - 1) % 8) * 8;
        self.device_writes(at, &head.to_le_bytes());
        self.device_writes(at + 4, &written.to_le_bytes());
        self.device_writes(queue.device_address() + 2, &index.to_le_bytes());
    }
}

const READ: Segment = Segment { address: 0x1000, bytes: 16, access: Access::Read };
const WRITE: Segment = Segment { address: 0x2000, bytes: 512, access: Access::Write };

#[test]
fn a_chain_lies_in_the_device_s_view_once_published() {
    let memory = memory();
    let mut queue = Queue::new(&memory, 8, false).unwrap();
    let head = queue.submit(&[READ, WRITE]).unwrap();
    assert_eq!(memory.dram16(queue.driver_address() + 2), 0);
    assert!(queue.publish());
    assert_eq!(memory.dram16(queue.driver_address() + 2), 1);
    assert_eq!(memory.dram16(queue.driver_address() + 4), head.0);
    let raw: [u8; 32] = memory.dram.borrow()[..32].try_into().unwrap();
    let first = Descriptor::from_bytes(raw[..16].try_into().unwrap());
    let second = Descriptor::from_bytes(raw[16..].try_into().unwrap());
    assert_eq!(first, Descriptor { addr: 0x1000, len: 16, flags: queue::NEXT, next: 1 });
    assert_eq!((second.addr, second.len, second.flags), (0x2000, 512, queue::WRITE));
    assert!(!queue.publish());
}

#[test]
fn descriptors_run_out_and_come_back() {
    let memory = memory();
    let mut queue = Queue::new(&memory, 8, false).unwrap();
    for round in 1..if cfg!(miri) { 6 } else { 100_u16 } {
        let heads: Vec<_> = (0..4).map(|_| queue.submit(&[READ, WRITE]).unwrap()).collect();
        assert_eq!(queue.submit(&[READ]), Err(QueueFull));
        queue.publish();
        for (head, n) in heads.iter().rev().zip(1..) {
            memory.device_uses(&queue, (round - 1) * 4 + n, head.0.into(), 512);
            assert_eq!(queue.pop_used(), Ok(Some(Used { head: *head, written: 512 })));
            assert_eq!(queue.pop_used(), Ok(None));
        }
        assert_eq!(queue.free_descriptors(), 8);
    }
}

#[test]
fn a_device_s_lies_are_found() {
    let memory = memory();
    let mut queue = Queue::new(&memory, 8, false).unwrap();
    let head = queue.submit(&[READ, WRITE]).unwrap();
    queue.publish();
    memory.device_uses(&queue, 1, u32::from(head.0) + 1, 0);
    assert_eq!(queue.pop_used(), Err(DeviceFault));
    memory.device_uses(&queue, 1, 0x1_0000, 0);
    assert_eq!(queue.pop_used(), Err(DeviceFault));
    memory.device_uses(&queue, 1, head.0.into(), 0xffff_ffff);
    assert_eq!(queue.pop_used(), Ok(Some(Used { head, written: 512 })));
    memory.device_uses(&queue, 2, head.0.into(), 0);
    assert_eq!(queue.pop_used(), Err(DeviceFault));
    memory.device_writes(queue.device_address() + 2, &100_u16.to_le_bytes());
    assert_eq!(queue.pop_used(), Err(DeviceFault));
}

#[test]
fn notifications_and_interrupts_are_asked_for_as_agreed() {
    let memory = memory();
    let mut queue = Queue::new(&memory, 8, true).unwrap();
    let avail_event = queue.device_address() + 4 + 8 * 8;
    let used_event = queue.driver_address() + 4 + 8 * 2;
    memory.device_writes(avail_event, &1_u16.to_le_bytes());
    queue.submit(&[READ]).unwrap();
    assert!(!queue.publish());
    queue.submit(&[READ]).unwrap();
    assert!(queue.publish());
    assert!(!queue.arm());
    assert_eq!(memory.dram16(used_event), 0);
    queue.disarm();
    assert_eq!(memory.dram16(used_event), 0xffff);
    memory.device_uses(&queue, 1, 0, 0);
    assert!(queue.arm());
}

#[test]
fn only_powers_of_two_within_n_are_sizes() {
    let memory = memory();
    assert!(Queue::new(&memory, 0, false).is_none());
    assert!(Queue::new(&memory, 6, false).is_none());
    assert!(Queue::new(&memory, 16, false).is_none());
    assert!(Queue::new(&memory, 1, false).is_some());
}

#[test]
fn an_event_counts_when_the_index_steps_over_it() {
    for base in [0_u16, 100, 65_533] {
        let passes = |event: u16, old: u16, new: u16| {
            let at = |offset: u16| Wrapping(base) + Wrapping(offset);
            crosses(at(event), at(old), at(new))
        };
        assert!(passes(2, 2, 3) && passes(2, 2, 5) && passes(3, 2, 5) && passes(4, 2, 5));
        assert!(!passes(1, 2, 5) && !passes(5, 2, 5) && !passes(6, 2, 5) && !passes(2, 2, 2));
    }
}
