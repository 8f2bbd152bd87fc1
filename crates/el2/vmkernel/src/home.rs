//! The datastore's home: the one PE that owns the mounted store.
//!
//! | module | what |
//! |---|---|
//! | [`port`] | the store's lower side: a window of a host disk |
//! | [`volume`] | the store's upper side: guests' disks |
//! | [`errands`] | what hostd asks of it, and the records of VMs |
//! | [`starts`] | VMs whose kernels are in it |
//! | `tell` | what the host log says of it |
//!
//! Called by [`crate::pe`] when something was asked for ([`HomeShared::wake`]), when the store's disk has finished requests,
//! and when more is to be done; calls the store, `datastore::Front` and, for guests that are to hear something,
//! [`crate::start`]. The home is the first PE, which takes the disks' interrupts. The store has no locks: it lies in that
//! PE's state. Others ask through an inbox of their own PE's and one SGI (`docs/adr/0048-the-datastore-has-a-home.md`).
//! A run is cut into steps, and ends after a few: what is left goes on in an interrupt of its own, so that guests get their
//! turns in between. The longest step is measured ([`HomeShared::longest_step`]).

pub mod errands;
pub mod port;
pub mod starts;
mod tell;
pub mod volume;

use crate::host::Host;
use crate::host_devices::HostDevices;
use crate::host_disk::{HostDisk, Owner, Window};
use crate::vm::Vm;
use crate::{Pe, log};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use datastore::{Buffers, Entry, Front, MountError, Options, Progress, Store, mount};
use drivers::board::MAX_PES;
use drivers::partition::{OURS, Partition};
use el2::page::Page;
use errands::Errands;
use port::Port;
use specs::PeId;
use spin::Mutex;
use starts::{Load, Start, Starts};
use tell::{tell_events, tell_mounted};
use virtio::calls::Asked;
use volume::{Client, Ticket};

/// The home is this PE.
const HOME: PeId = PeId(0);
/// Requests that the home has taken; those of guests that find no place wait in their slots. Guests leave a few to the host.
const PLACES: usize = 32;
const RESERVED: usize = 4;
/// Pages for metadata and for data in flight, 2 MiB each, taken when a datastore is mounted. Mounting hands all of them to the
/// store in one step.
const CACHE_PAGES: usize = 512;
const IO_PAGES: usize = 512;
/// And a few that the store asks for beside them.
const PAGES: usize = CACHE_PAGES + IO_PAGES + 4;
const PAGES_A_STEP: usize = 32;
/// A run ends after this part of a second, and one step.
const RUN: u64 = 100_000;
/// A finger stays on a power button for this part of a second.
const PRESS: u64 = 5;
/// A disk that had no place for a request is asked again after this part of a second.
const AGAIN: u64 = 1000;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    /// Disks are looked for.
    Searching = 0,
    /// A store was found and is being read.
    Mounting = 1,
    /// There is one.
    Mounted = 2,
    /// There is none that could be used.
    Absent = 3,
}

/// A volume, as others than the home know it.
#[derive(Clone, Debug)]
struct Volume {
    name: String,
    id: u64,
    sectors: u64,
}

/// Who uses a volume.
#[derive(Debug)]
struct Use {
    id: u64,
    user: String,
    read_only: bool,
}

/// The home as every PE sees it.
pub struct HomeShared {
    state: AtomicU8,
    settled: AtomicBool,
    starting: AtomicBool,
    /// By PE: clients with requests that the home has not seen.
    inboxes: Box<[Mutex<VecDeque<Arc<Client>>>]>,
    volumes: Mutex<Vec<Volume>>,
    uses: Mutex<Vec<Use>>,
    /// Requests of a world.
    handed: Mutex<VecDeque<Asked>>,
    /// VMs that are to start from files of the datastore.
    starts: Mutex<VecDeque<Start>>,
    /// Power buttons that are held down, and until when.
    pressed: Mutex<Vec<(u64, Arc<Vm>)>>,
    longest: AtomicU64,
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
            longest: AtomicU64::new(0),
        }
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// There is a datastore.
    pub fn is_mounted(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Mounted as u8
    }

    /// A VM that runs has the volume.
    fn is_in_use(&self, name: &str) -> bool {
        let id = self.volumes.lock().iter().find(|volume| volume.name == name).map(|volume| volume.id);
        self.uses.lock().iter().any(|user| Some(user.id) == id)
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

    /// Presses a VM's power button; the home lets it go.
    pub fn press(host: &Host, vm: Arc<Vm>) {
        vm.devices.hold_power_button(true);
        let until = el2::regs::counter().saturating_add(el2::regs::counter_hz() / PRESS);
        host.home.pressed.lock().push((until, vm));
        Self::wake(host);
    }

    /// Lets buttons go; when the next is due.
    fn release_buttons(&self) -> u64 {
        let now = el2::regs::counter();
        let due: Vec<Arc<Vm>> = {
            let mut pressed = self.pressed.lock();
            pressed.extract_if(.., |(until, _)| *until <= now).map(|(_, vm)| vm).collect()
        };
        due.iter().for_each(|vm| vm.devices.hold_power_button(false));
        self.pressed.lock().iter().map(|(until, _)| *until).min().unwrap_or(u64::MAX)
    }

    /// A client has requests that the home has not seen. On a guest's exit.
    fn ask(host: &Host, client: Arc<Client>) {
        if let Some(inbox) = host.home.inboxes.get(usize::from(el2::pe::current().0)) {
            inbox.lock().push_back(client);
        }
        Self::wake(host);
    }

    /// There is one more client: no inbox grows on an exit's path.
    fn expect_client(&self) {
        let clients = self.uses.lock().len().saturating_mul(2);
        for inbox in &self.inboxes {
            let mut inbox = inbox.lock();
            let more = clients.saturating_sub(inbox.len());
            inbox.reserve(more);
        }
    }

    /// A volume's id and size, and the right to use it.
    fn claim(&self, name: &str, user: &str, read_only: bool) -> Result<(u64, u64), String> {
        if !self.is_mounted() {
            return Err(format!("its disk is the volume \"{name}\", and this host has no datastore"));
        }
        let found = self.volumes.lock().iter().find(|volume| volume.name == name).cloned();
        let volume = found.ok_or_else(|| format!("the datastore has no volume \"{name}\""))?;
        let mut uses = self.uses.lock();
        if let Some(other) =
            uses.iter().find(|other| other.id == volume.id && !(read_only && other.read_only))
        {
            return Err(format!("volume \"{name}\" is used by {}", other.user));
        }
        uses.push(Use { id: volume.id, user: user.to_string(), read_only });
        Ok((volume.id, volume.sectors))
    }

    fn release(&self, id: u64) {
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

type Mounting = Pin<Box<dyn Future<Output = Result<Store<Port>, (Port, MountError)>>>>;

enum Stage {
    Searching,
    /// Pages are made, some in each step.
    Preparing(Vec<Page>, Place),
    Mounting(Mounting, Place),
    Mounted(Box<Store<Port>>),
    Absent,
}

/// Where a datastore lies.
struct Place {
    disk: Arc<HostDisk>,
    serial: String,
    partition: Partition,
}

/// Whose request is on its way through the store.
enum Asker {
    Guest(Ticket),
    Load(Load),
}

impl Buffers for Asker {
    fn fetch(&mut self, offset: u64, into: &mut [u8]) {
        match self {
            Self::Guest(ticket) => ticket.fetch(offset, into),
            Self::Load(load) => load.fetch(offset, into),
        }
    }

    fn deliver(&mut self, offset: u64, from: &[u8]) {
        match self {
            Self::Guest(ticket) => ticket.deliver(offset, from),
            Self::Load(load) => load.deliver(offset, from),
        }
    }
}

/// The home's own part.
pub struct Home {
    stage: Stage,
    /// The serial number of the datastore's disk.
    serial: String,
    front: Front<Asker>,
    errands: Errands,
    starts: Starts,
    /// In this step a VM was prepared or started.
    made_vm: bool,
    /// Clients whose requests found no place.
    waiting: VecDeque<Arc<Client>>,
    /// When to go on at the latest.
    due: u64,
}

impl Home {
    /// Before any disk is known.
    pub fn new() -> Self {
        Self {
            stage: Stage::Searching,
            serial: String::new(),
            front: Front::new(PLACES),
            errands: Errands::default(),
            starts: Starts::default(),
            made_vm: false,
            waiting: VecDeque::new(),
            due: u64::MAX,
        }
    }

    /// When to go on at the latest.
    pub fn due(&self) -> u64 {
        self.due
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// Goes on, for a moment. On the home only, with no lock held.
pub fn work(pe: &mut Pe) {
    let Some(mut home) = pe.state.home.take() else { return };
    let host = pe.state.host;
    let end = el2::regs::counter().saturating_add(el2::regs::counter_hz() / RUN);
    home.due = host.home.release_buttons();
    let mut news = Vec::new();
    loop {
        let begun = el2::regs::counter();
        let more = home.step(host, &mut news);
        let now = el2::regs::counter();
        // Making a VM's machine is no step of the datastore's.
        if !core::mem::take(&mut home.made_vm) {
            host.home.longest.fetch_max(now.saturating_sub(begun), Ordering::Relaxed);
        }
        if !more {
            break;
        }
        if now >= end {
            home.due = 0;
            break;
        }
    }
    pe.state.home = Some(home);
    for each in news {
        match each {
            News::Guest(Owner::Guest(signals, index)) => crate::start::disk_has_news(pe, &signals, index),
            News::Guest(_) => {}
            News::Settled => {
                if let Some(devices) = host.devices.get() {
                    crate::start::start_waiting(host, devices);
                }
            }
        }
    }
    pe.state.home_changed();
}

/// What others are to hear.
enum News {
    Guest(Owner),
    /// It is known whether there is a datastore.
    Settled,
}

impl Home {
    /// One step; whether there is more to do at once.
    fn step(&mut self, host: &'static Host, news: &mut Vec<News>) -> bool {
        match core::mem::replace(&mut self.stage, Stage::Absent) {
            Stage::Searching => self.search(host, news),
            Stage::Preparing(pages, place) => self.prepare(host, pages, place, news),
            Stage::Mounting(mounting, place) => self.go_on_mounting(host, mounting, place, news),
            Stage::Mounted(mut store) => {
                let more = self.serve(host, &mut store, news);
                self.stage = Stage::Mounted(store);
                more
            }
            Stage::Absent => self.errands.step(host, None, ""),
        }
    }

    /// Looks for the datastore once every disk is known.
    fn search(&mut self, host: &'static Host, news: &mut Vec<News>) -> bool {
        let Some(devices) = host.devices.get().filter(|devices| devices.are_settled()) else {
            self.stage = Stage::Searching;
            return false;
        };
        let mut found = find(devices);
        let (1, Some(place)) = (found.len(), found.pop()) else {
            found = find(devices);
            for Place { serial, partition, .. } in &found {
                let number = partition.number;
                log!(
                    host.console,
                    "disk \"{serial}\": partition {number} is one of {} datastores: none is used; take out all but one",
                    found.len()
                );
            }
            return self.give_up(host, news);
        };
        self.stage = Stage::Preparing(Vec::with_capacity(PAGES), place);
        host.home.set(State::Mounting);
        true
    }

    fn prepare(
        &mut self,
        host: &'static Host,
        mut pages: Vec<Page>,
        place: Place,
        news: &mut Vec<News>,
    ) -> bool {
        let dma = place.disk.dma();
        let made = core::iter::from_fn(|| Page::take(&dma)).take(PAGES_A_STEP);
        let before = pages.len();
        pages.extend(made.take(PAGES.saturating_sub(before)));
        if pages.len() == before {
            let serial = &place.serial;
            log!(
                host.console,
                "datastore on disk \"{serial}\": there is no memory for it: stop a VM, or give one less"
            );
            return self.give_up(host, news);
        }
        if pages.len() < PAGES {
            self.stage = Stage::Preparing(pages, place);
            return true;
        }
        let range = (place.partition.first.0, place.partition.sectors);
        let window = Window::new(place.disk.clone(), Owner::Datastore, range, false);
        let port = Port::new(window, pages, place.partition.sectors);
        let options = Options {
            cache_pages: CACHE_PAGES,
            io_pages: IO_PAGES,
            read_only: place.disk.is_read_only(),
            ..Options::default()
        };
        self.stage = Stage::Mounting(Box::pin(mount(port, options)), place);
        true
    }

    fn give_up(&self, host: &Host, news: &mut Vec<News>) -> bool {
        host.home.set(State::Absent);
        host.home.settled.store(true, Ordering::Release);
        news.push(News::Settled);
        // What was asked for meanwhile is answered without a datastore.
        true
    }

    fn go_on_mounting(
        &mut self,
        host: &Host,
        mut mounting: Mounting,
        place: Place,
        news: &mut Vec<News>,
    ) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let serial = &place.serial;
        match mounting.as_mut().poll(&mut context) {
            Poll::Pending => {
                // A request that the disk had no place for is only found by asking again.
                self.due = self.due.min(el2::regs::counter().saturating_add(el2::regs::counter_hz() / AGAIN));
                self.stage = Stage::Mounting(mounting, place);
                false
            }
            Poll::Ready(Err((_, error))) => {
                log!(host.console, "datastore on disk \"{serial}\": {error}; it was not touched");
                self.give_up(host, news)
            }
            Poll::Ready(Ok(mut store)) => {
                tell_mounted(host, &place, &mut store);
                publish(host, &store);
                self.stage = Stage::Mounted(Box::new(store));
                self.serial = place.serial;
                host.home.set(State::Mounted);
                self.errands.read_records();
                true
            }
        }
    }

    fn serve(&mut self, host: &'static Host, store: &mut Store<Port>, news: &mut Vec<News>) -> bool {
        self.take_inboxes(host);
        // A file's piece then finds RAM that is zeroed already, some of it in each step.
        if !self.starts.is_idle() && el2::memory::prepare_step() {
            return true;
        }
        let mut more = self.front.step(store);
        more |= store.poll() == Progress::More;
        if let Some(completion) = store.completion() {
            if let Some(foreign) = self.front.take(store, completion) {
                self.errands.complete(&foreign);
                store.recycle(foreign.pages);
            }
            more = true;
        }
        while let Some((asker, result)) = self.front.complete() {
            match asker {
                Asker::Guest(ticket) => news.extend(ticket.complete(result).map(News::Guest)),
                Asker::Load(load) => self.starts.complete(load, result),
            }
            more = true;
        }
        more |= self.errands.step(host, Some(store), &self.serial);
        if self.errands.are_records_known() {
            more |= self.start_vms(host, store, news);
        }
        tell_events(host, store);
        if !more && store.port().must_ask_again() {
            self.due = self.due.min(el2::regs::counter().saturating_add(el2::regs::counter_hz() / AGAIN));
        }
        more
    }

    /// Starts the datastore's VMs; whether there is more to do at once.
    fn start_vms(&mut self, host: &'static Host, store: &Store<Port>, news: &mut Vec<News>) -> bool {
        if !host.home.settled.swap(true, Ordering::AcqRel) {
            self.starts.autostart(host);
            news.push(News::Settled);
        }
        let due = self.starts.step(host, store, &mut self.front);
        self.made_vm |= self.starts.take_made();
        self.due = self.due.min(due);
        let starting = !self.starts.is_idle();
        if host.home.starting.swap(starting, Ordering::AcqRel) && !starting {
            news.push(News::Settled);
        }
        due == 0
    }

    /// Takes requests of guests as long as there are places.
    fn take_inboxes(&mut self, host: &Host) {
        for inbox in host.home.inboxes.iter().take(host.pes_up().into()) {
            while let Some(client) = inbox.lock().pop_front() {
                self.waiting.push_back(client);
            }
        }
        while self.front.room() > RESERVED
            && let Some(client) = self.waiting.pop_front()
        {
            let mut asked = client.take_asked();
            while asked != 0 && self.front.room() > RESERVED {
                let slot = asked.trailing_zeros();
                asked &= asked.wrapping_sub(1);
                if let Some(wanted) = client.wanted(slot) {
                    // There was room just now.
                    drop(self.front.submit(wanted));
                }
            }
            if asked != 0 {
                client.put_back(asked);
                self.waiting.push_back(client);
            }
        }
    }
}

/// Partitions of ours on the host's disks.
fn find(devices: &HostDevices) -> Vec<Place> {
    let mut found = Vec::new();
    for disk in &devices.disks {
        let Some(identity) = disk.identity() else { continue };
        let ours = identity.table.partitions.iter().filter(|partition| partition.kind == OURS);
        found.extend(ours.map(|partition| Place {
            disk: disk.clone(),
            serial: identity.serial.clone(),
            partition: *partition,
        }));
    }
    found
}

/// What others than the home may know of the store.
fn publish(host: &Host, store: &Store<Port>) {
    let volume = |(id, entry): (u64, &Entry)| match entry {
        Entry::Volume { name, sectors, .. } => Some(Volume { name: name.clone(), id, sectors: *sectors }),
        _ => None,
    };
    *host.home.volumes.lock() = store.catalog().iter().filter_map(volume).collect();
}
