//! The virtual timer in WFI, when the PE ran another vCPU in between: two vCPUs on one PE.

use super::show;
use crate::harness::{Report, sleep_until};
use crate::{crew, interrupts};
use el1::Boot;
use el1::gic::{self, SgiTarget};
use el1::registers::*;

const WAKE: u32 = 2;

/// Each round wakes vCPU 1, which goes back to sleep at once, and sleeps until the timer.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("bench-switched", || {
        crew::employ(boot, 1, sleeper)?;
        rounds(boot);
        crew::dismiss(boot, 1)
    });
}

fn rounds(boot: &'static Boot) {
    let (count, delta) = (256, cntfrq_el0::read() / 5_000 + 1);
    let mut sum = 0;
    for _ in 0..count {
        let before = interrupts::count(0, interrupts::VIRTUAL_TIMER);
        let deadline = cntvct_el0::read() + delta;
        cntv_cval_el0::write(deadline);
        cntv_ctl_el0::write(1);
        isb();
        gic::send(WAKE, SgiTarget::Mask(2), &boot.gic);
        sleep_until(|| interrupts::count(0, interrupts::VIRTUAL_TIMER) != before);
        sum += interrupts::timer_seen(0) - deadline;
    }
    show("vtimer_latency_wfi@switched", sum, count);
}

fn sleeper() {
    while !crew::dismissed() {
        let seen = interrupts::count(1, WAKE);
        sleep_until(|| interrupts::count(1, WAKE) != seen || crew::dismissed());
    }
}
