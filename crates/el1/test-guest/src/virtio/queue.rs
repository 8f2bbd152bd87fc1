//! The driver's side of one split virtqueue in spare RAM, with every field open to a test that wants to lie.
//! VIRTIO 1.2, 2.7.

use super::transport::Transport;
use crate::harness::spin_until;
use el1::Boot;
use el1::registers::dsb;
use el1::window::Window;

/// Descriptors of the queue.
pub const SIZE: u16 = 8;
/// Descriptor flags (2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Where the parts are in the window.
const DRIVER_AREA: usize = 0x1000;
const DEVICE_AREA: usize = 0x2000;
const DATA: usize = 0x4000;
const BYTES: usize = 0x2_4000;
/// Spare RAM that other tests leave alone.
const PLACE: usize = 16 << 20;
/// Longer than any device takes (microseconds).
const PATIENCE: u64 = 2_000_000;

/// Whether an offset in spare RAM is a queue's.
pub const fn holds(offset: usize) -> bool {
    offset >= PLACE && offset < PLACE + BYTES
}

/// A queue and a data buffer of 128 KiB.
pub struct Queue {
    window: Window,
    next: u16,
    seen: u16,
}

impl Queue {
    /// An empty queue; the memory is the same each time.
    pub fn new(boot: &'static Boot) -> Self {
        let window = boot.spare.part(PLACE, BYTES);
        for offset in (0..DATA).step_by(8) {
            window.write64(offset, 0);
        }
        Self { window, next: 0, seen: 0 }
    }

    /// Gives it to the device as queue `number`.
    pub fn attach(&mut self, transport: &Transport, number: u32) {
        let base = self.window.base() as u64;
        transport.set_queue(
            number,
            u32::from(SIZE),
            base,
            base + DRIVER_AREA as u64,
            base + DEVICE_AREA as u64,
        );
    }

    /// The data buffer.
    pub fn data(&self) -> Window {
        self.window.part(DATA, BYTES - DATA)
    }

    /// Writes descriptor `index`.
    pub fn describe(&self, index: usize, address: u64, bytes: u32, flags: u16, next: u16) {
        self.window.write64(index * 16, address);
        self.window.write32(index * 16 + 8, bytes);
        self.window.write16(index * 16 + 12, flags);
        self.window.write16(index * 16 + 14, next);
    }

    /// Makes the chain from `head` available and notifies.
    pub fn offer(&mut self, transport: &Transport, head: u16) {
        let place = usize::from(self.next % SIZE);
        self.window.write16(DRIVER_AREA + 4 + place * 2, head);
        self.next = self.next.wrapping_add(1);
        self.publish(transport, self.next);
    }

    /// Sets avail.idx to any value and notifies.
    pub fn publish(&self, transport: &Transport, index: u16) {
        dsb();
        self.window.write16(DRIVER_AREA + 2, index);
        dsb();
        transport.notify(0);
    }

    /// Makes all descriptors available that the device is done with, each a chain of its own, without a notice.
    pub fn refill(&mut self) {
        let end = self.used().wrapping_add(SIZE);
        while self.next != end {
            let place = usize::from(self.next % SIZE);
            self.window.write16(DRIVER_AREA + 4 + place * 2, place as u16);
            self.next = self.next.wrapping_add(1);
        }
        dsb();
        self.window.write16(DRIVER_AREA + 2, self.next);
    }

    /// One writable buffer at the start of the data.
    pub fn offer_writable(&mut self, transport: &Transport, bytes: u32) {
        self.describe(0, self.data().base() as u64, bytes, WRITE, 0);
        self.offer(transport, 0);
    }

    /// used.idx.
    pub fn used(&self) -> u16 {
        self.window.read16(DEVICE_AREA + 2)
    }

    /// Waits for the next used element: the bytes that the device says it wrote.
    pub fn wait(&mut self) -> Option<u32> {
        let seen = self.seen;
        if !spin_until(PATIENCE, || self.used() != seen) {
            return None;
        }
        dsb();
        self.seen = seen.wrapping_add(1);
        Some(self.window.read32(DEVICE_AREA + 4 + usize::from(seen % SIZE) * 8 + 4))
    }
}
