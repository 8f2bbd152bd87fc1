//! From "which disks are there?" to a mounted store.
//!
//! Called by: [`super::Home::step`], until the datastore is there or it is known that there is none.

use super::port::Port;
use super::shared::{State, publish};
use super::tell::tell_mounted;
use super::{AGAIN, Home, News, Stage};
use crate::host::Host;
use crate::host_devices::HostDevices;
use crate::host_disk::{HostDisk, Owner, Window};
use crate::log;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};
use datastore::{MountError, Options, Store, mount};
use drivers::partition::{OURS, Partition};
use el2::page::Page;

/// Pages for metadata and for data in flight, 2 MiB each, taken when a datastore is mounted.
const CACHE_PAGES: usize = 512;
const IO_PAGES: usize = 512;
/// And a few that the store asks for beside them.
const PAGES: usize = CACHE_PAGES + IO_PAGES + 4;
const PAGES_A_STEP: usize = 32;

pub(super) type Mounting = Pin<Box<dyn Future<Output = Result<Store<Port>, (Port, MountError)>>>>;

/// Where a datastore lies.
pub(super) struct Place {
    pub(super) disk: Arc<HostDisk>,
    pub(super) serial: String,
    pub(super) partition: Partition,
}

impl Home {
    /// Looks for the datastore once every disk is known.
    pub(super) fn search(&mut self, host: &'static Host, news: &mut Vec<News>) -> bool {
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
            if found.is_empty() {
                super::disks::offer(host);
            }
            return self.give_up(host, news);
        };
        self.stage = Stage::Preparing(Vec::with_capacity(PAGES), place);
        host.home.set(State::Mounting);
        true
    }

    pub(super) fn prepare(
        &mut self,
        host: &'static Host,
        mut pages: Vec<Page>,
        place: Place,
        news: &mut Vec<News>,
    ) -> bool {
        if pages.len() >= PAGES {
            return self.begin_mounting(pages, place);
        }
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
        self.stage = Stage::Preparing(pages, place);
        true
    }

    fn begin_mounting(&mut self, pages: Vec<Page>, place: Place) -> bool {
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

    pub(super) fn give_up(&mut self, host: &Host, news: &mut Vec<News>) -> bool {
        host.home.set(State::Absent);
        host.home.settled.store(true, Ordering::Release);
        self.answer_maker(host, false);
        news.push(News::Settled);
        // What was asked for meanwhile is answered without a datastore.
        true
    }

    pub(super) fn go_on_mounting(
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
                self.answer_maker(host, true);
                self.errands.read_records();
                true
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
