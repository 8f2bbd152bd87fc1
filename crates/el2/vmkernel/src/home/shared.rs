//! The home as every PE sees it: who wants what of it, volumes by name and who uses them.
//!
//! Called by: guests' disks, [`crate::desk`], whoever powers VMs on; the home takes what lies here. Concurrency: each field
//! its own word or leaf lock.

use super::starts::Start;
use super::variables::Variables;
use super::volume::Client;
use super::{HOME, PRESS};
use crate::host::Host;
use crate::vm::Vm;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use datastore::{BlockPort, Entry, Store};
use drivers::board::MAX_PES;
use spin::Mutex;
use virtio::calls::Asked;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// Disks are looked for.
    Searching = 0,
    /// A store was found and is being read.
    Mounting = 1,
    /// There is one.
    Mounted = 2,
    /// There is none that could be used.
    Absent = 3,
}

/// A volume, or an object that can be a CD, as others than the home know it.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) name: String,
    /// Volumes and objects have their ids out of one sequence.
    pub(super) id: u64,
    pub(super) sectors: u64,
    pub(super) is_object: bool,
}

/// Kinds of objects that can be a CD.
const CDS: [&str; 2] = ["iso:", "file:"];

/// Who uses a volume or an object.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) id: u64,
    pub(super) user: String,
    pub(super) read_only: bool,
}

/// The home as every PE sees it.
pub struct HomeShared {
    pub(super) state: AtomicU8,
    pub(super) settled: AtomicBool,
    pub(super) starting: AtomicBool,
    /// By PE: clients with requests that the home has not seen.
    pub(super) inboxes: Box<[Mutex<VecDeque<Arc<Client>>>]>,
    pub(super) volumes: Mutex<Vec<Volume>>,
    pub(super) uses: Mutex<Vec<Use>>,
    /// Requests of a world.
    pub(super) handed: Mutex<VecDeque<Asked>>,
    /// VMs that are to start from files of the datastore.
    pub(super) starts: Mutex<VecDeque<Start>>,
    /// Power buttons that are held down, and until when.
    pub(super) pressed: Mutex<Vec<(u64, Arc<Vm>)>>,
    /// A person at the console asked for a datastore.
    pub(super) wish: AtomicBool,
    /// What the audit chain is to have of the host's own: what, and about what.
    pub(super) notes: Mutex<VecDeque<(&'static str, String)>>,
    /// VMs' flash banks that changed since they were saved.
    pub(super) unsaved: Mutex<Vec<Arc<Variables>>>,
    pub(super) longest: AtomicU64,
}

impl HomeShared {
    /// Before any disk is known.
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(State::Searching as u8),
            settled: AtomicBool::new(false),
            starting: AtomicBool::new(false),
            inboxes: (0..MAX_PES).map(|_| Mutex::default()).collect(),
            volumes: Mutex::default(),
            uses: Mutex::default(),
            handed: Mutex::default(),
            starts: Mutex::default(),
            pressed: Mutex::default(),
            wish: AtomicBool::new(false),
            notes: Mutex::default(),
            unsaved: Mutex::default(),
            longest: AtomicU64::new(0),
        }
    }

    pub(super) fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// There is a datastore.
    pub fn is_mounted(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Mounted as u8
    }

    /// A VM that runs has the volume, or the object.
    pub(super) fn is_in_use(&self, name: &str, is_object: bool) -> bool {
        let id = self.find(name, is_object).map(|volume| volume.id);
        self.uses.lock().iter().any(|user| Some(user.id) == id)
    }

    fn find(&self, name: &str, is_object: bool) -> Option<Volume> {
        let is_it = |volume: &&Volume| volume.name == name && volume.is_object == is_object;
        self.volumes.lock().iter().find(is_it).cloned()
    }

    /// It is known whether there is a datastore, and which VMs it has.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// VMs of the datastore are about to start.
    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// The longest step so far, in ticks of the counter; 0 where there is no datastore.
    pub fn longest_step(&self) -> u64 {
        if self.is_mounted() { self.longest.load(Ordering::Relaxed) } else { 0 }
    }

    /// The home has something to do.
    pub fn wake(host: &Host) {
        host.pe(HOME).call_home();
        if el2::pe::current() != HOME {
            el2::gic::kick(HOME);
        }
    }

    /// An entry of the audit chain about the host's own doing.
    pub fn note(host: &Host, what: &'static str, target: &str) {
        host.home.notes.lock().push_back((what, target.to_string()));
        Self::wake(host);
    }

    /// A person at the console asks for a datastore.
    pub fn wish(host: &Host) {
        host.home.wish.store(true, Ordering::Relaxed);
        Self::wake(host);
    }

    pub(super) fn take_wish(&self) -> bool {
        self.wish.swap(false, Ordering::Relaxed)
    }

    /// Presses a VM's power button; the home lets it go.
    pub fn press(host: &Host, vm: Arc<Vm>) {
        vm.devices.hold_power_button(true);
        let until = el2::regs::counter().saturating_add(el2::regs::counter_hz() / PRESS);
        host.home.pressed.lock().push((until, vm));
        Self::wake(host);
    }

    /// Lets buttons go; when the next is due.
    pub(super) fn release_buttons(&self) -> u64 {
        let now = el2::regs::counter();
        let due: Vec<Arc<Vm>> = {
            let mut pressed = self.pressed.lock();
            pressed.extract_if(.., |(until, _)| *until <= now).map(|(_, vm)| vm).collect()
        };
        due.iter().for_each(|vm| vm.devices.hold_power_button(false));
        self.pressed.lock().iter().map(|(until, _)| *until).min().unwrap_or(u64::MAX)
    }

    /// A client has requests that the home has not seen. On a guest's exit.
    pub(super) fn ask(host: &Host, client: Arc<Client>) {
        if let Some(inbox) = host.home.inboxes.get(usize::from(el2::pe::current().0)) {
            inbox.lock().push_back(client);
        }
        Self::wake(host);
    }

    /// There is one more client: no inbox grows on an exit's path.
    pub(super) fn expect_client(&self) {
        let clients = self.uses.lock().len().saturating_mul(2);
        for inbox in &self.inboxes {
            let mut inbox = inbox.lock();
            let more = clients.saturating_sub(inbox.len());
            inbox.reserve(more);
        }
    }

    /// A volume's id and size, and the right to use it.
    pub(super) fn claim(&self, name: &str, user: &str, read_only: bool) -> Result<(u64, u64), String> {
        if !self.is_mounted() {
            return Err(format!("its disk is the volume \"{name}\", and this host has no datastore"));
        }
        let volume =
            self.find(name, false).ok_or_else(|| format!("the datastore has no volume \"{name}\""))?;
        let mut uses = self.uses.lock();
        if let Some(other) =
            uses.iter().find(|other| other.id == volume.id && !(read_only && other.read_only))
        {
            return Err(format!("volume \"{name}\" is used by {}", other.user));
        }
        uses.push(Use { id: volume.id, user: user.to_string(), read_only });
        Ok((volume.id, volume.sectors))
    }

    /// The id and size of an object that is to be a CD, and the right to read it while no other one takes its name.
    pub(super) fn claim_cd(&self, name: &str, user: &str) -> Result<(u64, u64), String> {
        if !self.is_mounted() {
            return Err(format!("its CD is \"{name}\" of the datastore, and this host has none"));
        }
        let found = CDS.iter().find_map(|kind| self.find(&format!("{kind}{name}"), true));
        let object = found.ok_or_else(|| format!("the datastore has no object \"iso:{name}\""))?;
        if object.sectors == 0 {
            return Err(format!("\"{}\" is empty", object.name));
        }
        self.uses.lock().push(Use { id: object.id, user: user.to_string(), read_only: true });
        Ok((object.id, object.sectors))
    }

    pub(super) fn release(&self, id: u64) {
        let mut uses = self.uses.lock();
        if let Some(at) = uses.iter().position(|user| user.id == id) {
            uses.swap_remove(at);
        }
    }
}

impl Default for HomeShared {
    fn default() -> Self {
        Self::new()
    }
}

/// What others than the home may know of the store.
pub(super) fn publish(host: &Host, store: &Store<impl BlockPort>) {
    let volume = |(id, entry): (u64, &Entry)| match entry {
        Entry::Volume { name, sectors, .. } => {
            Some(Volume { name: name.clone(), id, sectors: *sectors, is_object: false })
        }
        Entry::Object { name, bytes, .. } if CDS.iter().any(|kind| name.starts_with(kind)) => {
            Some(Volume { name: name.clone(), id, sectors: bytes.div_ceil(512), is_object: true })
        }
        _ => None,
    };
    *host.home.volumes.lock() = store.catalog().iter().filter_map(volume).collect();
}
