//! Guards: the tables of EL2's own translation, as they are built and read; `mmu` gives them to the hardware.
//!
//! Tables only grow: an entry goes from invalid to valid and is never changed, so no break-before-make is owed. Pages of
//! tables are reached by their address, which is the physical one: RAM is mapped one to one. So all of this runs on a PC.
//! Source: Arm ARM (DDI 0487), D8.3 "Translation table descriptor formats", D8.4 "Memory access control".

mod protection;
#[cfg(test)]
mod tests;

pub use protection::{Protection, is_stack_guard};
pub(crate) use protection::{Walk, is_stack};

use alloc::alloc::{Layout, alloc_zeroed};
use drivers::board::PaRange;

const PAGE: u64 = 4096;
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ADDRESS: u64 = 0xffff_ffff_f000;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const READ_ONLY: u64 = 1 << 7;
/// AP[1] is RES1 in a regime with one exception level.
const AP1: u64 = 1 << 6;
const NEVER_EXECUTE: u64 = 1 << 54;

/// First address that does not exist: 48 bits.
const END: u64 = 1 << 48;

/// Where stacks are mapped; one slot a PE.
pub(crate) const STACKS: u64 = 0xff80_0000_0000;
/// Bytes of a slot: a hole, the stack for exceptions from EL2 itself, a hole, the stack.
pub(crate) const SLOT_BYTES: u64 = 128 * 1024;
/// Bytes of a stack.
pub(crate) const STACK_BYTES: u64 = 64 * 1024;
/// Bytes of a stack for exceptions.
pub(crate) const EMERGENCY_BYTES: u64 = 16 * 1024;

/// End of the stack of PE `index`.
pub(crate) const fn stack_top(index: u64) -> u64 {
    STACKS + (index + 1) * SLOT_BYTES
}

/// End of its stack for exceptions.
pub(crate) const fn emergency_top(index: u64) -> u64 {
    stack_top(index) - STACK_BYTES - (SLOT_BYTES / 2 - 2 * EMERGENCY_BYTES)
}

/// What a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Code.
    Code,
    /// Constants.
    Constant,
    /// Data.
    Data,
    /// Registers of a device.
    Device,
}

impl Kind {
    const fn attributes(self) -> u64 {
        let normal = 1 << 2 | INNER_SHAREABLE;
        VALID
            | ACCESSED
            | AP1
            | match self {
                Self::Code => normal | READ_ONLY,
                Self::Constant => normal | READ_ONLY | NEVER_EXECUTE,
                Self::Data => normal | NEVER_EXECUTE,
                Self::Device => NEVER_EXECUTE,
            }
    }
}

#[repr(C, align(4096))]
struct Page([u64; 512]);

const EARLY_PAGES: usize = 64;
static mut EARLY: [Page; EARLY_PAGES] = [const { Page([0; 512]) }; EARLY_PAGES];

/// Where pages for tables come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The image, before there is a heap: how many were taken. One value of [`Tables`] may do so.
    Image(usize),
    /// The heap.
    Heap,
}

/// The tables, while they are built and after.
pub(crate) struct Tables {
    root: *mut Page,
    source: Source,
}

// SAFETY: `root` is reached only through the one value that holds it, and that lies behind a lock once PEs share it.
unsafe impl Send for Tables {}

/// An entry that decides about an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// First address that it decides about.
    pub(crate) start: u64,
    /// How many bytes it decides about.
    pub(crate) bytes: u64,
    descriptor: u64,
}

impl Entry {
    pub(crate) const fn is_mapped(self) -> bool {
        self.descriptor & VALID != 0
    }

    pub(crate) const fn is_writable(self) -> bool {
        self.is_mapped() && self.descriptor & READ_ONLY == 0
    }

    pub(crate) const fn is_executable(self) -> bool {
        self.is_mapped() && self.descriptor & NEVER_EXECUTE == 0
    }
}

impl Tables {
    /// Empty tables.
    pub(crate) const fn new(source: Source) -> Self {
        Self { root: core::ptr::null_mut(), source }
    }

    /// The root's address, for TTBR0_EL2.
    pub(crate) fn root(&self) -> u64 {
        self.root as u64
    }

    /// From now on pages come from the heap.
    pub(crate) fn take_from_heap(&mut self) {
        self.source = Source::Heap;
    }

    fn page(&mut self) -> *mut Page {
        if let Source::Image(used) = &mut self.source {
            assert!(*used < EARLY_PAGES, "EL2 tables: {EARLY_PAGES} pages before the heap are too few");
            *used += 1;
            // SAFETY: each index is handed out once, by the one value of `Tables` that takes from the image.
            return unsafe { (&raw mut EARLY).cast::<Page>().add(*used - 1) };
        }
        // SAFETY: the layout has a size.
        let page = unsafe { alloc_zeroed(Layout::new::<Page>()) };
        assert!(!page.is_null(), "EL2 tables: out of memory");
        page.cast()
    }

    /// Maps `bytes` bytes, in the largest blocks that fit. Already mapped pages are left as they are.
    pub(crate) fn map(&mut self, va: u64, pa: u64, bytes: u64, kind: Kind) {
        if self.root.is_null() {
            self.root = self.page();
        }
        let mut done = 0;
        while done < bytes {
            done += self.map_one(va + done, pa + done, bytes - done, kind);
        }
    }

    /// Maps RAM or a part of the image one to one, in whole pages.
    pub(crate) fn map_same(&mut self, range: PaRange, kind: Kind) {
        let start = range.start.0.next_multiple_of(PAGE);
        let end = range.end().0 & !(PAGE - 1);
        if start < end {
            self.map(start, start, end - start, kind);
        }
    }

    /// Maps registers of a device one to one, in whole pages; false for a range that wraps.
    pub(crate) fn map_device(&mut self, range: PaRange) -> bool {
        let start = range.start.0 & !(PAGE - 1);
        let end = range.start.0.checked_add(range.bytes).and_then(|end| end.checked_next_multiple_of(PAGE));
        if let Some(end) = end {
            self.map(start, start, end - start, Kind::Device);
        }
        end.is_some()
    }

    /// Maps the stacks of PE `index` to `memory`: the one for exceptions first.
    pub(crate) fn map_stacks(&mut self, index: u64, memory: u64) {
        self.map(emergency_top(index) - EMERGENCY_BYTES, memory, EMERGENCY_BYTES, Kind::Data);
        self.map(stack_top(index) - STACK_BYTES, memory + EMERGENCY_BYTES, STACK_BYTES, Kind::Data);
    }

    /// The entry that decides about `va`.
    pub(crate) fn entry(&self, va: u64) -> Entry {
        let mut table = self.root.cast_const();
        for level in 0..4u32 {
            let bytes = 1u64 << (39 - 9 * level);
            let index = (va / bytes % 512) as usize;
            // SAFETY: `table` is a page of these tables; index is below 512.
            let descriptor = if table.is_null() { 0 } else { unsafe { (*table).0[index] } };
            if descriptor & VALID == 0 || level == 3 || descriptor & TABLE_OR_PAGE == 0 {
                return Entry { start: va & !(bytes - 1), bytes, descriptor };
            }
            table = (descriptor & ADDRESS) as *const Page;
        }
        Entry { start: va, bytes: PAGE, descriptor: 0 }
    }

    fn map_one(&mut self, va: u64, pa: u64, left: u64, kind: Kind) -> u64 {
        let mut table = self.root;
        for level in 0..4u32 {
            let shift = 39 - 9 * level;
            let size = 1u64 << shift;
            let index = (va >> shift & 511) as usize;
            // SAFETY: `table` is a page of these tables, reached under the lock; index is below 512.
            let entry = unsafe { &mut (*table).0[index] };
            let fits = level > 0 && (va | pa) & (size - 1) == 0 && left >= size;
            if *entry & VALID == 0 && fits {
                *entry = pa | kind.attributes() | if level == 3 { TABLE_OR_PAGE } else { 0 };
                return size;
            }
            if *entry & VALID == 0 {
                let page = self.page();
                // SAFETY: as above; `page()` may have moved nothing that `table` points into.
                unsafe { (*table).0[index] = page as u64 | VALID | TABLE_OR_PAGE };
                table = page;
            } else if level == 3 || *entry & TABLE_OR_PAGE == 0 {
                return size - (va & (size - 1));
            } else {
                table = (*entry & ADDRESS) as *mut Page;
            }
        }
        PAGE
    }
}
