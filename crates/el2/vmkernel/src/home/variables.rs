//! Firmware variables: what firmware of the datastore's VMs keeps in flash goes to a volume for each VM.
//!
//! Called by: [`crate::devices`], on a guest's store ([`Variables::write`]); [`super::errands`], on the home ([`Saves`]).
//! Calls: `keeper::variables`. A save begins [`CALM`] after the first change, or at once when the VM goes off; the next one
//! of the VM [`BETWEEN`] after it: however much a guest writes, it costs the datastore
//! `keeper::variables::PAGES_MAX` pages in so long. Who starts such a VM, reverts it or says that it is off waits until what
//! it left is saved (`docs/adr/0051-firmware-variables-are-a-private-volume.md`).
//! Lock order: the flash → the list of what is unsaved, a leaf.

use super::HomeShared;
use super::port::Port;
use super::shared::publish;
use crate::host::Host;
use crate::log;
use alloc::string::String;
use alloc::sync::Arc;
use chipset::Flash;
use chipset::flash::{KEPT_BYTES, Mapping};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use datastore::{Completion, Store};
use el2::page::Page;
use el2::ram::GuestRam;
use keeper::variables::{Pages, Save, Step, volume_name};
use ports::{GuestMemory, MmioDevice, Width};
use spin::Mutex;

/// Seconds from a first change to its save: firmware writes a variable in many steps.
const CALM: u64 = 1;
/// From one save of a VM's to its next.
const BETWEEN: u64 = 2;
/// After one that failed.
const RETRY: u64 = 30;

/// A VM's flash bank for variables.
pub struct Variables {
    host: &'static Host,
    /// The VM, where they are kept.
    vm: Option<String>,
    /// The device.
    pub flash: Mutex<Flash<Arc<GuestRam>>>,
    bank: Arc<GuestRam>,
    /// It is in the list of what is unsaved.
    is_listed: AtomicBool,
    is_off: AtomicBool,
    /// When it is to be saved, by the physical counter.
    due: AtomicU64,
}

fn after(seconds: u64) -> u64 {
    el2::regs::counter().saturating_add(el2::regs::counter_hz().saturating_mul(seconds))
}

impl Variables {
    /// Of the VM of that name, if they are to be kept.
    pub fn new(host: &'static Host, vm: Option<String>, bank: Arc<GuestRam>) -> Self {
        Self {
            host,
            vm,
            flash: Mutex::new(Flash::new(bank.clone(), bank.range())),
            bank,
            is_listed: AtomicBool::new(false),
            is_off: AtomicBool::new(false),
            due: AtomicU64::new(0),
        }
    }

    /// A guest's store. `remap` maps the bank another way, where it is to be: no other store comes in between.
    pub fn write(
        self: &Arc<Self>,
        (offset, width, value): (u64, Width, u64),
        remap: impl FnOnce(Mapping) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut flash = self.flash.lock();
        let before = flash.mapping();
        flash.write(offset, width, value);
        if self.vm.is_some() && flash.has_changed() && !self.is_listed.swap(true, Ordering::AcqRel) {
            self.due.store(after(CALM), Ordering::Relaxed);
            self.host.home.unsaved.lock().push(self.clone());
            HomeShared::wake(self.host);
        }
        if flash.mapping() == before { Ok(()) } else { remap(flash.mapping()) }
    }

    /// The VM is off: what is left to be saved is saved now.
    pub fn vm_is_off(&self) {
        self.is_off.store(true, Ordering::Release);
        if self.is_listed.load(Ordering::Acquire) {
            HomeShared::wake(self.host);
        }
    }

    fn due(&self) -> u64 {
        if self.is_off.load(Ordering::Acquire) { 0 } else { self.due.load(Ordering::Relaxed) }
    }

    fn is_of(&self, vm: &str) -> bool {
        self.vm.as_deref() == Some(vm)
    }
}

impl HomeShared {
    /// What some VM keeps is not saved yet.
    pub fn is_any_unsaved(&self) -> bool {
        !self.unsaved.lock().is_empty()
    }

    /// What this VM keeps is not saved yet.
    pub fn is_unsaved(&self, vm: &str) -> bool {
        self.unsaved.lock().iter().any(|variables| variables.is_of(vm))
    }
}

/// The bank as [`Save`] sees it.
struct Bank<'a>(&'a Variables);

impl Pages for Bank<'_> {
    fn take_changed(&mut self, most: u32) -> Option<(u32, u32)> {
        self.0.flash.lock().take_changed(most)
    }

    fn put_back(&mut self, first: u32, count: u32) {
        self.0.flash.lock().put_back(first, count);
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) {
        let read = self.0.bank.range().start().checked_add(offset).map(|at| self.0.bank.read(at, into));
        if !matches!(read, Some(Ok(()))) {
            into.fill(0);
        }
    }
}

/// The home's part: one save at a time.
#[derive(Default)]
pub(super) struct Saves {
    current: Option<(Save, Arc<Variables>)>,
    count: u32,
    /// When the next is due.
    due: u64,
}

impl Saves {
    /// When there is something to do.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Goes on; whether there is more to do at once.
    pub fn step(&mut self, host: &'static Host, store: &mut Store<Port>) -> bool {
        self.due = u64::MAX;
        let Some((save, of)) = &mut self.current else { return self.next(host) };
        match save.step(store, &mut Bank(of)) {
            Step::On => true,
            Step::Wait => false,
            Step::Done(result) => {
                let of = of.clone();
                self.current = None;
                publish(host, store);
                end(host, &of, result);
                true
            }
        }
    }

    fn next(&mut self, host: &Host) -> bool {
        let unsaved = host.home.unsaved.lock();
        let Some(first) = unsaved.iter().min_by_key(|variables| variables.due()) else { return false };
        if first.due() > el2::regs::counter() {
            self.due = first.due();
            return false;
        }
        let Some(vm) = &first.vm else { return false };
        self.count = self.count.wrapping_add(1);
        self.current = Some((Save::new(volume_name(vm), KEPT_BYTES, self.count), first.clone()));
        true
    }

    /// Takes the end of one of its requests to the store; false: it is another's.
    pub fn complete(&mut self, completion: &Completion<Page>) -> bool {
        self.current.as_mut().is_some_and(|(save, _)| save.complete(completion))
    }

    /// What a VM that is off left is not to be kept.
    pub fn forget(&mut self, host: &Host, store: &mut Store<Port>, vm: &str) {
        if let Some((save, _)) = self.current.as_mut().filter(|(_, of)| of.is_of(vm)) {
            save.abandon(store);
            self.current = None;
        }
        host.home.unsaved.lock().retain(|variables| !variables.is_of(vm));
    }
}

/// A save has ended.
fn end(host: &'static Host, of: &Arc<Variables>, result: Result<(), abi::Status>) {
    let is_off = of.is_off.load(Ordering::Acquire);
    if let (Err(status), Some(vm)) = (result, &of.vm) {
        let what = if is_off { "are lost" } else { "are not kept yet" };
        log!(host.console, "{vm}: its firmware variables {what}: {status:?}");
    }
    of.due.store(after(if result.is_ok() { BETWEEN } else { RETRY }), Ordering::Relaxed);
    {
        let flash = of.flash.lock();
        if flash.has_changed() && (result.is_ok() || !is_off) {
            return;
        }
        of.is_listed.store(false, Ordering::Release);
        host.home.unsaved.lock().retain(|other| !Arc::ptr_eq(other, of));
    }
    // Who turned it off may hear of it now; and it may have been what the host's end waited for.
    crate::desk::vm_changed(host);
    if is_off {
        crate::start::end_of_vms(host);
    }
}
