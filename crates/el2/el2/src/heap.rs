//! Guards: EL2's own heap, from which everything of EL2 but guests' RAM is allotted.
//!
//! One lock; not used on exit paths. It grows by blocks of [`crate::memory`]; its size is shown to the user.
//! Running out is a panic: admission control leaves room for a VM's own structures.

use core::alloc::Layout;
use core::sync::atomic::{AtomicUsize, Ordering};
use talc::TalcLock;
use talc::base::{Talc, binning::Binning};
use talc::source::Source;

#[derive(Debug)]
struct Blocks;

// SAFETY: `acquire` uses nothing of the heap's: the inventory of blocks needs no heap.
unsafe impl Source for Blocks {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, _: Layout) -> Result<(), ()> {
        let block = crate::memory::take_for_heap().ok_or(())?;
        let bytes = crate::memory::BLOCK_BYTES as usize;
        // SAFETY: the block was taken out of the inventory for good.
        unsafe { talc.claim(block as *mut u8, bytes) }.ok_or(())?;
        BYTES.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Blocks> = TalcLock::new(Blocks);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Gives a range to the heap.
///
/// # Safety
/// `bytes` bytes at `start` are mapped as normal memory, and nothing else uses them, ever.
pub(crate) unsafe fn give(start: *mut u8, bytes: usize) {
    // SAFETY: the caller's promise is the callee's.
    if unsafe { HEAP.lock().claim(start, bytes) }.is_some() {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes that the heap was given.
pub fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}
