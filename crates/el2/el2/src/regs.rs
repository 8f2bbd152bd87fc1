//! Guards: the system registers.
//!
//! `read!` and `write!` are for this crate only; what other crates may read has a function of its own.
//! Encodings of registers that assemblers for Armv8.0 do not name: Arm ARM (DDI 0487), D19.

/// Reads a system register.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: an MRS of a register that exists at EL2 has no effect on memory or the stack.
        unsafe {
            core::arch::asm!(
                concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)
            )
        };
        value
    }};
}

/// Writes a system register. A literal 0 needs no register to come from.
macro_rules! write {
    ($register:literal, 0) => {
        $crate::regs::write!(@ $register, "xzr")
    };
    ($register:literal, $value:expr) => {{
        let value: u64 = $value;
        $crate::regs::write!(@ $register, "{}", value)
    }};
    (@ $register:literal, $source:literal $(, $value:ident)?) => {{
        // SAFETY: only registers of the guest's context, of the timer and GIC interfaces, and (in `mmu`, `boot`)
        // of EL2's own translation are written; each writer keeps the mappings that Rust relies on.
        unsafe {
            core::arch::asm!(
                concat!("msr ", $register, ", ", $source) $(, in(reg) $value)?, options(nostack, preserves_flags)
            )
        }
    }};
}

/// Executes one barrier, hint or maintenance instruction, optionally with an operand.
macro_rules! instruction {
    ($text:literal) => {
        // SAFETY: barriers, hints and TLB maintenance change no memory that Rust sees.
        unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) }
    };
    ($text:literal, $operand:expr) => {{
        let operand: u64 = $operand;
        // SAFETY: as above.
        unsafe { core::arch::asm!(concat!($text, ", {}"), in(reg) operand, options(nostack, preserves_flags)) }
    }};
}

pub(crate) use {instruction, read, write};

/// Instruction synchronization barrier.
#[inline(always)]
pub fn isb() {
    instruction!("isb");
}

/// Orders stores before what follows, for all PEs and observers of the inner shareable domain.
#[inline(always)]
pub fn dsb_ishst() {
    instruction!("dsb ishst");
}

/// Ticks of the physical counter.
#[inline(always)]
pub fn counter() -> u64 {
    read!("cntpct_el0")
}

/// Ticks of the counter in a second.
#[inline(always)]
pub fn counter_hz() -> u64 {
    read!("cntfrq_el0").max(1)
}

/// Exception level that is running now.
pub fn current_el() -> u64 {
    read!("CurrentEL") >> 2 & 3
}

/// Affinity fields of this PE's MPIDR_EL1.
pub fn mpidr() -> u64 {
    read!("mpidr_el1") & 0xff_00ff_ffff
}

/// ESR_EL2.
#[inline(always)]
pub fn syndrome() -> u64 {
    read!("esr_el2")
}

/// ELR_EL2 and FAR_EL2.
pub fn fault() -> [u64; 2] {
    [read!("elr_el2"), read!("far_el2")]
}

/// x29: where the newest frame record is.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a general register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
