//! What wakes hostd: the call queue's interrupt, a timer. Nothing polls.
//!
//! Called by: `el1`'s vectors, interrupts masked. Each source leaves a mark; the vCPU that sleeps looks at the marks.
//! GICv2 (IHI 0048) 4.3, GICv3 (IHI 0069) 12.9, for the registers of a shared interrupt.

use core::sync::atomic::{AtomicBool, Ordering};
use el1::boot::{Boot, MAX_CPUS};
use el1::cpus;
use el1::gic::{self, offset};
use el1::registers::{
    cntfrq_el0, cntv_ctl_el0, cntv_cval_el0, cntvct_el0, isb, mask_interrupts, unmask_interrupts, wfi,
};

/// INTID of the virtual timer.
const TIMER: u32 = 27;
/// CNTV_CTL_EL0: disabled, masked.
const TIMER_OFF: u64 = 2;
/// Priority of shared interrupts: that of the private ones.
const PRIORITY: u32 = 0x80;

/// Something came for a vCPU since it looked last.
static MARKS: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// Readies the interrupt controller and vCPU 0.
pub fn start(boot: &'static Boot) {
    boot.gic.start_distributor();
    start_cpu(boot, 0);
}

/// Readies this vCPU.
pub fn start_cpu(boot: &'static Boot, index: usize) {
    boot.gic.start_cpu(index);
    unmask_interrupts();
}

/// Lets a shared interrupt, edge-triggered, come to vCPU 0.
pub fn enable(boot: &'static Boot, intid: u32) {
    let distributor = boot.gic.distributor();
    let (word, bit) = (intid as usize / 32 * 4, 1 << (intid % 32));
    let byte = |register: usize| register + intid as usize;
    let configuration = offset::ICFGR + intid as usize / 16 * 4;
    let edge = 2 << (intid % 16 * 2);
    distributor.write32(configuration, distributor.read32(configuration) | edge);
    distributor.write8(byte(offset::IPRIORITYR), PRIORITY as u8);
    if boot.gic.version() == 3 {
        let group = offset::IGROUPR + word;
        distributor.write32(group, distributor.read32(group) | bit);
        distributor.write64(offset::IROUTER + 8 * intid as usize, 0);
    } else {
        distributor.write8(byte(offset::ITARGETSR), 1);
    }
    distributor.write32(offset::ISENABLER + word, bit);
}

/// Takes one interrupt.
pub fn take() {
    let acknowledged = gic::acknowledge();
    let intid = acknowledged & 0x3ff;
    if intid == TIMER {
        cntv_ctl_el0::write(TIMER_OFF);
        isb();
    }
    if intid < gic::SPECIAL {
        MARKS[cpus::index()].store(true, Ordering::Relaxed);
        gic::end(acknowledged);
    }
}

/// Sleeps until something came.
pub fn sleep() {
    let mark = &MARKS[cpus::index()];
    mask_interrupts();
    while !mark.swap(false, Ordering::Relaxed) {
        wfi();
        unmask_interrupts();
        isb();
        mask_interrupts();
    }
    unmask_interrupts();
}

/// Wakes this vCPU in `milliseconds`.
pub fn wake_in(milliseconds: u64) {
    cntv_cval_el0::write(now().saturating_add(cntfrq_el0::read() * milliseconds / 1000));
    cntv_ctl_el0::write(1);
    isb();
}

/// Ticks since this generation started.
pub fn now() -> u64 {
    isb();
    cntvct_el0::read()
}

/// Milliseconds since this generation started.
pub fn milliseconds() -> u64 {
    now() / (cntfrq_el0::read() / 1000).max(1)
}
