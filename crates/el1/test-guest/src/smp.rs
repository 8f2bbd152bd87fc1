//! All vCPUs at once: `smp` starts each and lets it say so; `burn` lets each work as much as it gets to.

use crate::harness::{Outcome, Report, sleep_until, spin_until, ticks};
use crate::{crew, ensure, ensure_eq, number};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Release};
use el1::boot::{Boot, MAX_CPUS};
use el1::registers::{mpidr_el1, now};
use el1::{cpus, println};

/// Affinity fields of MPIDR_EL1.
const AFFINITY: u64 = 0xff_00ff_ffff;
const MILLISECONDS: u64 = 200;

static SEEN: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(u64::MAX) }; MAX_CPUS];
static WORK: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static FINISHED: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// Every vCPU of the device tree starts, with the affinity that the tree gives it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("smp", || {
        SEEN[0].store(mpidr_el1::read() & AFFINITY, Release);
        for cpu in 1..boot.cpus().len() {
            crew::employ(boot, cpu, || {
                SEEN[cpus::index()].store(mpidr_el1::read() & AFFINITY, Release);
                sleep_until(crew::dismissed);
            })?;
        }
        for (cpu, affinity) in boot.cpus().iter().enumerate() {
            ensure!(spin_until(5_000_000, || SEEN[cpu].load(Acquire) != u64::MAX), "vCPU {cpu} is silent");
            ensure_eq!(SEEN[cpu].load(Acquire), *affinity, alloc::format!("MPIDR_EL1 of vCPU {cpu}"));
            println!("SMP vcpu={cpu} mpidr={affinity:#x}");
        }
        (1..boot.cpus().len()).try_for_each(|cpu| crew::dismiss(boot, cpu))
    });
}

/// Every vCPU starts and then sleeps for ever: what a host full of guests has to carry.
pub fn stay(boot: &'static Boot, report: &mut Report) {
    report.test("stay", || {
        (1..boot.cpus().len()).try_for_each(|cpu| crew::employ(boot, cpu, || sleep_until(|| false)))
    });
    sleep_until(|| false);
}

/// Each vCPU counts for `bramble.milliseconds` of virtual time: `BURN vcpu=n work=n` shows how the PEs were shared.
pub fn burn(boot: &'static Boot, report: &mut Report) {
    report.test("burn", || share(boot));
}

fn share(boot: &'static Boot) -> Outcome {
    FINISHED.store(0, Release);
    END.store(0, Release);
    let count = boot.cpus().len();
    for cpu in 1..count {
        crew::employ(boot, cpu, || {
            work();
            sleep_until(crew::dismissed);
        })?;
    }
    END.store(now() + ticks(1000 * number(boot, "bramble.milliseconds=").unwrap_or(MILLISECONDS)), Release);
    work();
    ensure!(spin_until(60_000_000, || FINISHED.load(Acquire) == count as u64), "not all vCPUs finished");
    for (cpu, work) in WORK.iter().enumerate().take(count) {
        println!("BURN vcpu={cpu} work={}", work.load(Acquire));
        ensure!(work.load(Acquire) > 0, "vCPU {cpu} never ran");
    }
    (1..count).try_for_each(|cpu| crew::dismiss(boot, cpu))
}

fn work() {
    let mut done = 0;
    // Together: when all are up.
    while END.load(Acquire) == 0 {}
    while now() < END.load(Acquire) {
        done += 1;
    }
    WORK[cpus::index()].store(done, Release);
    FINISHED.fetch_add(1, Release);
}
