//! The heap: a buddy allocator over RAM that `boot` set aside.
//!
//! Called by: Rust's `alloc`. Interrupt handlers do not allocate (the lock is not interrupt-safe).

use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::mutex::SpinMutex;

/// Largest block: 2^32 bytes.
const ORDERS: usize = 32;

struct LockedHeap(SpinMutex<Heap<ORDERS>>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(SpinMutex::new(Heap::empty()));

static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// Whether an allocation has failed: what ends the program then is a lack of memory.
pub(crate) fn is_exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// Gives the heap its memory, once.
pub(crate) fn start(range: Range<usize>) {
    // SAFETY: `Boot::heap` is RAM that nothing else uses (invariant of `boot`), and this runs once.
    unsafe { HEAP.0.lock().init(range.start, range.end - range.start) };
}

// SAFETY: the allocator under the lock gives blocks that fit the layout and do not overlap until given back.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().alloc(layout).map_or_else(
            |()| {
                EXHAUSTED.store(true, Ordering::Relaxed);
                core::ptr::null_mut()
            },
            NonNull::as_ptr,
        )
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: by the contract of `GlobalAlloc`, `pointer` came from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(pointer, layout) };
        }
    }
}
