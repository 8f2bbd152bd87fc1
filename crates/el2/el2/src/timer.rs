//! Guards: the EL2 physical timer: the deadline of a PE.

use crate::regs::write;

/// An interrupt ([`crate::gic::HYP_TIMER`]) comes when the counter reaches `at`.
#[inline(always)]
pub fn set_deadline(at: u64) {
    write!("cnthp_cval_el2", at);
    write!("cnthp_ctl_el2", 1);
}

/// No interrupt comes.
#[inline(always)]
pub fn clear_deadline() {
    write!("cnthp_ctl_el2", 0);
}
