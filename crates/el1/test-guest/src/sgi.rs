//! Software generated interrupts: to oneself, to others, to vCPUs that are off or do not exist; and where SPIs go.
//!
//! GICv2 (IHI 0048) 4.3.15 GICD_SGIR; GICv3 (IHI 0069) 12.2.20 ICC_SGI1R_EL1. vCPU 0 runs the test, the others wait
//! in WFI or spin.

use crate::harness::{Outcome, Report, sleep_at_most, sleep_until, spin_until};
use crate::virq::{FIRST, Line, SOON, WHILE, route};
use crate::{crew, ensure, ensure_eq, interrupts};
use alloc::format;
use core::sync::atomic::Ordering::{Acquire, Release};
use core::sync::atomic::{AtomicBool, AtomicU32};
use el1::boot::Boot;
use el1::gic::{self, SgiTarget};
use el1::registers::{mask_interrupts, unmask_interrupts};

/// SGI of the tests that need only one.
const TEST: u32 = 5;
/// What vCPU 1 is asked to send back to vCPU 0.
const ECHO: u32 = 6;
const CROSS: u32 = 7;
const ROUNDS: u32 = 100;

static ROUND: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static CROSSED: AtomicBool = AtomicBool::new(false);

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("sgi-self", || to_self(boot));
    report.test("sgi-no-such-vcpu", || no_such(boot));
    if boot.cpus().len() < 2 {
        return;
    }
    report.test("sgi-offline", || offline(boot));
    report.test("sgi-each-id", || each_id(boot));
    report.test("sgi-others", || others(boot));
    report.test("sgi-spinning", || many(boot, spinner));
    report.test("sgi-sleeping", || many(boot, sleeper));
    report.test("sgi-crossfire", || crossfire(boot));
    report.test("sgi-sources", || sources(boot));
    report.test("spi-targets", || spi_targets(boot));
}

fn sleeper() {
    sleep_until(crew::dismissed);
}

fn spinner() {
    while !crew::dismissed() {}
}

/// Waits a little awake, then asleep: so that a vCPU that shares this PE gets its turn at once.
fn comes(condition: impl Fn() -> bool + Copy) -> bool {
    spin_until(20, condition) || sleep_at_most(SOON, condition)
}

/// Sends `id` to vCPU `cpu` and waits until it came, exactly once.
fn once(boot: &Boot, id: u32, cpu: usize) -> Outcome {
    let before = interrupts::count(cpu, id);
    gic::send(id, SgiTarget::Mask(1 << cpu), &boot.gic);
    ensure!(comes(|| interrupts::count(cpu, id) != before), "SGI {id} to vCPU {cpu} is lost");
    ensure_eq!(interrupts::count(cpu, id) - before, 1, "deliveries");
    Ok(())
}

fn to_self(boot: &'static Boot) -> Outcome {
    for _ in 0..20 {
        (0..16).try_for_each(|id| once(boot, id, 0))?;
    }
    Ok(())
}

/// A target list with vCPUs that do not exist: those that do get theirs, nothing else happens.
fn no_such(boot: &'static Boot) -> Outcome {
    let before = interrupts::count(0, TEST);
    let absent = !((1u32 << boot.cpus().len()) - 1) as u8;
    gic::send(TEST, SgiTarget::Mask(absent), &boot.gic);
    gic::send(TEST, SgiTarget::Mask(absent | 1), &boot.gic);
    ensure!(comes(|| interrupts::count(0, TEST) != before), "not delivered");
    spin_until(WHILE, || false);
    ensure_eq!(interrupts::count(0, TEST) - before, 1, "deliveries");
    Ok(())
}

/// To a vCPU that is off: nothing happens, and it still starts and takes the next one.
fn offline(boot: &'static Boot) -> Outcome {
    ensure!(crew::is_off(boot, 1), "vCPU 1 is on");
    for _ in 0..100 {
        gic::send(TEST, SgiTarget::Mask(2), &boot.gic);
        gic::send(TEST, SgiTarget::Others, &boot.gic);
    }
    ensure!(crew::is_off(boot, 1), "an SGI turned vCPU 1 on");
    crew::employ(boot, 1, sleeper)?;
    // What was sent while it was off may come now, once.
    spin_until(WHILE, || false);
    once(boot, TEST, 1)?;
    crew::dismiss(boot, 1)
}

fn each_id(boot: &'static Boot) -> Outcome {
    crew::employ(boot, 1, sleeper)?;
    for id in 1..16 {
        once(boot, id, 1)?;
    }
    crew::dismiss(boot, 1)
}

/// All but the sender.
fn others(boot: &'static Boot) -> Outcome {
    let count = boot.cpus().len();
    for cpu in 1..count {
        crew::employ(boot, cpu, sleeper)?;
    }
    for _ in 0..20 {
        let before: alloc::vec::Vec<u32> = (0..count).map(|cpu| interrupts::count(cpu, TEST)).collect();
        gic::send(TEST, SgiTarget::Others, &boot.gic);
        for (cpu, before) in before.iter().enumerate().skip(1) {
            let came = || interrupts::count(cpu, TEST) != *before;
            ensure!(comes(came), "vCPU {cpu} got none");
        }
        ensure_eq!(interrupts::count(0, TEST), before[0], "the sender's own count");
    }
    (1..count).try_for_each(|cpu| crew::dismiss(boot, cpu))
}

fn many(boot: &'static Boot, job: fn()) -> Outcome {
    crew::employ(boot, 1, job)?;
    for _ in 0..ROUNDS {
        once(boot, TEST, 1)?;
    }
    crew::dismiss(boot, 1)
}

/// Both send to each other at once, one spins and one sleeps: no SGI and no wake-up is lost.
fn crossfire(boot: &'static Boot) -> Outcome {
    ROUND.iter().for_each(|round| round.store(0, Release));
    crew::employ(boot, 1, || {
        let Some(boot) = el1::boot::get() else { return };
        for round in 1..=ROUNDS {
            let seen = interrupts::count(1, CROSS);
            await_round(0, round);
            gic::send(CROSS, SgiTarget::Mask(1), &boot.gic);
            sleep_until(|| interrupts::count(1, CROSS) != seen || crew::dismissed());
        }
        sleep_until(crew::dismissed);
    })?;
    for round in 1..=ROUNDS {
        let seen = interrupts::count(0, CROSS);
        await_round(1, round);
        gic::send(CROSS, SgiTarget::Mask(2), &boot.gic);
        ensure!(comes(|| interrupts::count(0, CROSS) != seen), "round {round}: lost");
    }
    crew::dismiss(boot, 1)
}

/// Says that this vCPU has come to `round`, and waits for the other: so no SGI is merged with the last one.
fn await_round(other: usize, round: u32) {
    ROUND[1 - other].store(round, Release);
    spin_until(SOON, || ROUND[other].load(Acquire) >= round);
}

/// GICv2 keeps one pending SGI per source; GICv3 one in all.
fn sources(boot: &'static Boot) -> Outcome {
    CROSSED.store(false, Release);
    ROUND[0].store(interrupts::count(1, ECHO), Release);
    crew::employ(boot, 1, || {
        sleep_until(|| interrupts::count(1, ECHO) != ROUND[0].load(Acquire) || crew::dismissed());
        if let Some(boot) = el1::boot::get() {
            gic::send(TEST, SgiTarget::Mask(1), &boot.gic);
        }
        CROSSED.store(true, Release);
        sleep_until(crew::dismissed);
    })?;
    let before = interrupts::count(0, TEST);
    mask_interrupts();
    gic::send(TEST, SgiTarget::Mask(1), &boot.gic);
    gic::send(ECHO, SgiTarget::Mask(2), &boot.gic);
    let sent = spin_until(SOON, || CROSSED.load(Acquire));
    spin_until(WHILE, || false);
    unmask_interrupts();
    spin_until(WHILE, || false);
    ensure!(sent, "vCPU 1 did not send");
    let expected = if boot.gic.version() == 2 { 2 } else { 1 };
    ensure_eq!(interrupts::count(0, TEST) - before, expected, "deliveries");
    crew::dismiss(boot, 1)
}

/// SPIs to vCPU 1, and moved while they are pending.
fn spi_targets(boot: &'static Boot) -> Outcome {
    crew::employ(boot, 1, sleeper)?;
    let line = Line::ready(&boot.gic, FIRST);
    let count = |cpu| interrupts::count(cpu, FIRST);
    for round in 0..50 {
        let target = round % 2;
        let before = [count(0), count(1)];
        route(&boot.gic, FIRST, target);
        line.pend();
        ensure!(comes(|| count(target) != before[target]), "round {round}: lost");
        ensure_eq!(count(0) + count(1) - before[0] - before[1], 1, format!("deliveries in round {round}"));
    }
    let before = count(1);
    mask_interrupts();
    route(&boot.gic, FIRST, 0);
    line.pend();
    route(&boot.gic, FIRST, 1);
    let came = spin_until(SOON, || count(1) != before);
    unmask_interrupts();
    ensure!(came, "moved while pending: lost");
    route(&boot.gic, FIRST, 0);
    crew::dismiss(boot, 1)
}
