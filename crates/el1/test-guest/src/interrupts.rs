//! The interrupt handler of all behaviours: counts each interrupt per vCPU, and stops the virtual timer.
//!
//! Called by: `el1`'s vectors, interrupts masked. Concurrency: a vCPU's counters are written by that vCPU only.
//! The way of the benchmarks comes first and is short; tests that want more set a hook.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};
use el1::boot::{Boot, MAX_CPUS};
use el1::registers::{cntv_ctl_el0, cntvct_el0, isb};
use el1::{cpus, gic};

/// INTID of the virtual timer.
pub const VIRTUAL_TIMER: u32 = 27;
/// INTIDs that are counted.
const COUNTED: usize = 1024;
/// CNTV_CTL_EL0: disabled, masked.
const TIMER_MASKED: u64 = 2;

static COUNTS: [[AtomicU32; COUNTED]; MAX_CPUS] =
    [const { [const { AtomicU32::new(0) }; COUNTED] }; MAX_CPUS];
static TIMER_SEEN: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Readies the GIC for vCPU 0 and lets interrupts in.
pub fn start(boot: &'static Boot) {
    boot.gic.start_distributor();
    boot.gic.start_cpu(0);
    el1::registers::unmask_interrupts();
}

/// How often vCPU `cpu` took `intid`.
#[inline(always)]
pub fn count(cpu: usize, intid: u32) -> u32 {
    COUNTS[cpu][intid as usize].load(Relaxed)
}

/// The virtual count when vCPU `cpu` last took its virtual timer.
#[inline(always)]
pub fn timer_seen(cpu: usize) -> u64 {
    TIMER_SEEN[cpu].load(Relaxed)
}

/// Takes one interrupt.
#[inline(always)]
pub fn interrupt() {
    let now = cntvct_el0::read();
    let acknowledged = gic::acknowledge();
    let intid = acknowledged & 0x3ff;
    let cpu = cpus::index();
    if intid == VIRTUAL_TIMER {
        cntv_ctl_el0::write(TIMER_MASKED);
        isb();
        TIMER_SEEN[cpu].store(now, Relaxed);
    }
    if intid < gic::SPECIAL {
        let counter = &COUNTS[cpu][intid as usize];
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
        gic::end(acknowledged);
    }
}
