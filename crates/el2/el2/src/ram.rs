//! Guards: guests' RAM, and the boot archive in memory.
//!
//! No Rust reference points into either: bytes are copied in and out through the one-to-one mapping.
//! Called by the device models through [`GuestMemory`], and by `vmkernel` when a guest touches RAM.

use crate::cache;
use crate::copy::copy;
use crate::memory::{self, BLOCK_BYTES, Block, Reservation};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering, fence};
use drivers::board::PaRange;
use drivers::guest_load::{self, LoadTarget};
use ports::{BadAddress, GuestMemory, Span};
use specs::{Ipa, IpaRange, Pa};
use spin::{Mutex, Once};

/// Cleaned at a time: about 16,000 instructions; a divisor of a block.
const CLEANED_BYTES: u64 = 512 << 10;

/// RAM of one VM, in blocks of 2 MiB that are taken on first touch.
#[derive(Debug)]
pub struct GuestRam {
    range: IpaRange,
    /// Where each block is; 0: never touched.
    blocks: Vec<AtomicU64>,
    owned: Mutex<Owned>,
}

#[derive(Debug)]
struct Owned {
    reservation: Reservation,
    blocks: Vec<Block>,
}

impl GuestRam {
    /// Reserves RAM for `range`, or says what is free.
    pub fn reserve(range: IpaRange) -> Result<Self, memory::Free> {
        Self::reserve_part(range, range.bytes())
    }

    /// As [`GuestRam::reserve`], for the first touches of `bytes` bytes only: what is touched later is not there.
    pub fn reserve_part(range: IpaRange, bytes: u64) -> Result<Self, memory::Free> {
        let reservation = Reservation::new(bytes)?;
        let count = range.bytes().div_ceil(BLOCK_BYTES) as usize;
        let mut blocks = Vec::with_capacity(count);
        blocks.resize_with(count, AtomicU64::default);
        Ok(Self {
            range,
            blocks,
            owned: Mutex::new(Owned { reservation, blocks: Vec::with_capacity(count) }),
        })
    }

    /// Its range.
    pub fn range(&self) -> IpaRange {
        self.range
    }

    /// Whether all of `bytes` bytes at `at` were touched: an access to them takes no memory.
    pub fn holds(&self, at: Ipa, bytes: u64) -> bool {
        let Some(offset) = self.range.offset_of(at) else { return false };
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= self.range.bytes()) else {
            return false;
        };
        let (first, last) = (offset / BLOCK_BYTES, end.saturating_sub(1) / BLOCK_BYTES);
        (first..=last).all(|index| {
            self.blocks.get(index as usize).is_some_and(|slot| slot.load(Ordering::Acquire) != 0)
        })
    }

    /// Bytes that were touched.
    pub fn touched_bytes(&self) -> u64 {
        self.owned.lock().blocks.len() as u64 * BLOCK_BYTES
    }

    /// The block of an address, taken if this is the first touch: (its IPA, its PA).
    #[inline]
    pub fn touch(&self, at: Ipa) -> Option<(Ipa, Pa)> {
        let index = (self.range.offset_of(at)? / BLOCK_BYTES) as usize;
        let slot = self.blocks.get(index)?;
        let mut pa = slot.load(Ordering::Acquire);
        if pa == 0 {
            pa = self.take(slot)?;
        }
        Some((Ipa(at.0 & !(BLOCK_BYTES - 1)), Pa(pa)))
    }

    fn take(&self, slot: &AtomicU64) -> Option<u64> {
        let mut owned = self.owned.lock();
        let pa = slot.load(Ordering::Acquire);
        if pa != 0 {
            return Some(pa);
        }
        let block = owned.reservation.take()?;
        let pa = block.start().0;
        owned.blocks.push(block);
        slot.store(pa, Ordering::Release);
        Some(pa)
    }

    /// Gives every block back and reserves them again: the RAM reads as zero afterwards. No stage-2 entry may map it.
    pub fn clear(&self) {
        let mut owned = self.owned.lock();
        for slot in &self.blocks {
            slot.store(0, Ordering::Release);
        }
        let count = owned.blocks.len();
        owned.blocks.clear();
        owned.reservation.put_back(count);
    }

    /// Loads what the guest starts from: see [`drivers::guest_load`].
    pub fn load_image(&self, at: Ipa, from: Span) -> Result<(), BadAddress> {
        guest_load::load_image(self, at, from)
    }

    /// As [`GuestRam::load_image`], from EL2's own memory.
    pub fn load_bytes(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        guest_load::load_bytes(self, at, from)
    }

    /// Cleans and invalidates a part of the RAM that was touched, the first from offset `at` on: the answer to a guest's
    /// set/way operations. Where to go on; `None` at the end.
    pub fn clean_and_invalidate(&self, at: u64) -> Option<u64> {
        let mut at = at;
        loop {
            let pa = self.blocks.get((at / BLOCK_BYTES) as usize)?.load(Ordering::Acquire);
            if pa != 0 {
                cache::clean_and_invalidate_to_poc((pa + at % BLOCK_BYTES) as usize, CLEANED_BYTES as usize);
                return Some(at + CLEANED_BYTES);
            }
            at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
        }
    }

    #[inline]
    fn resolve_at(&self, at: Ipa, bytes: u64) -> Result<Span, BadAddress> {
        let bad = BadAddress(at);
        let left = self.range.bytes() - self.range.offset_of(at).ok_or(bad)?;
        let (block, pa) = self.touch(at).ok_or(bad)?;
        let offset = at.0 - block.0;
        let bytes = bytes.min(left).min(BLOCK_BYTES - offset);
        if bytes == 0 {
            return Err(bad);
        }
        Ok(Span { start: Pa(pa.0 + offset), bytes: bytes as u32 })
    }

    /// Writes piece by piece, as the RAM lies, and tells of each.
    #[inline(always)]
    fn write_pieces(&self, at: Ipa, from: &[u8], then: impl Fn(Span)) -> Result<(), BadAddress> {
        let mut done = 0;
        while done < from.len() {
            let span = self.resolve_at(Ipa(at.0.wrapping_add(done as u64)), (from.len() - done) as u64)?;
            let part = &from[done..done + span.bytes as usize];
            // SAFETY: the span is in a block of this VM's, mapped; `part` is as long.
            unsafe { copy(span.start.0 as *mut u8, part.as_ptr(), part.len()) };
            then(span);
            done += span.bytes as usize;
        }
        Ok(())
    }

    fn atomic(&self, at: Ipa) -> Result<*const AtomicU16, BadAddress> {
        if !at.is_aligned(2) {
            return Err(BadAddress(at));
        }
        Ok(self.resolve_at(at, 2)?.start.0 as *const AtomicU16)
    }
}

impl LoadTarget for GuestRam {
    fn place(&self, at: Ipa, bytes: u64) -> Result<Span, BadAddress> {
        self.resolve_at(at, bytes)
    }

    fn copy(&self, into: Span, from: Span) {
        copy_between(into, from);
    }

    fn put(&self, into: Span, from: &[u8]) {
        write_span(into, from);
    }

    /// And invalidates: what a guest writes with its caches off no line of ours is to hide.
    fn clean_to_poc(&self, span: Span) {
        cache::clean_and_invalidate_to_poc(span.start.0 as usize, span.bytes as usize);
    }

    fn sync_code(&self, span: Span) {
        cache::sync_code(span.start.0 as usize, span.bytes as usize);
    }
}

impl GuestMemory for GuestRam {
    fn read(&self, at: Ipa, into: &mut [u8]) -> Result<(), BadAddress> {
        let mut done = 0;
        while done < into.len() {
            let span = self.resolve_at(Ipa(at.0.wrapping_add(done as u64)), (into.len() - done) as u64)?;
            let part = &mut into[done..done + span.bytes as usize];
            // SAFETY: the span is in a block of this VM's, mapped; `part` is as long.
            unsafe { copy(part.as_mut_ptr(), span.start.0 as *const u8, part.len()) };
            done += span.bytes as usize;
        }
        Ok(())
    }

    fn write(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.write_pieces(at, from, |_| {})
    }

    fn write_through(&self, at: Ipa, from: &[u8]) -> Result<(), BadAddress> {
        self.write_pieces(at, from, |written| LoadTarget::clean_to_poc(self, written))
    }

    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        // SAFETY: `atomic` gives an aligned address in a block of this VM's.
        Ok(unsafe { &*self.atomic(at)? }.load(Ordering::Acquire))
    }

    fn store_release(&self, at: Ipa, value: u16) -> Result<(), BadAddress> {
        // SAFETY: as in `load_acquire`.
        unsafe { &*self.atomic(at)? }.store(value, Ordering::Release);
        Ok(())
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        self.resolve_at(range.start(), range.bytes())
    }

    fn copy_span(&self, into: Span, from: Span) {
        copy_between(into, from);
    }

    fn read_span(&self, from: Span, into: &mut [u8]) {
        read_span(from, into);
    }

    fn write_span(&self, into: Span, from: &[u8]) {
        write_span(into, from);
    }
}

/// Copies between memory that spans may name.
pub(crate) fn copy_between(into: Span, from: Span) {
    let bytes = into.bytes.min(from.bytes);
    if may_name(Span { bytes, ..into }) && may_name(Span { bytes, ..from }) {
        // SAFETY: both lie in mapped memory that no Rust reference reaches.
        unsafe { copy(into.start.0 as *mut u8, from.start.0 as *const u8, bytes as usize) };
    }
}

/// Whether a span may be followed: guests' blocks, the archive, drivers' buffers, or pages that are lent.
pub(crate) fn may_name(span: Span) -> bool {
    memory::is_guest_range(span.start, u64::from(span.bytes))
        || crate::page::is_lent(span)
        || ARCHIVE.get().is_some_and(|archive| holds(*archive, span))
        || crate::dma::is_buffer(span)
}

fn holds(range: PaRange, span: Span) -> bool {
    let end = span.start.0.checked_add(u64::from(span.bytes));
    span.start >= range.start && end.is_some_and(|end| end <= range.end().0)
}

static ARCHIVE: Once<PaRange> = Once::new();

/// Reads the boot archive as bytes, before anything is allowed to write there; then closes it for references: its files
/// are reached by spans only. Called once.
pub fn read_archive<R>(range: PaRange, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if ARCHIVE.is_completed() || !crate::boot::is_archive(range) {
        return None;
    }
    // SAFETY: the range is RAM that `boot` kept back for the archive; spans into it are refused until `ARCHIVE` is set,
    // after the last use of the slice.
    let result =
        read(unsafe { core::slice::from_raw_parts(range.start.0 as *const u8, range.bytes as usize) });
    ARCHIVE.call_once(|| range);
    Some(result)
}

/// A span of the archive.
pub fn archive_span(offset: u64, bytes: u64) -> Option<Span> {
    let archive = ARCHIVE.get()?;
    let start = archive.start.checked_add(offset)?;
    let span = Span { start, bytes: u32::try_from(bytes).ok()? };
    holds(*archive, span).then_some(span)
}

/// Host memory that spans name, without any guest's: for what drivers show.
#[derive(Clone, Copy, Debug)]
pub struct HostMemory;

impl GuestMemory for HostMemory {
    fn read(&self, at: Ipa, _into: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }

    fn write(&self, at: Ipa, _from: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }

    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        Err(BadAddress(at))
    }

    fn store_release(&self, at: Ipa, _value: u16) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        Err(BadAddress(range.start()))
    }

    fn copy_span(&self, into: Span, from: Span) {
        copy_between(into, from);
    }

    fn read_span(&self, from: Span, into: &mut [u8]) {
        read_span(from, into);
    }

    fn write_span(&self, into: Span, from: &[u8]) {
        write_span(into, from);
    }
}

fn read_span(from: Span, into: &mut [u8]) {
    let bytes = into.len().min(from.bytes as usize);
    if may_name(Span { bytes: bytes as u32, ..from }) {
        // SAFETY: the span lies in memory that spans may name, mapped and never referenced.
        unsafe { copy(into.as_mut_ptr(), from.start.0 as *const u8, bytes) };
    }
}

fn write_span(into: Span, from: &[u8]) {
    let bytes = from.len().min(into.bytes as usize);
    if may_name(Span { bytes: bytes as u32, ..into }) {
        // SAFETY: as in `read_span`.
        unsafe { copy(into.start.0 as *mut u8, from.as_ptr(), bytes) };
    }
}
