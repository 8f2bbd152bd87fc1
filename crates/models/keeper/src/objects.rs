//! Requests about objects of the datastore.
//!
//! An object there is written once, whole. What grows by `AppendObject` is an *upload*, its name starts with
//! [`abi::request::PART`]: contents that have no name in the datastore yet, and are forgotten when the host restarts.
//! `RenameObject` gives it its name, with everything in it safe from power cuts.

use crate::Keeper;
use crate::ask::{Ask, Environment};
use crate::job::{Job, Next, Stage, Step, sectors, start};
use crate::ram::{conflict, is_for_ram, new_name};
use abi::name::field;
use abi::record::ObjectRecord;
use abi::request::{OBJECT_NAME_BYTES, PART};
use abi::{RequestKind, Status};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use datastore::{BlockPort, Entry, Error, Op, Store, Target};

/// Contents that are growing.
#[derive(Debug)]
pub(crate) struct Upload {
    target: Target,
    bytes: u64,
    /// What is in its last, partial sector.
    tail: Vec<u8>,
    /// More is being written.
    is_busy: bool,
}

impl Keeper {
    pub(crate) fn list_objects<P: BlockPort>(&self, job: &Job, store: Option<&mut Store<P>>) -> Step {
        let (prefix, _) = abi::name::split(&job.ask.payload);
        let mut all: BTreeMap<&str, u64> = self.ram.iter().collect();
        all.extend(self.uploads.iter().map(|(name, upload)| (name.as_str(), upload.bytes)));
        let store = store.as_deref();
        let entries = store.into_iter().flat_map(|store| store.catalog().iter());
        all.extend(entries.filter_map(|(_, entry)| match entry {
            Entry::Object { name, bytes, .. } => Some((name.as_str(), *bytes)),
            _ => None,
        }));
        let is_shown = |name: &str| job.ask.generation == 0 || !name.starts_with(crate::PRIVATE);
        let asked = all.into_iter().filter(|(name, _)| name.as_bytes().starts_with(prefix) && is_shown(name));
        let (answer, given) = job.ask.page(
            asked.map(|(name, bytes)| ObjectRecord { name: field(name), bytes, reserved: 0 }.to_bytes()),
        );
        Ok(Next::Done(answer, given))
    }

    pub(crate) fn read_object<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let (name, _) = job.ask.named()?;
        if is_for_ram(&name) {
            return self.ram.carry_out(&job.ask);
        }
        let (target, size) = match self.uploads.get(&name) {
            // Its last sector may not be written yet.
            Some(upload) if upload.is_busy => return Ok(Next::Later),
            Some(upload) => (upload.target, upload.bytes),
            None => find(store, &name)?,
        };
        let left = size.saturating_sub(job.ask.argument);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(job.ask.room as usize);
        job.read(store, target, job.ask.argument, bytes, size)
    }

    pub(crate) fn write_object<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let (name, contents) = job.ask.named()?;
        if is_for_ram(&name) {
            return self.ram.carry_out(&job.ask);
        }
        if name.starts_with(PART) {
            return Err(Status::Invalid);
        }
        let target = match store.begin_object() {
            Err(Error::Busy) => return Ok(Next::Later),
            other => other.map_err(crate::ask::status)?,
        };
        if contents.is_empty() {
            job.stage = Stage::Staging(target);
            return Ok(Next::On);
        }
        let op = Op::Write { sector: 0, sectors: sectors(contents.len()), durable: false };
        let then = Stage::Staging(target);
        let step = start((job.token, &mut job.stage), store, target, op, contents, then);
        if !matches!(step, Ok(Next::Wait)) {
            store.drop_object(target);
        }
        step
    }

    /// The contents are there: they get their name.
    pub(crate) fn name_object<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        target: Target,
    ) -> Step {
        let (name, contents) = job.ask.named()?;
        let bytes = contents.len() as u64;
        name_it(job, store, &name, target, bytes)
    }

    pub(crate) fn append_object<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let (name, more) = job.ask.named()?;
        if is_for_ram(&name) {
            return self.ram.carry_out(&job.ask);
        }
        if !name.starts_with(PART) {
            return Err(Status::Invalid);
        }
        let size = self.uploads.get(&name).map_or(0, |upload| upload.bytes);
        if self.uploads.get(&name).is_some_and(|upload| upload.is_busy) {
            return Ok(Next::Later);
        }
        if size != job.ask.argument {
            return Ok(conflict(size));
        }
        if !self.uploads.contains_key(&name) {
            let target = match store.begin_object() {
                Err(Error::Busy) => return Ok(Next::Later),
                other => other.map_err(crate::ask::status)?,
            };
            let upload = Upload { target, bytes: 0, tail: Vec::new(), is_busy: false };
            self.uploads.insert(name.clone(), upload);
        }
        let Some(upload) = self.uploads.get_mut(&name) else { return Err(Status::NotFound) };
        if more.is_empty() {
            return Ok(Next::ok(size));
        }
        let mut contents = upload.tail.clone();
        let sector = size.saturating_sub(contents.len() as u64) / 512;
        contents.extend_from_slice(more);
        let op = Op::Write { sector, sectors: sectors(contents.len()), durable: false };
        let step = start((job.token, &mut job.stage), store, upload.target, op, &contents, Stage::Appending);
        upload.is_busy = matches!(step, Ok(Next::Wait));
        step
    }

    pub(crate) fn appended(&mut self, job: &Job) -> Step {
        let (name, more) = job.ask.named()?;
        let upload = self.uploads.get_mut(&name).ok_or(Status::NotFound)?;
        upload.is_busy = false;
        upload.bytes = upload.bytes.saturating_add(more.len() as u64);
        let mut end = core::mem::take(&mut upload.tail);
        end.extend_from_slice(more);
        upload.tail = end.split_off(end.len() - end.len() % 512);
        Ok(Next::ok(upload.bytes))
    }

    pub(crate) fn append_failed(&mut self, job: &Job) {
        if let Ok((name, _)) = job.ask.named()
            && let Some(upload) = self.uploads.get_mut(&name)
        {
            upload.is_busy = false;
        }
    }

    pub(crate) fn delete_object<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let (name, _) = job.ask.named()?;
        if is_for_ram(&name) {
            return self.ram.carry_out(&job.ask);
        }
        if self.uploads.get(&name).is_some_and(|upload| upload.is_busy) {
            return Ok(Next::Later);
        }
        if let Some(upload) = self.uploads.remove(&name) {
            store.drop_object(upload.target);
            return Ok(Next::ok(0));
        }
        let (target, _) = find(store, &name)?;
        let deleted = store.delete(&[target]);
        job.then_flush(deleted, |()| 0)
    }

    /// An upload gets its name.
    pub(crate) fn rename_object<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let (name, field) = job.ask.named()?;
        let new = new_name(field)?;
        if is_for_ram(&name) && is_for_ram(&new) {
            return self.ram.carry_out(&job.ask);
        }
        if !name.starts_with(PART) || new.starts_with(PART) || is_for_ram(&new) {
            return Err(Status::Invalid);
        }
        let upload = self.uploads.get(&name).ok_or(Status::NotFound)?;
        if upload.is_busy {
            return Ok(Next::Later);
        }
        let (target, bytes) = (upload.target, upload.bytes);
        self.uploads.remove(&name);
        name_it(job, store, &new, target, bytes)
    }

    pub(crate) fn adopt_objects(&mut self) {
        let others = self.ram.take_others().into_iter().filter(|(name, _)| !name.starts_with(PART));
        for (name, contents) in others {
            let mut payload = field::<OBJECT_NAME_BYTES>(&name).to_vec();
            payload.extend_from_slice(&contents);
            self.submit_own(RequestKind::WriteObject, payload);
        }
    }

    /// A request of the keeper's own.
    pub(crate) fn submit_own(&mut self, kind: RequestKind, payload: Vec<u8>) {
        let ask = Ask { id: 0, kind, generation: 0, target: 0, argument: 0, payload, room: 0 };
        let mut job = self.job(ask);
        job.is_internal = true;
        self.waiting.push_back(job);
    }
}

/// Refuses to delete or exchange what a VM that runs has as a CD.
pub(crate) fn may_change(ask: &Ask, world: &impl Environment) -> Result<(), Status> {
    let name = match ask.kind {
        RequestKind::WriteObject | RequestKind::DeleteObject => ask.named()?.0,
        RequestKind::RenameObject => new_name(ask.named()?.1)?,
        _ => return Ok(()),
    };
    if world.is_in_drive(&name) { Err(Status::Conflict) } else { Ok(()) }
}

fn name_it<P: BlockPort>(
    job: &mut Job,
    store: &mut Store<P>,
    name: &str,
    target: Target,
    bytes: u64,
) -> Step {
    let transaction = store.begin();
    if let Err(error) = store.put_object(transaction, name, target, bytes) {
        store.abort(transaction);
        store.drop_object(target);
        return Err(crate::ask::status(error));
    }
    job.stage = Stage::Commit { transaction, value: bytes };
    Ok(Next::On)
}

/// An object of the datastore and its size.
fn find<P: BlockPort>(store: &Store<P>, name: &str) -> Result<(Target, u64), Status> {
    let id = store.catalog().object(name).ok_or(Status::NotFound)?;
    match store.catalog().get(id) {
        Some(Entry::Object { bytes, .. }) => Ok((Target::Object(id), *bytes)),
        _ => Err(Status::NotFound),
    }
}
