//! Guards: EL2's own translation in the hardware (stage 1 of the EL2 regime): W^X, guard pages, devices.
//!
//! RAM and devices are mapped one to one; stacks lie in a region of their own with a hole below each. The tables are
//! [`crate::stage1`]'s.
//! Source: Arm ARM (DDI 0487), D8.2 "Translation process", D24.2 TCR_EL2, SCTLR_EL2, MAIR_EL2.

use crate::regs::{instruction, read};
use crate::stage1::{EMERGENCY_BYTES, STACK_BYTES, Tables, Walk, stack_top};
use alloc::alloc::{Layout, alloc_zeroed};
use drivers::board::PaRange;
use specs::Pa;
use spin::Mutex;

pub use crate::stage1::{Protection, is_stack_guard};

const PAGE: u64 = 4096;
/// MAIR_EL2: 0 Device-nGnRE, 1 normal write-back.
const MAIR: u64 = 0xff04;
/// SCTLR_EL2: RES1 bits, M, C, SA, I, WXN (writable is never executable).
const SCTLR: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;
/// Entries of the tables that are looked at in one go: about 25,000 instructions.
const ENTRIES_AT_ONCE: usize = 700;

static TABLES: Mutex<Option<Tables>> = Mutex::new(None);

/// ID_AA64MMFR0_EL1.PARange, as far as 48 bits: the encoding of TCR_EL2.PS.
fn physical_size() -> u64 {
    (read!("id_aa64mmfr0_el1") & 15).min(5)
}

/// First address that this PE can't put out.
pub(crate) fn physical_end() -> Pa {
    Pa(1 << [32, 36, 40, 42, 44, 48][physical_size() as usize])
}

impl Tables {
    /// TTBR0_EL2, MAIR_EL2, TCR_EL2 and SCTLR_EL2 of every PE.
    fn registers(&self) -> [u64; 4] {
        let physical_size = physical_size();
        let tcr = 16 | 1 << 8 | 1 << 10 | 3 << 12 | physical_size << 16 | 1 << 23 | 1 << 31;
        [self.root(), MAIR, tcr, SCTLR]
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
        self.take_from_heap();
        *TABLES.lock() = Some(self);
    }
}

/// Changes the tables; the new entries are seen by what follows, on every PE (D8.16, "TLB maintenance": an entry that was
/// invalid is in no TLB).
fn with_tables(change: impl FnOnce(&mut Tables)) -> bool {
    let mut tables = TABLES.lock();
    let Some(tables) = tables.as_mut() else { return false };
    change(tables);
    instruction!("dsb ishst");
    instruction!("isb");
    true
}

/// Maps registers of a device one to one and returns whether it did: a range that wraps is refused.
pub(crate) fn map_device(range: PaRange) -> bool {
    let mut fits = false;
    with_tables(|tables| fits = tables.map_device(range)) && fits
}

/// As [`map_device`], for the panic path: gives up where another holds the tables.
pub(crate) fn try_map_device(range: PaRange) -> bool {
    let free = TABLES.try_lock().is_some();
    free && map_device(range)
}

/// Allots the stacks of PE `index`, each with a guard below it; returns the top of its own.
pub(crate) fn map_stacks(index: u64) -> u64 {
    let bytes = (EMERGENCY_BYTES + STACK_BYTES) as usize;
    let layout = Layout::from_size_align(bytes, PAGE as usize).expect("a constant layout");
    // SAFETY: the layout has a size.
    let memory = unsafe { alloc_zeroed(layout) } as u64;
    assert!(memory != 0, "no memory for the stacks of PE {index}");
    assert!(with_tables(|tables| tables.map_stacks(index, memory)), "stacks come after the MMU");
    stack_top(index)
}

/// Registers that another PE loads before its MMU is on: TTBR0, MAIR, TCR, SCTLR.
pub(crate) fn registers() -> [u64; 4] {
    TABLES.lock().as_ref().map_or([0; 4], Tables::registers)
}

/// Physical address of memory of EL2's own: RAM is mapped one to one.
pub(crate) fn pa_of<T>(at: *const T) -> Pa {
    Pa(at as u64)
}

/// A walk over the tables that this PE translates by, in pieces.
#[derive(Debug, Default)]
pub struct ProtectionCheck(Walk);

impl ProtectionCheck {
    /// Goes on; what was found, at the end.
    pub fn poll(&mut self) -> Option<Protection> {
        let tables = TABLES.lock();
        self.0.go_on(tables.as_ref()?, ENTRIES_AT_ONCE)
    }
}
