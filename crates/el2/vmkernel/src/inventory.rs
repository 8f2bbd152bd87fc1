//! The VMs that this host knows, running or not: what a VM handle names.
//!
//! Called by: [`crate::assemble`] and [`crate::vm`], which say what becomes of a VM; [`crate::calls`] and
//! [`crate::desk`], which ask by handle, and get there without a search. Concurrency: one lock, a leaf.

use crate::assemble::Source;
use crate::console::Stream;
use crate::host::Host;
use crate::vm::{Vm, Wanted};
use abi::{Status, VmHandle};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

/// A VM as it was described, and what became of it.
#[derive(Clone)]
pub struct Known {
    /// Its name, unique on the host.
    pub name: String,
    /// What it is made from.
    pub source: Source,
    /// Its consoles, whose rings outlive its runs.
    pub streams: [Arc<Stream>; 2],
    /// How often it was powered on.
    pub starts: u64,
    /// While it runs.
    pub vm: Option<Arc<Vm>>,
    generation: u32,
}

impl Known {
    /// What it is about to do, as a call tells it.
    pub fn power(&self) -> u32 {
        match &self.vm {
            None => abi::record::OFF,
            Some(vm) if vm.wanted() == Wanted::Running => abi::record::RUNNING,
            Some(_) => abi::record::STOPPING,
        }
    }
}

/// All of them, in the order in which they were named first.
#[derive(Default)]
pub struct Inventory(Mutex<Vec<Known>>);

impl Inventory {
    /// The host knows a VM from now on; one of the same name is the same.
    pub fn register(&self, host: &Host, source: &Source) {
        let Some(name) = source.document.as_ref().map(|document| document.name.clone()) else { return };
        let streams = host.console.streams_of(&name);
        let mut known = self.0.lock();
        if !known.iter().any(|vm| vm.name == name) {
            known.push(Known { name, source: source.clone(), streams, starts: 0, vm: None, generation: 1 });
        }
    }

    /// A VM was powered on, or started anew.
    pub fn started(&self, vm: &Arc<Vm>) {
        if let Some(known) = self.0.lock().iter_mut().find(|known| known.name == vm.name) {
            known.starts = known.starts.saturating_add(1);
            known.vm = Some(vm.clone());
        }
    }

    /// A VM is off.
    pub fn ended(&self, vm: &Vm) {
        let known = self.0.lock().iter_mut().find(|known| known.name == vm.name).and_then(|vm| vm.vm.take());
        // What may be its last reference goes without the lock.
        drop(known);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// The handle of the VM at a place.
    pub fn handle(&self, place: usize) -> Option<VmHandle> {
        let generation = self.0.lock().get(place)?.generation;
        Some(VmHandle { place: u32::try_from(place).ok()?, generation })
    }

    /// Reads what a handle names, under the lock.
    pub fn read<R>(&self, handle: VmHandle, read: impl FnOnce(&Known) -> R) -> Result<R, Status> {
        let known = self.0.lock();
        let vm = known.get(handle.place as usize).ok_or(Status::NotFound)?;
        if vm.generation == handle.generation { Ok(read(vm)) } else { Err(Status::Stale) }
    }
}

impl core::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inventory").finish_non_exhaustive()
    }
}
