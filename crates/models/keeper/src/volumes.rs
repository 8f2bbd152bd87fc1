//! Requests about volumes, and about the datastore as a whole.

use crate::ask::{Ask, Environment, Use};
use crate::job::{Job, Next, Stage, Step, start};
use crate::{Keeper, PRIVATE, audit, snapshots};
use abi::name::field;
use abi::record::{DatastoreRecord, READ_ONLY, VOLATILE, VolumeRecord};
use abi::{Answer, RequestKind, Status};
use alloc::vec::Vec;
use datastore::{BLOCK_BYTES, BlockPort, Entry, Op, Store, Target};

/// Whether it is one of the volumes that people know of.
fn is_listed(name: &str) -> bool {
    name != audit::VOLUME && !name.starts_with(PRIVATE)
}

/// Whether requests may name a volume: not the audit chain's, nor, for a world, the host's own.
fn is_open(name: &str, ask: &Ask) -> bool {
    name != audit::VOLUME && (ask.generation == 0 || !name.starts_with(PRIVATE))
}

/// The entry of a volume that a request may name.
fn volume<'s, P: BlockPort>(store: &'s Store<P>, ask: &Ask, id: u64) -> Result<(&'s str, u64), Status> {
    match store.catalog().get(id) {
        Some(Entry::Volume { name, sectors, .. }) if is_open(name, ask) => Ok((name, *sectors)),
        _ => Err(Status::NotFound),
    }
}

/// A volume or a snapshot of one.
fn target<P: BlockPort>(store: &Store<P>, ask: &Ask, id: u64) -> Result<Target, Status> {
    let catalog = store.catalog();
    // A snapshot may outlive its volume.
    let is_open_of = |volume: u64| match catalog.get(volume) {
        Some(Entry::Volume { name, .. }) => is_open(name, ask),
        _ => true,
    };
    match catalog.get(id) {
        Some(Entry::Snapshot { volume, .. }) if is_open_of(*volume) => Ok(Target::Snapshot(id)),
        Some(Entry::Volume { name, .. }) if is_open(name, ask) => Ok(Target::Volume(id)),
        _ => Err(Status::NotFound),
    }
}

impl Keeper {
    pub(crate) fn volumes<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &mut impl Environment,
    ) -> Step {
        use RequestKind as Kind;
        let (id, argument) = (job.ask.target, job.ask.argument);
        match job.ask.kind {
            Kind::ListVolumes => Ok(list(job, store, world)),
            Kind::CreateVolume => {
                let (name, _) = job.ask.named()?;
                let made = store.create_volume(&name, whole_blocks(argument)?);
                job.then_flush(made, |id| id)
            }
            Kind::DeleteVolume => delete(job, store, world),
            Kind::ResizeVolume => {
                unused(world, volume(store, &job.ask, id)?.0, Use::Named)?;
                let op = Op::Resize { sectors: whole_blocks(argument)? };
                start(job.place(), store, Target::Volume(id), op, &[], Stage::Flush { value: 0 })
            }
            Kind::CloneVolume => {
                let (name, _) = job.ask.named()?;
                let source = match argument {
                    0 => target(store, &job.ask, id)?,
                    snapshot => {
                        volume(store, &job.ask, id)?;
                        snapshots::part(store, id, snapshot)?
                    }
                };
                let made = store.clone_volume(source, &name);
                job.then_flush(made, |id| id)
            }
            Kind::ReadVolume => {
                let target = target(store, &job.ask, id)?;
                if !argument.is_multiple_of(512) || !job.ask.room.is_multiple_of(512) {
                    return Err(Status::Invalid);
                }
                job.read(store, target, argument, job.ask.room as usize, 0)
            }
            Kind::WriteVolume => {
                unused(world, volume(store, &job.ask, id)?.0, Use::Named)?;
                let bytes = job.ask.payload.len();
                if !argument.is_multiple_of(512) || !bytes.is_multiple_of(512) {
                    return Err(Status::Invalid);
                }
                let op =
                    Op::Write { sector: argument / 512, sectors: crate::job::sectors(bytes), durable: false };
                let (place, then) = ((job.token, &mut job.stage), Stage::Last { value: 0 });
                start(place, store, Target::Volume(id), op, &job.ask.payload, then)
            }
            Kind::FlushVolume => {
                volume(store, &job.ask, id)?;
                job.stage = Stage::Flush { value: 0 };
                Ok(Next::On)
            }
            _ => Err(Status::NotSupported),
        }
    }

    pub(crate) fn inspect<P: BlockPort>(&self, store: &Store<P>, world: &impl Environment) -> Step {
        let usage = store.usage();
        let blocks = |blocks: u64| blocks.saturating_mul(BLOCK_BYTES as u64);
        let count = |is: fn(&Entry) -> bool| {
            u32::try_from(store.catalog().iter().filter(|(_, entry)| is(entry)).count()).unwrap_or(u32::MAX)
        };
        let record = DatastoreRecord {
            uuid: store.uuid(),
            serial: world.serial(),
            bytes: blocks(usage.total),
            free_bytes: blocks(usage.available),
            written_bytes: blocks(store.stats().blocks_written),
            volumes: count(|entry| matches!(entry, Entry::Volume { name, .. } if is_listed(name))),
            objects: count(|entry| matches!(entry, Entry::Object { .. })),
            flags: if store.read_only().is_some() { READ_ONLY } else { 0 },
            reserved: 0,
            reserved_end: [0; 5],
        };
        Ok(Next::Done(Answer::of(Status::Ok), record.to_bytes().to_vec()))
    }

    pub(crate) fn inspect_nothing(&self) -> Next {
        let record = DatastoreRecord {
            flags: VOLATILE,
            objects: u32::try_from(self.ram.iter().count()).unwrap_or(u32::MAX),
            ..DatastoreRecord::from_bytes(&[0; DatastoreRecord::BYTES])
        };
        Next::Done(Answer::of(Status::Ok), record.to_bytes().to_vec())
    }
}

/// A size in sectors.
fn whole_blocks(bytes: u64) -> Result<u64, Status> {
    let is_whole = bytes != 0 && bytes.is_multiple_of(BLOCK_BYTES as u64);
    is_whole.then_some(bytes / 512).ok_or(Status::Invalid)
}

/// Refuses what is in use more than `most`.
fn unused(world: &impl Environment, name: &str, most: Use) -> Result<(), Status> {
    match (world.volume_use(name), most) {
        (Use::Free, _) | (Use::Named, Use::Named) => Ok(()),
        _ => Err(Status::Conflict),
    }
}

fn list<P: BlockPort>(job: &Job, store: &Store<P>, world: &impl Environment) -> Next {
    let catalog = store.catalog();
    let snapshots_of = |id: u64| {
        let of = |entry: &Entry| matches!(entry, Entry::Snapshot { volume, .. } if *volume == id);
        u32::try_from(catalog.iter().filter(|(_, entry)| of(entry)).count()).unwrap_or(u32::MAX)
    };
    let records = catalog.iter().filter_map(|(id, entry)| match entry {
        Entry::Volume { name, sectors, .. } if is_listed(name) => Some(VolumeRecord {
            name: field(name),
            id,
            bytes: sectors.saturating_mul(512),
            snapshots: snapshots_of(id),
            in_use: u32::from(world.volume_use(name) != Use::Free),
            reserved: 0,
        }),
        _ => None,
    });
    let (answer, given) = job.ask.page(records.map(|record| record.to_bytes()));
    Next::Done(answer, given)
}

/// A volume and its snapshots, which are nothing without it.
fn delete<P: BlockPort>(job: &mut Job, store: &mut Store<P>, world: &impl Environment) -> Step {
    let id = job.ask.target;
    let (name, _) = volume(store, &job.ask, id)?;
    unused(world, name, Use::Free)?;
    match delete_part(store, id) {
        Ok(false) => Ok(Next::On),
        deleted => job.then_flush(deleted, |_| 0),
    }
}

/// Snapshots that go in one transaction at most.
const PART: usize = 32;

/// Deletes snapshots of a volume and, with the last of them, the volume: whether it is gone.
pub(crate) fn delete_part<P: BlockPort>(store: &mut Store<P>, id: u64) -> Result<bool, datastore::Error> {
    let of = |entry: &Entry| matches!(entry, Entry::Snapshot { volume, .. } if *volume == id);
    let snapshots = store.catalog().iter().filter(|(_, entry)| of(entry)).take(PART);
    let mut targets: Vec<Target> = snapshots.map(|(id, _)| Target::Snapshot(id)).collect();
    let is_last = targets.len() < PART;
    if is_last {
        targets.push(Target::Volume(id));
    }
    store.delete(&targets).map(|()| is_last)
}
