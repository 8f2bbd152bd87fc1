//! The virtual timer (the PE's own) and the physical timer (emulated): the same tests for both.
//!
//! Arm ARM D12 "The Generic Timer". Nothing here asserts how late an interrupt is, only that it is never early.

use crate::harness::{Outcome, Report, sleep_until, spin_until, ticks};
use crate::virq::{Line, SOON, WHILE};
use crate::{crew, ensure, ensure_eq, interrupts};
use alloc::format;
use alloc::string::String;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use el1::gic::{self, SgiTarget, offset};
use el1::registers::*;
use el1::{Boot, cpus};

/// The SGI that ends a sleep.
const WAKE: u32 = 5;
const ENABLE: u64 = 1;
const MASK: u64 = 2;
const STATUS: u64 = 4;

/// One of the two timers.
#[derive(Clone, Copy)]
struct Timer {
    name: &'static str,
    intid: u32,
    count: fn() -> u64,
    control: fn() -> u64,
    set_control: fn(u64),
    set_deadline: fn(u64),
    deadline: fn() -> u64,
    set_interval: fn(u64),
    interval: fn() -> u64,
}

const VIRTUAL: Timer = Timer {
    name: "vtimer",
    intid: interrupts::VIRTUAL_TIMER,
    count: cntvct_el0::read,
    control: cntv_ctl_el0::read,
    set_control: cntv_ctl_el0::write,
    set_deadline: cntv_cval_el0::write,
    deadline: cntv_cval_el0::read,
    set_interval: cntv_tval_el0::write,
    interval: cntv_tval_el0::read,
};

const PHYSICAL: Timer = Timer {
    name: "ptimer",
    intid: interrupts::PHYSICAL_TIMER,
    count: cntpct_el0::read,
    control: cntp_ctl_el0::read,
    set_control: cntp_ctl_el0::write,
    set_deadline: cntp_cval_el0::write,
    deadline: cntp_cval_el0::read,
    set_interval: cntp_tval_el0::write,
    interval: cntp_tval_el0::read,
};

type Test = fn(&Timer, &'static Boot) -> Outcome;

const TESTS: &[(&str, Test)] = &[
    ("fires", fires),
    ("past", past),
    ("wfi", asleep),
    ("wfi-masked", asleep_masked),
    ("imask", imask),
    ("never", never),
    ("never-asleep", never_asleep),
    ("disabled-asleep", disabled_asleep),
    ("naps", naps),
    ("moved", moved),
    ("cancelled", cancelled),
    ("interval", interval),
    ("pending", pending),
    ("many", many),
    ("every-vcpu", every_vcpu),
];

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("counters", || counters(boot));
    for timer in [VIRTUAL, PHYSICAL] {
        for (name, body) in TESTS {
            report.test(&format!("{}-{name}", timer.name), || body(&timer, boot));
            timer.stop();
        }
    }
    report.test("timers-both", both);
}

impl Timer {
    fn taken(&self) -> u32 {
        interrupts::count(cpus::index(), self.intid)
    }

    fn start(&self, deadline: u64) {
        (self.set_deadline)(deadline);
        (self.set_control)(ENABLE);
        isb();
    }

    fn start_in(&self, microseconds: u64) -> u64 {
        isb();
        let deadline = (self.count)() + ticks(microseconds);
        self.start(deadline);
        deadline
    }

    fn stop(&self) {
        (self.set_control)(MASK);
        isb();
    }

    fn asserted(&self) -> bool {
        (self.control)() & STATUS != 0
    }
}

/// Both count, at the same rate, never backwards, on all vCPUs.
fn counters(boot: &'static Boot) -> Outcome {
    ensure!(cntfrq_el0::read() >= 1_000_000, "CNTFRQ_EL0 {}", cntfrq_el0::read());
    let apart = || {
        isb();
        let virtual_count = cntvct_el0::read();
        isb();
        cntpct_el0::read().wrapping_sub(virtual_count)
    };
    let first = apart();
    let mut last = 0;
    for _ in 0..1000 {
        let now = now();
        ensure!(now >= last, "CNTVCT_EL0 went back from {last} to {now}");
        last = now;
    }
    spin_until(1000, || false);
    // CNTVOFF is constant; what passes between the two reads is not.
    let drift = apart().abs_diff(first);
    ensure!(drift < ticks(500_000), "CNTPCT and CNTVCT drift apart by {drift}");
    let _ = boot;
    Ok(())
}

fn fires(timer: &Timer, _: &'static Boot) -> Outcome {
    for round in 0..20 {
        let before = timer.taken();
        let deadline = timer.start_in(100);
        ensure_eq!((timer.deadline)(), deadline, "CVAL");
        ensure!(spin_until(SOON, || timer.taken() != before), "round {round}: lost");
        ensure!((timer.count)() >= deadline, "round {round}: early");
        ensure_eq!((timer.control)(), MASK, "CTL after the handler");
        ensure_eq!(timer.taken() - before, 1, "interrupts");
    }
    Ok(())
}

fn past(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    timer.start(0);
    ensure!(spin_until(SOON, || timer.taken() != before), "a deadline in the past gives none");
    Ok(())
}

fn asleep(timer: &Timer, _: &'static Boot) -> Outcome {
    for _ in 0..50 {
        let before = timer.taken();
        let deadline = timer.start_in(150);
        sleep_until(|| timer.taken() != before);
        ensure!((timer.count)() >= deadline, "early");
    }
    Ok(())
}

/// WFI ends for an interrupt that is masked by PSTATE.I, and takes none.
fn asleep_masked(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    mask_interrupts();
    timer.start_in(300);
    while !timer.asserted() {
        wfi();
    }
    let masked = timer.taken();
    unmask_interrupts();
    ensure_eq!(masked, before, "taken while masked");
    ensure!(spin_until(SOON, || timer.taken() == before + 1), "lost");
    Ok(())
}

fn imask(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    (timer.set_deadline)((timer.count)() + ticks(50));
    (timer.set_control)(ENABLE | MASK);
    isb();
    ensure!(spin_until(SOON, || timer.asserted()), "ISTATUS stays 0");
    ensure!(!spin_until(WHILE, || timer.taken() != before), "taken with IMASK");
    (timer.set_control)(ENABLE);
    isb();
    ensure!(spin_until(SOON, || timer.taken() != before), "not taken when IMASK is gone");
    Ok(())
}

fn never(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    timer.start(u64::MAX);
    ensure!(!timer.asserted(), "ISTATUS for the last moment of all");
    ensure!(!spin_until(WHILE, || timer.taken() != before), "taken");
    // Disabled while not due: nothing comes of it.
    timer.start_in(20_000);
    timer.stop();
    ensure!(!spin_until(25_000, || timer.taken() != before), "taken while disabled");
    Ok(())
}

/// A moment that never comes wakes nobody, also while another vCPU has the PE.
fn never_asleep(timer: &Timer, boot: &'static Boot) -> Outcome {
    timer.start(u64::MAX);
    let slept = sleep_beside_work(boot, || {})?;
    ensure!(slept < 5, "{slept} times out of its sleep");
    Ok(())
}

/// Nor does one that is due, and that the GIC is not to signal.
fn disabled_asleep(timer: &Timer, boot: &'static Boot) -> Outcome {
    let line = Line::new(&boot.gic, 0, timer.intid);
    line.set(offset::ICENABLER);
    timer.start(0);
    let slept = sleep_beside_work(boot, || {});
    timer.stop();
    line.set(offset::ISENABLER);
    let slept = slept?;
    ensure!(slept < 5, "{slept} times out of its sleep");
    Ok(())
}

/// Who sleeps a moment again and again leaves the other vCPU of its PE its turns.
fn naps(timer: &Timer, boot: &'static Boot) -> Outcome {
    let nap = || {
        (timer.set_deadline)((timer.count)() + ticks(1) / 4);
        (timer.set_control)(ENABLE);
        isb();
    };
    let slept = sleep_beside_work(boot, nap)?;
    ensure!(slept < MANY_NAPS, "the other has no turn in {slept} naps");
    Ok(())
}

/// Naps in which the other vCPU has long done its work, wherever it is.
const MANY_NAPS: u32 = 100_000;

/// vCPU 0 sleeps until another has done some work; how often.
fn sleep_beside_work(boot: &'static Boot, before_each: impl Fn()) -> Result<u32, String> {
    FINISHED.store(0, Release);
    crew::employ(boot, 1, || {
        (0..1_000_000).for_each(|n| _ = core::hint::black_box(n));
        FINISHED.store(1, Release);
        if let Some(boot) = el1::boot::get() {
            gic::send(WAKE, SgiTarget::Mask(1), &boot.gic);
        }
        sleep_until(crew::dismissed);
    })?;
    let mut slept = 0;
    mask_interrupts();
    while FINISHED.load(Acquire) == 0 && slept < MANY_NAPS {
        before_each();
        wfi();
        slept += 1;
        unmask_interrupts();
        isb();
        mask_interrupts();
    }
    unmask_interrupts();
    crew::dismiss(boot, 1)?;
    Ok(slept)
}

/// A deadline that is moved: away, then nearer.
fn moved(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    // Long enough for an emulated PE on a busy machine to come to the second write.
    timer.start_in(20_000);
    timer.start_in(1_000_000);
    ensure!(!spin_until(25_000, || timer.taken() != before), "taken at the deadline that was left");
    let deadline = timer.start_in(200);
    ensure!(spin_until(SOON, || timer.taken() != before), "lost at the nearer deadline");
    ensure!((timer.count)() >= deadline, "early");
    Ok(())
}

/// Due but not yet taken, then disabled: the line is down again, nothing is delivered.
/// A guest's writes to its virtual timer are not trapped, so one that is in a list register already is delivered once.
fn cancelled(timer: &Timer, boot: &'static Boot) -> Outcome {
    let stale = u32::from(timer.intid == VIRTUAL.intid && !crate::is_oracle(boot));
    let before = timer.taken();
    mask_interrupts();
    timer.start_in(20);
    let due = spin_until(SOON, || timer.asserted());
    spin_until(100, || false);
    timer.stop();
    spin_until(20, || false);
    unmask_interrupts();
    ensure!(due, "ISTATUS stays 0");
    ensure!(!spin_until(WHILE, || timer.taken() > before + stale), "taken after it was cancelled");
    Ok(())
}

fn interval(timer: &Timer, _: &'static Boot) -> Outcome {
    let before = timer.taken();
    let low = (timer.count)();
    (timer.set_interval)(ticks(400));
    let high = (timer.count)();
    let deadline = (timer.deadline)();
    ensure!(
        (low + ticks(400)..=high + ticks(400)).contains(&deadline),
        "CVAL {deadline} of TVAL at {low}–{high}"
    );
    (timer.set_control)(ENABLE);
    isb();
    let left = (timer.interval)() as i32;
    ensure!(i64::from(left) <= ticks(400) as i64, "TVAL reads {left}");
    ensure!(spin_until(SOON, || timer.taken() != before), "lost");
    ensure!(((timer.interval)() as i32) <= 0, "TVAL is positive after the deadline");
    // Negative: at once.
    (timer.set_interval)((-1i32) as u32 as u64);
    (timer.set_control)(ENABLE);
    isb();
    ensure!(spin_until(SOON, || timer.taken() == before + 2), "a negative TVAL gives none");
    Ok(())
}

/// The GIC shows the line while it waits, and after it was taken or went down no longer.
fn pending(timer: &Timer, boot: &'static Boot) -> Outcome {
    let line = Line::new(&boot.gic, 0, timer.intid);
    mask_interrupts();
    timer.start(0);
    let up = spin_until(100_000, || line.is(offset::ISPENDR));
    timer.stop();
    unmask_interrupts();
    let down = spin_until(100_000, || !line.is(offset::ISPENDR));
    ensure!(up && down, "ISPENDR while due {up}, cleared after {down}");
    Ok(())
}

/// Many, at uneven distances, spinning and asleep.
fn many(timer: &Timer, _: &'static Boot) -> Outcome {
    let mut seed = 1u64;
    for round in 0..200 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let before = timer.taken();
        let deadline = timer.start_in(seed >> 58);
        if round % 2 == 0 {
            ensure!(spin_until(SOON, || timer.taken() != before), "round {round}: lost");
        } else {
            sleep_until(|| timer.taken() != before);
        }
        ensure!((timer.count)() >= deadline, "round {round}: early");
        ensure_eq!(timer.taken() - before, 1, "interrupts");
    }
    Ok(())
}

const ROUNDS: u32 = 50;
static FINISHED: AtomicU32 = AtomicU32::new(0);
static PHYSICAL_TURN: AtomicU32 = AtomicU32::new(0);

/// Each vCPU its own timer, all at once.
fn every_vcpu(timer: &Timer, boot: &'static Boot) -> Outcome {
    FINISHED.store(0, Release);
    PHYSICAL_TURN.store(timer.intid, Release);
    let count = boot.cpus().len();
    for cpu in 1..count {
        crew::employ(boot, cpu, || {
            rounds(if PHYSICAL_TURN.load(Acquire) == PHYSICAL.intid { &PHYSICAL } else { &VIRTUAL });
            sleep_until(crew::dismissed);
        })?;
    }
    rounds(timer);
    ensure!(spin_until(5 * SOON, || FINISHED.load(Acquire) as usize == count), "not all vCPUs got theirs");
    (1..count).try_for_each(|cpu| crew::dismiss(boot, cpu))
}

fn rounds(timer: &Timer) {
    for _ in 0..ROUNDS {
        let before = timer.taken();
        timer.start_in(100);
        sleep_until(|| timer.taken() != before);
    }
    FINISHED.fetch_add(1, Relaxed);
}

/// Both timers of a vCPU at the same moment.
fn both() -> Outcome {
    for round in 0..20 {
        let before = [VIRTUAL.taken(), PHYSICAL.taken()];
        VIRTUAL.start_in(200);
        PHYSICAL.start_in(200);
        let came = || VIRTUAL.taken() != before[0] && PHYSICAL.taken() != before[1];
        ensure!(spin_until(SOON, came), "round {round}: one is lost");
    }
    Ok(())
}
