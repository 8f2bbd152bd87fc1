//! The FP/SIMD registers, which no Rust code of ours touches (softfloat): what a test puts there stays, unless the
//! hypervisor loses it.
//!
//! Called by: tests. The resource: V0–V31, FPCR, FPSR.

use core::arch::asm;

/// All FP/SIMD state of a vCPU.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FpState {
    /// V0 to V31.
    pub v: [u128; 32],
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
}

macro_rules! pairs {
    ($instruction:literal) => {
        concat!(
            ".arch_extension fp\n.arch_extension simd\n",
            $instruction,
            " q0, q1, [{p}]\n",
            $instruction,
            " q2, q3, [{p}, #32]\n",
            $instruction,
            " q4, q5, [{p}, #64]\n",
            $instruction,
            " q6, q7, [{p}, #96]\n",
            $instruction,
            " q8, q9, [{p}, #128]\n",
            $instruction,
            " q10, q11, [{p}, #160]\n",
            $instruction,
            " q12, q13, [{p}, #192]\n",
            $instruction,
            " q14, q15, [{p}, #224]\n",
            $instruction,
            " q16, q17, [{p}, #256]\n",
            $instruction,
            " q18, q19, [{p}, #288]\n",
            $instruction,
            " q20, q21, [{p}, #320]\n",
            $instruction,
            " q22, q23, [{p}, #352]\n",
            $instruction,
            " q24, q25, [{p}, #384]\n",
            $instruction,
            " q26, q27, [{p}, #416]\n",
            $instruction,
            " q28, q29, [{p}, #448]\n",
            $instruction,
            " q30, q31, [{p}, #480]\n",
        )
    };
}

/// Loads all of it.
pub fn load(state: &FpState) {
    // SAFETY: reads 512 bytes of `state`; no Rust code uses these registers (target softfloat).
    unsafe {
        asm!(pairs!("ldp"), "msr fpcr, {c}", "msr fpsr, {s}", p = in(reg) state, c = in(reg) state.fpcr,
            s = in(reg) state.fpsr, options(nostack, readonly));
    }
}

/// What is there now.
pub fn read() -> FpState {
    let mut state = FpState { v: [0; 32], fpcr: 0, fpsr: 0 };
    // SAFETY: writes 512 bytes of `state`.
    unsafe {
        asm!(pairs!("stp"), "mrs {c}, fpcr", "mrs {s}, fpsr", p = in(reg) &mut state,
            c = out(reg) state.fpcr, s = out(reg) state.fpsr, options(nostack));
    }
    state
}
