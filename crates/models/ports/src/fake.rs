//! Fakes of the ports for host tests, Miri and fuzzing.

use crate::{BadAddress, ByteSink, Clock, Entropy, GuestMemory, InterruptLine, Span, Unseeded};
use core::cell::{Cell, RefCell};
use specs::{Ipa, IpaRange, Pa};
use std::vec::Vec;

/// Guest RAM in a vector. Its spans name PA = IPA + [`FakeMemory::PA_OFFSET`].
pub struct FakeMemory {
    base: Ipa,
    bytes: RefCell<Vec<u8>>,
    hostile: Cell<Option<u64>>,
    /// Bytes that were written to the cached view only.
    pub cached_bytes: Cell<usize>,
}

impl FakeMemory {
    /// Added to an IPA to make the fake's PA, so that a model which mixes the two fails.
    pub const PA_OFFSET: u64 = 0x10_0000_0000;

    /// `bytes` bytes of zeroed RAM at `base`.
    pub fn new(base: Ipa, bytes: usize) -> Self {
        let (hostile, cached_bytes) = (Cell::new(None), Cell::new(0));
        Self { base, bytes: RefCell::new(std::vec![0; bytes]), hostile, cached_bytes }
    }

    /// Makes the guest change bytes between the model's reads (rule `copy-once`): each read is followed by a
    /// pseudo-random change of the bytes just read.
    pub fn make_hostile(&self, seed: u64) {
        self.hostile.set(Some(seed | 1));
    }

    fn range(&self, at: Ipa, len: usize) -> Result<core::ops::Range<usize>, BadAddress> {
        let total = self.bytes.borrow().len();
        let start = at.offset_from(self.base).ok_or(BadAddress(at))?;
        let start = usize::try_from(start).map_err(|_| BadAddress(at))?;
        let end = start.checked_add(len).filter(|end| *end <= total).ok_or(BadAddress(at))?;
        Ok(start..end)
    }

    fn disturb(&self, range: core::ops::Range<usize>) {
        let Some(mut state) = self.hostile.get() else { return };
        let mut bytes = self.bytes.borrow_mut();
        for byte in bytes.get_mut(range).into_iter().flatten() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state.is_multiple_of(3) {
                *byte = state.to_le_bytes()[1];
            }
        }
        self.hostile.set(Some(state));
    }

    fn span_to_ipa(span: Span) -> Ipa {
        Ipa(span.start.0.wrapping_sub(Self::PA_OFFSET))
    }
}

impl GuestMemory for FakeMemory {
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
        let range = self.range(at, into.len())?;
        if let Some(from) = self.bytes.borrow().get(range.clone()) {
            into.copy_from_slice(from);
        }
        self.disturb(range);
        Ok(())
    }

    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.cached_bytes.set(self.cached_bytes.get().saturating_add(from.len()));
        self.write_through(at, from)
    }

    fn write_through(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        let range = self.range(at, from.len())?;
        if let Some(into) = self.bytes.borrow_mut().get_mut(range) {
            into.copy_from_slice(from);
        }
        Ok(())
    }

    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        if !at.is_aligned(2) {
            return Err(BadAddress(at));
        }
        let mut raw = [0; 2];
        self.read(at, &mut raw)?;
        Ok(u16::from_le_bytes(raw))
    }

    fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress> {
        if !at.is_aligned(2) {
            return Err(BadAddress(at));
        }
        self.write(at, &value.to_le_bytes())
    }

    fn full_fence(&self) {}

    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        if range.bytes() == 0 {
            return Err(BadAddress(range.start()));
        }
        // Runs end at 4 KiB, so that models meet scattered memory.
        let to_page_end = 0x1000 - (range.start().0 & 0xfff);
        let bytes = u32::try_from(range.bytes().min(to_page_end)).unwrap_or(0x1000);
        self.range(range.start(), bytes as usize)?;
        Ok(Span { start: Pa(range.start().0.wrapping_add(Self::PA_OFFSET)), bytes })
    }

    fn copy_span(&self, into: Span, from: Span) {
        let mut buffer = std::vec![0; into.bytes.min(from.bytes) as usize];
        self.read_span(from, &mut buffer);
        self.write_span(into, &buffer);
    }

    fn read_span(&self, from: Span, into: &mut [u8]) {
        let len = into.len().min(from.bytes as usize);
        let (head, _) = into.split_at_mut(len);
        self.read(Self::span_to_ipa(from), head).expect("a span that no resolve gave");
    }

    fn write_span(&self, into: Span, from: &[u8]) {
        let len = from.len().min(into.bytes as usize);
        let (head, _) = from.split_at(len);
        self.write(Self::span_to_ipa(into), head).expect("a span that no resolve gave");
    }
}

/// A line that remembers its level and counts rising edges.
#[derive(Default)]
pub struct FakeLine {
    /// Driven high now.
    pub high: Cell<bool>,
    /// Changes from low to high.
    pub edges: Cell<u32>,
}

impl InterruptLine for FakeLine {
    fn raise(&self) {
        if !self.high.replace(true) {
            self.edges.set(self.edges.get().saturating_add(1));
        }
    }

    fn lower(&self) {
        self.high.set(false);
    }
}

/// A clock that tests set.
#[derive(Default)]
pub struct FakeClock {
    /// Ticks now; 1 GHz.
    pub ticks: Cell<u64>,
    /// Wall time now.
    pub unix_seconds: Cell<u64>,
}

impl Clock for FakeClock {
    fn now_ticks(&self) -> u64 {
        self.ticks.get()
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }

    fn unix_seconds(&self) -> u64 {
        self.unix_seconds.get()
    }
}

/// Counts up from a seed, or is unseeded.
pub struct FakeEntropy(pub Cell<Option<u8>>);

impl Entropy for FakeEntropy {
    fn fill(&self, into: &mut [u8]) -> Result<(), Unseeded> {
        let mut next = self.0.get().ok_or(Unseeded)?;
        for byte in into {
            *byte = next;
            next = next.wrapping_add(1);
        }
        self.0.set(Some(next));
        Ok(())
    }
}

/// Keeps all bytes.
#[derive(Default)]
pub struct FakeSink(pub RefCell<Vec<u8>>);

impl ByteSink for FakeSink {
    fn put(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend_from_slice(bytes);
    }
}
