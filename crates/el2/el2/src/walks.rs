//! Guards: the order in which the registers of a guest's translation change, so that no walk begins between two guests.
//!
//! Erratum 1319367 / 1165522 (docs/errata.md): an AT that speculation executes at EL2 walks with whatever the registers of
//! EL1 and of stage 2 hold, and fills the TLBs. So every state between two guests must answer it by a translation fault of
//! level 0: stage 1 on, and no walks of either half. With stage 1 off there would be no walk to forbid, and the TLBs would
//! learn of the address itself, under the new VMID.
//! Called by `context` at a switch and by `tables` for TLB maintenance; the one place that does it.

/// TCR_EL1.EPD0 and EPD1: no stage-1 walks at EL1&0.
const NO_WALKS: u64 = 1 << 7 | 1 << 23;
/// SCTLR_EL1.M.
const STAGE_1_ON: u64 = 1;

/// The registers that say whether a walk can begin.
pub(crate) trait Gate {
    /// Writes TCR_EL1.
    fn set_tcr(&mut self, value: u64);
    /// Writes SCTLR_EL1.
    fn set_sctlr(&mut self, value: u64);
    /// ISB: what was written stands.
    fn synchronize(&mut self);
}

/// Runs `change`, which gives the guest's other registers and stage 2 their values, while no walk can begin. `tcr` and
/// `sctlr` are what the guest goes on with.
#[inline(always)]
pub(crate) fn without<G: Gate>(gate: &mut G, tcr: u64, sctlr: u64, change: impl FnOnce(&mut G)) {
    close(gate, tcr, sctlr);
    change(gate);
    gate.synchronize();
    if sctlr & STAGE_1_ON == 0 {
        gate.set_sctlr(sctlr);
        gate.synchronize();
    }
    // What runs next begins with an exception return, or synchronizes.
    gate.set_tcr(tcr);
}

/// No walk can begin from now on. First none of stage 1's, then stage 1 is on.
#[inline(always)]
pub(crate) fn close(gate: &mut impl Gate, tcr: u64, sctlr: u64) {
    gate.set_tcr(tcr | NO_WALKS);
    gate.synchronize();
    gate.set_sctlr(sctlr | STAGE_1_ON);
    gate.synchronize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// What the PE may use: each value since the last ISB.
    struct Pe {
        tcr: Vec<u64>,
        sctlr: Vec<u64>,
        guest: u64,
        mixed: bool,
    }

    impl Pe {
        /// Whatever the PE uses, an AT either ends in a fault of level 0 or walks for one guest alone.
        fn check(&self) {
            for tcr in &self.tcr {
                for sctlr in &self.sctlr {
                    let stage_1 = sctlr & 1 != 0;
                    let faults = stage_1 && tcr & NO_WALKS == NO_WALKS;
                    // With stage 1 off, TCR_EL1 says nothing.
                    let of_one = sctlr >> 32 == self.guest && (tcr >> 32 == self.guest || !stage_1);
                    assert!(faults || of_one && !self.mixed, "a walk with {tcr:#x} and {sctlr:#x}");
                }
            }
        }
    }

    impl Gate for Pe {
        fn set_tcr(&mut self, value: u64) {
            self.tcr.push(value);
            self.check();
        }

        fn set_sctlr(&mut self, value: u64) {
            self.sctlr.push(value);
            self.check();
        }

        fn synchronize(&mut self) {
            self.tcr.drain(..self.tcr.len() - 1);
            self.sctlr.drain(..self.sctlr.len() - 1);
            self.check();
        }
    }

    /// Bits 63:32 say whose value it is.
    fn switch(from: u64, to: u64) {
        let mut pe = Pe { tcr: [1 << 32].into(), sctlr: [1 << 32 | from].into(), guest: 1, mixed: false };
        without(&mut pe, 2 << 32, 2 << 32 | to, |pe| {
            pe.mixed = true;
            pe.check();
            pe.guest = 2;
            pe.mixed = false;
        });
        pe.synchronize();
        assert_eq!((pe.tcr, pe.sctlr), ([2 << 32].into(), [2 << 32 | to].into()));
    }

    #[test]
    fn no_walk_begins_between_two_guests() {
        for (from, to) in [(1, 1), (0, 1), (1, 0), (0, 0)] {
            switch(from, to);
        }
    }
}
