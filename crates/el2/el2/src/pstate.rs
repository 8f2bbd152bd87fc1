//! Guards nothing: PSTATE of a guest that takes an exception to its EL1 which EL2 injects, or whose instruction EL2 executed.
//!
//! Called by `vcpu::trap`. Source: Arm ARM (DDI 0487), `AArch64.TakeException`; C5.2 for each field; ESR_EL2, SPSR_EL2 and
//! SCTLR_EL1 in D24.2; G1.2 "ITSTATE", `AArch32.ITAdvance`.

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

/// ESR_EL2.IL: the instruction has 32 bits, not 16 (T32).
const IL: u64 = 1 << 25;

/// How many bytes an instruction of A32 or T32 has, and PSTATE behind it: an IT block goes on with its next condition.
pub(crate) const fn behind(syndrome: u64, spsr: u64) -> (u64, u64) {
    // IT[7:2] are bits 15:10, IT[1:0] bits 26:25. IT[4:0] moves up; what is left without the lowest three is the end.
    const PLACES: u64 = 0x3f << 10 | 3 << 25;
    let it = spsr >> 8 & 0xfc | spsr >> 25 & 3;
    let next = if it & 7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    let spsr = spsr & !PLACES | (next & 0xfc) << 8 | (next & 3) << 25;
    (if syndrome & IL == 0 { 2 } else { 4 }, spsr)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IT as it stands in SPSR_EL2, T32 at EL0, flags and masks set.
    const fn in_block(it: u64) -> u64 {
        0xf000_01f0 | (it & 0xfc) << 8 | (it & 3) << 25
    }

    #[test]
    fn an_instruction_of_16_bits_has_two_bytes() {
        assert_eq!(behind(0x24 << 26, in_block(0)), (2, in_block(0)));
        assert_eq!(behind(0x24 << 26 | IL, in_block(0)), (4, in_block(0)));
    }

    #[test]
    fn an_it_block_goes_on_with_the_next_condition() {
        // ITETE NE, by the table of `ITAdvance`: NE, EQ, NE, EQ, end.
        let block = [0b0001_0101, 0b0000_1010, 0b0001_0100, 0b0000_1000, 0];
        for pair in block.windows(2) {
            assert_eq!(behind(IL, in_block(pair[0])), (4, in_block(pair[1])));
        }
    }

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
