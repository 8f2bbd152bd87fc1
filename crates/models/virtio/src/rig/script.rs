//! Fuzzing: bytes as a course of events around a device: accesses, changes of the guest's memory, completions, frames.
//! Whatever they are, the device lives, and after a reset it works.

use super::disk::Disk;
use super::wire::Wire;
use super::{Dev, Guest, RAM, Rings, Slot, queue_sizes};
use crate::calls::{Asked, Calls, Desk, Done, Token};
use crate::chain::Chain;
use crate::driver_queue::{Access, DriverQueue, Segment};
use crate::queue::{Placement, Queue};
use crate::{Block, Net, VirtioMmio};
use abi::{Answer, RequestKind, Status};
use core::cell::RefCell;
use ports::fake::FakeLine;
use ports::{Frame, GuestMemory, Offload, Width};
use specs::virtio::{Descriptor, feature, mmio, net};
use specs::{Ipa, IpaRange};
use std::vec::Vec;

/// RAM of the guest: small, so that addresses hit.
const RAM_BYTES: usize = 1 << 16;
/// Where [`bring_up`] lays the queues: table, available ring and used ring of each, 4 KiB apart.
const QUEUES_AT: u64 = RAM.0 + 0x1000;

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }
}

/// A queue on either side, its memory full of anything.
pub fn queue(script: &[u8]) {
    let mut script = Script(script);
    let Some([kind, size, index, seed]) = script.bytes() else { return };
    let guest = Guest::new(RAM_BYTES);
    let size = 1_u16 << (size % 6);
    let at = Placement { size, descriptors: RAM, available: Ipa(RAM.0 + 0x400), used: Ipa(RAM.0 + 0x800) };
    let features = if kind & 1 != 0 { feature::EVENT_IDX } else { 0 } | feature::INDIRECT_DESC;
    if kind & 2 != 0 {
        return driver(script, &guest, size, kind & 1 != 0);
    }
    let rest = script.0;
    guest.memory.write(RAM, rest.get(..rest.len().min(0x2000)).unwrap()).unwrap();
    guest.memory.write(Ipa(at.available.0 + 2), &u16::from(index % 40).to_le_bytes()).unwrap();
    if kind & 4 != 0 {
        guest.memory.make_hostile(seed.into());
    }
    let mut device = Queue::new(at, 256, features).unwrap();
    let mut chain = Chain::<8>::new();
    for _ in 0..64 {
        let Ok(found) = device.pop(&guest.memory, &mut chain) else { return };
        if found {
            let mut part = [0; 20];
            chain.take_some(&guest.memory, &mut part);
            chain.take_last_byte();
            let pushed = device.push_used(&guest.memory, chain.head(), 0);
            if pushed.and_then(|()| device.publish(&guest.memory)).is_err() {
                return;
            }
        } else if device.arm(&guest.memory).is_err() {
            return;
        }
    }
}

/// The driver's side under a device that writes anything.
fn driver(mut script: Script<'_>, guest: &Guest, size: u16, event_index: bool) {
    let rings = Rings { memory: &guest.memory, start: RAM };
    let mut queue = DriverQueue::<_, 64>::new(rings, size, event_index).unwrap();
    let segments = [(16, Access::Read), (512, Access::Write)].map(|(bytes, access)| Segment {
        address: RAM.0 + 0x8000,
        bytes,
        access,
    });
    let mut in_flight = 0_usize;
    while let Some([op, value, offset]) = script.bytes() {
        match op % 5 {
            0 => in_flight += usize::from(queue.submit(&segments[..1 + usize::from(value & 1)]).is_ok()),
            1 => drop(queue.publish()),
            2 => match queue.pop_used() {
                Ok(Some(used)) => {
                    assert!(used.written <= 512 && used.head.0 < size);
                    in_flight = in_flight.checked_sub(1).expect("no more answers than requests");
                }
                Ok(None) => {}
                Err(_) => return,
            },
            3 => drop(queue.arm()),
            _ => {
                let at = Ipa(queue.device_address() + u64::from(offset) % 128);
                guest.memory.write(at, &[value]).unwrap();
            }
        }
        assert!(queue.free_descriptors() <= size);
    }
}

/// A block device over a disk with or without slots.
pub fn block(script: &[u8]) {
    let mut script = Script(script);
    let Some([kind, slots]) = script.bytes() else { return };
    let guest = Guest::new(RAM_BYTES);
    let disk = Disk::new(16).with(|disk| {
        disk.slots = (kind & 1 != 0).then_some(usize::from(slots % 4) + 1);
        disk.read_only = kind & 2 != 0;
    });
    let device = VirtioMmio::new(Block::new(disk.clone(), "fuzz"), &guest.memory, &guest.line);
    run(&guest, &device, kind & 4 != 0, script, |value| {
        let is_busy = !disk.0.borrow().in_flight.is_empty();
        if is_busy {
            disk.finish(value.into());
        }
        let _ = device.poll();
    });
    for _ in 0..8 {
        if !disk.0.borrow().in_flight.is_empty() {
            disk.finish(0);
        }
    }
    let _ = device.poll();
    assert_eq!(device.device().in_flight(), 0);
}

/// Two network cards in one RAM, each the other's wire's far end as far as frames are given by hand.
pub fn network(script: &[u8]) {
    let mut script = Script(script);
    let Some(kind) = script.byte() else { return };
    let guest = Guest::new(RAM_BYTES);
    let line = FakeLine::default();
    let far = VirtioMmio::new(Net::new([2, 0, 0, 0, 0, 2], 1500, Wire::default()), &guest.memory, &line);
    bring_up(&guest, &far, (net::F_MRG_RXBUF | net::F_GUEST_CSUM) * u64::from(kind & 1));
    let near = VirtioMmio::new(Net::new([2, 0, 0, 0, 0, 1], 1500, &far), &guest.memory, &guest.line);
    run(&guest, &near, kind & 4 != 0, script, |value| {
        let bytes = u64::from(value) * 16 + 14;
        let range = IpaRange::new(Ipa(RAM.0 + 0x8000), bytes).unwrap();
        let span = guest.memory.resolve(range).unwrap();
        let offload = Offload {
            flags: value & 1,
            gso_type: if value & 2 != 0 { net::GSO_TCPV4 } else { 0 },
            gso_bytes: u16::from(value) * 4,
            checksum_start: 34,
            checksum_offset: 16,
            vlan: u16::from(value >> 7),
            ..Offload::default()
        };
        let frame = Frame { data: &[span], bytes: span.bytes, offload, memory: &guest.memory };
        near.deliver(&frame);
        far.deliver(&frame);
    });
}

/// The call queue of a world that asks for anything, before a desk that takes its time.
pub fn calls(script: &[u8]) {
    let mut script = Script(script);
    let Some(kind) = script.byte() else { return };
    let guest = Guest::new(RAM_BYTES);
    let tray = RefCell::new(Vec::new());
    let device = VirtioMmio::new(Calls::new(Tray(&tray, kind >> 4)), &guest.memory, &guest.line);
    run(&guest, &device, kind & 4 != 0, script, |value| {
        let mut tray = tray.borrow_mut();
        // The last ones first: order is the desk's.
        tray.iter_mut().rev().take(value.into()).for_each(|(_, done)| *done = true);
        drop(tray);
        let _ = device.poll();
    });
    assert_eq!(device.device().in_flight(), 0);
}

/// Requests, and whether each is done.
struct Tray<'a>(&'a RefCell<Vec<(Token, bool)>>, u8);

impl Desk for Tray<'_> {
    fn generation(&self) -> u32 {
        self.1.into()
    }
    fn allows(&self, kind: RequestKind) -> bool {
        kind != RequestKind::Reset
    }
    fn submit(&mut self, asked: Asked) {
        assert_ne!(asked.kind, RequestKind::Reset);
        assert!(
            asked.payload.len() <= asked.kind.send_max() as usize && asked.room <= asked.kind.receive_max()
        );
        self.0.borrow_mut().push((asked.token, false));
    }
    fn complete(&mut self) -> Option<Done> {
        let mut tray = self.0.borrow_mut();
        let at = tray.iter().position(|(_, done)| *done)?;
        Some(Done { token: tray.remove(at).0, answer: Answer::of(Status::Ok), payload: alloc::vec![7; 100] })
    }
}

fn run<'a, D: Dev<'a>>(
    guest: &Guest,
    device: &Slot<'a, D>,
    hostile: bool,
    mut script: Script<'_>,
    event: impl Fn(u8),
) {
    if hostile {
        guest.memory.make_hostile(7);
    }
    bring_up(guest, device, u64::MAX);
    while let Some(op) = script.byte() {
        match (op % 8, script.bytes::<4>()) {
            (0, Some([word, v0, v1, v2])) => {
                let value = u32::from_le_bytes([v0, v1, v2, 0]);
                let _ = device.write(u64::from(word) * 4, Width::W32, value.into());
            }
            (1, Some([word, ..])) => drop(device.read(u64::from(word) * 2, Width::W32)),
            (2, Some(features)) => bring_up(guest, device, u64::from(u32::from_le_bytes(features))),
            (3, Some([index, ..])) => {
                let _ = device.write(mmio::QUEUE_NOTIFY, Width::W32, u64::from(index % 3));
            }
            (4, Some([value, ..])) => event(value),
            (5, Some([place, flags, next, index])) => {
                let Some([at, len]) = script.bytes() else { break };
                describe(
                    guest,
                    place,
                    Descriptor {
                        addr: RAM.0 + 0x8000 + u64::from(at) * 16,
                        len: u32::from(len) * 16 + u32::from(index & 1),
                        flags: u16::from(flags % 8),
                        next: u16::from(next % 20),
                    },
                );
            }
            (6, Some([place, head, ..])) => {
                offer(guest, place, head);
                let _ = device.write(mmio::QUEUE_NOTIFY, Width::W32, u64::from(place & 1));
            }
            (_, Some([low, high, b0, b1])) => {
                let at = Ipa(RAM.0 + u64::from(u16::from_le_bytes([low, high]) & 0xfffe));
                guest.memory.write(at, &[b0, b1]).unwrap();
            }
            (_, None) => break,
        }
    }
    super::write(device, mmio::STATUS, 0);
    assert_eq!(super::read(device, mmio::STATUS), 0);
    assert_eq!(super::read(device, mmio::INTERRUPT_STATUS), 0);
    assert!(!guest.line.high.get());
}

/// Where a part of a queue lies that [`bring_up`] laid.
fn part(place: u8, offset: u64) -> Ipa {
    Ipa(QUEUES_AT + u64::from(place & 1) * 0x3000 + offset)
}

fn describe(guest: &Guest, place: u8, descriptor: Descriptor) {
    let at = part(place, u64::from(place / 2 % 16) * 16);
    guest.memory.write(at, &descriptor.to_bytes()).unwrap();
}

/// Puts a head into the available ring, and moves the index on.
fn offer(guest: &Guest, place: u8, head: u8) {
    let index = guest.memory.load_acquire(part(place, 0x1002)).unwrap();
    let element = part(place, 0x1004 + u64::from(index % 16) * 2);
    guest.memory.write(element, &u16::from(head % 17).to_le_bytes()).unwrap();
    guest.memory.store_release(part(place, 0x1002), index.wrapping_add(1)).unwrap();
}

/// Resets and brings the device up with those of `features` that it offers, its queues at known places.
fn bring_up<'a, D: Dev<'a>>(guest: &Guest, device: &Slot<'a, D>, features: u64) {
    let features = super::offered(device) & features;
    assert!(super::negotiate(device, features));
    for (index, size) in (0_u32..).zip(queue_sizes::<D>()) {
        let at = QUEUES_AT + u64::from(index) * 0x3000;
        guest.memory.write(Ipa(at + 0x1000), &[0; 64]).unwrap();
        super::write(device, mmio::QUEUE_SEL, index);
        super::write(device, mmio::QUEUE_NUM, size.into());
        for (low, offset) in
            [(mmio::QUEUE_DESC_LOW, 0), (mmio::QUEUE_DRIVER_LOW, 0x1000), (mmio::QUEUE_DEVICE_LOW, 0x2000)]
        {
            super::write(device, low, u32::try_from(at + offset).unwrap());
            super::write(device, low + 4, 0);
        }
        super::write(device, mmio::QUEUE_READY, 1);
    }
    super::driver_ok(device);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn script() -> impl Strategy<Value = std::vec::Vec<u8>> {
        // Small numbers more often: offsets of registers, indices, flags.
        let byte = prop_oneof![3 => 0..32_u8, 1 => any::<u8>()];
        prop::collection::vec(byte, 0..if cfg!(miri) { 100 } else { 600 })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 3 } else { 300 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_script_leaves_the_queues_alive(script in script()) {
            super::queue(&script);
        }

        #[test]
        fn any_script_leaves_the_block_device_alive(script in script()) {
            super::block(&script);
        }

        #[test]
        fn any_script_leaves_the_call_queue_alive(script in script()) {
            super::calls(&script);
        }

        #[test]
        fn any_script_leaves_the_network_card_alive(script in script()) {
            super::network(&script);
        }
    }
}
