//! A guest that works: both vCPUs compute, tick and send each other SGIs while a neighbour does its worst.
//!
//! Every round each vCPU folds a block of numbers; the sums at the end are known. `WORKER beat n` says that it lives.
//! `bramble.rounds=N` sets how long.

use crate::harness::{Outcome, Report, sleep_until, ticks};
use crate::{crew, ensure, ensure_eq, interrupts, number};
use core::sync::atomic::Ordering::{Acquire, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};
use el1::boot::Boot;
use el1::gic::{self, SgiTarget};
use el1::registers::*;
use el1::{cpus, println};

/// vCPU 0 to vCPU 1: a round begins; and back: it is done.
const BEGIN: u32 = 2;
const DONE: u32 = 3;
const BLOCK: u64 = 20_000;
const ROUNDS: u64 = 200;
const BEATS: u64 = 20;

static ROUND: AtomicU64 = AtomicU64::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);
static LOST_TICKS: AtomicU32 = AtomicU32::new(0);

/// Works.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("worker", || work(boot));
}

fn work(boot: &'static Boot) -> Outcome {
    let rounds = number(boot, "bramble.rounds=").unwrap_or(ROUNDS);
    let two = boot.cpus().len() > 1;
    SUM.store(0, Release);
    LOST_TICKS.store(0, Release);
    if two {
        crew::employ(boot, 1, second)?;
    }
    let mut sum = 0;
    for round in 0..rounds {
        let done = interrupts::count(0, DONE);
        ROUND.store(round, Release);
        if two {
            gic::send(BEGIN, SgiTarget::Mask(2), &boot.gic);
        }
        sum = fold(sum, 2 * round);
        tick();
        if two {
            sleep_until(|| interrupts::count(0, DONE) != done);
            ensure_eq!(interrupts::count(0, DONE) - done, 1, alloc::format!("SGIs in round {round}"));
        }
        if (round + 1) % (rounds / BEATS).max(1) == 0 {
            println!("WORKER beat {}", round + 1);
        }
    }
    // The same again, alone: what vCPU 1 and vCPU 0 found must be what it is.
    let both = [0, 1].map(|half| (0..rounds).fold(0, |sum, round| fold(sum, 2 * round + half)));
    ensure_eq!(sum, both[0], "sum of vCPU 0");
    if two {
        ensure_eq!(SUM.load(Acquire), both[1], "sum of vCPU 1");
        crew::dismiss(boot, 1)?;
    }
    ensure!(LOST_TICKS.load(Acquire) == 0, "{} ticks came twice or early", LOST_TICKS.load(Acquire));
    Ok(())
}

fn second() {
    let Some(boot) = el1::boot::get() else { return };
    let mut begun = interrupts::count(1, BEGIN);
    loop {
        sleep_until(|| interrupts::count(1, BEGIN) != begun || crew::dismissed());
        if crew::dismissed() {
            return;
        }
        begun += 1;
        let round = ROUND.load(Acquire);
        SUM.store(fold(SUM.load(Acquire), 2 * round + 1), Release);
        tick();
        gic::send(DONE, SgiTarget::Mask(1), &boot.gic);
    }
}

fn fold(mut sum: u64, block: u64) -> u64 {
    for n in block * BLOCK..(block + 1) * BLOCK {
        sum = (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
    sum
}

/// One tick of this vCPU's timer, asleep.
fn tick() {
    let cpu = cpus::index();
    let before = interrupts::count(cpu, interrupts::VIRTUAL_TIMER);
    let deadline = now() + ticks(50);
    cntv_cval_el0::write(deadline);
    cntv_ctl_el0::write(1);
    isb();
    sleep_until(|| interrupts::count(cpu, interrupts::VIRTUAL_TIMER) != before);
    if now() < deadline || interrupts::count(cpu, interrupts::VIRTUAL_TIMER) != before + 1 {
        LOST_TICKS.fetch_add(1, Release);
    }
}
