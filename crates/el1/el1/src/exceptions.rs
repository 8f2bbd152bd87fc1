//! Exceptions at EL1 (vectors.s): probes come back with the syndrome, anything else ends the program with a message.
//!
//! Called by: `vectors.s`. Arm ARM D1.3 "Exceptions", D24.2.40 ESR_EL1. The resource: VBAR_EL1 and what an exception
//! saves. Invariant: an instruction is only ever skipped inside the assembly of `probe` and `instruction`, so a fault
//! in Rust code never goes on silently.

use crate::probe;
use core::arch::global_asm;

global_asm!(include_str!("vectors.s"));

/// The registers at a synchronous exception, as `vectors.s` stores them.
#[repr(C)]
pub(crate) struct Frame {
    pub x: [u64; 31],
    pub elr: u64,
    pub spsr: u64,
    reserved: u64,
}

const _: () = assert!(size_of::<Frame>() == 272);

/// A synchronous exception that was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
}

/// Exception classes (ESR_ELx.EC).
pub mod class {
    /// Unknown reason: what an undefined instruction gives.
    pub const UNKNOWN: u64 = 0x00;
    /// Trapped access to SVE, FP or SIMD.
    pub const FP: u64 = 0x07;
    /// SVC from AArch64.
    pub const SVC: u64 = 0x15;
    /// Trapped access to a system register.
    pub const SYSTEM_REGISTER: u64 = 0x18;
    /// Instruction abort from a lower level.
    pub const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    /// Instruction abort from the same level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    /// Data abort from the same level.
    pub const DATA_ABORT: u64 = 0x25;
    /// BRK.
    pub const BREAKPOINT: u64 = 0x3c;
}

/// Fault status: synchronous external abort, not on a table walk.
pub const EXTERNAL_ABORT: u64 = 0x10;

impl Exception {
    /// ESR.EC.
    pub const fn class(&self) -> u64 {
        (self.esr >> 26) & 0x3f
    }

    /// ESR.DFSC or IFSC.
    pub const fn fault_status(&self) -> u64 {
        self.esr & 0x3f
    }

    /// Whether the instruction was undefined.
    pub const fn is_undefined(&self) -> bool {
        self.class() == class::UNKNOWN
    }
}

#[unsafe(no_mangle)]
extern "C" fn el1_synchronous(frame: &mut Frame) {
    let exception =
        Exception { esr: crate::registers::esr_el1::read(), far: crate::registers::far_el1::read() };
    if !probe::recover(frame, exception) {
        fatal("synchronous exception", frame);
    }
}

#[unsafe(no_mangle)]
extern "C" fn el1_unexpected(frame: &mut Frame) -> ! {
    fatal("exception through an unused vector", frame)
}

fn fatal(what: &str, frame: &Frame) -> ! {
    panic!(
        "{what}: ESR {:#x} FAR {:#x} ELR {:#x} SPSR {:#x} LR {:#x}",
        crate::registers::esr_el1::read(),
        crate::registers::far_el1::read(),
        frame.elr,
        frame.spsr,
        frame.x[30]
    )
}
