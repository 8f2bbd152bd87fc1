//! Giving back what nobody names any more: layers of deleted volumes, snapshots and objects.
//!
//! Called by: `poll`, one page per step. A layer without a name goes away when it has at most one child: without a
//! child, its pages are dropped; with one, the child absorbs them (metadata only, no data moves). Invariants: a job
//! begins when the layer's own changes are in the tree, and ends when its effects are; after a power cut it is found
//! again by the same rule, so that nothing about it is stored.

use crate::catalog::Entry;
use crate::error::{Error, Event};
use crate::log::Record;
use crate::overlay::Base;
use crate::port::BlockPort;
use crate::store::{Need, Store};
use crate::tree::{CHUNK_BLOCKS, Key, Mapping};

/// What is being given back.
#[derive(Default)]
pub(crate) struct Collector {
    /// The catalog changed: look for work.
    pub look: bool,
    job: Option<Job>,
}

impl Collector {
    /// Looks for work at once.
    pub(crate) fn looking() -> Self {
        Self { look: true, job: None }
    }
}

struct Job {
    layer: u64,
    child: Option<u64>,
    next: u64,
    /// Go on when the root has this generation.
    barrier: Option<u64>,
    scanned: bool,
}

/// The record that blanks `from..end`, or its first part, and where the next part begins.
pub(crate) fn blank_record(layer: u64, parent: u64, from: u64, end: u64) -> (Record, u64) {
    let chunk = from / CHUNK_BLOCKS;
    let chunk_end = chunk.saturating_add(1).saturating_mul(CHUNK_BLOCKS);
    let (base, mapping) =
        if parent == 0 { (Base::Absent, Mapping::ABSENT) } else { (Base::Zero, Mapping::ZERO) };
    if from.is_multiple_of(CHUNK_BLOCKS) && end >= chunk_end {
        return (Record::Clear { layer, chunk, base }, chunk_end);
    }
    let stop = end.min(chunk_end);
    let count = u16::try_from(stop.saturating_sub(from)).unwrap_or(0);
    (Record::Blank { layer, block: from, count, mapping }, stop)
}

impl<P: BlockPort> Store<P> {
    /// Space is being given back.
    pub fn collecting(&self) -> bool {
        self.collector.job.is_some() || self.collector.look
    }

    pub(crate) fn step_collector(&mut self) -> bool {
        if self.read_only.is_some() {
            self.collector.look = false;
            self.collector.job = None;
            return false;
        }
        let Some(job) = self.collector.job.take() else {
            if !self.collector.look {
                return false;
            }
            self.collector.job = self.find_job();
            self.collector.look = self.collector.job.is_some();
            return true;
        };
        match self.step_job(job) {
            Ok((job, moved)) => {
                self.collector.job = job;
                moved
            }
            Err(error) => {
                // The pages of this layer can't be read: it stays, and is tried again at the next change or mount.
                self.collector.look = false;
                self.report(Event::Corrupt(error));
                self.wake(|wait| wait == crate::store::Wait::Space);
                true
            }
        }
    }

    fn find_job(&self) -> Option<Job> {
        let doomed = |id: &u64| {
            let named = self.catalog.is_named(*id) || self.writing.contains_key(id);
            !named && self.catalog.children(*id).len() <= 1
        };
        let layers = self.catalog.iter().filter(|(_, e)| matches!(e, Entry::Layer { .. })).map(|(id, _)| id);
        let layer = layers.filter(doomed).max()?;
        let child = self.catalog.children(layer).first().copied();
        Some(Job { layer, child, next: 0, barrier: None, scanned: false })
    }

    /// Everything recorded until now is in the tree.
    fn pass_barrier(&mut self, job: &mut Job) -> bool {
        let pending = u64::from(self.frozen.is_some()).saturating_add(u64::from(!self.active.is_empty()));
        let barrier = *job.barrier.get_or_insert(self.root.generation.saturating_add(pending));
        if self.root.generation >= barrier {
            return true;
        }
        // The generation that is gathered now has to be frozen, unless it came after the barrier.
        let frozen = u64::from(self.frozen.is_some());
        if self.root.generation.saturating_add(frozen) < barrier {
            self.checkpoint_wanted = true;
        }
        false
    }

    fn step_job(&mut self, mut job: Job) -> Result<(Option<Job>, bool), Error> {
        if !self.pass_barrier(&mut job) {
            return Ok((Some(job), false));
        }
        if job.scanned {
            return self.finish_job(job);
        }
        if self.active.weight >= self.options.generation_weight || self.generation_log_full() {
            self.checkpoint_wanted = true;
            return Ok((Some(job), false));
        }
        let found = match self.tree_next(Key { owner: job.layer, index: job.next }) {
            Ok(found) => found,
            Err(Need::Failed(error)) => return Err(error),
            Err(Need::Page(pointer)) => {
                self.fetch(pointer);
                return Ok((Some(job), false));
            }
        };
        let Some((key, _)) = found.filter(|(key, _)| key.owner == job.layer) else {
            job.scanned = true;
            job.barrier = None;
            return Ok((Some(job), true));
        };
        let record = match job.child {
            Some(child) => Record::Absorb { parent: job.layer, child, chunk: key.index },
            None => Record::Clear { layer: job.layer, chunk: key.index, base: Base::Absent },
        };
        if !self.may_collect(1) {
            return Ok((Some(job), false));
        }
        match self.commit(&[record]) {
            Ok(()) => job.next = key.index.saturating_add(1),
            Err(Error::Busy) => return Ok((Some(job), false)),
            Err(error) => return Err(error),
        }
        Ok((Some(job), true))
    }

    /// So many more pages may change. Where no checkpoint can make more room they always may: it is what gives room.
    fn may_collect(&mut self, pages: usize) -> bool {
        let fits = self.fits(pages, 0) || !self.may_get_room();
        self.checkpoint_wanted |= !fits;
        fits
    }

    fn finish_job(&mut self, job: Job) -> Result<(Option<Job>, bool), Error> {
        let parent = self.catalog.parent(job.layer);
        let mut records = alloc::vec::Vec::new();
        if let Some(child) = job.child {
            let entry = Entry::Layer { parent };
            records.push(Record::Entry { id: child, bytes: Some(entry.encode()) });
        }
        records.push(Record::Entry { id: job.layer, bytes: None });
        if !self.may_collect(records.len()) {
            return Ok((Some(job), false));
        }
        match self.commit(&records) {
            Ok(()) => Ok((None, true)),
            Err(Error::Busy) => Ok((Some(job), false)),
            Err(error) => Err(error),
        }
    }
}
