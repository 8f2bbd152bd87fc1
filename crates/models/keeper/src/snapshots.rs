//! Snapshots of VMs: one of each of its volumes, of one moment.
//!
//! Nothing is written down about them but the volumes' own snapshots, which share the name and a random GUID. The one of
//! the VM's first volume is taken last and deleted first: where it is, the others are, whatever cuts the power. Its id is
//! the id of the VM's snapshot. Which snapshot another was taken after is the order of their layers.

use crate::Keeper;
use crate::ask::{Environment, VmView, status};
use crate::job::{Job, Next, Stage, Step};
use abi::Status;
use abi::name::field;
use abi::record::SnapshotRecord;
use alloc::vec::Vec;
use datastore::{BlockPort, Catalog, Entry, Error, Store, Target};

/// Layers looked through for a parent; a chain is hardly ever so deep.
const DEPTH_MAX: usize = 4096;

/// The ids of a VM's volumes, the first first.
fn volumes<P: BlockPort>(store: &Store<P>, vm: &VmView) -> Result<Vec<u64>, Status> {
    let ids: Option<Vec<u64>> = vm.volumes.iter().map(|name| store.catalog().volume(name)).collect();
    ids.filter(|ids| !ids.is_empty()).ok_or(Status::NotFound)
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

/// The snapshots of a VM's volumes that belong to the VM's snapshot `id`: volume and snapshot, the first volume's first.
fn parts<P: BlockPort>(store: &Store<P>, volumes: &[u64], id: u64) -> Result<Vec<(u64, u64)>, Status> {
    let catalog = store.catalog();
    let Some(Entry::Snapshot { volume, guid: wanted, .. }) = catalog.get(id) else {
        return Err(Status::NotFound);
    };
    if volumes.first() != Some(volume) {
        return Err(Status::NotFound);
    }
    let of = |volume: &u64| {
        catalog.iter().find_map(|(id, entry)| match entry {
            Entry::Snapshot { volume: of, guid, .. } if of == volume && guid == wanted => Some((*volume, id)),
            _ => None,
        })
    };
    Ok(volumes.iter().filter_map(of).collect())
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
    /// Deletes snapshots of a set that could not be completed.
    pub(crate) fn delete_doomed<P: BlockPort>(&mut self, store: &mut Store<P>) {
        self.doomed.retain(|id| store.delete(Target::Snapshot(*id)) == Err(Error::Busy));
    }

    pub(crate) fn snapshot_vm<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &mut impl Environment,
    ) -> Step {
        let (name, _) = job.ask.named()?;
        let volumes = volumes(store, &world.vm(job.ask.target)?)?;
        if volumes.iter().any(|volume| store.catalog().snapshot(*volume, &name).is_some()) {
            return Err(Status::Conflict);
        }
        let guid = world.random().ok_or(Status::Unseeded)?;
        let created = world.now().0;
        // In one go: nothing is written to the volumes in between.
        let mut taken = Vec::new();
        for volume in volumes.iter().rev() {
            match store.snapshot(*volume, &name, created, guid) {
                Ok(id) => taken.push(id),
                Err(error) => {
                    self.doomed.extend(taken);
                    return if error == Error::Busy { Ok(Next::Later) } else { Err(status(error)) };
                }
            }
        }
        job.stage = Stage::Flush { value: taken.last().copied().unwrap_or(0) };
        Ok(Next::On)
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
        let parts = parts(store, &volumes(store, &vm)?, job.ask.argument)?;
        // Again from the start where the log had no room: a second time does no harm.
        let mut reverted = Ok(());
        for (volume, snapshot) in parts {
            reverted = reverted.and_then(|()| store.revert(volume, snapshot));
        }
        job.then_flush(reverted, |()| 0)
    }

    pub(crate) fn delete_vm_snapshot<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> Step {
        let volumes = volumes(store, &world.vm(job.ask.target)?)?;
        // The first volume's goes last here, so that a second try finds the others; a power cut in between leaves a
        // snapshot of fewer volumes, which had been asked to go.
        let mut deleted = Ok(());
        for (_, snapshot) in parts(store, &volumes, job.ask.argument)?.into_iter().rev() {
            deleted = deleted.and_then(|()| store.delete(Target::Snapshot(snapshot)));
        }
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
