//! The output protocol, and waiting with a limit.
//!
//! Called by every behaviour. Limits are in virtual time and generous: they end a test that would hang.

use core::fmt::Arguments;
use el1::println;
use el1::registers::{
    cntfrq_el0, cntv_ctl_el0, cntv_cval_el0, cntvct_el0, isb, mask_interrupts, unmask_interrupts, wfi,
};

/// Counts results and prints them.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// One test passed.
    pub fn ok(&mut self, name: &str) {
        self.passed += 1;
        println!("TEST {name} ok");
    }

    /// One test failed, and why.
    pub fn failed(&mut self, name: &str, why: Arguments<'_>) {
        self.failed += 1;
        println!("TEST {name} FAILED {why}");
    }

    /// Runs one test: `Err` says why it failed.
    pub fn test(&mut self, name: &str, body: impl FnOnce() -> Outcome) {
        match body() {
            Ok(()) => self.ok(name),
            Err(why) => self.failed(name, format_args!("{why}")),
        }
    }

    /// The last line.
    pub fn close(&self) {
        println!("TESTS DONE {} passed {} failed", self.passed, self.failed);
    }
}

/// What a test's body gives.
pub type Outcome = Result<(), alloc::string::String>;

/// Fails the test with a message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(alloc::format!($($message)*));
        }
    };
}

/// Fails the test unless both are equal, showing both in hexadecimal.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $what:expr) => {{
        let (left, right) = ($left, $right);
        if left != right {
            return Err(alloc::format!("{}: {left:#x}, expected {right:#x}", $what));
        }
    }};
}

/// Ticks in `microseconds`.
pub fn ticks(microseconds: u64) -> u64 {
    cntfrq_el0::read() * microseconds / 1_000_000
}

/// Spins until `condition` holds; false where `microseconds` pass before.
pub fn spin_until(microseconds: u64, condition: impl Fn() -> bool) -> bool {
    let end = cntvct_el0::read() + ticks(microseconds);
    while !condition() {
        if cntvct_el0::read() > end {
            return condition();
        }
    }
    true
}

/// Sleeps with WFI, looking once a millisecond, until `condition` holds; false where `microseconds` pass before.
/// For long waits: an idle PE costs nothing where instructions are counted. Uses the virtual timer, but takes none.
pub fn sleep_at_most(microseconds: u64, condition: impl Fn() -> bool) -> bool {
    let end = cntvct_el0::read() + ticks(microseconds);
    while !condition() {
        if cntvct_el0::read() > end {
            return condition();
        }
        mask_interrupts();
        cntv_cval_el0::write(cntvct_el0::read() + ticks(1000));
        cntv_ctl_el0::write(1);
        isb();
        wfi();
        cntv_ctl_el0::write(2);
        isb();
        unmask_interrupts();
    }
    true
}

/// Sleeps with WFI until `condition` holds, which an interrupt of this vCPU must make true.
#[inline(always)]
pub fn sleep_until(condition: impl Fn() -> bool) {
    mask_interrupts();
    while !condition() {
        wfi();
        unmask_interrupts();
        el1::registers::isb();
        mask_interrupts();
    }
    unmask_interrupts();
}
