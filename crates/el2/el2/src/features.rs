//! Guards nothing: the identification registers of the PE, which EL2 may read and guests see through a filter.

use crate::regs::read;

/// The 8 × 8 ID registers of AArch64 and AArch32 at op0 = 3, op1 = 0, CRn = 0, indexed by CRm × 8 + op2, as the PE has
/// them. Reserved slots are zero.
pub fn identification() -> [u64; 64] {
    let mut ids = [0; 64];
    macro_rules! fill {
        ($($crm:literal $op2:literal $register:literal,)*) => { $(ids[$crm * 8 + $op2] = read!($register);)* };
    }
    fill! {
        1 0 "S3_0_C0_C1_0", 1 1 "S3_0_C0_C1_1", 1 2 "S3_0_C0_C1_2", 1 3 "S3_0_C0_C1_3",
        1 4 "S3_0_C0_C1_4", 1 5 "S3_0_C0_C1_5", 1 6 "S3_0_C0_C1_6", 1 7 "S3_0_C0_C1_7",
        2 0 "S3_0_C0_C2_0", 2 1 "S3_0_C0_C2_1", 2 2 "S3_0_C0_C2_2", 2 3 "S3_0_C0_C2_3",
        2 4 "S3_0_C0_C2_4", 2 5 "S3_0_C0_C2_5", 2 6 "S3_0_C0_C2_6", 2 7 "S3_0_C0_C2_7",
        3 0 "S3_0_C0_C3_0", 3 1 "S3_0_C0_C3_1", 3 2 "S3_0_C0_C3_2", 3 4 "S3_0_C0_C3_4", 3 5 "S3_0_C0_C3_5",
        3 6 "S3_0_C0_C3_6",
        4 0 "S3_0_C0_C4_0", 4 1 "S3_0_C0_C4_1", 4 2 "S3_0_C0_C4_2", 4 4 "S3_0_C0_C4_4", 4 5 "S3_0_C0_C4_5",
        5 0 "S3_0_C0_C5_0", 5 1 "S3_0_C0_C5_1", 5 4 "S3_0_C0_C5_4", 5 5 "S3_0_C0_C5_5",
        6 0 "S3_0_C0_C6_0", 6 1 "S3_0_C0_C6_1", 6 2 "S3_0_C0_C6_2",
        7 0 "S3_0_C0_C7_0", 7 1 "S3_0_C0_C7_1", 7 2 "S3_0_C0_C7_2", 7 3 "S3_0_C0_C7_3", 7 4 "S3_0_C0_C7_4",
    }
    ids
}

/// MIDR_EL1.
pub fn midr() -> u64 {
    read!("midr_el1")
}

/// A random number of the PE's own, where it has FEAT_RNG and its generator gives one in time.
///
/// Source: Arm ARM (DDI 0487), D24.2 RNDR: with the flags at 0b0100 (Z) there is none, and the value is zero.
pub fn random() -> Option<u64> {
    if read!("id_aa64isar0_el1") >> 60 & 15 == 0 {
        return None;
    }
    let (value, came): (u64, u64);
    // SAFETY: an MRS of RNDR, which exists here: it changes the flags and nothing else.
    unsafe {
        core::arch::asm!(
            "mrs {value}, S3_3_C2_C4_0", "cset {came}, ne", value = out(reg) value, came = out(reg) came,
            options(nomem, nostack)
        )
    };
    (came != 0).then_some(value)
}

/// Whether each exit clears the branch history, since this PE needs it.
pub fn clears_branch_history() -> bool {
    crate::vectors::history_loops() != 0
}
