//! Guards: EL2's own translation (stage 1 of the EL2 regime): W^X, guard pages, devices.
//!
//! RAM and devices are mapped one to one; stacks lie in a region of their own with a hole below each.
//! Tables only grow: an entry goes from invalid to valid and is never changed, so no break-before-make is owed.
//! Source: Arm ARM (DDI 0487), D8.3 "Translation table descriptor formats", D8.4 "Memory access control".

use crate::regs::{instruction, read};
use alloc::alloc::{Layout, alloc_zeroed};
use drivers::board::PaRange;
use specs::Pa;
use spin::Mutex;

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

/// MAIR_EL2: 0 Device-nGnRE, 1 normal write-back.
const MAIR: u64 = 0xff04;
/// SCTLR_EL2: RES1 bits, M, C, SA, I, WXN (writable is never executable).
const SCTLR: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

/// Where stacks are mapped; one slot a PE, the lower half of a slot is the guard.
const STACKS: u64 = 0xff80_0000_0000;
/// Bytes of a stack.
pub(crate) const STACK_BYTES: u64 = 64 * 1024;

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

const EARLY_PAGES: usize = 40;
static mut EARLY: [Page; EARLY_PAGES] = [const { Page([0; 512]) }; EARLY_PAGES];

/// The tables, while they are built and after.
pub(crate) struct Tables {
    root: *mut Page,
    early_used: usize,
    heap: bool,
}

// SAFETY: `root` is reached only through the one value that holds it, and that lies behind a lock once PEs share it.
unsafe impl Send for Tables {}

static TABLES: Mutex<Option<Tables>> = Mutex::new(None);

impl Tables {
    /// Empty tables; the boot PE makes one value, before its MMU is on.
    pub(crate) const fn new() -> Self {
        Self { root: core::ptr::null_mut(), early_used: 0, heap: false }
    }

    fn page(&mut self) -> *mut Page {
        if self.early_used < EARLY_PAGES {
            self.early_used += 1;
            // SAFETY: each index is handed out once, by the one value of `Tables`.
            return unsafe { (&raw mut EARLY).cast::<Page>().add(self.early_used - 1) };
        }
        assert!(self.heap, "EL2 tables: {EARLY_PAGES} pages before the heap are too few");
        // SAFETY: the layout has a size.
        let page = unsafe { alloc_zeroed(Layout::new::<Page>()) };
        assert!(!page.is_null(), "EL2 tables: out of memory");
        page.cast()
    }

    /// Maps `bytes` bytes, in the largest blocks that fit. Already mapped pages are left as they are.
    fn map(&mut self, va: u64, pa: u64, bytes: u64, kind: Kind) {
        if self.root.is_null() {
            self.root = self.page();
        }
        let mut done = 0;
        while done < bytes {
            done += self.map_one(va + done, pa + done, bytes - done, kind);
        }
        instruction!("dsb ishst");
        instruction!("isb");
    }

    /// Maps RAM or a part of the image one to one, in whole pages.
    pub(crate) fn map_same(&mut self, range: PaRange, kind: Kind) {
        let start = range.start.0.next_multiple_of(PAGE);
        let end = range.end().0 & !(PAGE - 1);
        if start < end {
            self.map(start, start, end - start, kind);
        }
    }

    /// TTBR0_EL2, MAIR_EL2, TCR_EL2 and SCTLR_EL2 of every PE.
    pub(crate) fn registers(&self) -> [u64; 4] {
        let physical_size = (read!("id_aa64mmfr0_el1") & 15).min(5);
        let tcr = 16 | 1 << 8 | 1 << 10 | 3 << 12 | physical_size << 16 | 1 << 23 | 1 << 31;
        [self.root as u64, MAIR, tcr, SCTLR]
    }

    /// Turns the MMU and caches on for the boot PE, and shares the tables.
    ///
    /// # Safety
    /// The image, its stack and all RAM in use are mapped with fitting kinds.
    pub(crate) unsafe fn turn_on(mut self) {
        let [root, mair, tcr, sctlr] = self.registers();
        // SAFETY: the caller's promise; the mapping is one to one, so the next instruction is where it was.
        unsafe {
            core::arch::asm!(
                "msr ttbr0_el2, {root}", "msr mair_el2, {mair}", "msr tcr_el2, {tcr}", "isb",
                "tlbi alle2", "ic iallu", "dsb sy", "isb", "msr sctlr_el2, {sctlr}", "isb",
                root = in(reg) root, mair = in(reg) mair, tcr = in(reg) tcr, sctlr = in(reg) sctlr,
                options(nostack)
            )
        };
        self.heap = true;
        *TABLES.lock() = Some(self);
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

/// Maps registers of a device one to one and returns whether it did: a range that wraps is refused.
pub(crate) fn map_device(range: PaRange) -> bool {
    let start = range.start.0 & !(PAGE - 1);
    let Some(end) = range.start.0.checked_add(range.bytes).map(|end| end.next_multiple_of(PAGE)) else {
        return false;
    };
    map(start, start, end - start, Kind::Device)
}

/// As [`map_device`], for the panic path: gives up where another holds the tables.
pub(crate) fn try_map_device(range: PaRange) -> bool {
    let free = TABLES.try_lock().is_some();
    free && map_device(range)
}

/// Allots the stack of PE `index` with a guard below it; returns its top.
pub(crate) fn map_stack(index: u64) -> u64 {
    let layout = Layout::from_size_align(STACK_BYTES as usize, PAGE as usize).expect("a constant layout");
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(layout) } as u64;
    assert!(memory != 0, "no memory for the stack of PE {index}");
    let va = STACKS + index * 2 * STACK_BYTES + STACK_BYTES;
    assert!(map(va, memory, STACK_BYTES, Kind::Data), "stacks come after the MMU");
    va + STACK_BYTES
}

fn map(va: u64, pa: u64, bytes: u64, kind: Kind) -> bool {
    TABLES.lock().as_mut().map(|tables| tables.map(va, pa, bytes, kind)).is_some()
}

/// Whether an address lies in the guard below a stack.
pub fn is_stack_guard(va: u64) -> bool {
    va >= STACKS && (va - STACKS) % (2 * STACK_BYTES) < STACK_BYTES
}

/// Registers that another PE loads before its MMU is on: TTBR0, MAIR, TCR, SCTLR.
pub(crate) fn registers() -> [u64; 4] {
    TABLES.lock().as_ref().map_or([0; 4], Tables::registers)
}

/// Whether an address lies in a PE's stack.
pub(crate) fn is_stack(va: u64) -> bool {
    (STACKS..STACKS + (drivers::board::MAX_PES as u64) * 2 * STACK_BYTES).contains(&va) && !is_stack_guard(va)
}

/// Physical address of memory of EL2's own: RAM is mapped one to one.
pub(crate) fn pa_of<T>(at: *const T) -> Pa {
    Pa(at as u64)
}
