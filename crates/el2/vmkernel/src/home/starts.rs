//! Starts of VMs whose kernel, initrd or firmware are objects of the datastore (`file:NAME`), one after another.
//!
//! Called by: [`super`], on the home; whoever powers a VM on or has it restart asks by [`HomeShared::start`]. Phases: the
//! first bytes of the kernel say what the machine needs, [`crate::assemble::prepare`] makes it, the files are read into its
//! RAM piece by piece through `datastore::Front`, [`crate::assemble::begin`] starts it. So no step is longer than a piece's
//! copy and cleaning, however large a kernel is.

use crate::assemble::{self, Source};
use crate::home::port::Port;
use crate::home::{Asker, HomeShared};
use crate::host::Host;
use crate::vm::Vm;
use crate::{desk, log};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chipset::flash::KEPT_BYTES;
use datastore::{Ask, Buffers, Entry, Error, Front, Store, Target, Wanted};
use keeper::variables::volume_name;
use machine::BootSpec;
use specs::Ipa;

/// Bytes of a kernel that say what it is.
const HEAD: u64 = 512;

/// A VM that is to start.
pub struct Start {
    source: Source,
    /// It starts anew.
    vm: Option<Arc<Vm>>,
    /// Seconds after the start before it.
    delay: u32,
}

/// Where a file's bytes go.
enum Place {
    Head,
    Ram(Arc<Vm>, Ipa),
    /// A flash bank.
    Flash(Arc<Vm>, usize),
}

/// A file on its way.
pub struct Load {
    to: Place,
    bytes: u64,
    head: Vec<u8>,
    failed: bool,
}

impl Buffers for Load {
    fn fetch(&mut self, _: u64, into: &mut [u8]) {
        into.fill(0);
    }

    fn deliver(&mut self, offset: u64, from: &[u8]) {
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let from = from.get(..left.min(from.len())).unwrap_or_default();
        let loaded = match &self.to {
            Place::Head => {
                self.head.extend_from_slice(from);
                return;
            }
            Place::Ram(vm, at) => at.checked_add(offset).map(|at| vm.ram.load_bytes(at, from)),
            Place::Flash(vm, bank) => vm.devices.banks.get(*bank).and_then(|bank| {
                bank.range().start().checked_add(offset).map(|at| bank.load_bytes(at, from))
            }),
        };
        self.failed |= !matches!(loaded, Some(Ok(())));
    }
}

/// An object or a volume, and its size.
#[derive(Clone, Copy)]
struct File {
    target: Target,
    bytes: u64,
}

/// What a VM boots from.
#[derive(Clone, Copy)]
struct Files {
    kernel: Option<File>,
    initrd: Option<File>,
    firmware: Option<File>,
    /// What it kept when it ran before.
    variables: Option<File>,
}

struct Current {
    start: Start,
    files: Files,
    pending: u32,
    failed: bool,
    head: Option<Vec<u8>>,
    loading: bool,
}

/// All of them.
#[derive(Default)]
pub struct Starts {
    queue: VecDeque<Start>,
    current: Option<Current>,
    /// When the one before started.
    last: u64,
    /// In this step a VM was prepared or started.
    made: bool,
}

impl HomeShared {
    /// Has a VM started whose files are in the datastore; `vm`: it exists, and starts anew.
    pub fn start(host: &Host, source: Source, vm: Option<Arc<Vm>>) {
        host.home.starts.lock().push_back(Start { source, vm, delay: 0 });
        Self::wake(host);
    }
}

impl Starts {
    /// The VMs that start with the host, in their order.
    pub(super) fn autostart(&mut self, host: &Host) {
        let mut sources = host.inventory.stored();
        let order = |source: &Source| source.document.as_ref().map(|vm| (vm.start_order, vm.name.clone()));
        sources.sort_by_key(order);
        for source in sources {
            let Some(vm) = source.document.as_ref().filter(|vm| vm.autostart) else { continue };
            let delay = vm.start_delay;
            self.queue.push_back(Start { source, vm: None, delay });
        }
    }

    /// Whether a VM was prepared or started since the last question.
    pub(super) fn take_made(&mut self) -> bool {
        core::mem::take(&mut self.made)
    }

    /// Nothing is to start.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.current.is_none()
    }

    /// Goes on; when to go on at the latest.
    pub(super) fn step(&mut self, host: &'static Host, store: &Store<Port>, front: &mut Front<Asker>) -> u64 {
        self.queue.append(&mut host.home.starts.lock());
        let Some(mut current) = self.current.take() else { return self.next(host, store) };
        if current.pending > 0 {
            self.current = Some(current);
            return u64::MAX;
        }
        let (was_loading, done) = (current.loading, advance(host, &mut current, front));
        self.made |= was_loading || current.loading || done.is_err();
        match done {
            Ok(true) => {
                self.last = el2::regs::counter();
                desk::vm_changed(host);
            }
            Ok(false) => self.current = Some(current),
            Err(why) => fail(host, current.start, &why),
        }
        0
    }

    fn next(&mut self, host: &'static Host, store: &Store<Port>) -> u64 {
        let Some(start) = self.queue.pop_front() else { return u64::MAX };
        let due = self.last.saturating_add(u64::from(start.delay).saturating_mul(el2::regs::counter_hz()));
        if start.delay != 0 && el2::regs::counter() < due {
            self.queue.push_front(start);
            return due;
        }
        let name = start.source.document.as_ref().map(|vm| vm.name.as_str()).unwrap_or_default();
        if start.vm.is_none() && host.home.is_unsaved(name) {
            // It was turned off just now: it goes on when what it kept is saved.
            self.queue.push_front(start);
            return u64::MAX;
        }
        match files(store, &start.source) {
            Ok(files) => {
                let (pending, failed, head, loading) = (0, false, None, false);
                self.current = Some(Current { start, files, pending, failed, head, loading });
            }
            Err(why) => fail(host, start, &why),
        }
        0
    }

    /// A file was read.
    pub(super) fn complete(&mut self, load: Load, result: Result<(), Error>) {
        let Some(current) = &mut self.current else { return };
        current.pending = current.pending.saturating_sub(1);
        current.failed |= load.failed || result.is_err();
        if matches!(load.to, Place::Head) {
            current.head = Some(load.head);
        }
    }
}

/// One phase; whether it was the last.
fn advance(host: &'static Host, current: &mut Current, front: &mut Front<Asker>) -> Result<bool, String> {
    if current.failed {
        return Err(String::from(
            "a file that it boots from, or its firmware variables, can't be read or do not fit",
        ));
    }
    if current.loading {
        if let Some(vm) = &current.start.vm {
            assemble::map_flash(vm)?;
            assemble::begin(host, vm)?;
        }
        return Ok(true);
    }
    let bytes = |file: Option<File>| file.map_or(0, |file| file.bytes);
    let boot = match (current.files.firmware, current.files.kernel, &current.head) {
        (Some(firmware), ..) => BootSpec::Firmware { bytes: firmware.bytes },
        (None, Some(kernel), Some(head)) => {
            BootSpec::kernel_of(head, kernel.bytes, bytes(current.files.initrd))
        }
        (None, Some(kernel), None) => {
            let head = File { bytes: kernel.bytes.min(HEAD), ..kernel };
            return read(current, front, head, Place::Head);
        }
        (None, None, _) => return Err(String::from("nothing to boot")),
    };
    // One that starts anew has its variables.
    let variables = current.files.variables.filter(|_| current.start.vm.is_none());
    let vm = match &current.start.vm {
        Some(vm) if vm.plan.spec.boot == boot => vm.clone(),
        Some(_) => return Err(String::from("what it boots was replaced: power it off and on again")),
        None => {
            current.start.source.boot = Some(boot);
            let vm = assemble::prepare(host, current.start.source.clone())?;
            let (name, memory) = (&vm.name, vm.plan.ram.bytes() >> 20);
            log!(host.console, "{name}: {} vCPUs, {memory} MiB", vm.plan.spec.vcpus);
            current.start.vm = Some(vm.clone());
            vm
        }
    };
    current.loading = true;
    let at = |range: Option<specs::IpaRange>| range.map(|range| Place::Ram(vm.clone(), range.start()));
    let files = current.files;
    let places = [
        (files.kernel, at(vm.plan.kernel)),
        (files.initrd, at(vm.plan.initrd)),
        (files.firmware, Some(Place::Flash(vm.clone(), 0))),
        (variables, Some(Place::Flash(vm.clone(), 1))),
    ];
    for (file, place) in places {
        if let (Some(file), Some(place)) = (file, place) {
            read(current, front, file, place)?;
        }
    }
    Ok(false)
}

fn read(current: &mut Current, front: &mut Front<Asker>, file: File, to: Place) -> Result<bool, String> {
    let load = Load { to, bytes: file.bytes, head: Vec::new(), failed: false };
    let wanted = Wanted {
        target: file.target,
        ask: Ask::Read,
        sector: 0,
        sectors: file.bytes.div_ceil(512),
        buffers: Asker::Load(load),
    };
    // Guests leave places free: see `RESERVED`.
    front.submit(wanted).map_err(|_| String::from("the datastore is too busy"))?;
    current.pending = current.pending.saturating_add(1);
    Ok(false)
}

fn files(store: &Store<Port>, source: &Source) -> Result<Files, String> {
    let boot = source.document.as_ref().map(|vm| vm.boot.clone()).unwrap_or_default();
    let find = |name: Option<String>| -> Result<Option<File>, String> {
        let Some(name) = name else { return Ok(None) };
        let catalog = store.catalog();
        // What was uploaded as firmware stands under that word.
        let id = ["file", "firmware"].iter().find_map(|kind| catalog.object(&format!("{kind}:{name}")));
        match id.and_then(|id| catalog.get(id).map(|entry| (id, entry))) {
            Some((id, Entry::Object { bytes, .. })) if *bytes != 0 => {
                Ok(Some(File { target: Target::Object(id), bytes: *bytes }))
            }
            _ => Err(format!("the datastore has no object \"file:{name}\" with anything in it")),
        }
    };
    let firmware = find(boot.firmware)?;
    let name = source.document.as_ref().map(|vm| vm.name.as_str()).unwrap_or_default();
    let volume = store.catalog().volume(&volume_name(name)).filter(|_| firmware.is_some());
    let variables = volume.map(|id| File { target: Target::Volume(id), bytes: KEPT_BYTES });
    Ok(Files { kernel: find(boot.kernel)?, initrd: find(boot.initrd)?, firmware, variables })
}

fn fail(host: &'static Host, start: Start, why: &str) {
    let name = start.source.document.as_ref().map(|vm| vm.name.clone()).unwrap_or_default();
    log!(host.console, "{name}: not started: {why}");
    host.inventory.failed(&name);
    if let Some(vm) = start.vm {
        crate::vm::give_up(host, vm);
    }
    desk::vm_changed(host);
}
