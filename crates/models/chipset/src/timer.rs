//! A generic timer as a state machine: the guest's EL1 physical timer, whose registers trap.
//!
//! Called by the vmkernel on a trapped CNTP_* access, when its deadline comes, and before a vCPU is entered; calls
//! nothing. `now` is the counter as the guest reads it. Source: Arm ARM (DDI 0487), D12.2 "The AArch64 view of the
//! Generic Timer": "Operation of the CompareValue views of the timers", "Operation of the TimerValue views".
//!
//! Invariant: the line is high exactly while the timer is enabled, not masked and its condition is met, which is what
//! [`Timer::line`] computes; there is no other state to keep in step.

/// CNTP_CTL_EL0.ENABLE.
const ENABLE: u64 = 1 << 0;
/// CNTP_CTL_EL0.IMASK.
const IMASK: u64 = 1 << 1;
/// CNTP_CTL_EL0.ISTATUS.
const ISTATUS: u64 = 1 << 2;

/// The timer of one vCPU; disabled at reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timer {
    control: u64,
    compare: u64,
}

impl Timer {
    /// CNTP_CTL_EL0.
    #[inline]
    pub const fn control(self, now: u64) -> u64 {
        if self.is_met(now) { self.control | ISTATUS } else { self.control }
    }

    /// Writes CNTP_CTL_EL0.
    #[inline]
    pub const fn set_control(&mut self, value: u64) {
        self.control = value & (ENABLE | IMASK);
    }

    /// CNTP_CVAL_EL0.
    #[inline]
    pub const fn compare(self) -> u64 {
        self.compare
    }

    /// Writes CNTP_CVAL_EL0.
    #[inline]
    pub const fn set_compare(&mut self, value: u64) {
        self.compare = value;
    }

    /// CNTP_TVAL_EL0: a signed 32-bit count down, zero-extended.
    #[inline]
    pub const fn countdown(self, now: u64) -> u64 {
        self.compare.wrapping_sub(now) & 0xffff_ffff
    }

    /// Writes CNTP_TVAL_EL0.
    #[inline]
    pub const fn set_countdown(&mut self, value: u64, now: u64) {
        let low = value & 0xffff_ffff;
        let sign = if low & 0x8000_0000 != 0 { 0xffff_ffff_0000_0000 } else { 0 };
        self.compare = now.wrapping_add(low | sign);
    }

    /// The level of the interrupt line.
    #[inline]
    pub const fn line(self, now: u64) -> bool {
        self.control & IMASK == 0 && self.is_met(now)
    }

    /// Whether it is enabled.
    #[inline]
    pub const fn is_enabled(self) -> bool {
        self.control & ENABLE != 0
    }

    /// When the line, which was last driven to `high`, is to be driven high; it may be past already. `None` where only a
    /// write can change it. That it takes no `now` is on purpose: who drives the line at one moment and asks at a later
    /// one must not miss a deadline in between.
    #[inline]
    pub const fn deadline(self, high: bool) -> Option<u64> {
        let ticking = self.control & (ENABLE | IMASK) == ENABLE && !high;
        if ticking { Some(self.compare) } else { None }
    }

    const fn is_met(self, now: u64) -> bool {
        self.control & ENABLE != 0 && now >= self.compare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_follows_enable_mask_and_time() {
        let mut timer = Timer::default();
        timer.set_compare(100);
        assert!(!timer.line(100), "disabled");
        timer.set_control(ENABLE);
        assert!(!timer.line(99) && timer.line(100) && timer.line(u64::MAX));
        assert_eq!((timer.control(99), timer.control(100)), (1, 5));
        timer.set_control(ENABLE | IMASK);
        assert!(!timer.line(100));
        assert_eq!(timer.control(100), 7, "the status is seen through the mask");
        timer.set_control(ISTATUS | IMASK);
        assert_eq!(timer.control(100), 2, "the status is read-only, and not set while disabled");
    }

    #[test]
    fn a_deadline_is_given_while_it_can_matter() {
        let mut timer = Timer::default();
        timer.set_compare(100);
        assert_eq!(timer.deadline(false), None);
        timer.set_control(ENABLE);
        assert!(timer.is_enabled());
        // Also when it has passed since the line was driven.
        assert_eq!((timer.deadline(false), timer.deadline(true)), (Some(100), None));
        timer.set_control(ENABLE | IMASK);
        assert_eq!(timer.deadline(false), None);
    }

    #[test]
    fn the_countdown_is_signed_and_32_bits_wide() {
        let mut timer = Timer::default();
        timer.set_countdown(0x1_0000_0010, 1000);
        assert_eq!((timer.compare(), timer.countdown(1000), timer.countdown(1020)), (1016, 16, 0xffff_fffc));
        timer.set_countdown(0xffff_ffff, 1000);
        assert_eq!(timer.compare(), 999);
        timer.set_countdown(0xffff_ffff, 0);
        assert_eq!(timer.compare(), u64::MAX, "before the counter began: never");
    }
}
