//! Stage 1 of this program: an identity map of 39 bits, read-only code, data that can't run, devices elsewhere.
//!
//! Called by: `head` before any program code; `cpus` for the secondary vCPUs' registers. Arm ARM D8 (VMSAv8-64).
//! The resource: TTBR0_EL1, TCR_EL1, MAIR_EL1, SCTLR_EL1 and the tables. Invariant: identity, so that a pointer means
//! the same with the MMU on and off. Concurrency: tables are written once, on the first vCPU, before the MMU is on.

use crate::boot::Boot;
use core::arch::asm;
use core::ops::Range;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering};

/// A translation table of any level.
#[repr(C, align(4096))]
pub(crate) struct Table([AtomicU64; 512]);

impl Table {
    pub(crate) const fn empty() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    pub(crate) fn set(&self, index: usize, descriptor: u64) {
        self.0[index].store(descriptor, Ordering::Relaxed);
    }

    pub(crate) fn address(&self) -> u64 {
        addr_of!(*self) as u64
    }
}

static LEVEL1: Table = Table::empty();
static LEVEL2: Table = Table::empty();
/// For the 2 MiB blocks that hold code: images of at most 4 MiB before their data.
static LEVEL3: [Table; 2] = [const { Table::empty() }; 2];

const GIB: usize = 1 << 30;
const BLOCK: usize = 2 << 20;
const PAGE: usize = 4096;

// Descriptor bits. Arm ARM D8.3.
pub(crate) const VALID_BLOCK: u64 = 0b01;
pub(crate) const VALID_TABLE: u64 = 0b11;
pub(crate) const VALID_PAGE: u64 = 0b11;
pub(crate) const DEVICE: u64 = 0 << 2;
pub(crate) const NORMAL: u64 = (1 << 2) | (0b11 << 8);
/// AP[1]: EL0 too.
pub(crate) const EL0: u64 = 1 << 6;
pub(crate) const READ_ONLY: u64 = 1 << 7;
pub(crate) const ACCESSED: u64 = 1 << 10;
pub(crate) const NEVER_RUNS: u64 = (1 << 53) | (1 << 54);
pub(crate) const NEVER_RUNS_AT_EL0: u64 = 1 << 54;

/// Attribute 0: Device-nGnRE; 1: Normal, write-back, read- and write-allocate.
const MAIR: u64 = 0xff04;
const SCTLR_OFF: u64 = 0x30d0_0800;
/// M, C and I.
const SCTLR_ON: u64 = SCTLR_OFF | 1 | (1 << 2) | (1 << 12);

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __slots_start: u8;
    static __slots_end: u8;
    static __image_end: u8;
}

/// What a vCPU loads to translate as this one does.
pub(crate) struct Registers {
    pub mair: u64,
    pub tcr: u64,
    pub ttbr0: u64,
    pub sctlr: u64,
}

pub(crate) fn registers() -> Registers {
    let physical_range = crate::registers::id_aa64mmfr0_el1::read() & 0xf;
    // 39 bits of address (T0SZ = 25), write-back shareable walks, 4 KiB, no TTBR1 (EPD1), IPS as the PE's, at most 48.
    let tcr = 25 | (1 << 8) | (1 << 10) | (3 << 12) | (25 << 16) | (1 << 23) | (2 << 30);
    Registers {
        mair: MAIR,
        tcr: tcr | (physical_range.min(5) << 32),
        ttbr0: LEVEL1.address(),
        sctlr: SCTLR_ON,
    }
}

/// Builds the map and turns MMU and caches on.
pub(crate) fn start(boot: &Boot) {
    build(&boot.ram);
    on();
}

/// Whether the MMU is on.
pub fn is_on() -> bool {
    crate::registers::sctlr_el1::read() & 1 != 0
}

/// Turns MMU and caches on. Everything written while they were off is seen.
pub fn on() {
    let registers = registers();
    // Clean lines of what was just written past the caches may be stale.
    for_each_line(image_data(), |address| {
        // SAFETY: the caches are off: no line is dirty, so nothing is lost by dropping lines.
        unsafe { asm!("dc ivac, {}", in(reg) address, options(nostack)) };
    });
    // SAFETY: the map is an identity of all that the program uses (invariant of this module).
    unsafe {
        asm!(
            "dsb sy",
            "msr mair_el1, {mair}",
            "msr tcr_el1, {tcr}",
            "msr ttbr0_el1, {ttbr0}",
            "tlbi vmalle1",
            "ic iallu",
            "dsb sy",
            "isb",
            "msr sctlr_el1, {sctlr}",
            "isb",
            mair = in(reg) registers.mair, tcr = in(reg) registers.tcr,
            ttbr0 = in(reg) registers.ttbr0, sctlr = in(reg) registers.sctlr,
            options(nostack)
        );
    }
}

/// Turns MMU and caches off, for a test that wants to see memory as a loader does. Until [`on`], take no lock that
/// another vCPU holds: exclusive accesses to memory that is not cached need not work.
pub fn off() {
    clean_image();
    // SAFETY: identity map: addresses stay valid; what the caches held of our data was cleaned, and the stack is
    // cleaned once more by the instructions below before it is read again.
    unsafe {
        asm!(
            "msr sctlr_el1, {sctlr}",
            "isb",
            "dsb sy",
            sctlr = in(reg) SCTLR_OFF,
            options(nostack)
        );
    }
}

/// Cleans and invalidates `bytes` bytes from `address` to the point of coherency.
pub fn clean(address: usize, bytes: usize) {
    for_each_line(address..address + bytes, |line| {
        // SAFETY: cleaning changes no memory as the program sees it.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack)) };
    });
    crate::registers::dsb();
}

fn clean_image() {
    let data = image_data();
    clean(data.start, data.end - data.start);
}

fn image_data() -> Range<usize> {
    addr_of!(__slots_start) as usize..addr_of!(__image_end) as usize
}

fn for_each_line(range: Range<usize>, act: impl Fn(usize)) {
    // CTR_EL0.DminLine: log2 of the words in the smallest data cache line.
    let line = 4usize << ((crate::registers::ctr_el0::read() >> 16) & 0xf);
    let mut address = range.start & !(line - 1);
    while address < range.end {
        act(address);
        address += line;
    }
}

fn build(ram: &Range<usize>) {
    let image = addr_of!(__image_start) as usize;
    for gib in 0..512 {
        let base = gib * GIB;
        let is_ram = base < ram.end && base + GIB > ram.start;
        let kind = if is_ram { NORMAL } else { DEVICE };
        LEVEL1.set(gib, base as u64 | VALID_BLOCK | kind | ACCESSED | NEVER_RUNS);
    }
    let gib = image / GIB * GIB;
    for block in 0..512 {
        let descriptor = (gib + block * BLOCK) as u64 | VALID_BLOCK | NORMAL | ACCESSED | NEVER_RUNS;
        LEVEL2.set(block, descriptor);
    }
    let first = image / BLOCK * BLOCK;
    let mut tables = LEVEL3.iter();
    let mut block = first;
    while block < addr_of!(__slots_end) as usize {
        let Some(table) = tables.next() else { panic!("more than 4 MiB of code") };
        for page in 0..512 {
            table.set(page, page_descriptor(block + page * PAGE));
        }
        LEVEL2.set((block - gib) / BLOCK, table.address() | VALID_TABLE);
        block += BLOCK;
    }
    LEVEL1.set(gib / GIB, LEVEL2.address() | VALID_TABLE);
}

fn page_descriptor(page: usize) -> u64 {
    let in_range = |start: *const u8, end: *const u8| (start as usize..end as usize).contains(&page);
    let rights = if in_range(addr_of!(__image_start), addr_of!(__text_end)) {
        READ_ONLY | NEVER_RUNS_AT_EL0
    } else if in_range(addr_of!(__text_end), addr_of!(__rodata_end)) {
        READ_ONLY | NEVER_RUNS
    } else if in_range(addr_of!(__slots_start), addr_of!(__slots_end)) {
        NEVER_RUNS_AT_EL0
    } else {
        NEVER_RUNS
    };
    page as u64 | VALID_PAGE | NORMAL | ACCESSED | rights
}
