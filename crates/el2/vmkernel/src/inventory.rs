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
    /// How often that failed.
    pub failures: u64,
    /// The text of its record, if it is of the datastore.
    pub text: Option<String>,
    /// While it runs.
    pub vm: Option<Arc<Vm>>,
    generation: u32,
    /// It was forgotten: the place is free.
    gone: bool,
}

impl Known {
    /// What it is about to do, as a call tells it.
    pub fn power(&self) -> u32 {
        match &self.vm {
            None => abi::record::OFF,
            Some(vm) if vm.wanted() == Wanted::Running && vm.is_paused() => abi::record::PAUSED,
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
        if !known.iter().any(|vm| vm.name == name && !vm.gone) {
            insert(&mut known, name, source.clone(), streams, None);
        }
    }

    /// A record was written or read: the VM is this from its next start on. `None`: one of the boot archive has its name.
    pub fn put(&self, host: &Host, source: Source, text: String) -> Option<VmHandle> {
        let name = source.document.as_ref()?.name.clone();
        let streams = host.console.streams_of(&name);
        let mut known = self.0.lock();
        match known.iter_mut().enumerate().find(|(_, vm)| vm.name == name && !vm.gone) {
            Some((place, vm)) if vm.source.stored => {
                (vm.source, vm.text) = (source, Some(text));
                handle(place, vm)
            }
            Some(_) => None,
            None => insert(&mut known, name, source, streams, Some(text)),
        }
    }

    /// A VM of the datastore that does not run is known no more.
    pub fn forget(&self, handle: VmHandle) {
        let mut known = self.0.lock();
        if let Some(vm) = known.get_mut(handle.place as usize).filter(|vm| vm.generation == handle.generation)
        {
            (vm.gone, vm.generation) = (true, vm.generation.wrapping_add(1));
            vm.source = Source::default();
        }
    }

    /// A VM could not be started.
    pub fn failed(&self, name: &str) {
        if let Some(known) = self.0.lock().iter_mut().find(|known| known.name == name) {
            known.failures = known.failures.saturating_add(1);
        }
    }

    /// What the VMs of the datastore are made from.
    pub fn stored(&self) -> Vec<Source> {
        let known = self.0.lock();
        known.iter().filter(|vm| vm.source.stored && !vm.gone).map(|vm| vm.source.clone()).collect()
    }

    /// Whether any VM is such.
    pub fn any(&self, is: impl Fn(&Known) -> bool) -> bool {
        self.0.lock().iter().any(|vm| !vm.gone && is(vm))
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

    /// The handle of a VM by its name; none for a world.
    pub fn handle_of(&self, name: &str) -> Option<VmHandle> {
        let known = self.0.lock();
        let (place, vm) = known.iter().enumerate().find(|(_, vm)| vm.name == name && !vm.gone)?;
        handle(place, vm)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().iter().filter(|vm| !vm.gone).count()
    }

    /// The handle of the n-th VM.
    pub fn handle(&self, n: usize) -> Option<VmHandle> {
        let known = self.0.lock();
        let (place, vm) = known.iter().enumerate().filter(|(_, vm)| !vm.gone).nth(n)?;
        handle(place, vm)
    }

    /// Reads what a handle names, under the lock.
    pub fn read<R>(&self, handle: VmHandle, read: impl FnOnce(&Known) -> R) -> Result<R, Status> {
        let known = self.0.lock();
        let vm = known.get(handle.place as usize).ok_or(Status::NotFound)?;
        if vm.generation == handle.generation { Ok(read(vm)) } else { Err(Status::Stale) }
    }
}

fn handle(place: usize, vm: &Known) -> Option<VmHandle> {
    Some(VmHandle { place: u32::try_from(place).ok()?, generation: vm.generation })
}

/// Takes the place of one that was forgotten, or a new one.
fn insert(
    all: &mut Vec<Known>,
    name: String,
    source: Source,
    streams: [Arc<Stream>; 2],
    text: Option<String>,
) -> Option<VmHandle> {
    let (starts, failures, vm, gone) = (0, 0, None, false);
    let free = all.iter().position(|vm| vm.gone);
    let generation = free.and_then(|at| all.get(at)).map_or(1, |vm| vm.generation);
    let known = Known { name, source, streams, starts, failures, text, vm, generation, gone };
    let place = match free.and_then(|at| all.get_mut(at).map(|place| (at, place))) {
        Some((at, place)) => {
            *place = known;
            at
        }
        None => {
            all.push(known);
            all.len().saturating_sub(1)
        }
    };
    all.get(place).and_then(|vm| handle(place, vm))
}

impl core::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inventory").finish_non_exhaustive()
    }
}
