//! The interrupt handler of all behaviours: counts each interrupt per vCPU, and stops the timers.
//!
//! Called by: `el1`'s vectors, interrupts masked. Concurrency: a vCPU's counters are written by that vCPU only.
//! The way of the benchmarks comes first and is short; tests that want more set a hook.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use el1::boot::{Boot, MAX_CPUS};
use el1::registers::{cntp_ctl_el0, cntv_ctl_el0, cntvct_el0, isb};
use el1::{cpus, gic};
use spin::mutex::SpinMutex;

/// INTID of the virtual timer.
pub const VIRTUAL_TIMER: u32 = 27;
/// INTID of the physical timer.
pub const PHYSICAL_TIMER: u32 = 30;
/// INTIDs that are counted.
const COUNTED: usize = 1024;
/// CNTV_CTL_EL0: disabled, masked.
const TIMER_MASKED: u64 = 2;

static COUNTS: [[AtomicU32; COUNTED]; MAX_CPUS] =
    [const { [const { AtomicU32::new(0) }; COUNTED] }; MAX_CPUS];
static HOOKED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
static HOOKS: [SpinMutex<Option<Hook>>; MAX_CPUS] = [const { SpinMutex::new(None) }; MAX_CPUS];
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

/// What a test does between acknowledge and end of interrupt, given the INTID.
pub type Hook = fn(u32);

/// Sets or takes away the hook of this vCPU. While there is one, the handler leaves the timers to it.
pub fn set_hook(hook: Option<Hook>) {
    let cpu = cpus::index();
    el1::registers::mask_interrupts();
    *HOOKS[cpu].lock() = hook;
    HOOKED[cpu].store(hook.is_some(), Relaxed);
    el1::registers::unmask_interrupts();
}

/// Takes one interrupt.
#[inline(always)]
pub fn interrupt() {
    let now = cntvct_el0::read();
    let acknowledged = gic::acknowledge();
    let intid = acknowledged & 0x3ff;
    let cpu = cpus::index();
    if HOOKED[cpu].load(Relaxed) {
        return hooked(acknowledged, cpu);
    }
    if intid == VIRTUAL_TIMER {
        cntv_ctl_el0::write(TIMER_MASKED);
        isb();
        TIMER_SEEN[cpu].store(now, Relaxed);
    } else if intid == PHYSICAL_TIMER {
        cntp_ctl_el0::write(TIMER_MASKED);
        isb();
        TIMER_SEEN[cpu].store(now, Relaxed);
    }
    if intid < gic::SPECIAL {
        add(cpu, intid);
        gic::end(acknowledged);
    }
}

#[cold]
fn hooked(acknowledged: u32, cpu: usize) {
    let intid = acknowledged & 0x3ff;
    if intid >= gic::SPECIAL {
        return;
    }
    add(cpu, intid);
    // Copied out, so that the lock is free when the hook is interrupted.
    let hook = *HOOKS[cpu].lock();
    if let Some(hook) = hook {
        hook(intid);
    }
    gic::end(acknowledged);
}

#[inline(always)]
fn add(cpu: usize, intid: u32) {
    let counter = &COUNTS[cpu][intid as usize];
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}
