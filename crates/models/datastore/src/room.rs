//! What a checkpoint may still need, and who may take how much of the rest.
//!
//! Called by: whatever changes something. A checkpoint that found no room for its pages would be the end of all writing, so
//! that no change is let in whose checkpoint might not fit. Data and new names leave room for discards, and these for
//! deletions, so that a full store can always be made emptier.

use crate::error::Error;
use crate::port::BlockPort;
use crate::store::{Store, Wait};

/// What deletions and the collector have to themselves: the nodes that the removal of a transaction's records changes.
pub(crate) const FOR_DELETION: u64 = 208;
/// What data and new names leave: that, and what one discard, resize or revert after another needs.
pub(crate) const EMERGENCY: u64 = FOR_DELETION + 96;
/// Of each checkpoint: blocks taken in vain, and a new top of the tree.
const EACH: u64 = 24;

impl<P: BlockPort> Store<P> {
    /// Blocks that a checkpoint may take for so many changed pages: each page and its copy; the leaf above, which may have to
    /// be split; and one node of each level above that, as if no two pages shared any.
    fn cost(&self, pages: usize) -> u64 {
        let each = u64::from(self.root.level).saturating_mul(2).saturating_add(6);
        (pages as u64).saturating_mul(each)
    }

    /// Blocks that checkpoints of all that is in memory may take.
    pub(crate) fn needed(&self) -> u64 {
        let generations = [Some(&self.active), self.frozen.as_ref()].into_iter().flatten();
        generations
            .map(|g| self.cost(g.chunks.len().saturating_add(g.records.len())).saturating_add(EACH))
            .fold(0, u64::saturating_add)
    }

    /// What data leaves.
    pub(crate) fn reserve(&self) -> u64 {
        // With the one that asks. A request is of two chunks at most.
        let writes = self.slots.iter().flatten().filter(|slot| slot.takes_blocks()).count().saturating_add(1);
        self.needed().saturating_add(self.cost(writes.saturating_mul(2))).saturating_add(EMERGENCY)
    }

    /// There is room for so many more changed pages, with `keep` blocks to spare.
    pub(crate) fn fits(&self, pages: usize, keep: u64) -> bool {
        let wanted = self.needed().saturating_add(self.cost(pages)).saturating_add(keep);
        self.space.available() >= wanted
    }

    /// So many more pages may change, with `keep` blocks to spare. `Busy`: not before a checkpoint, which was asked for.
    pub(crate) fn afford(&mut self, pages: usize, keep: u64) -> Result<(), Error> {
        if self.fits(pages, keep) {
            return Ok(());
        }
        match self.wait_for_space() {
            Some(_) => {
                self.request_checkpoint();
                Err(Error::Busy)
            }
            None => Err(Error::NoSpace),
        }
    }

    /// So many records may be removed. Where no checkpoint can make more room they always may.
    pub(crate) fn afford_removal(&mut self, records: usize) -> Result<(), Error> {
        let nodes = (records as u64).saturating_mul(2);
        let fits = self.space.available() >= self.needed().saturating_add(nodes);
        if !fits && self.wait_for_space().is_some() {
            self.request_checkpoint();
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// A checkpoint may make blocks free: wait for it. `None`: it cannot.
    pub(crate) fn wait_for_space(&mut self) -> Option<Wait> {
        if !self.may_get_room() && !self.collecting() {
            return None;
        }
        self.checkpoint_wanted = true;
        Some(Wait::Space)
    }

    /// A checkpoint may make blocks free.
    pub(crate) fn may_get_room(&self) -> bool {
        !self.active.is_empty() || self.frozen.is_some() || self.space.freed > 0
    }
}
