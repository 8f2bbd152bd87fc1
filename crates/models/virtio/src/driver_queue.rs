//! The driver's side of a split virtqueue: for host drivers of virtio devices, and the reference in this crate's tests.
//!
//! Called by: `drivers` (virtio-blk, virtio-net of the host). Calls: [`QueueMemory`].
//! Source: virtio 1.2, 2.7 "Split Virtqueues", from 2.7.13 "Supplying Buffers to The Device".
//! Invariants: the device's answers are input. The free list and the length of each chain lie outside the shared
//! memory, so a broken device can neither make the driver use a descriptor twice nor claim more bytes than it was given.
//! Concurrency: one owner (`&mut self`).

#[cfg(test)]
mod tests;

use core::num::Wrapping;
use specs::virtio::{Descriptor, queue};

/// The memory of one queue that driver and device share: `bytes(size)` bytes, 4 KiB aligned for the device.
///
/// Like `drivers::hardware::DmaBuffer` (rule `two-views`): what was written reaches the device with `to_device`, which
/// also orders it before every later access; what the device wrote is seen after `from_device`, which is ordered before
/// every later read. Loads and stores of two bytes, two-byte aligned, are single accesses.
pub trait QueueMemory {
    /// Where the device finds the first byte.
    fn address(&self) -> u64;
    /// Copies into the memory.
    fn write(&mut self, offset: usize, from: &[u8]);
    /// Copies out of the memory.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Shows a range to the device.
    fn to_device(&self, offset: usize, bytes: usize);
    /// Takes what the device wrote to a range.
    #[allow(clippy::wrong_self_convention, reason = "the name of the transfer")]
    fn from_device(&self, offset: usize, bytes: usize);
}

/// What the device may do with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

/// A buffer, or a piece of one, as the device sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First byte, an address of the device's.
    pub address: u64,
    /// Length in bytes, not 0.
    pub bytes: u32,
    /// What the device does with it. All that it reads come before all that it writes.
    pub access: Access,
}

/// Names a request in flight; below the queue's size, free again once it was popped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head(pub u16);

/// A request that the device has finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// Which.
    pub head: Head,
    /// Bytes that the device says to have written, cut to what it could write.
    pub written: u32,
}

/// Not enough free descriptors (or no segment at all): pop first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

/// The device named a request that is not in flight, or moved its index too far. Reset it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceFault;

/// What the driver remembers of a descriptor.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The next free one, or the next of the chain.
    next: u16,
    /// Descriptors of the chain in flight that starts here; 0: none does.
    count: u16,
    /// Bytes that the device may write to that chain.
    writable: u32,
}

/// The driver's side. `N` is the most descriptors that it can have; the size in use may be smaller.
pub struct DriverQueue<M, const N: usize> {
    memory: M,
    size: u16,
    event_index: bool,
    slots: [Slot; N],
    free: u16,
    free_count: u16,
    /// Next index of the available ring; what the device has been shown of it.
    next_available: Wrapping<u16>,
    shown_available: Wrapping<u16>,
    next_used: Wrapping<u16>,
}

/// Descriptor table and available ring are read by the device, the used ring is written by it: they share no cache line
/// (128 bytes are the longest line of a PE we know).
const LINE: usize = 128;

const fn available_offset(size: u16) -> usize {
    size as usize * 16
}

const fn used_offset(size: u16) -> usize {
    (available_offset(size) + 6 + size as usize * 2).next_multiple_of(LINE)
}

impl<M: QueueMemory, const N: usize> DriverQueue<M, N> {
    /// Bytes of memory for a queue of `size` descriptors, cache lines of its own included.
    pub const fn bytes(size: u16) -> usize {
        (used_offset(size) + 6 + size as usize * 8).next_multiple_of(LINE)
    }

    /// A queue of `size` descriptors, a power of two and at most `N`, in zeroed memory of [`Self::bytes`] bytes.
    /// `event_index`: whether EVENT_IDX was agreed.
    pub fn new(memory: M, size: u16, event_index: bool) -> Option<Self> {
        if !size.is_power_of_two() || size > queue::SIZE_MAX || usize::from(size) > N {
            return None;
        }
        let mut slots = [Slot::default(); N];
        for (slot, next) in slots.iter_mut().zip(1..) {
            slot.next = next;
        }
        Some(Self {
            memory,
            size,
            event_index,
            slots,
            free: 0,
            free_count: size,
            next_available: Wrapping(0),
            shown_available: Wrapping(0),
            next_used: Wrapping(0),
        })
    }

    /// Starts both indices elsewhere, so that a test need not run 65,536 requests to see them wrap.
    #[cfg(test)]
    pub(crate) fn start_at(&mut self, index: u16) {
        self.next_available = Wrapping(index);
        self.shown_available = Wrapping(index);
        self.next_used = Wrapping(index);
        for at in [self.available(2), self.used(2)] {
            self.memory.write(at, &index.to_le_bytes());
            self.memory.to_device(at, 2);
        }
    }

    /// Descriptors, for QueueNum.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Address of the descriptor table, for QueueDesc.
    pub fn descriptor_address(&self) -> u64 {
        self.memory.address()
    }

    /// Address of the available ring, for QueueDriver.
    pub fn driver_address(&self) -> u64 {
        self.memory.address().wrapping_add(available_offset(self.size) as u64)
    }

    /// Address of the used ring, for QueueDevice.
    pub fn device_address(&self) -> u64 {
        self.memory.address().wrapping_add(used_offset(self.size) as u64)
    }

    /// Descriptors that are free.
    pub const fn free_descriptors(&self) -> u16 {
        self.free_count
    }

    /// The head that the next request will have; `None` where there is no free descriptor.
    pub const fn next_head(&self) -> Option<Head> {
        if self.free_count == 0 { None } else { Some(Head(self.free)) }
    }

    /// Puts a request into the queue. The device sees it with the next [`Self::publish`].
    pub fn submit(&mut self, segments: &[Segment]) -> Result<Head, QueueFull> {
        let count = u16::try_from(segments.len()).map_err(|_| QueueFull)?;
        if count == 0 || count > self.free_count {
            return Err(QueueFull);
        }
        let head = self.free;
        let mut at = head;
        let mut writable = 0_u32;
        for (segment, left) in segments.iter().zip((0..count).rev()) {
            let next = self.slot(at).next;
            let mut flags = if left == 0 { 0 } else { queue::NEXT };
            if segment.access == Access::Write {
                flags |= queue::WRITE;
                writable = writable.saturating_add(segment.bytes);
            }
            let descriptor = Descriptor { addr: segment.address, len: segment.bytes, flags, next };
            let offset = usize::from(at).saturating_mul(16);
            self.memory.write(offset, &descriptor.to_bytes());
            self.memory.to_device(offset, 16);
            at = next;
        }
        self.free = at;
        self.free_count = self.free_count.saturating_sub(count);
        if let Some(slot) = self.slots.get_mut(usize::from(head)) {
            slot.count = count;
            slot.writable = writable;
        }
        let element =
            self.available(4).saturating_add(usize::from(self.mask(self.next_available)).saturating_mul(2));
        self.memory.write(element, &head.to_le_bytes());
        self.memory.to_device(element, 2);
        self.next_available += 1;
        Ok(Head(head))
    }

    /// Shows the device all that was submitted. `true`: it wants a notification (write the queue's index to
    /// QueueNotify).
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.shown_available, self.next_available);
        if old == new {
            return false;
        }
        let index = self.available(2);
        self.memory.write(index, &new.0.to_le_bytes());
        self.memory.to_device(index, 2);
        self.shown_available = new;
        if self.event_index {
            let event = self.load(self.used(4).saturating_add(usize::from(self.size).saturating_mul(8)));
            return crosses(event, old, new);
        }
        self.load(self.used(0)).0 & queue::NO_NOTIFY == 0
    }

    /// Takes the next finished request; its descriptors are free again.
    pub fn pop_used(&mut self) -> Result<Option<Used>, DeviceFault> {
        let index = self.load(self.used(2));
        let waiting = (index - self.next_used).0;
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size {
            return Err(DeviceFault);
        }
        let element = self.used(4).saturating_add(usize::from(self.mask(self.next_used)).saturating_mul(8));
        self.memory.from_device(element, 8);
        let mut raw = [0; 8];
        self.memory.read(element, &mut raw);
        let [i0, i1, i2, i3, l0, l1, l2, l3] = raw;
        let head = u16::try_from(u32::from_le_bytes([i0, i1, i2, i3])).map_err(|_| DeviceFault)?;
        let writable = self.release(head).ok_or(DeviceFault)?;
        self.next_used += 1;
        Ok(Some(Used { head: Head(head), written: u32::from_le_bytes([l0, l1, l2, l3]).min(writable) }))
    }

    /// Asks for an interrupt with the next finished request. `true`: one has finished meanwhile, pop first.
    pub fn arm(&mut self) -> bool {
        let (at, value) = self.suppression(self.next_used.0, 0);
        self.memory.write(at, &value.to_le_bytes());
        self.memory.to_device(at, 2);
        self.load(self.used(2)) != self.next_used
    }

    /// Asks for no interrupts until the next [`Self::arm`]. A hint.
    pub fn disarm(&mut self) {
        let (at, value) = self.suppression((self.next_used - Wrapping(1)).0, queue::NO_INTERRUPT);
        self.memory.write(at, &value.to_le_bytes());
        self.memory.to_device(at, 2);
    }

    /// Where and what to write: `event` to `used_event`, or `flags` to the available ring's flags.
    fn suppression(&self, event: u16, flags: u16) -> (usize, u16) {
        if self.event_index {
            (self.available(4).saturating_add(usize::from(self.size).saturating_mul(2)), event)
        } else {
            (self.available(0), flags)
        }
    }

    /// Puts the chain in flight at `head` back to the free list; the bytes that the device could write to it.
    fn release(&mut self, head: u16) -> Option<u32> {
        let first = self.slots.get_mut(usize::from(head)).filter(|slot| slot.count != 0)?;
        let count = core::mem::take(&mut first.count);
        let writable = first.writable;
        let mut last = head;
        for _ in 1..count {
            last = self.slot(last).next;
        }
        let free = self.free;
        self.slots.get_mut(usize::from(last))?.next = free;
        self.free = head;
        self.free_count = self.free_count.saturating_add(count);
        Some(writable)
    }

    fn slot(&self, at: u16) -> Slot {
        self.slots.get(usize::from(at)).copied().unwrap_or_default()
    }

    fn mask(&self, index: Wrapping<u16>) -> u16 {
        index.0 & self.size.wrapping_sub(1)
    }

    fn available(&self, offset: usize) -> usize {
        available_offset(self.size).saturating_add(offset)
    }

    fn used(&self, offset: usize) -> usize {
        used_offset(self.size).saturating_add(offset)
    }

    fn load(&self, offset: usize) -> Wrapping<u16> {
        self.memory.from_device(offset, 2);
        let mut raw = [0; 2];
        self.memory.read(offset, &mut raw);
        Wrapping(u16::from_le_bytes(raw))
    }
}

/// Whether an index that moved from `old` to `new` passed `event`: virtio 1.2, 2.7.7.2 and 2.7.10.1, the same formula
/// in both directions.
pub(crate) fn crosses(event: Wrapping<u16>, old: Wrapping<u16>, new: Wrapping<u16>) -> bool {
    (new - event - Wrapping(1)).0 < (new - old).0
}
