//! Guards nothing: PSTATE of a guest that takes an exception to its EL1 which EL2 injects.
//!
//! Called by `vcpu::trap`. Source: Arm ARM (DDI 0487), `AArch64.TakeException`; C5.2 for each field; SPSR_EL2 and SCTLR_EL1
//! in D24.2.

/// EL1h with DAIF masked.
const EL1H_MASKED: u64 = 0x3c5;
/// NZCV and DIT stay as they were; UAO, SS, IL and BTYPE become 0.
const KEPT: u64 = 0xf << 28 | 1 << 24;
/// PAN stays, or is set where SCTLR_EL1.SPAN is 0.
const PAN: u64 = 1 << 22;
const SCTLR_SPAN: u64 = 1 << 23;
/// SSBS becomes SCTLR_EL1.DSSBS.
const SSBS: u64 = 1 << 12;
const SCTLR_DSSBS: u64 = 1 << 44;

/// What it goes on with, from SPSR_EL2 and SCTLR_EL1. MTE, which would set TCO, is not shown to guests.
pub(crate) const fn at_exception(spsr: u64, sctlr: u64) -> u64 {
    let pan = if sctlr & SCTLR_SPAN == 0 { PAN } else { spsr & PAN };
    let ssbs = if sctlr & SCTLR_DSSBS == 0 { 0 } else { SSBS };
    EL1H_MASKED | spsr & KEPT | pan | ssbs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_traps_does_not_turn_its_kernels_protection_off() {
        // EL0, flags set, PAN clear; a kernel that has SPAN 0, as Linux has.
        assert_eq!(at_exception(0x6000_0000, 0), 0x6040_03c5);
        // One that keeps PAN as it is.
        assert_eq!(at_exception(0x6000_0000, SCTLR_SPAN), 0x6000_03c5);
        assert_eq!(at_exception(0x0040_0005, SCTLR_SPAN), 0x0040_03c5);
    }

    #[test]
    fn what_an_exception_clears_is_clear() {
        // SS, UAO, IL, BTYPE and SSBS; DIT stays.
        let spsr = 1 << 21 | 1 << 23 | 1 << 20 | 3 << 10 | SSBS | 1 << 24;
        assert_eq!(at_exception(spsr, SCTLR_SPAN), 1 << 24 | 0x3c5);
        assert_eq!(at_exception(0, SCTLR_SPAN | SCTLR_DSSBS), SSBS | 0x3c5);
    }
}
