//! The host's disks, as a world or a person at the console asks for them: what is on each, and a datastore on one.
//!
//! Called by: [`super::Home::step`], one chore at a time. Calls: `drivers::partition::make`, `datastore::format`. A datastore
//! goes to free space of a GPT or to a blank disk; to any other disk only when its serial number was given twice. It is made
//! before the table names it, so that a power cut leaves free space or a datastore. A disk that a VM has, or names as a
//! whole, is left alone.

use super::mounting::Place;
use super::port::Port;
use super::{AGAIN, Home, HomeShared, Stage};
use crate::host::Host;
use crate::host_disk::{HostDisk, Owner, Window};
use crate::{desk, log};
use abi::record::{
    BLANK, DATASTORE, DiskRecord, FOREIGN, NAME_BYTES, OTHER_DATASTORE, PARTITIONED, UNREADABLE,
};
use abi::{Answer, RequestKind, Status};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use datastore::format as format_store;
use drivers::partition::Partition;
use drivers::partition::make::{Access, Failed, Found, LEAST, Run};
use el2::page::{Lent, Page};
use el2::ram::HostMemory;
use ports::Entropy;
use virtio::calls::Asked;

/// Pages that making a datastore takes.
const PAGES: usize = 8;

type Refusal = (Status, String);
type Doing<T> = Pin<Box<dyn Future<Output = T>>>;

/// What is being done, and who is to be answered: a request of a world, or nobody but the log.
pub(super) enum Chore {
    List(Asked, Doing<Vec<DiskRecord>>),
    /// A person asked for a datastore: on which disk is found out first.
    Choose(Doing<Vec<DiskRecord>>),
    Make(Option<Asked>, Doing<Result<Place, Refusal>>),
}

fn memory() -> Refusal {
    (Status::Failed, String::from("there is no memory for it: stop a VM"))
}

fn io() -> Refusal {
    (Status::Io, String::from("the disk failed"))
}

/// A whole disk, and a buffer for it.
fn access(disk: &Arc<HostDisk>, read_only: bool) -> Option<(Access<'static, Window>, Lent)> {
    let page = Page::take(&disk.dma())?.lend();
    let window = Window::new(disk.clone(), Owner::Datastore, (0, disk.sectors()), read_only);
    Some((Access { disk: window, memory: &HostMemory, buffer: page.span() }, page))
}

async fn examine(disk: &Arc<HostDisk>) -> Result<(Found, Option<Run>), Failed> {
    let (mut access, page) = access(disk, true).ok_or(Failed)?;
    let found = access.examine().await;
    let whole = access.whole();
    drop(page.take_back());
    found.map(|found| (found, whole))
}

async fn list(disks: Vec<(String, Arc<HostDisk>)>, mounted: String) -> Vec<DiskRecord> {
    let mut records = Vec::new();
    for (serial, disk) in disks {
        let found = examine(&disk).await;
        let bytes = |run: Option<Run>| run.map_or(0, |run| run.sectors.saturating_mul(512));
        let (state, free_bytes) = match found {
            Err(Failed) => (UNREADABLE, 0),
            Ok((Found::Blank, whole)) => (BLANK, bytes(whole)),
            Ok((Found::Foreign, _)) => (FOREIGN, 0),
            Ok((Found::Gpt { free, ours: false }, _)) => (PARTITIONED, bytes(free)),
            Ok((Found::Gpt { free, ours: true }, _)) if serial == mounted => (DATASTORE, bytes(free)),
            Ok((Found::Gpt { free, ours: true }, _)) => (OTHER_DATASTORE, bytes(free)),
        };
        let (bytes, read_only) = (disk.sectors().saturating_mul(512), u32::from(disk.is_read_only()));
        let serial = abi::name::field::<NAME_BYTES>(&serial);
        records.push(DiskRecord { serial, bytes, free_bytes, state, read_only, reserved: 0 });
    }
    records
}

/// GUIDs of version 4, as they stand on a disk.
fn guid(mut bytes: [u8; 16]) -> [u8; 16] {
    let [_, _, _, _, _, _, _, version, variant, ..] = &mut bytes;
    (*version, *variant) = (*version & 0x0f | 0x40, *variant & 0x3f | 0x80);
    bytes
}

async fn make(
    serial: String,
    disk: Arc<HostDisk>,
    whole: bool,
    [store, partition, table]: [[u8; 16]; 3],
) -> Result<Place, Refusal> {
    let conflict = |why: &str| (Status::Conflict, format!("disk \"{serial}\": {why}"));
    let (mut access, page) = access(&disk, false).ok_or_else(memory)?;
    let found = access.examine().await.map_err(|Failed| io())?;
    let (run, new_table) = match found {
        _ if whole => (access.whole(), true),
        Found::Blank => (access.whole(), true),
        Found::Gpt { ours: true, .. } => {
            return Err(conflict("it has a datastore already, which is not in use: the host log says why"));
        }
        Found::Gpt { free, .. } => (free, false),
        Found::Foreign => {
            return Err(conflict("it holds something else: to lose that, ask for the whole disk"));
        }
    };
    let no_room = || (Status::NoSpace, format!("disk \"{serial}\": no 64 MiB in one piece are free on it"));
    let run = run.filter(|run| run.sectors >= LEAST).ok_or_else(no_room)?;
    let pages: Vec<Page> = core::iter::from_fn(|| Page::take(&disk.dma())).take(PAGES).collect();
    let window = Window::new(disk.clone(), Owner::Datastore, (run.first, run.sectors), false);
    let mut port = Port::new(window, pages, run.sectors);
    format_store(&mut port, store).await.map_err(|error| (Status::Io, format!("{error}")))?;
    drop(port);
    let added = access.add(run, partition, new_table.then_some(table)).await.map_err(|Failed| io())?;
    drop(page.take_back());
    let partition: Partition = added.ok_or_else(|| conflict("its table changed meanwhile: try again"))?;
    Ok(Place { disk, serial, partition })
}

/// The disks that are known, with their serial numbers.
fn known(host: &Host) -> Vec<(String, Arc<HostDisk>)> {
    let disks = host.devices.get().into_iter().flat_map(|devices| &devices.disks);
    disks.filter_map(|disk| disk.identity().map(|known| (known.serial.clone(), disk.clone()))).collect()
}

/// Begins to make a datastore, or says why not.
fn begin(host: &Host, serial: &str, whole: bool) -> Result<Doing<Result<Place, Refusal>>, Refusal> {
    let conflict = |why: &str| (Status::Conflict, format!("disk \"{serial}\": {why}"));
    if host.home.is_mounted() {
        return Err((Status::Conflict, String::from("there is a datastore already")));
    }
    let found = known(host).into_iter().find(|(known, _)| known == serial);
    let (serial_of, disk) =
        found.ok_or_else(|| (Status::NotFound, format!("the host has no disk \"{serial}\"")))?;
    if disk.is_read_only() {
        return Err((Status::ReadOnly, format!("disk \"{serial}\": it takes no writes")));
    }
    let names = |disk: &api::host::Disk| {
        disk.host_disk.as_deref() == Some(serial) && (whole || disk.partition.is_none())
    };
    let named =
        |known: &crate::inventory::Known| known.source.document.iter().flat_map(|vm| &vm.disks).any(names);
    if host.inventory.any(named) {
        return Err(conflict("a VM names it as its disk: take it out there first"));
    }
    if whole && disk.is_used() {
        return Err(conflict("a VM uses it: power that off first"));
    }
    let mut ids = [[0; 16]; 3];
    for id in &mut ids {
        let unseeded = |_| (Status::Unseeded, String::from("the random generator has no seed yet"));
        host.random.fill(id).map_err(unseeded)?;
        *id = guid(*id);
    }
    log!(host.console, "disk \"{serial}\": a datastore is being made");
    Ok(Box::pin(make(serial_of, disk, whole, ids)))
}

/// The disk that a request names, once or, with the argument 1, twice.
fn named(asked: &Asked) -> Result<(String, bool), Refusal> {
    let invalid = |why: &str| (Status::Invalid, String::from(why));
    let whole = asked.request.argument == 1;
    let (field, rest) = asked
        .payload
        .split_at_checked(NAME_BYTES)
        .ok_or_else(|| invalid("serial: 32 bytes of a disk's serial number are to be sent"))?;
    if asked.request.argument > 1 || rest != if whole { field } else { &[] } {
        return Err(invalid("serial: to take the whole disk and lose what is on it, send it once more"));
    }
    let (name, _) = abi::name::split(field);
    let name = core::str::from_utf8(name).map_err(|_| invalid("serial: this is not UTF-8"))?;
    Ok((name.to_string(), whole))
}

fn refuse(host: &Host, asked: Option<&Asked>, (status, why): Refusal) {
    match asked {
        Some(asked) => desk::deliver(host, asked.token, Answer::of(status), why.into_bytes()),
        None => log!(host.console, "no datastore was made: {why}"),
    }
}

impl Home {
    /// Takes the next wish about disks, if none is being carried out.
    pub(super) fn take_chore(&mut self, host: &Host) {
        if self.chore.is_some() {
            return;
        }
        if let Some(asked) = self.errands.take_about_disks() {
            self.chore = match asked.kind {
                RequestKind::ListDisks => {
                    let listing = Box::pin(list(known(host), self.serial.clone()));
                    Some(Chore::List(asked, listing))
                }
                _ => match named(&asked).and_then(|(serial, whole)| begin(host, &serial, whole)) {
                    Ok(making) => Some(Chore::Make(Some(asked), making)),
                    Err(refusal) => {
                        refuse(host, Some(&asked), refusal);
                        None
                    }
                },
            };
        } else if host.home.take_wish() {
            if host.home.is_mounted() {
                log!(host.console, "there is a datastore already");
            } else {
                self.chore = Some(Chore::Choose(Box::pin(list(known(host), String::new()))));
            }
        }
    }

    /// Goes on with a chore; whether there is more to do at once.
    pub(super) fn go_on_with_chore(&mut self, host: &'static Host) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match self.chore.take() {
            None => return false,
            Some(Chore::List(asked, mut listing)) => match listing.as_mut().poll(&mut context) {
                Poll::Pending => self.chore = Some(Chore::List(asked, listing)),
                Poll::Ready(records) => {
                    let most = asked.room as usize / DiskRecord::BYTES;
                    let payload = records.iter().take(most).flat_map(DiskRecord::to_bytes).collect();
                    let answer = Answer { status: Status::Ok as i64, value: records.len() as u64 };
                    desk::deliver(host, asked.token, answer, payload);
                    return true;
                }
            },
            Some(Chore::Choose(mut listing)) => match listing.as_mut().poll(&mut context) {
                Poll::Pending => self.chore = Some(Chore::Choose(listing)),
                Poll::Ready(records) => {
                    self.chore = match choose(&records).and_then(|serial| begin(host, &serial, false)) {
                        Ok(making) => Some(Chore::Make(None, making)),
                        Err(refusal) => {
                            refuse(host, None, refusal);
                            None
                        }
                    };
                    return true;
                }
            },
            Some(Chore::Make(asked, mut making)) => match making.as_mut().poll(&mut context) {
                Poll::Pending => self.chore = Some(Chore::Make(asked, making)),
                Poll::Ready(made) => {
                    self.made(host, asked, made);
                    return true;
                }
            },
        }
        self.due = self.due.min(el2::regs::counter().saturating_add(el2::regs::counter_hz() / AGAIN));
        false
    }

    /// The partition is there: what it holds is mounted, like one that was found.
    fn made(&mut self, host: &'static Host, asked: Option<Asked>, made: Result<Place, Refusal>) {
        match made {
            Ok(place) => {
                let by = if asked.is_some() { "hostd" } else { "console-key" };
                HomeShared::note(host, "datastore.make", by);
                self.maker = Some(asked);
                self.stage = Stage::Preparing(Vec::new(), place);
            }
            Err(refusal) => refuse(host, asked.as_ref(), refusal),
        }
    }

    /// A datastore that was made is mounted, or can't be: who asked hears of it, and what was kept in RAM moves there.
    pub(super) fn answer_maker(&mut self, host: &Host, is_mounted: bool) {
        let Some(asked) = self.maker.take() else { return };
        if is_mounted {
            self.errands.adopt();
        }
        if let Some(asked) = asked {
            let status = if is_mounted { Status::Ok } else { Status::Failed };
            desk::deliver(host, asked.token, Answer::of(status), Vec::new());
        }
    }
}

/// The one disk that has room and loses nothing.
fn choose(records: &[DiskRecord]) -> Result<String, Refusal> {
    let fits = |record: &&DiskRecord| {
        matches!(record.state, BLANK | PARTITIONED)
            && record.read_only == 0
            && record.free_bytes >= LEAST.saturating_mul(512)
    };
    let name = |record: &DiskRecord| String::from_utf8_lossy(abi::name::split(&record.serial).0).into_owned();
    let names: Vec<String> = records.iter().filter(fits).map(name).collect();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err((
            Status::NoSpace,
            String::from("no disk is blank, or has a GPT with 64 MiB in one piece free"),
        )),
        _ => {
            let names = names.join("\", \"");
            Err((Status::Conflict, format!("disks \"{names}\" have room: name one to hostd")))
        }
    }
}

/// What the console says where there is no datastore.
pub(super) fn offer(host: &Host) {
    if known(host).is_empty() {
        log!(host.console, "no datastore, and no disk: what hostd keeps is lost when the host ends");
    } else {
        log!(
            host.console,
            "no datastore: what hostd keeps is lost when the host ends; Ctrl-] d makes one in free space of a disk"
        );
    }
}
