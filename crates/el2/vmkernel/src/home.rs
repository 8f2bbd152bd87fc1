//! The datastore's home: the one PE that owns the mounted store.
//!
//! | module | what |
//! |---|---|
//! | `shared` | what every PE sees of it |
//! | `disks` | what is on the host's disks, and a datastore on one |
//! | `mounting` | from the disks to a mounted store |
//! | [`port`] | the store's lower side: a window of a host disk |
//! | [`volume`] | the store's upper side: guests' disks |
//! | [`errands`] | what hostd asks of it, and the records of VMs |
//! | `keepsakes` | the time and the seed that it keeps |
//! | [`starts`] | VMs whose kernels are in it |
//! | `tell` | what the host log says of it |
//! | [`variables`] | what firmware of VMs keeps in flash |
//!
//! Called by [`crate::pe`] when something was asked for ([`HomeShared::wake`]), when the store's disk has finished requests,
//! and when more is to be done; calls the store, `datastore::Front` and, for guests that are to hear something,
//! [`crate::start`]. The home is the first PE, which takes the disks' interrupts. The store has no locks: it lies in that
//! PE's state. Others ask through an inbox of their own PE's and one SGI (`docs/adr/0048-the-datastore-has-a-home.md`).
//! A run is cut into steps, and ends after a few: what is left goes on in an interrupt of its own, so that guests get their
//! turns in between. The longest step is measured ([`HomeShared::longest_step`]).

mod disks;
pub mod errands;
mod keepsakes;
mod mounting;
pub mod port;
mod shared;
pub mod starts;
mod tell;
pub mod variables;
pub mod volume;

use crate::Pe;
use crate::host::Host;
use crate::host_disk::Owner;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use datastore::{Buffers, Front, Progress, Store};
use disks::Chore;
use el2::page::Page;
use errands::Errands;
use mounting::{Mounting, Place};
use port::Port;
use specs::PeId;
use starts::{Load, Starts};
use tell::tell_events;
use virtio::calls::Asked;
use volume::{Client, Ticket};

pub use shared::HomeShared;

/// The home is this PE.
const HOME: PeId = PeId(0);
/// Requests that the home has taken; those of guests that find no place wait in their slots. Guests leave a few to the host.
const PLACES: usize = 32;
const RESERVED: usize = 4;
/// A run ends after this part of a second, and one step.
const RUN: u64 = 100_000;
/// A step does what is to be done for these in turn, until the run's time is over: the store's lower side, its requests'
/// pieces, their ends, and the host's own.
const PARTS: u32 = 4;
/// A finger stays on a power button for this part of a second.
const PRESS: u64 = 5;
/// A disk that had no place for a request is asked again after this part of a second.
const AGAIN: u64 = 1000;

enum Stage {
    Searching,
    /// Pages are made, some in each step.
    Preparing(Vec<Page>, Place),
    Mounting(Mounting, Place),
    Mounted(Box<Store<Port>>),
    Absent,
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
    /// The part of a step that came last.
    part: u32,
    /// In this step a VM was prepared or started.
    made_vm: bool,
    /// Something about the host's disks.
    chore: Option<Chore>,
    /// A datastore that was made is being mounted: who is to hear of it.
    maker: Option<Option<Asked>>,
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
            part: PARTS - 1,
            made_vm: false,
            chore: None,
            maker: None,
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
    home.due = host.home.release_buttons().min(crate::host_power::look(host));
    let mut news = Vec::new();
    loop {
        let begun = el2::regs::counter();
        let more = home.step(host, end, &mut news);
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
            News::Seeded => crate::start::entropy_came(pe),
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
    /// The random generator has a seed.
    Seeded,
}

impl Home {
    /// One step, which begins nothing after `end`; whether there is more to do at once.
    fn step(&mut self, host: &'static Host, end: u64, news: &mut Vec<News>) -> bool {
        match core::mem::replace(&mut self.stage, Stage::Absent) {
            Stage::Searching => self.search(host, news),
            Stage::Preparing(pages, place) => self.prepare(host, pages, place, news),
            Stage::Mounting(mounting, place) => self.go_on_mounting(host, mounting, place, news),
            Stage::Mounted(mut store) => {
                let more = self.serve(host, &mut store, end, news);
                self.stage = Stage::Mounted(store);
                self.take_chore(host);
                more | self.go_on_with_chore(host)
            }
            Stage::Absent => {
                // One after the other: a datastore that was made is mounted before anything else is asked of it.
                self.take_chore(host);
                self.go_on_with_chore(host) || self.errands.step(host, None, "")
            }
        }
    }

    fn serve(
        &mut self,
        host: &'static Host,
        store: &mut Store<Port>,
        end: u64,
        news: &mut Vec<News>,
    ) -> bool {
        self.take_inboxes(host);
        // A file's piece then finds RAM that is zeroed already, some of it in each step.
        if !self.starts.is_idle() && el2::memory::prepare_step() {
            return true;
        }
        let mut more = false;
        for done in 1..=PARTS {
            self.part = self.part.wrapping_add(1) % PARTS;
            more |= match self.part {
                0 => self.front.step(store),
                1 => store.poll() == Progress::More,
                2 => self.take_completion(store, news),
                _ => self.see_to_errands(host, store, news),
            };
            // The others' turn comes in the next step.
            if done < PARTS && el2::regs::counter() >= end {
                return true;
            }
        }
        self.part = PARTS - 1;
        tell_events(host, store);
        if !more && store.port().must_ask_again() {
            self.due = self.due.min(el2::regs::counter().saturating_add(el2::regs::counter_hz() / AGAIN));
        }
        more
    }

    /// What the store has finished goes to who asked; whether there was anything.
    fn take_completion(&mut self, store: &mut Store<Port>, news: &mut Vec<News>) -> bool {
        let mut any = false;
        if let Some(completion) = store.completion() {
            if let Some(foreign) = self.front.take(store, completion) {
                self.errands.complete(&foreign);
                store.recycle(foreign.pages);
            }
            any = true;
        }
        while let Some((asker, result)) = self.front.complete() {
            match asker {
                Asker::Guest(ticket) => news.extend(ticket.complete(result).map(News::Guest)),
                Asker::Load(load) => self.starts.complete(load, result),
            }
            any = true;
        }
        any
    }

    /// Requests of hostd, and starts; whether there is more to do at once.
    fn see_to_errands(&mut self, host: &'static Host, store: &mut Store<Port>, news: &mut Vec<News>) -> bool {
        let mut more = self.errands.step(host, Some(store), &self.serial);
        self.due = self.due.min(self.errands.due());
        news.extend(self.errands.take_seeded().then_some(News::Seeded));
        if self.errands.are_records_known() {
            more |= self.start_vms(host, store, news);
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
