//! Alarms of guests' real-time clocks (PL031), kept by the PE where they were set.
//!
//! Called by [`crate::devices`] when a guest writes to its clock, and by [`crate::pe`] for the PE's deadline.

use crate::vm::Vm;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// When whose clock is to be looked at, by the physical counter.
#[derive(Default)]
pub struct Alarms(Vec<(u64, Arc<Vm>)>);

impl Alarms {
    /// Looks at the VM's clock at `at`; `None`: nothing to look for. An earlier wish of the VM is forgotten.
    pub fn set(&mut self, vm: &Arc<Vm>, at: Option<u64>) {
        self.0.retain(|(_, other)| !Arc::ptr_eq(other, vm));
        self.0.extend(at.map(|at| (at, vm.clone())));
    }

    /// The next of them; `u64::MAX`: none.
    pub fn next(&self) -> u64 {
        self.0.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX)
    }

    /// One that is due.
    pub fn take_due(&mut self, now: u64) -> Option<Arc<Vm>> {
        let due = self.0.iter().position(|(at, _)| *at <= now)?;
        Some(self.0.swap_remove(due).1)
    }
}
