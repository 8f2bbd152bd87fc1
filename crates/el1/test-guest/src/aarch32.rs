//! Programs of 32 bits at EL0: what a hypervisor executes for them it steps over as their instruction set has it.
//!
//! Arm ARM D24.2.40 ESR_ELx.IL; F5 (T32 encodings); G1.2 ITSTATE. Programs are T32, run by `el1::sandbox`; the number of
//! the SVC that ends one says where it came.

use crate::harness::{Outcome, Report};
use alloc::format;
use el1::boot::Boot;
use el1::registers::id_aa64pfr0_el1;
use el1::sandbox::{self, End, Level, Registers};

/// Where the programs are, as in `random`.
const ARENA: usize = 24 << 20;
const ARENA_BYTES: usize = 2 << 20;
/// UARTFR: a load has no effect.
const UART_FLAGS: u64 = 0x0900_0018;
/// ESR_EL1: SVC in AArch32 state.
const SVC: u64 = 0x11;

/// LDR R0, [R1]: in 16 bits, and in 32.
const LDR: u16 = 0x6808;
const LDR_W: [u16; 2] = [0xf8d1, 0x0000];
/// SVC #n.
const fn svc(n: u16) -> u16 {
    0xdf00 | n
}
/// ITE NE, ITT NE: at the start Z is 0, so NE holds and EQ does not.
const ITE_NE: u16 = 0xbf14;
const ITT_NE: u16 = 0xbf1c;
const NOP: u16 = 0xbf00;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    // ID_AA64PFR0_EL1.EL0: 2 where AArch32 may run there.
    if id_aa64pfr0_el1::read() & 0xf != 2 {
        return;
    }
    report.test("aarch32-16-bits", || ends(boot, &[LDR, svc(1), svc(2), svc(3)]));
    report.test("aarch32-32-bits", || ends(boot, &[LDR_W[0], LDR_W[1], svc(1), svc(2)]));
    report.test("aarch32-it-else", || ends(boot, &[ITE_NE, LDR, svc(2), svc(1)]));
    report.test("aarch32-it-32-bits", || ends(boot, &[NOP, ITE_NE, LDR_W[0], LDR_W[1], svc(2), svc(1)]));
    report.test("aarch32-it-then", || ends(boot, &[ITT_NE, LDR, svc(1), svc(2)]));
}

/// The program ends with SVC #1.
fn ends(boot: &'static Boot, program: &[u16]) -> Outcome {
    let words: alloc::vec::Vec<u32> =
        program.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect();
    let mut registers = Registers { x: [0; 31], sp: 0 };
    registers.x[1] = UART_FLAGS;
    let arena = boot.spare.part(ARENA, ARENA_BYTES);
    let end = sandbox::run(boot, arena, 0, &words, Level::T32, &registers);
    el1::registers::unmask_interrupts();
    match end {
        Some(End::Synchronous(exception)) if exception.class() == SVC && exception.esr & 0xffff == 1 => {
            Ok(())
        }
        other => Err(format!("ended with {other:x?}")),
    }
}
