//! System instructions made at run time: any MRS, MSR, SYS, HVC, SMC, and a few that only work on x0, with the
//! exception that one gives instead of a crash.
//!
//! Called by: tests that walk register spaces or ask whether a hidden feature is undefined. Arm ARM C5 "The A64
//! System Instruction Class". The resource: a slot of code per vCPU (section `.slots`, the only memory that is both
//! writable and executable). Invariant: [`execute`] runs an instruction only if it writes no memory, no general
//! register but x0, and no register that `mmu`, `head` or the compiler count on.

use crate::boot::MAX_CPUS;
use crate::cpus;
use crate::exceptions::Exception;
use crate::probe::{self, Outcome};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// `mov x1, #0`.
const MOV_X1_0: u32 = 0xd280_0001;
/// `ret`.
const RET: u32 = 0xd65f_03c0;

/// The instruction, `mov x1, #0`, `ret`; a cache line of its own.
#[repr(C, align(64))]
struct Slot([AtomicU32; 16]);

// SAFETY: the section name is known to image.ld, which keeps it on pages of its own.
#[unsafe(link_section = ".slots")]
static SLOTS: [Slot; MAX_CPUS] = [const { Slot([const { AtomicU32::new(RET) }; 16]) }; MAX_CPUS];

/// A register of the system register space: op0 (2 or 3), op1, CRn, CRm, op2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding {
    /// 2 or 3; 1 for SYS.
    pub op0: u8,
    /// 0 to 7.
    pub op1: u8,
    /// 0 to 15.
    pub crn: u8,
    /// 0 to 15.
    pub crm: u8,
    /// 0 to 7.
    pub op2: u8,
}

impl Encoding {
    /// op0, op1, CRn, CRm, op2, as the manual lists them.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self { op0, op1, crn, crm, op2 }
    }

    const fn bits(self) -> u32 {
        ((self.op0 as u32 & 3) << 19)
            | ((self.op1 as u32 & 7) << 16)
            | ((self.crn as u32 & 15) << 12)
            | ((self.crm as u32 & 15) << 8)
            | ((self.op2 as u32 & 7) << 5)
    }

    /// `mrs x0, <this>`.
    pub const fn mrs(self) -> u32 {
        0xd520_0000 | self.bits()
    }

    /// `msr <this>, x0`.
    pub const fn msr(self) -> u32 {
        0xd500_0000 | self.bits()
    }

    /// The register or operation of a system instruction.
    pub const fn of(word: u32) -> Self {
        Self {
            op0: (word >> 19) as u8 & 3,
            op1: (word >> 16) as u8 & 7,
            crn: (word >> 12) as u8 & 15,
            crm: (word >> 8) as u8 & 15,
            op2: (word >> 5) as u8 & 7,
        }
    }
}

/// What must not be written: translation, vectors, stack choice, exception return state of the compiler's own.
const FORBIDDEN_WRITES: &[Encoding] = &[
    Encoding::new(3, 0, 1, 0, 0),  // SCTLR_EL1
    Encoding::new(3, 0, 1, 0, 3),  // SCTLR2_EL1
    Encoding::new(3, 0, 2, 0, 0),  // TTBR0_EL1
    Encoding::new(3, 0, 2, 0, 2),  // TCR_EL1
    Encoding::new(3, 0, 2, 0, 3),  // TCR2_EL1
    Encoding::new(3, 0, 4, 2, 0),  // SPSel
    Encoding::new(3, 0, 10, 2, 0), // MAIR_EL1
    Encoding::new(3, 0, 10, 2, 2), // PIRE0_EL1
    Encoding::new(3, 0, 10, 2, 3), // PIR_EL1
    Encoding::new(3, 0, 12, 0, 0), // VBAR_EL1
    Encoding::new(2, 0, 0, 2, 2),  // MDSCR_EL1 may start debug exceptions; `write` allows 0
    Encoding::new(3, 3, 4, 2, 5),  // DIT and its neighbours of PSTATE
];

/// What a system instruction must not be: it would write memory through x0, or drop what caches hold of it.
const FORBIDDEN_SYS: &[Encoding] = &[
    Encoding::new(1, 3, 7, 4, 1), // DC ZVA
    Encoding::new(1, 3, 7, 4, 3), // DC GVA
    Encoding::new(1, 3, 7, 4, 4), // DC GZVA
    Encoding::new(1, 0, 7, 6, 1), // DC IVAC
    Encoding::new(1, 0, 7, 6, 3), // DC IGVAC
    Encoding::new(1, 0, 7, 6, 5), // DC IGDVAC
];

/// Whether [`execute`] takes `word`.
pub fn is_allowed(word: u32) -> bool {
    let target = word & 0x1f;
    let only_x0 = target == 0 || target == 31;
    let encoding = Encoding::of(word);
    let is_read = word & (1 << 21) != 0;
    match word >> 22 {
        // System: op0 in bits 20:19.
        0b11_0101_0100 if encoding.op0 >= 2 => only_x0 && (is_read || !FORBIDDEN_WRITES.contains(&encoding)),
        0b11_0101_0100 if encoding.op0 == 1 => only_x0 && !FORBIDDEN_SYS.contains(&encoding),
        // Hints and barriers, but no MSR (immediate): CRn 2 and 3 only.
        0b11_0101_0100 => target == 31 && (encoding.crn == 2 || encoding.crn == 3),
        // Exception generation: SVC, HVC, SMC, BRK.
        0b11_0101_0000 => word & 0x1f <= 3 && (word >> 21) & 7 <= 1 || word & 0xffe0_001f == 0xd420_0000,
        // Data processing (register, SVE integer): its only effect is on x0.
        _ => target == 0 && ((word >> 25) & 0x7 == 0b101 || word >> 24 == 0x04) && !is_float(word),
    }
}

/// Scalar FP and SIMD share part of the space of data processing; they write V0, which nobody minds, but loads do.
const fn is_float(word: u32) -> bool {
    (word >> 25) & 0xf == 0b0111
}

/// Runs one instruction with x0 = `x0`: x0 afterwards, or the exception. Panics for what [`is_allowed`] refuses.
pub fn execute(word: u32, x0: u64) -> Result<u64, Exception> {
    assert!(is_allowed(word), "instruction {word:#010x} would break the program");
    run(word, x0)
}

/// Reads a register.
pub fn read(register: Encoding) -> Result<u64, Exception> {
    execute(register.mrs(), 0)
}

/// Writes a register. Panics for those that the program stands on.
pub fn write(register: Encoding, value: u64) -> Result<(), Exception> {
    let is_mdscr = register == Encoding::new(2, 0, 0, 2, 2);
    if is_mdscr && value == 0 {
        return run(register.msr(), 0).map(drop);
    }
    execute(register.msr(), value).map(drop)
}

fn run(word: u32, x0: u64) -> Result<u64, Exception> {
    let slot = &SLOTS[cpus::index()];
    slot.0[0].store(word, Ordering::Relaxed);
    slot.0[1].store(MOV_X1_0, Ordering::Relaxed);
    slot.0[2].store(RET, Ordering::Relaxed);
    let address = core::ptr::addr_of!(*slot) as usize;
    let (value, syndrome);
    // SAFETY: the slot is this vCPU's own; the instruction writes x0 only (`is_allowed`) or, for HVC and SMC, what
    // SMCCC lets a callee spoil; an exception in it comes back with the syndrome in x1 (`probe::recover`).
    unsafe {
        asm!(
            "dc cvau, {slot}", "dsb ish", "ic ivau, {slot}", "dsb ish", "isb",
            "blr {slot}",
            slot = in(reg) address,
            inout("x0") x0 => value, out("x1") syndrome, out("x2") _, out("x3") _,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
            out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            out("x30") _,
        );
    }
    probe::outcome(Outcome { value, syndrome })
}

/// The slots, for `probe::recover`.
pub(crate) fn slots() -> core::ops::Range<u64> {
    let start = core::ptr::addr_of!(SLOTS) as u64;
    start..start + size_of_val(&SLOTS) as u64
}
