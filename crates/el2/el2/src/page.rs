//! Guards: pages that the host's own code refers to and devices read and write, in turns (rule `two-views`).
//!
//! A [`Page`] is owned memory like a box: references into it follow Rust's rules. To be named by a span it is *lent*: there
//! is no way to a reference then, and spans into it may be followed ([`crate::ram`]); the drivers do the transfers as they
//! do for guests' RAM. Taken back, spans into it are refused. Pages come in chunks, aligned to their size, that are never freed, since a device may
//! hold their addresses; a page that is dropped can be taken again.
//! Concurrency: `lent` is a word per chunk. Who follows a span to a lent page does so for its owner, who takes it back only
//! after the completion.

use crate::dma::HostDma;
use alloc::alloc::Layout;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use ports::Span;
use specs::Pa;
use spin::Mutex;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Pages of a chunk: a bit of a word for each.
const CHUNK_PAGES: usize = 64;
/// Bytes of a chunk: no span reaches from one into another.
pub const CHUNK_BYTES: u64 = (CHUNK_PAGES * PAGE_BYTES) as u64;
/// 16 MiB.
const MAX_CHUNKS: usize = 64;

struct Chunk {
    /// 0: none yet.
    start: AtomicU64,
    lent: AtomicU64,
    /// Pages that nobody owns. Changed under [`CLAIM`].
    free: AtomicU64,
}

static CHUNKS: [Chunk; MAX_CHUNKS] =
    [const { Chunk { start: AtomicU64::new(0), lent: AtomicU64::new(0), free: AtomicU64::new(0) } };
        MAX_CHUNKS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static CLAIM: Mutex<()> = Mutex::new(());

fn chunks() -> &'static [Chunk] {
    &CHUNKS[..COUNT.load(Ordering::Acquire).min(MAX_CHUNKS)]
}

/// Whether a span lies in pages of one chunk that are lent, all of them.
pub(crate) fn is_lent(span: Span) -> bool {
    let (start, bytes) = (span.start.0, u64::from(span.bytes));
    let inside = |chunk: &&Chunk| start.wrapping_sub(chunk.start.load(Ordering::Relaxed)) < CHUNK_BYTES;
    let Some(chunk) = chunks().iter().find(inside) else { return false };
    let first = start - chunk.start.load(Ordering::Relaxed);
    let Some(last) = (first + bytes).checked_sub(1).filter(|last| bytes != 0 && *last < CHUNK_BYTES) else {
        return false;
    };
    let (first, last) = (first / PAGE_BYTES as u64, last / PAGE_BYTES as u64);
    let mask = u64::MAX >> (63 - (last - first)) << first;
    chunk.lent.load(Ordering::Acquire) & mask == mask
}

/// 4 KiB of its owner's.
#[derive(Debug)]
pub struct Page {
    chunk: usize,
    index: usize,
}

impl Page {
    /// A page that devices of `dma` reach, or `None` where there is no memory; it holds zeros, or what its last owner left.
    /// All callers have the same `dma`'s limit or a higher one.
    pub fn take(dma: &HostDma) -> Option<Self> {
        let claim = CLAIM.lock();
        let (chunk, index) = match free_place() {
            Some(place) => place,
            None => {
                add_chunk(dma)?;
                free_place()?
            }
        };
        CHUNKS[chunk].free.fetch_and(!(1 << index), Ordering::Relaxed);
        drop(claim);
        Some(Self { chunk, index })
    }

    fn address(&self) -> u64 {
        CHUNKS[self.chunk].start.load(Ordering::Relaxed) + (self.index * PAGE_BYTES) as u64
    }

    /// Gives up the right to refer to the page until [`Lent::take_back`].
    pub fn lend(self) -> Lent {
        CHUNKS[self.chunk].lent.fetch_or(1 << self.index, Ordering::Release);
        Lent(self)
    }
}

fn free_place() -> Option<(usize, usize)> {
    let free = |(at, chunk): (usize, &Chunk)| {
        let free = chunk.free.load(Ordering::Relaxed);
        (free != 0).then(|| (at, free.trailing_zeros() as usize))
    };
    chunks().iter().enumerate().find_map(free)
}

fn add_chunk(dma: &HostDma) -> Option<()> {
    let count = COUNT.load(Ordering::Relaxed);
    let chunk = CHUNKS.get(count)?;
    let layout = Layout::from_size_align(CHUNK_PAGES * PAGE_BYTES, CHUNK_PAGES * PAGE_BYTES).ok()?;
    let start = dma.below_limit(layout)?;
    // SAFETY: the memory was just allotted, for nobody else, and is never freed.
    unsafe { crate::cache::zero_to_poc(start as usize, layout.size()) };
    chunk.start.store(start, Ordering::Relaxed);
    chunk.free.store(u64::MAX, Ordering::Relaxed);
    COUNT.store(count + 1, Ordering::Release);
    Some(())
}

impl AsRef<[u8; PAGE_BYTES]> for Page {
    fn as_ref(&self) -> &[u8; PAGE_BYTES] {
        // SAFETY: the page lies in a chunk that is never freed; `Page` is its one owner (its bit of `free` is clear), and it
        // is not lent, since `Lent` gives no way here.
        unsafe { &*(self.address() as *const [u8; PAGE_BYTES]) }
    }
}

impl AsMut<[u8; PAGE_BYTES]> for Page {
    fn as_mut(&mut self) -> &mut [u8; PAGE_BYTES] {
        // SAFETY: as in `as_ref`; `&mut self` is the only reference.
        unsafe { &mut *(self.address() as *mut [u8; PAGE_BYTES]) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _claim = CLAIM.lock();
        let chunk = &CHUNKS[self.chunk];
        // One that was dropped while it was lent may be written by a device: it is lost.
        if chunk.lent.load(Ordering::Relaxed) & 1 << self.index == 0 {
            chunk.free.fetch_or(1 << self.index, Ordering::Relaxed);
        }
    }
}

/// A page that spans may name.
#[derive(Debug)]
pub struct Lent(Page);

impl Lent {
    /// All of it.
    pub fn span(&self) -> Span {
        Span { start: Pa(self.0.address()), bytes: PAGE_BYTES as u32 }
    }

    /// Ends the loan: nobody follows a span to it any more.
    pub fn take_back(self) -> Page {
        CHUNKS[self.0.chunk].lent.fetch_and(!(1 << self.0.index), Ordering::AcqRel);
        self.0
    }
}
