//! What the ID registers hide is undefined; what they show is not asked for more than not to stop the guest.
//!
//! Arm ARM D24.2: fields of 4 bits, 0 where the feature is absent.

use super::{Report, expect, register, undefined};
use crate::harness::Outcome;
use alloc::format;
use el1::instruction::{Encoding, execute, write};

pub const PFR0: Encoding = register(3, 0, 0, 4, 0);
const PFR1: Encoding = register(3, 0, 0, 4, 1);
pub const DFR0: Encoding = register(3, 0, 0, 5, 0);
const ISAR0: Encoding = register(3, 0, 0, 6, 0);
const ISAR1: Encoding = register(3, 0, 0, 6, 1);
const ISAR2: Encoding = register(3, 0, 0, 6, 2);
const MMFR1: Encoding = register(3, 0, 0, 7, 1);
const MMFR3: Encoding = register(3, 0, 0, 7, 3);

/// A feature: where the ID registers show it, and instructions that are undefined without it.
struct Feature {
    name: &'static str,
    /// Registers and shifts of 4-bit fields; the feature is hidden when all read 0.
    fields: &'static [(Encoding, u32)],
    instructions: &'static [u32],
}

/// Features of v8.1 to v9.4 with state or traps of their own.
const FEATURES: &[Feature] = &[
    Feature {
        name: "SVE",
        fields: &[(PFR0, 32)],
        // rdvl x0, #1; mrs x0, ZCR_EL1
        instructions: &[0x04bf_5020, register(3, 0, 1, 2, 0).mrs()],
    },
    Feature {
        name: "SME",
        fields: &[(PFR1, 24)],
        // rdsvl x0, #1; SVCR; SMCR_EL1; TPIDR2_EL0
        instructions: &[
            0x04bf_5820,
            register(3, 3, 4, 2, 2).mrs(),
            register(3, 0, 1, 2, 6).mrs(),
            register(3, 3, 13, 0, 5).mrs(),
        ],
    },
    Feature {
        name: "PAuth",
        fields: &[(ISAR1, 4), (ISAR1, 8), (ISAR1, 24), (ISAR1, 28), (ISAR2, 8), (ISAR2, 12)],
        // APIAKeyLo_EL1, APDBKeyHi_EL1, APGAKeyLo_EL1. (PACIZA is no proof: with SCTLR_EL1.EnIA = 0 nothing traps it.)
        instructions: &[
            register(3, 0, 2, 1, 0).mrs(),
            register(3, 0, 2, 2, 3).mrs(),
            register(3, 0, 2, 3, 0).mrs(),
        ],
    },
    Feature {
        name: "MTE",
        fields: &[(PFR1, 8)],
        // RGSR_EL1, GCR_EL1, TFSR_EL1. (IRG is no proof: without tag access it gives tag 0.)
        instructions: &[
            register(3, 0, 1, 0, 5).mrs(),
            register(3, 0, 1, 0, 6).mrs(),
            register(3, 0, 5, 6, 0).mrs(),
        ],
    },
    Feature {
        name: "PMU",
        fields: &[(DFR0, 8)],
        // PMCR_EL0, PMCNTENSET_EL0, PMCCNTR_EL0, PMUSERENR_EL0, PMINTENSET_EL1, PMEVCNTR0_EL0, PMCCFILTR_EL0
        instructions: &[
            register(3, 3, 9, 12, 0).mrs(),
            register(3, 3, 9, 12, 1).mrs(),
            register(3, 3, 9, 13, 0).mrs(),
            register(3, 3, 9, 14, 0).mrs(),
            register(3, 0, 9, 14, 1).mrs(),
            register(3, 3, 14, 8, 0).mrs(),
            register(3, 3, 14, 15, 7).mrs(),
        ],
    },
    Feature {
        name: "SPE",
        fields: &[(DFR0, 32)],
        // PMSCR_EL1, PMBLIMITR_EL1, PMSIDR_EL1
        instructions: &[
            register(3, 0, 9, 9, 0).mrs(),
            register(3, 0, 9, 10, 0).mrs(),
            register(3, 0, 9, 9, 7).mrs(),
        ],
    },
    Feature { name: "trace buffer", fields: &[(DFR0, 44)], instructions: &[register(3, 0, 9, 11, 0).mrs()] },
    Feature { name: "trace filter", fields: &[(DFR0, 40)], instructions: &[register(3, 0, 1, 2, 1).mrs()] },
    // TRCPRGCTLR
    Feature { name: "trace unit", fields: &[(DFR0, 4)], instructions: &[register(2, 1, 0, 1, 0).mrs()] },
    // AMCR_EL0, AMEVCNTR00_EL0
    Feature {
        name: "AMU",
        fields: &[(PFR0, 44)],
        instructions: &[register(3, 3, 13, 2, 0).mrs(), register(3, 3, 13, 4, 0).mrs()],
    },
    // MPAM1_EL1, MPAM0_EL1
    Feature {
        name: "MPAM",
        fields: &[(PFR0, 40), (PFR1, 16)],
        instructions: &[register(3, 0, 10, 5, 0).mrs(), register(3, 0, 10, 5, 1).mrs()],
    },
    // ERRIDR_EL1, ERRSELR_EL1. (Nothing traps DISR_EL1.)
    Feature {
        name: "RAS",
        fields: &[(PFR0, 28)],
        instructions: &[register(3, 0, 5, 3, 0).mrs(), register(3, 0, 5, 3, 1).mrs()],
    },
    // LORC_EL1, LORID_EL1
    Feature {
        name: "LORegions",
        fields: &[(MMFR1, 16)],
        instructions: &[register(3, 0, 10, 4, 3).mrs(), register(3, 0, 10, 4, 7).mrs()],
    },
    // RNDR, RNDRRS
    Feature {
        name: "RNG",
        fields: &[(ISAR0, 60)],
        instructions: &[register(3, 3, 2, 4, 0).mrs(), register(3, 3, 2, 4, 1).mrs()],
    },
    // TCR2_EL1
    Feature { name: "TCR2", fields: &[(MMFR3, 0)], instructions: &[register(3, 0, 2, 0, 3).mrs()] },
    // SCTLR2_EL1
    Feature { name: "SCTLR2", fields: &[(MMFR3, 4)], instructions: &[register(3, 0, 1, 0, 3).mrs()] },
    // PIR_EL1
    Feature { name: "S1PIE", fields: &[(MMFR3, 8)], instructions: &[register(3, 0, 10, 2, 3).mrs()] },
    // GCSCR_EL1
    Feature { name: "GCS", fields: &[(PFR1, 44)], instructions: &[register(3, 0, 2, 5, 0).mrs()] },
    // PAN as a register of PSTATE
    Feature { name: "PAN", fields: &[(MMFR1, 20)], instructions: &[register(3, 0, 4, 2, 3).mrs()] },
    // cas and swp have no form without memory: LSE has nothing to trap.
];

/// CPACR_EL1 with nothing of FP, SVE (ZEN) and SME (SMEN) trapped to EL1 itself: then it is EL2's turn.
const CPACR: Encoding = register(3, 0, 1, 0, 2);
const ALL_OPEN: u64 = 0x0333_0000;
const FP_OPEN: u64 = 0x0030_0000;

/// One test for each feature.
pub fn run(report: &mut Report) {
    let _ = write(CPACR, ALL_OPEN);
    features(report);
    let _ = write(CPACR, FP_OPEN);
}

fn features(report: &mut Report) {
    for feature in FEATURES {
        report.test(&format!("hidden-{}", feature.name.replace(' ', "-")), || hidden(feature));
    }
}

fn hidden(feature: &Feature) -> Outcome {
    let mut shown = 0;
    for (register, shift) in feature.fields {
        shown |= expect(*register)? >> shift & 0xf;
    }
    // 0xf: an IMPLEMENTATION DEFINED PMU, which is no PMUv3.
    let is_hidden = shown == 0 || (feature.name == "PMU" && shown == 0xf);
    for word in feature.instructions {
        if is_hidden {
            undefined(*word)?;
        } else {
            // Shown: whatever it does, it is for this PE to say; the guest goes on.
            let _ = execute(*word, 0);
        }
    }
    Ok(())
}
