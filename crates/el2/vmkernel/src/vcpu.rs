//! The vmkernel's part of a vCPU: owned by whoever owns the vCPU, so nothing here is shared.

use crate::bus::Region;
use crate::flight::Flight;
use crate::signals::Signals;
use crate::vm::Vm;
use alloc::sync::Arc;
use chipset::Timer;
use specs::VcpuIndex;

/// Everything that an exit needs, hot fields first.
pub struct VcpuState {
    /// The VM's interrupts.
    pub signals: Arc<Signals>,
    /// Its place in the VM.
    pub index: VcpuIndex,
    /// Its place on its PE.
    pub slot: u16,
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
    /// The last exit was a cache operation by set and way.
    pub set_way: bool,
}
