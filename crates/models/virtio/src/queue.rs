//! The device's side of a split virtqueue.
//!
//! Called by: the devices, under the lock of the half that owns the queue. Calls: `GuestMemory`, [`Chain`].
//! Source: virtio 1.2, 2.7 "Split Virtqueues".
//! Invariants: all that comes from the guest is checked once and used from the copy (rule `copy-once`); any breach is a
//! [`QueueFault`], after which the queue must not be used until the device was reset. A walk ends after a bounded
//! number of descriptors, whatever they say.
//! Concurrency: one owner (`&mut self`); ordering towards the guest's PEs by `load_acquire` and `store_release` on the
//! indices, and a full fence between publishing an index and reading the other side's event index.

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;

use crate::chain::Chain;
use crate::driver_queue::crosses;
use core::num::Wrapping;
use ports::{BadAddress, GuestMemory};
use specs::virtio::{Descriptor, feature, queue};
use specs::{Ipa, IpaRange};

/// How a guest broke the rules of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueFault {
    /// A size that is no power of two or above the maximum.
    Size,
    /// A part of the queue is misaligned or passes the end of the address space.
    Placement,
    /// An address outside the RAM.
    BadAddress,
    /// The available index moved by more than the queue's size.
    AvailableIndex,
    /// A descriptor's index outside its table.
    DescriptorIndex,
    /// A chain that loops, or is longer than any legal one.
    TooLong,
    /// An indirect descriptor without the feature, inside an indirect table, or with NEXT.
    Indirect,
    /// An indirect table whose length is no multiple of 16, or 0.
    IndirectLength,
    /// A buffer of no bytes.
    EmptyBuffer,
    /// A buffer for the device to read behind one for it to write.
    ReadableAfterWritable,
    /// A head that is in flight already.
    HeadInFlight,
    /// No place for the answer that the device type demands.
    NoAnswerBuffer,
}

impl From<BadAddress> for QueueFault {
    fn from(_: BadAddress) -> Self {
        Self::BadAddress
    }
}

/// Where a queue lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// Number of descriptors.
    pub size: u16,
    /// The descriptor table.
    pub descriptors: Ipa,
    /// The available ring ("driver area").
    pub available: Ipa,
    /// The used ring ("device area").
    pub used: Ipa,
}

/// More than any legal chain: an indirect table may be longer than the queue with Linux' drivers, but they stay below
/// what the devices offer (`seg_max` and 19 fragments of a frame).
const INDIRECT_STEPS: u16 = 256;

/// The device's side of one queue.
pub struct Queue {
    at: Placement,
    indirect: bool,
    event_index: bool,
    next_available: Wrapping<u16>,
    /// The guest's index when it was last read.
    seen_available: Wrapping<u16>,
    next_used: Wrapping<u16>,
    /// The index that the guest has been shown.
    shown_used: Wrapping<u16>,
}

impl Queue {
    /// A queue at its beginning. `features`: those agreed; `size_max`: the most descriptors that the device takes.
    pub fn new(at: Placement, size_max: u16, features: u64) -> Result<Self, QueueFault> {
        if !at.size.is_power_of_two() || at.size > size_max {
            return Err(QueueFault::Size);
        }
        let size = u64::from(at.size);
        let parts = [
            (at.descriptors, queue::DESCRIPTOR_ALIGN, size.saturating_mul(queue::DESCRIPTOR_BYTES)),
            (at.available, queue::AVAILABLE_ALIGN, size.saturating_mul(2).saturating_add(6)),
            (at.used, queue::USED_ALIGN, size.saturating_mul(queue::USED_BYTES).saturating_add(6)),
        ];
        for (start, alignment, bytes) in parts {
            if !start.is_aligned(alignment) || IpaRange::new(start, bytes).is_none() {
                return Err(QueueFault::Placement);
            }
        }
        Ok(Self {
            at,
            indirect: features & feature::INDIRECT_DESC != 0,
            event_index: features & feature::EVENT_IDX != 0,
            next_available: Wrapping(0),
            seen_available: Wrapping(0),
            next_used: Wrapping(0),
            shown_used: Wrapping(0),
        })
    }

    /// Number of descriptors.
    pub const fn size(&self) -> u16 {
        self.at.size
    }

    /// Takes the next chain into `chain`; `false` where there is none.
    pub fn pop<M: GuestMemory, const N: usize>(
        &mut self,
        memory: &M,
        chain: &mut Chain<N>,
    ) -> Result<bool, QueueFault> {
        if self.next_available == self.seen_available && !self.look(memory)? {
            return Ok(false);
        }
        let mut raw = [0; 2];
        memory.read(self.element(self.at.available, self.next_available, 2)?, &mut raw)?;
        let head = u16::from_le_bytes(raw);
        chain.restart(head);
        self.walk(memory, chain)?;
        self.next_available += 1;
        Ok(true)
    }

    /// Gives back the last `count` chains that were popped: the next [`Self::pop`] takes them again.
    pub fn unpop(&mut self, count: u16) {
        self.next_available -= count;
    }

    /// Asks the guest for a notification with its next chain. `true`: there is one already, pop first.
    pub fn arm<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, QueueFault> {
        if self.event_index {
            let avail_event = self.after_elements(self.at.used, queue::USED_BYTES)?;
            memory.store_release(avail_event, self.next_available.0)?;
            memory.full_fence();
        }
        self.look(memory)
    }

    /// Writes an element of the used ring. The guest sees it with the next [`Self::publish`].
    pub fn push_used<M: GuestMemory>(
        &mut self,
        memory: &M,
        head: u16,
        written: u32,
    ) -> Result<(), QueueFault> {
        let element = u64::from(written) << 32 | u64::from(head);
        memory
            .write(self.element(self.at.used, self.next_used, queue::USED_BYTES)?, &element.to_le_bytes())?;
        self.next_used += 1;
        Ok(())
    }

    /// Takes back the last `count` elements that were pushed and not published.
    pub fn unpush_used(&mut self, count: u16) {
        self.next_used -= count;
    }

    /// Shows the guest all that was pushed. `true`: it wants an interrupt.
    pub fn publish<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, QueueFault> {
        let (old, new) = (self.shown_used, self.next_used);
        if old == new {
            return Ok(false);
        }
        memory.store_release(offset(self.at.used, queue::RING_INDEX)?, new.0)?;
        self.shown_used = new;
        memory.full_fence();
        if self.event_index {
            let used_event = memory.load_acquire(self.after_elements(self.at.available, 2)?)?;
            return Ok(crosses(Wrapping(used_event), old, new));
        }
        let flags = memory.load_acquire(offset(self.at.available, queue::RING_FLAGS)?)?;
        Ok(flags & queue::NO_INTERRUPT == 0)
    }

    /// Reads the guest's index; whether there is a chain.
    fn look<M: GuestMemory>(&mut self, memory: &M) -> Result<bool, QueueFault> {
        let index = Wrapping(memory.load_acquire(offset(self.at.available, queue::RING_INDEX)?)?);
        let waiting = (index - self.next_available).0;
        if waiting > self.at.size {
            return Err(QueueFault::AvailableIndex);
        }
        self.seen_available = index;
        Ok(waiting != 0)
    }

    /// Follows the chain from its head: direct descriptors, then perhaps one indirect table.
    fn walk<M: GuestMemory, const N: usize>(
        &self,
        memory: &M,
        chain: &mut Chain<N>,
    ) -> Result<(), QueueFault> {
        let mut table = Table::new(self.at.descriptors, self.at.size);
        let mut index = chain.head();
        let mut left = self.at.size;
        let mut inside = false;
        loop {
            left = left.checked_sub(1).ok_or(QueueFault::TooLong)?;
            let descriptor = table.fetch(memory, index)?;
            let range =
                IpaRange::new(Ipa(descriptor.addr), descriptor.len.into()).ok_or(QueueFault::BadAddress)?;
            if descriptor.flags & queue::INDIRECT != 0 {
                if inside || !self.indirect || descriptor.flags & queue::NEXT != 0 {
                    return Err(QueueFault::Indirect);
                }
                table = Table::indirect(range)?;
                (inside, index, left) = (true, 0, INDIRECT_STEPS);
                continue;
            }
            chain.push(memory, range, descriptor.flags & queue::WRITE != 0)?;
            if descriptor.flags & queue::NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
    }

    fn element(&self, ring: Ipa, index: Wrapping<u16>, bytes: u64) -> Result<Ipa, QueueFault> {
        let place = u64::from(index.0 & self.at.size.wrapping_sub(1));
        offset(ring, queue::RING_ELEMENTS.wrapping_add(place.wrapping_mul(bytes)))
    }

    fn after_elements(&self, ring: Ipa, bytes: u64) -> Result<Ipa, QueueFault> {
        offset(ring, queue::RING_ELEMENTS.wrapping_add(u64::from(self.at.size).wrapping_mul(bytes)))
    }
}

#[inline]
fn offset(ring: Ipa, bytes: u64) -> Result<Ipa, QueueFault> {
    ring.checked_add(bytes).ok_or(QueueFault::Placement)
}

/// Descriptors copied per read: chains mostly lie in one piece, and a read costs more than its bytes.
const WINDOW: u16 = 4;

/// A descriptor table, through a window of a few descriptors that were copied at once.
struct Table {
    start: Ipa,
    count: u16,
    window: [u8; WINDOW as usize * 16],
    /// First descriptor in the window; the window is empty while this is `count` or more.
    first: u16,
    filled: u16,
}

impl Table {
    const fn new(start: Ipa, count: u16) -> Self {
        Self { start, count, window: [0; WINDOW as usize * 16], first: 0, filled: 0 }
    }

    fn indirect(range: IpaRange) -> Result<Self, QueueFault> {
        let bytes = range.bytes();
        if bytes == 0 || !bytes.is_multiple_of(queue::DESCRIPTOR_BYTES) {
            return Err(QueueFault::IndirectLength);
        }
        let count = u16::try_from(bytes / queue::DESCRIPTOR_BYTES).map_err(|_| QueueFault::IndirectLength)?;
        Ok(Self::new(range.start(), count))
    }

    fn fetch<M: GuestMemory>(&mut self, memory: &M, index: u16) -> Result<Descriptor, QueueFault> {
        let left =
            self.count.checked_sub(index).filter(|left| *left != 0).ok_or(QueueFault::DescriptorIndex)?;
        let mut place = index.wrapping_sub(self.first);
        if place >= self.filled {
            let filled = left.min(WINDOW);
            let at = offset(self.start, u64::from(index).wrapping_mul(queue::DESCRIPTOR_BYTES))?;
            let into = self.window.get_mut(..usize::from(filled).wrapping_mul(16)).unwrap_or_default();
            memory.read(at, into)?;
            (self.first, self.filled, place) = (index, filled, 0);
        }
        let (descriptors, _) = self.window.as_chunks::<16>();
        descriptors
            .get(usize::from(place))
            .map(|raw| Descriptor::from_bytes(*raw))
            .ok_or(QueueFault::DescriptorIndex)
    }
}
