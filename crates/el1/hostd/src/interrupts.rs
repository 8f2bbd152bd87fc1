//! What wakes hostd: its devices' interrupts, the timer, another vCPU. Nothing polls.
//!
//! Called by: `el1`'s vectors, interrupts masked. Each interrupt leaves marks; vCPU 0 passes them on to who waits
//! ([`pass_on`]), so that no waker runs in an interrupt. GICv2 (IHI 0048) 4.3, GICv3 (IHI 0069) 12.9, for the registers
//! of a shared interrupt.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Waker;
use el1::boot::{self, Boot, MAX_CPUS};
use el1::gic::{self, SgiTarget, offset};
use el1::registers::{isb, mask_interrupts, unmask_interrupts, wfi};
use el1::{cpus, time};
use spin::mutex::SpinMutex;

/// Priority of shared interrupts: that of the private ones.
const PRIORITY: u32 = 0x80;
/// The SGI by which one vCPU wakes another.
const NUDGE: u32 = 1;

/// Something came for a vCPU since it looked last.
static MARKS: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// A device's interrupt, for one task that waits for it.
pub struct Source {
    intid: AtomicU32,
    came: AtomicBool,
    raised: AtomicBool,
    waits: SpinMutex<Option<Waker>>,
}

/// The call queue's.
pub static CALLS: Source = Source::new();
/// The network card's.
pub static CARD: Source = Source::new();
static SOURCES: [&Source; 2] = [&CALLS, &CARD];

impl Source {
    const fn new() -> Self {
        Self {
            intid: AtomicU32::new(0),
            came: AtomicBool::new(false),
            raised: AtomicBool::new(false),
            waits: SpinMutex::new(None),
        }
    }

    /// Lets the shared interrupt `intid`, edge-triggered, come to vCPU 0.
    pub fn enable(&self, boot: &'static Boot, intid: u32) {
        self.intid.store(intid, Ordering::Relaxed);
        enable(boot, intid);
    }

    /// Whether it came since this was asked last: the device then waits to be told so, before it raises it again.
    pub fn take_raised(&self) -> bool {
        self.raised.swap(false, Ordering::Relaxed)
    }

    /// Wakes `waker` with the next interrupt. Look at the device after this: what came before it may be there already.
    pub fn register(&self, waker: &Waker) {
        let mut waits = self.waits.lock();
        if !waits.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *waits = Some(waker.clone());
        }
    }
}

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
fn enable(boot: &'static Boot, intid: u32) {
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
    if intid == time::TIMER {
        time::quiet();
    }
    if intid >= gic::SPECIAL {
        return;
    }
    for source in SOURCES {
        if source.intid.load(Ordering::Relaxed) == intid {
            source.raised.store(true, Ordering::Relaxed);
            source.came.store(true, Ordering::Relaxed);
        }
    }
    MARKS[cpus::index()].store(true, Ordering::Relaxed);
    gic::end(acknowledged);
}

/// Wakes the tasks whose interrupts came.
pub fn pass_on() {
    for source in SOURCES {
        if source.came.swap(false, Ordering::Relaxed) {
            let waits = source.waits.lock().take();
            if let Some(waker) = waits {
                waker.wake();
            }
        }
    }
}

/// Ends the sleep of vCPU `index`, or its next one.
pub fn nudge(index: usize) {
    if let Some(boot) = boot::get() {
        gic::send(NUDGE, SgiTarget::Mask(1 << index), &boot.gic);
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
