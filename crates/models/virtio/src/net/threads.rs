//! Two PEs at once: each guest sends to the other while it takes interrupts. No deadlock, no lost frame, no lost
//! interrupt; Miri looks for data races.

use super::*;
use crate::driver_queue::{Access, DriverQueue, QueueMemory, Segment};
use ports::{BadAddress, Delivered, Span, Width};
use specs::virtio::{feature, mmio, status};
use specs::{Ipa, IpaRange, Pa};
use std::sync::{Arc, Barrier, OnceLock, Weak};
use std::thread;
use std::vec::Vec;

const RAM_BYTES: usize = 1 << 17;

/// The RAM of both guests; the lock stands for the hardware's ordering.
struct Ram(std::sync::Mutex<Vec<u8>>);

impl Ram {
    fn get(&self, at: u64, into: &mut [u8]) {
        let at = usize::try_from(at).unwrap();
        into.copy_from_slice(&self.0.lock().unwrap()[at..at + into.len()]);
    }

    fn put(&self, at: u64, from: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.0.lock().unwrap()[at..at + from.len()].copy_from_slice(from);
    }
}

impl GuestMemory for Ram {
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
        self.get(at.0, into);
        Ok(())
    }
    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.put(at.0, from);
        Ok(())
    }
    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        let mut raw = [0; 2];
        self.get(at.0, &mut raw);
        Ok(u16::from_le_bytes(raw))
    }
    fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress> {
        self.put(at.0, &value.to_le_bytes());
        Ok(())
    }
    fn full_fence(&self) {}
    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        Ok(Span { start: Pa(range.start().0), bytes: u32::try_from(range.bytes()).unwrap() })
    }
    fn copy_span(&self, into: Span, from: Span) {
        let mut bytes = std::vec![0; from.bytes.min(into.bytes) as usize];
        self.get(from.start.0, &mut bytes);
        self.put(into.start.0, &bytes);
    }
    fn read_span(&self, from: Span, into: &mut [u8]) {
        let len = into.len().min(from.bytes as usize);
        self.get(from.start.0, &mut into[..len]);
    }
    fn write_span(&self, into: Span, from: &[u8]) {
        self.put(into.start.0, &from[..from.len().min(into.bytes as usize)]);
    }
}

#[derive(Clone)]
struct Wire(Arc<AtomicBool>);

impl InterruptLine for Wire {
    fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    fn lower(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The way to the other guest.
struct Far(Arc<OnceLock<Weak<Card>>>);
type Card = VirtioMmio<Net<Far>, Arc<Ram>, Wire>;

impl FrameSink for Far {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        self.0.get().and_then(Weak::upgrade).map_or(Delivered::Refused, |card| card.deliver(frame))
    }
}

struct Rings(Arc<Ram>, u64);

impl QueueMemory for Rings {
    fn address(&self) -> u64 {
        self.1
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.0.put(self.1 + offset as u64, from);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.0.get(self.1 + offset as u64, into);
    }
    fn to_device(&self, _offset: usize, _bytes: usize) {}
    fn from_device(&self, _offset: usize, _bytes: usize) {}
}

type Queue = DriverQueue<Rings, 16>;

fn write(card: &Card, offset: u64, value: u64) {
    while card.write(offset, Width::W32, value) == Progress::More {}
}

fn queue(card: &Card, ram: &Arc<Ram>, index: u64, at: u64) -> Queue {
    let queue = Queue::new(Rings(ram.clone(), at), 16, true).unwrap();
    write(card, mmio::QUEUE_SEL, index);
    write(card, mmio::QUEUE_NUM, 16);
    write(card, mmio::QUEUE_DESC_LOW, queue.descriptor_address());
    write(card, mmio::QUEUE_DRIVER_LOW, queue.driver_address());
    write(card, mmio::QUEUE_DEVICE_LOW, queue.device_address());
    write(card, mmio::QUEUE_READY, 1);
    queue
}

fn up(card: &Card, ram: &Arc<Ram>, at: u64) -> (Queue, Queue) {
    let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    for (select, half) in [(0, feature::EVENT_IDX), (1, 1)] {
        write(card, mmio::DRIVER_FEATURES_SEL, select);
        write(card, mmio::DRIVER_FEATURES, half);
    }
    write(card, mmio::STATUS, agreed.into());
    let queues = (queue(card, ram, 0, at), queue(card, ram, 1, at + 0x1000));
    write(card, mmio::STATUS, u64::from(agreed | status::DRIVER_OK));
    queues
}

/// A guest's vCPU: sends `count` frames, takes what comes, sleeps only while its line is low. Frames received.
fn run(card: &Card, wire: &Wire, queues: (Queue, Queue), at: u64, count: u32) -> u32 {
    let (mut receive, mut transmit) = queues;
    let buffer = |place: u64, bytes, access| Segment { address: at + 0x2000 + place * 128, bytes, access };
    for place in 0..16 {
        receive.submit(&[buffer(place, 128, Access::Write)]).unwrap();
    }
    receive.publish();
    let (mut sent, mut received) = (0, 0);
    while sent != count {
        if transmit.submit(&[buffer(20, 76, Access::Read)]).is_ok() && transmit.publish() {
            write(card, mmio::QUEUE_NOTIFY, 1);
        }
        while transmit.pop_used().unwrap().is_some() {
            sent += 1;
        }
        if wire.0.load(Ordering::SeqCst) {
            let status = card.read(mmio::INTERRUPT_STATUS, Width::W32);
            write(card, mmio::INTERRUPT_ACK, status);
        }
        while let Some(used) = receive.pop_used().unwrap() {
            assert_eq!(used.written, 76);
            received += 1;
            receive.submit(&[buffer(used.head.0.into(), 128, Access::Write)]).unwrap();
            receive.publish();
        }
        receive.arm();
    }
    received
}

#[test]
fn both_directions_at_once() {
    let ram = Arc::new(Ram(std::sync::Mutex::new(std::vec![0; RAM_BYTES])));
    let ends = [0, 1].map(|_| Arc::new(OnceLock::new()));
    let wires = [0, 1].map(|_| Wire(Arc::new(AtomicBool::new(false))));
    let cards = [0, 1].map(|n| {
        let net = Net::new([2, 0, 0, 0, 0, 1], 1500, Far(ends[1 - n].clone()));
        Arc::new(VirtioMmio::new(net, ram.clone(), wires[n].clone()))
    });
    for (end, card) in ends.iter().zip(&cards) {
        assert!(end.set(Arc::downgrade(card)).is_ok());
    }
    let count = if cfg!(miri) { 20 } else { 3000 };
    let start = Arc::new(Barrier::new(2));
    let threads = [0, 1].map(|n| {
        let (ram, card, wire, start) = (ram.clone(), cards[n].clone(), wires[n].clone(), start.clone());
        thread::spawn(move || {
            let at = 0x1000 + n as u64 * 0x8000;
            let queues = up(&card, &ram, at);
            start.wait();
            run(&card, &wire, queues, at, count)
        })
    });
    let received = threads.map(|thread| u64::from(thread.join().unwrap()));
    for (n, card) in cards.iter().enumerate() {
        let sent = card.device().transmit_counters();
        let got = cards[1 - n].device().receive_counters();
        assert_eq!(sent.frames + sent.dropped, u64::from(count));
        assert_eq!((sent.frames, sent.malformed), (got.frames, 0));
        assert!(received[1 - n] <= got.frames);
        assert_eq!(card.link().faults(), 0);
    }
    // The line says what the status says, whoever drove it last.
    for (card, wire) in cards.iter().zip(&wires) {
        let status = card.read(mmio::INTERRUPT_STATUS, Width::W32);
        assert_eq!(wire.0.load(Ordering::SeqCst), status != 0);
    }
}
