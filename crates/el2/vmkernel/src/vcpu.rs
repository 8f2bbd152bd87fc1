//! The vmkernel's part of a vCPU: owned by whoever owns the vCPU, so nothing here is shared.

use crate::bus::Region;
use crate::flight::Flight;
use crate::signals::{Home, RunState, Signals, VcpuSignals};
use crate::vm::Vm;
use alloc::sync::Arc;
use chipset::{SetWay, Timer};
use specs::VcpuIndex;

/// Everything that an exit needs, hot fields first.
pub struct VcpuState {
    /// The VM's interrupts.
    pub signals: Arc<Signals>,
    /// Its place in the VM.
    pub index: VcpuIndex,
    /// Where it lives.
    pub home: Home,
    /// Its WFI traps where so many vCPUs of guests live on its PE: 2, itself and another. A world's always does: its
    /// supervisor must see that it sleeps.
    pub wfi_traps_from: u32,
    /// Where its last device access went.
    pub hint: Region,
    /// ID registers as it sees them.
    pub ids: &'static [u64; 64],
    /// Counts and times of its exits.
    pub flight: Flight,
    /// The VM.
    pub vm: Arc<Vm>,
    /// The emulated physical timer.
    pub physical_timer: Timer,
    /// The level that its line was last driven to.
    pub physical_line: bool,
    /// Its cache operations by set and way.
    pub set_way: SetWay,
    /// The virtual timer's physical interrupt was active when it was switched out.
    pub timer_is_active: bool,
}

impl VcpuState {
    /// Tells the others what it does.
    #[inline(always)]
    pub fn set_run(&self, state: RunState) {
        if let Some(signals) = self.signals.vcpus.get(usize::from(self.index.0 & 7)) {
            signals.set(self.home, state);
        }
    }

    /// When the line of its physical timer is to be driven high; `u64::MAX`: never by itself.
    #[inline(always)]
    pub fn physical_deadline(&self) -> u64 {
        self.physical_timer.deadline(self.physical_line).unwrap_or(u64::MAX)
    }

    /// Whether it was blocked, and is ready now by this call.
    #[inline(always)]
    pub fn take_blocked(&self) -> bool {
        self.signals.vcpus.get(usize::from(self.index.0 & 7)).is_some_and(VcpuSignals::take_blocked)
    }
}

impl VcpuState {
    /// It ran and waited so long, beside what it knows.
    pub fn note_times(&mut self, ran: u64, waited: u64) {
        self.flight.ran = self.flight.ran.wrapping_add(ran);
        self.flight.waited = self.flight.waited.wrapping_add(waited);
    }

    /// Tells the VM what it did so far.
    pub fn tell_exits(&self) {
        self.vm.told.lock().tell(usize::from(self.index.0), &self.flight);
    }
}
