//! The virtual timer in WFI, when the PE ran another vCPU in between: two vCPUs on one PE.

use super::show;
use crate::harness::{Report, sleep_until};
use crate::{crew, interrupts};
use el1::gic::{self, SgiTarget};
use el1::registers::*;
use el1::{Boot, println};

const WAKE: u32 = 2;
/// Ticks, of a second.
const ROUND: u64 = 5_000;

/// Each round wakes vCPU 1 and sleeps until the timer. vCPU 1 sleeps until its own timer, which comes half a round
/// earlier: what the PE has in its hardware when the measured one fires is vCPU 1.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("bench-switched", || {
        crew::employ(boot, 1, sleeper)?;
        // Memory takes the place of what was used: while the PE prepares it, an interrupt waits until a piece is done.
        sleep(0, cntfrq_el0::read() / 50);
        rounds(boot);
        crew::dismiss(boot, 1)
    });
}

fn rounds(boot: &'static Boot) {
    let (count, delta) = (256, cntfrq_el0::read() / ROUND + 1);
    let (mut sum, mut least, mut most) = (0, u64::MAX, 0);
    for _ in 0..count {
        gic::send(WAKE, SgiTarget::Mask(2), &boot.gic);
        let latency = sleep(0, delta);
        sum += latency;
        least = least.min(latency);
        most = most.max(latency);
    }
    show("vtimer_latency_wfi@switched", sum, count);
    println!("      min_ticks={least} max_ticks={most}");
}

/// vCPU `cpu`, which runs this, sleeps for so many ticks; how much later its handler ran.
fn sleep(cpu: usize, ticks: u64) -> u64 {
    let before = interrupts::count(cpu, interrupts::VIRTUAL_TIMER);
    let deadline = cntvct_el0::read() + ticks;
    cntv_cval_el0::write(deadline);
    cntv_ctl_el0::write(1);
    isb();
    sleep_until(|| interrupts::count(cpu, interrupts::VIRTUAL_TIMER) != before);
    interrupts::timer_seen(cpu) - deadline
}

fn sleeper() {
    while !crew::dismissed() {
        let seen = interrupts::count(1, WAKE);
        sleep_until(|| interrupts::count(1, WAKE) != seen || crew::dismissed());
        sleep(1, cntfrq_el0::read() / ROUND / 2);
    }
}
