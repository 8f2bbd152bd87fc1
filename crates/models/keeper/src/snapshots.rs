//! Snapshots of VMs: one of each of its volumes, and of the one of its firmware variables, of one moment.
//!
//! Nothing is written down about them but the volumes' own snapshots, which share the name and a random GUID. The id of
//! the first volume's is the id of the VM's snapshot. They are taken, reverted to and deleted in one transaction of the
//! store: where one is, the others are, whatever cuts the power. Which snapshot another was taken after is the order of
//! their layers.

use crate::Keeper;
use crate::ask::{Environment, VmView};
use crate::job::{Job, Next, Step};
use crate::variables::volume_name;
use abi::Status;
use abi::name::field;
use abi::record::SnapshotRecord;
use alloc::vec::Vec;
use datastore::{BlockPort, Catalog, Entry, Store, Target};

/// Layers looked through for a parent; a chain is hardly ever so deep.
const DEPTH_MAX: usize = 4096;

/// The ids of a VM's volumes, the first first, the one of its variables last: that never stands for a snapshot.
fn volumes<P: BlockPort>(store: &Store<P>, vm: &VmView) -> Result<Vec<u64>, Status> {
    let mut ids = Vec::new();
    for name in &vm.volumes {
        let id = store.catalog().volume(name).ok_or(Status::NotFound)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return Err(Status::NotFound);
    }
    ids.extend(store.catalog().volume(&volume_name(&vm.name)));
    Ok(ids)
}

/// The snapshot of `layer`, or the next one below it.
fn snapshot_below(catalog: &Catalog, volume: u64, layer: u64) -> u64 {
    let mut at = layer;
    for _ in 0..DEPTH_MAX {
        if at == 0 {
            break;
        }
        let found = catalog.iter().find_map(|(id, entry)| {
            matches!(entry, Entry::Snapshot { volume: of, layer, .. } if *of == volume && *layer == at)
                .then_some(id)
        });
        if let Some(id) = found {
            return id;
        }
        at = catalog.parent(at);
    }
    0
}

/// A VM's volumes, each with the snapshot of it that belongs to the VM's snapshot `id`, if there is one.
fn parts<P: BlockPort>(
    store: &Store<P>,
    volumes: &[u64],
    id: u64,
) -> Result<Vec<(u64, Option<u64>)>, Status> {
    let catalog = store.catalog();
    let Some(Entry::Snapshot { volume, guid: wanted, .. }) = catalog.get(id) else {
        return Err(Status::NotFound);
    };
    if volumes.first() != Some(volume) {
        return Err(Status::NotFound);
    }
    let of = |volume: &u64| {
        catalog.iter().find_map(|(id, entry)| match entry {
            Entry::Snapshot { volume: of, guid, .. } if of == volume && guid == wanted => Some(id),
            _ => None,
        })
    };
    Ok(volumes.iter().map(|volume| (*volume, of(volume))).collect())
}

/// The snapshot of a volume that belongs to a VM's snapshot `id`.
pub(crate) fn part<P: BlockPort>(store: &Store<P>, volume: u64, id: u64) -> Result<Target, Status> {
    let catalog = store.catalog();
    let Some(Entry::Snapshot { guid: wanted, .. }) = catalog.get(id) else { return Err(Status::NotFound) };
    let part = catalog.iter().find_map(|(id, entry)| match entry {
        Entry::Snapshot { volume: of, guid, .. } if *of == volume && guid == wanted => Some(id),
        _ => None,
    });
    part.map(Target::Snapshot).ok_or(Status::NotFound)
}

impl Keeper {
    pub(crate) fn snapshot_vm<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &mut impl Environment,
    ) -> Step {
        let (name, _) = job.ask.named()?;
        let vm = world.vm(job.ask.target)?;
        if vm.is_ending {
            return Ok(Next::Later);
        }
        let volumes = volumes(store, &vm)?;
        let guid = world.random().ok_or(Status::Unseeded)?;
        let taken = store.snapshot(&volumes, &name, world.now().0, guid);
        job.then_flush(taken, |id| id)
    }

    pub(crate) fn revert_vm<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> Step {
        let vm = world.vm(job.ask.target)?;
        if vm.is_running {
            return Err(Status::Conflict);
        }
        if vm.is_ending {
            return Ok(Next::Later);
        }
        let volumes = volumes(store, &vm)?;
        let mut parts = parts(store, &volumes, job.ask.argument)?;
        // A volume that the VM was given since stays as it is; variables that it had none of then are new again.
        let variables = store.catalog().volume(&volume_name(&vm.name));
        parts.retain(|(volume, snapshot)| snapshot.is_some() || Some(*volume) == variables);
        let reverted = store.revert(&parts);
        job.then_flush(reverted, |()| 0)
    }

    pub(crate) fn delete_vm_snapshot<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> Step {
        let volumes = volumes(store, &world.vm(job.ask.target)?)?;
        let parts = parts(store, &volumes, job.ask.argument)?;
        let targets: Vec<Target> = parts.iter().filter_map(|(_, part)| part.map(Target::Snapshot)).collect();
        let deleted = store.delete(&targets);
        job.then_flush(deleted, |()| 0)
    }

    pub(crate) fn list_vm_snapshots<P: BlockPort>(
        &self,
        job: &Job,
        store: &Store<P>,
        world: &impl Environment,
    ) -> Step {
        let vm = world.vm(job.ask.target)?;
        let catalog = store.catalog();
        let Some(first) = vm.volumes.first().and_then(|name| catalog.volume(name)) else {
            return Ok(Next::ok(0));
        };
        let Some(Entry::Volume { head, .. }) = catalog.get(first) else { return Err(Status::NotFound) };
        let current = snapshot_below(catalog, first, catalog.parent(*head));
        let records = catalog.iter().filter_map(|(id, entry)| match entry {
            Entry::Snapshot { name, volume, layer, created, .. } if *volume == first => {
                Some(SnapshotRecord {
                    name: field(name),
                    id,
                    parent: snapshot_below(catalog, first, catalog.parent(*layer)),
                    created: *created,
                    is_current: u32::from(id == current),
                    reserved: 0,
                })
            }
            _ => None,
        });
        let (answer, given) = job.ask.page(records.map(|record| record.to_bytes()));
        Ok(Next::Done(answer, given))
    }
}
