//! Guards: the EL1 context of a vCPU: system registers, timer, FP/SIMD. Moved at a switch, never at an exit.
//!
//! Erratum 1319367 / 1165522: while the stage-1 and stage-2 registers are mixed, [`walks`] keeps the PE from walking.
//! Source: Arm ARM (DDI 0487), D19 "AArch64 System Register Descriptions".

use crate::regs::{instruction, read, write};
use crate::walks::{self, Gate};
use core::arch::global_asm;

/// This PE's registers.
pub(crate) struct Here;

impl Gate for Here {
    #[inline(always)]
    fn set_tcr(&mut self, value: u64) {
        write!("tcr_el1", value);
    }

    #[inline(always)]
    fn set_sctlr(&mut self, value: u64) {
        write!("sctlr_el1", value);
    }

    #[inline(always)]
    fn synchronize(&mut self) {
        instruction!("isb");
    }
}

/// The same pointer, in a register of its own: a pair of registers moves by one instruction only within 504 bytes of one,
/// and the context is further from the start of its vCPU.
#[allow(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed there")]
#[inline(always)]
fn near<T>(mut at: *mut T) -> *mut T {
    // SAFETY: no instruction; the compiler no longer knows what the pointer was computed from.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) at, options(nomem, nostack, preserves_flags)) };
    at
}

macro_rules! context {
    ($([$first:ident $first_register:literal, $second:ident $second_register:literal])*) => {
        /// System registers that a guest owns, apart from TCR_EL1 and SCTLR_EL1. In pairs: two of them move by one load or
        /// store.
        #[derive(Clone, Debug, Default)]
        #[repr(C)]
        struct Registers { $($first: u64, $second: u64,)* }

        impl Registers {
            #[inline(always)]
            fn save(&mut self) {
                $((self.$first, self.$second) = (read!($first_register), read!($second_register));)*
            }

            #[inline(always)]
            fn load(&self) {
                $({
                    let (first, second) = (self.$first, self.$second);
                    write!($first_register, first);
                    write!($second_register, second);
                })*
            }
        }
    };
}

context! {
    [ttbr0 "ttbr0_el1", ttbr1 "ttbr1_el1"]
    [mair "mair_el1", amair "amair_el1"]
    [vbar "vbar_el1", cpacr "cpacr_el1"]
    [esr "esr_el1", far "far_el1"]
    [afsr0 "afsr0_el1", afsr1 "afsr1_el1"]
    [contextidr "contextidr_el1", tpidr_el0 "tpidr_el0"]
    [tpidrro_el0 "tpidrro_el0", tpidr_el1 "tpidr_el1"]
    [sp_el0 "sp_el0", sp_el1 "sp_el1"]
    [elr_el1 "elr_el1", spsr_el1 "spsr_el1"]
    [par "par_el1", cntkctl "cntkctl_el1"]
    [csselr "csselr_el1", cntv_cval "cntv_cval_el0"]
    [elr_el2 "elr_el2", spsr_el2 "spsr_el2"]
}

/// SCTLR_EL1 at reset: RES1 bits of Armv8.0, MMU and caches off.
const SCTLR_RESET: u64 = 0x30d0_0800;
/// SPSR_EL2 for a first instruction: EL1h, DAIF masked.
const SPSR_RESET: u64 = 0x3c5;

/// Everything of a vCPU that lives in hardware while it is loaded, list registers aside.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub(crate) struct Context {
    registers: Registers,
    tcr: u64,
    sctlr: u64,
    /// What no guest can change: written at a switch, never read back.
    fixed: Fixed,
    cntv_ctl: u64,
    fpcr: u64,
    fpsr: u64,
    fp: [u128; 32],
}

#[derive(Clone, Debug)]
#[repr(C)]
struct Fixed {
    vttbr: u64,
    vmpidr: u64,
    cntvoff: u64,
    hcr: u64,
}

impl Context {
    pub(crate) fn new(entry: u64, vmpidr: u64, vttbr: u64, hcr: u64, counter_offset: u64) -> Self {
        let registers = Registers { elr_el2: entry, spsr_el2: SPSR_RESET, ..Registers::default() };
        let fixed = Fixed { vttbr, vmpidr, cntvoff: counter_offset, hcr };
        Self { registers, tcr: 0, sctlr: SCTLR_RESET, fixed, cntv_ctl: 0, fpcr: 0, fpsr: 0, fp: [0; 32] }
    }

    /// Where the guest was: PC and PSTATE.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.registers.elr_el2, self.registers.spsr_el2)
    }

    /// The virtual timer's compare value as a value of the physical counter, if it is enabled and not masked. The timer
    /// compares 64 bits without sign: what the counter never reaches is no deadline of the past.
    pub(crate) fn timer_deadline(&self) -> Option<u64> {
        (self.cntv_ctl & 3 == 1).then(|| self.registers.cntv_cval.saturating_add(self.fixed.cntvoff))
    }

    /// How far the virtual counter is behind the physical one, from the next load on.
    pub(crate) fn set_counter_offset(&mut self, ticks: u64) {
        self.fixed.cntvoff = ticks;
    }

    /// Has WFI trap, or not, from the next load on: HCR_EL2 for one that is loaded.
    pub(crate) fn trap_wfi(&mut self, trap: bool) -> u64 {
        self.fixed.hcr = self.fixed.hcr & !HCR_TWI | if trap { HCR_TWI } else { 0 };
        self.fixed.hcr
    }

    #[inline(always)]
    pub(crate) fn save(&mut self) {
        // SAFETY: the pointer is `self`.
        let near = unsafe { &mut *near(core::ptr::from_mut(self)) };
        near.cntv_ctl = read!("cntv_ctl_el0");
        write!("cntv_ctl_el0", 0);
        near.registers.save();
        (near.tcr, near.sctlr) = (read!("tcr_el1"), read!("sctlr_el1"));
        if read!("cptr_el2") & CPTR_TRAP_FP == 0 {
            // SAFETY: `fp` holds 32 registers of 16 bytes, 16-byte aligned.
            unsafe { bramble_save_fp(near.fp.as_mut_ptr()) };
            (near.fpcr, near.fpsr) = (read!("S3_3_C4_C4_0"), read!("S3_3_C4_C4_1"));
        }
    }

    #[inline(always)]
    pub(crate) fn load(&self, fp_is_live: bool) {
        // SAFETY: the pointer is `self`.
        let near = unsafe { &*near(core::ptr::from_ref(self).cast_mut()) };
        walks::without(&mut Here, near.tcr, near.sctlr, |_| {
            let Fixed { vttbr, vmpidr, cntvoff, hcr } = near.fixed;
            write!("vttbr_el2", vttbr);
            write!("vmpidr_el2", vmpidr);
            write!("cntvoff_el2", cntvoff);
            write!("hcr_el2", hcr);
            near.registers.load();
        });
        if read!("id_aa64pfr0_el1") >> 28 & 15 != 0 {
            // FEAT_RAS: a guest's DISR_EL1 is VDISR_EL2, and nothing traps it. None is told of errors that were put off.
            write!("S3_4_C12_C1_1", 0);
        }
        write!("cntv_ctl_el0", near.cntv_ctl);
        write!("cptr_el2", if fp_is_live { CPTR } else { CPTR | CPTR_TRAP_FP });
    }

    /// Leaves no guest in the hardware: what stage 2 there was may go.
    pub(crate) fn leave_empty() {
        walks::close(&mut Here, 0, SCTLR_RESET);
        write!("vttbr_el2", 0);
        instruction!("isb");
    }

    #[inline(never)]
    pub(crate) fn load_fp(&self) {
        write!("cptr_el2", CPTR);
        instruction!("isb");
        // SAFETY: as in `save`.
        unsafe { bramble_load_fp(self.fp.as_ptr()) };
        write!("S3_3_C4_C4_0", self.fpcr);
        write!("S3_3_C4_C4_1", self.fpsr);
    }
}

/// CPTR_EL2 without VHE: RES1 bits, SVE (TZ) and SME (TSM) trapped, trace (TTA) and activity monitors (TAM) trapped.
pub(crate) const CPTR: u64 = 0x33ff & !CPTR_TRAP_FP | 1 << 8 | 1 << 12 | 1 << 20 | 1 << 30;
/// HCR_EL2.TWI.
const HCR_TWI: u64 = 1 << 13;
/// CPTR_EL2.TFP.
const CPTR_TRAP_FP: u64 = 1 << 10;

unsafe extern "C" {
    fn bramble_save_fp(to: *mut u128);
    fn bramble_load_fp(from: *const u128);
}

global_asm!(
    r#"
    .pushsection .text.fp, "ax"
    .arch armv8-a+fp+simd
    .globl bramble_save_fp
bramble_save_fp:
    stp q0, q1, [x0, #0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    ret
    .globl bramble_load_fp
bramble_load_fp:
    ldp q0, q1, [x0, #0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    ret
    .arch armv8-a
    .popsection
    "#
);
