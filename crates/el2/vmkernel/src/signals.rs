//! Interrupts of a VM, and waking its vCPUs: what a device, another vCPU or another PE may touch at any time.
//!
//! Called by device models through [`Wire`], and by exits. Lock order: innermost but for the vGIC's own lock.
//!
//! Waking: who posts an interrupt (in the vGIC) then looks at the vCPU's run state; the PE that blocks a vCPU sets the
//! run state, then looks for posts. Both orders are sequentially consistent, so one of the two sees the other.

use crate::host::Host;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use ports::InterruptLine;
use specs::{PeId, VcpuIndex};
use vgic::{Line, VcpuSet, Vgic};

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RunState {
    /// On no PE: never started, or gone.
    Off = 0,
    /// Waiting for an interrupt.
    Blocked = 1,
    /// In a run queue, or on its way to another PE.
    Ready = 2,
    /// In the hardware of its PE.
    Running = 3,
}

/// What others need to know of a vCPU, in one word: where it lives and what it does, as of one moment.
///
/// | bits | field |
/// |---|---|
/// | 7:0 | [`RunState`] |
/// | 47:32 | slot on its PE |
/// | 63:48 | PE |
#[derive(Debug, Default)]
pub struct VcpuSignals(AtomicU64);

/// Where a vCPU lives: as in [`VcpuSignals`], whose other bits are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Home(u64);

impl Home {
    /// In the place `slot` of a PE.
    pub fn new(pe: PeId, slot: u16) -> Self {
        Self(u64::from(pe.0) << 48 | u64::from(slot) << 32)
    }

    /// Its place there.
    #[inline(always)]
    pub fn slot(self) -> u16 {
        (self.0 >> 32 & 0xffff) as u16
    }

    /// The PE.
    #[inline(always)]
    pub fn pe(self) -> PeId {
        PeId((self.0 >> 48) as u16)
    }

    #[inline(always)]
    fn word(self, state: RunState) -> u64 {
        self.0 | state as u64
    }

    #[inline(always)]
    fn of(word: u64) -> Self {
        Self(word & !0xffff_ffff)
    }
}

#[inline(always)]
fn is(word: u64, state: RunState) -> bool {
    word & 0xff == state as u64
}

impl VcpuSignals {
    /// Its owner says what it does; ordered against the posts that others make.
    #[inline(always)]
    pub fn set(&self, home: Home, state: RunState) {
        self.0.store(home.word(state), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether it is in the hardware of a PE.
    pub fn is_running(&self) -> bool {
        is(self.0.load(Ordering::SeqCst), RunState::Running)
    }

    /// Whether it was blocked, and is ready now by this call.
    #[inline]
    pub fn take_blocked(&self) -> bool {
        let seen = self.0.load(Ordering::SeqCst);
        is(seen, RunState::Blocked) && self.ready(seen)
    }

    /// Whether it is ready by this call; `seen` says that it is blocked.
    #[inline(always)]
    fn ready(&self, seen: u64) -> bool {
        let ready = seen ^ (RunState::Blocked as u64 ^ RunState::Ready as u64);
        self.0.compare_exchange(seen, ready, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The PE that has it, if one has.
    pub fn home(&self) -> Option<PeId> {
        let seen = self.0.load(Ordering::SeqCst);
        (!is(seen, RunState::Off)).then(|| Home::of(seen).pe())
    }
}

/// The vGIC of a VM with the wake-up of its vCPUs, in this order: what is near the start is found by fewer instructions.
#[repr(C)]
pub struct Signals {
    /// Its vCPUs.
    pub vcpus: [VcpuSignals; 8],
    host: &'static Host,
    /// The VM's interrupt controller.
    pub vgic: Vgic,
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
            let seen = vcpu.0.load(Ordering::SeqCst);
            let home = Home::of(seen);
            if is(seen, RunState::Blocked) {
                // Whoever was faster has it look at what is posted, too.
                if !vcpu.ready(seen) {
                    continue;
                }
                self.host.pe(home.pe()).wake(home.slot());
            } else if !is(seen, RunState::Running) {
                continue;
            }
            if home.pe() != here {
                el2::gic::kick(home.pe());
            }
        }
    }

    /// Every PE that has a vCPU of the VM looks at it: the VM stops.
    pub fn look_all(&self) {
        fence(Ordering::SeqCst);
        let here = el2::pe::current();
        for home in self.vcpus.iter().filter_map(VcpuSignals::home) {
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
