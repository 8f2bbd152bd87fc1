//! Interrupts of a VM, and waking its vCPUs: what a device, another vCPU or another PE may touch at any time.
//!
//! Called by device models through [`Wire`], and by exits. Lock order: innermost but for the vGIC's own lock.
//!
//! Waking: who posts an interrupt (in the vGIC) then looks at the vCPU's run state; the PE that blocks a vCPU sets the
//! run state, then looks for posts. Both orders are sequentially consistent, so one of the two sees the other.

use crate::host::Host;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU16, Ordering, fence};
use ports::InterruptLine;
use specs::{PeId, VcpuIndex};
use vgic::{Line, VcpuSet, Vgic};

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RunState {
    /// Off, or waiting for an interrupt.
    Blocked = 0,
    /// In a run queue, or on its way there.
    Ready = 1,
    /// In the hardware of its PE.
    Running = 2,
}

/// What others need to know of a vCPU.
#[derive(Debug, Default)]
pub struct VcpuSignals {
    run: AtomicU8,
    home: AtomicU16,
    slot: AtomicU16,
}

impl VcpuSignals {
    /// The vCPU lives on this PE, in this slot.
    pub fn settle(&self, home: PeId, slot: u16) {
        self.home.store(home.0, Ordering::Relaxed);
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Sets the run state; ordered against the posts that others make.
    #[inline]
    pub fn set_run(&self, state: RunState) {
        self.run.store(state as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether it was blocked, and is ready now by this call.
    #[inline]
    pub fn take_blocked(&self) -> bool {
        let (blocked, ready) = (RunState::Blocked as u8, RunState::Ready as u8);
        self.run.compare_exchange(blocked, ready, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

/// The vGIC of a VM with the wake-up of its vCPUs.
pub struct Signals {
    /// The VM's interrupt controller.
    pub vgic: Vgic,
    /// Its vCPUs.
    pub vcpus: [VcpuSignals; 8],
    host: &'static Host,
}

impl Signals {
    /// For a new VM.
    pub fn new(host: &'static Host, vgic: Vgic) -> Self {
        Self { vgic, vcpus: Default::default(), host }
    }

    /// The vCPUs of `set` may have an interrupt to take: wakes those that are blocked, and makes those that run on
    /// other PEs look.
    #[inline]
    pub fn wake(&self, set: VcpuSet) {
        if !set.is_empty() {
            self.wake_some(set);
        }
    }

    #[inline(never)]
    fn wake_some(&self, set: VcpuSet) {
        fence(Ordering::SeqCst);
        let here = el2::pe::current();
        let mut left = set.0;
        while left != 0 {
            let index = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            let Some(vcpu) = self.vcpus.get(index as usize) else { break };
            let home = PeId(vcpu.home.load(Ordering::Relaxed));
            if vcpu.run.load(Ordering::SeqCst) == RunState::Running as u8 {
                if home != here {
                    el2::gic::kick(home);
                }
            } else if vcpu.take_blocked() {
                self.host.pe(home).wake(vcpu.slot.load(Ordering::Relaxed));
                if home != here {
                    el2::gic::kick(home);
                }
            }
        }
    }

    /// Every PE that holds a vCPU of the VM looks at it: the VM stops.
    pub fn look_all(&self) {
        let here = el2::pe::current();
        for vcpu in &self.vcpus {
            let home = PeId(vcpu.home.load(Ordering::Relaxed));
            self.host.pe(home).look();
            if home != here {
                el2::gic::kick(home);
            }
        }
    }

    /// Drives a PPI of one vCPU.
    pub fn set_private(&self, vcpu: VcpuIndex, intid: specs::Intid, high: bool) {
        self.wake(self.vgic.set_line(Line::Private { intid, vcpu }, high));
    }
}

impl core::fmt::Debug for Signals {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

/// A device's interrupt output, wired to an SPI.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The VM's interrupts.
    pub signals: Arc<Signals>,
    /// The SPI.
    pub intid: specs::Intid,
}

impl InterruptLine for Wire {
    fn raise(&self) {
        self.signals.wake(self.signals.vgic.set_line(Line::Shared(self.intid), true));
    }

    fn lower(&self) {
        self.signals.wake(self.signals.vgic.set_line(Line::Shared(self.intid), false));
    }
}
