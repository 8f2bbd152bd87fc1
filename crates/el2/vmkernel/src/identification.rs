//! The filter on ID registers: a guest is shown what EL2 virtualizes, and nothing else.
//!
//! Fields are cleared or limited; what is cleared here traps or is undefined when used (HCR_EL2, CPTR_EL2, MDCR_EL2).
//! Source: Arm ARM (DDI 0487), D19.2 "General system control registers".

/// Place of a register in the table: CRm × 8 + op2.
const fn at(crm: usize, op2: usize) -> usize {
    crm * 8 + op2
}

/// `value` with the four-bit field at `shift` at most `most`; a field of 0xf means "not there" where `signed`.
const fn limit(value: u64, shift: u32, most: u64) -> u64 {
    let field = (value >> shift) & 15;
    let field = if field > most { most } else { field };
    (value & !(15 << shift)) | (field << shift)
}

/// `value` with only the four-bit fields whose lowest bits are listed.
fn keep(value: u64, shifts: &[u32]) -> u64 {
    shifts.iter().fold(0, |sum, shift| sum | (value & (15 << shift)))
}

/// What a guest reads, from what the PE has.
pub fn filter(host: &[u64; 64], gicv3: bool) -> [u64; 64] {
    let mut ids = *host;
    let mut set = |index: usize, change: &dyn Fn(u64) -> u64| {
        if let Some(id) = ids.get_mut(index) {
            *id = change(*id);
        }
    };
    // ID_AA64PFR0: EL0, EL1 (AArch64 only), FP, AdvSIMD, DIT, CSV2 (no SCXTNUM), CSV3; the GIC as shown.
    set(at(4, 0), &|id| {
        let kept = keep(id, &[0, 4, 16, 20, 48, 56, 60]);
        limit(limit(kept, 4, 1), 56, 1) | (u64::from(gicv3) << 24)
    });
    // ID_AA64PFR1: BT, SSBS.
    set(at(4, 1), &|id| keep(id, &[0, 4]));
    set(at(4, 4), &|_| 0);
    set(at(4, 5), &|_| 0);
    // ID_AA64DFR0: Armv8 debug, the least of breakpoints; no PMU, trace, SPE.
    set(at(5, 0), &|_| 6 | (1 << 12) | (1 << 20));
    set(at(5, 1), &|_| 0);
    // ID_AA64ISAR0: no TME.
    set(at(6, 0), &|id| id & !(15 << 24));
    // ID_AA64ISAR1: no pointer authentication, no LS64.
    set(at(6, 1), &|id| keep(id, &[0, 12, 16, 20, 32, 36, 40, 44, 48, 52]));
    set(at(6, 2), &|_| 0);
    // ID_AA64MMFR0: 40 bits of PA; ASIDBits, BigEnd, BigEndEL0, granules of stage 1.
    set(at(7, 0), &|id| limit(keep(id, &[0, 4, 8, 16, 20, 24, 28]), 0, 2));
    // ID_AA64MMFR1: HAFDBS, VMIDBits off, HPDS, PAN.
    set(at(7, 1), &|id| keep(id, &[0, 12, 20]));
    // ID_AA64MMFR2: CnP, UAO, LSM, IESB, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
    set(at(7, 2), &|id| keep(id, &[0, 4, 8, 12, 16, 20, 28, 32, 36, 48, 52, 60]));
    set(at(7, 3), &|_| 0);
    set(at(7, 4), &|_| 0);
    // ID_PFR1: no virtualization and security extensions; ID_DFR0: no PMU, no trace.
    set(at(1, 1), &|id| id & !(0xff << 4 | 15 << 12 | 15 << 28) | (u64::from(gicv3) << 28));
    set(at(1, 2), &|id| id & 0xf);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_features_are_zero_and_reserved_slots_stay_so() {
        let all = [u64::MAX; 64];
        let ids = filter(&all, true);
        assert_eq!(ids[at(4, 0)] >> 32 & 15, 0, "SVE");
        assert_eq!(ids[at(4, 0)] >> 24 & 15, 1, "GIC system registers");
        assert_eq!(ids[at(5, 0)] >> 8 & 15, 0, "PMU");
        assert_eq!(ids[at(6, 1)] & 0xff0, 0, "pointer authentication");
        assert_eq!(ids[at(7, 0)] & 15, 2, "40 bits of PA");
        assert_eq!(filter(&[0; 64], false)[at(4, 6)], 0);
    }
}
