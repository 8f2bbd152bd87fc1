//! Many system registers written at once, held for a while with exits in between, and read again: what a neighbour
//! on the same PE must not see, and what this vCPU must get back.
//!
//! Called by: the test guest's `pattern`. Calls: `mmu::off`, `mmu::on`. Arm ARM C5.3.
//! The resource: all system registers that can be written with the MMU off, those of translation and VBAR_EL1 among
//! them. Invariant: while they hold strange values the MMU is off, interrupts are masked, and only the assembly below
//! runs; before Rust runs again all are restored. Concurrency: one vCPU at a time (a lock); the others must be off,
//! because they share the tables' registers' values with nobody.

use crate::instruction::Encoding;
use crate::registers;
use crate::{mmu, smccc};
use core::arch::asm;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::mutex::SpinMutex;

/// Registers that can be held together.
pub const MOST: usize = 384;

/// `ret`.
const RET: u32 = 0xd65f_03c0;
/// `ldr x0, [x1], #8`.
const LDR: u32 = 0xf840_8420;
/// `str x0, [x1], #8`.
const STR: u32 = 0xf800_8420;

/// Two instructions for each register, and RET.
const CODE_WORDS: usize = MOST * 2 + 1;

#[repr(C, align(64))]
struct Code([AtomicU32; CODE_WORDS]);

// SAFETY: the section name is known to image.ld, which keeps it on pages of its own.
#[unsafe(link_section = ".slots")]
static READ_ALL: Code = Code([const { AtomicU32::new(RET) }; CODE_WORDS]);
// SAFETY: as above.
#[unsafe(link_section = ".slots")]
static WRITE_ALL: Code = Code([const { AtomicU32::new(RET) }; CODE_WORDS]);

struct Values([AtomicU64; MOST]);

impl Values {
    const fn zero() -> Self {
        Self([const { AtomicU64::new(0) }; MOST])
    }
}

static ORIGINAL: Values = Values::zero();
static WRITTEN: Values = Values::zero();
static FOUND: Values = Values::zero();
static LOCK: SpinMutex<()> = SpinMutex::new(());

/// Whether [`hold`] may write `register`: not those that turn something on that the assembly below would feel.
pub fn can_hold(register: Encoding) -> bool {
    match (register.op0, register.op1, register.crn, register.crm, register.op2) {
        // SCTLR, SCTLR2; PSTATE but for SPSR, ELR, SP_EL0.
        (3, 0, 1, 0, 0 | 3) => false,
        (3, 0, 4, 0, 0 | 1) | (3, 0, 4, 1, 0) => true,
        (3, _, 4, _, _) => false,
        // Acknowledge, end, deactivate and SGIs act when they are accessed.
        (3, 0, 12, 8 | 12, 0 | 1) | (3, 0, 12, 11, 1 | 5 | 6 | 7) => false,
        // MDSCR, OSLAR, OSDLR: debug exceptions.
        (2, 0, 0, 2, 2) | (2, 0, 1, 0 | 3, 4) => false,
        (3, 0, ..) | (3, 3, ..) | (2, 0, ..) | (2, 3, ..) => true,
        _ => false,
    }
}

/// Writes each value, makes exits for `ticks`, and gives what the registers held then. All are restored.
///
/// The caller has written and read each register alone before (`instruction`), or knows it to be writable. Panics for
/// more than [`MOST`] and for what [`can_hold`] refuses.
pub fn hold(values: &[(Encoding, u64)], ticks: u64, found: &mut [u64]) {
    assert!(values.len() <= MOST && values.iter().all(|(register, _)| can_hold(*register)), "can't be held");
    let _one = LOCK.lock();
    for (n, (register, value)) in values.iter().enumerate() {
        READ_ALL.0[2 * n].store(register.mrs(), Ordering::Relaxed);
        READ_ALL.0[2 * n + 1].store(STR, Ordering::Relaxed);
        WRITE_ALL.0[2 * n].store(LDR, Ordering::Relaxed);
        WRITE_ALL.0[2 * n + 1].store(register.msr(), Ordering::Relaxed);
        WRITTEN.0[n].store(*value, Ordering::Relaxed);
    }
    for code in [&READ_ALL, &WRITE_ALL] {
        code.0[2 * values.len()].store(RET, Ordering::Relaxed);
    }
    let masks = registers::daif::read();
    registers::mask_interrupts();
    // Cleans the code and the values to memory, where instructions and data come from now.
    mmu::off();
    run(registers::now() + ticks);
    mmu::on();
    registers::daif::write(masks);
    for (found, value) in found.iter_mut().zip(&FOUND.0) {
        *found = value.load(Ordering::Relaxed);
    }
}

fn run(end: u64) {
    // SAFETY: the MMU is off and interrupts are masked (`hold`), so no register that is written is used before it is
    // restored; the code reads and writes the three arrays only; HVC spoils x0-x17, which are named.
    unsafe {
        asm!(
            "ic ialluis", "dsb ish", "isb",
            "mov x1, {original}", "blr {read_all}",
            "mov x1, {written}", "blr {write_all}", "isb",
            "2:", "mov w0, {call:w}", "hvc #0",
            "mrs x2, cntvct_el0", "cmp x2, {end}", "b.lo 2b",
            "mov x1, {found}", "blr {read_all}",
            "mov x1, {original}", "blr {write_all}", "isb",
            original = in(reg) addr_of!(ORIGINAL), written = in(reg) addr_of!(WRITTEN), found = in(reg) addr_of!(FOUND),
            read_all = in(reg) addr_of!(READ_ALL), write_all = in(reg) addr_of!(WRITE_ALL),
            call = in(reg) smccc::function::PSCI_VERSION, end = in(reg) end,
            out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _,
            out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
            out("x14") _, out("x15") _, out("x16") _, out("x17") _, out("x30") _,
        );
    }
}
