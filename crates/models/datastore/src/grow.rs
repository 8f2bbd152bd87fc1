//! Growing a mounted store, and what changed between two snapshots.
//!
//! Called by: management, send. A store grows by whole groups behind its end; nothing moves, and it counts with the
//! next checkpoint's root.

use crate::catalog::Entry;
use crate::error::Error;
use crate::format::Geometry;
use crate::mount::fresh_group;
use crate::port::BlockPort;
use crate::request::Target;
use crate::store::{Need, Store};
use crate::tree::{CHUNK_BLOCKS, Key, Mapping};
use crate::wire::index;
use alloc::vec::Vec;

/// A block that differs between two snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// 4 KiB block of the volume.
    pub block: u64,
    /// It has data; otherwise it reads as zero.
    pub data: bool,
}

impl<P: BlockPort> Store<P> {
    /// Takes the device's present size. New groups can be used at once, what the last group has gained after two
    /// checkpoints; after a power cut before the next checkpoint it has to be asked for again. Gives back the size in
    /// blocks.
    pub fn grow(&mut self) -> Result<u64, Error> {
        self.check_not_read_only()?;
        if !self.is_settled() || self.in_flight() > 0 {
            self.request_checkpoint();
            return Err(Error::Busy);
        }
        let blocks = u32::try_from(self.port.blocks()).unwrap_or(u32::MAX - 1);
        let old = self.space.geometry;
        let new = Geometry { blocks, ..old };
        if blocks <= old.blocks {
            return Ok(u64::from(old.blocks));
        }
        // The last group may have been cut short: its blocks behind the end were marked as used.
        let last = old.groups().saturating_sub(1);
        let was = old.group_start(last).saturating_add(old.group_len(last));
        let is = new.group_start(last).saturating_add(new.group_len(last));
        let fresh = self.space.groups.get(index(u64::from(last))).is_some_and(|g| g.fresh);
        if fresh {
            if let Some(entry) = self.space.groups.get_mut(index(u64::from(last))) {
                *entry = fresh_group(new, last);
            }
        } else {
            self.active.space.set(was, is.saturating_sub(was), false);
        }
        for group in old.groups()..new.groups() {
            self.space.groups.push(fresh_group(new, group));
        }
        self.space.geometry = new;
        self.space.free = self.space.groups.iter().map(|g| u64::from(g.free)).sum();
        self.space.retry();
        self.grown_from = Some(old.groups());
        self.request_checkpoint();
        Ok(u64::from(blocks))
    }

    /// Blocks of snapshot `to` from `from` on that its ancestor `base` (or an empty volume) does not have like that.
    /// Looks at some blocks only; gives back where to go on. `Err(Busy)`: poll and ask again.
    pub fn changes(
        &mut self,
        to: u64,
        base: Option<u64>,
        from: u64,
        out: &mut Vec<Change>,
    ) -> Result<u64, Error> {
        let layer_of = |entry: Option<&Entry>| match entry {
            Some(Entry::Snapshot { layer, sectors, .. }) => Ok((*layer, *sectors)),
            _ => Err(Error::NotFound),
        };
        let (layer, sectors) = layer_of(self.catalog.get(to))?;
        let floor = match base {
            Some(base) => layer_of(self.catalog.get(base))?.0,
            None => 0,
        };
        if !self.is_ancestor(floor, layer) {
            return Err(Error::BadRequest);
        }
        let end = sectors.div_ceil(8);
        let chunk_end = (from / CHUNK_BLOCKS).saturating_add(1).saturating_mul(CHUNK_BLOCKS).min(end);
        match self.is_blank(layer, from) {
            Ok(true) => return Ok(chunk_end),
            Ok(false) => {}
            Err(need) => return self.wait_for(need),
        }
        let stop = chunk_end.min(from.saturating_add(64));
        for block in from..stop {
            match self.mapping(layer, block, floor) {
                Ok(Mapping::ABSENT) => {}
                Ok(mapping) => out.push(Change { block, data: mapping.is_data() }),
                Err(_) if block > from => return Ok(block),
                Err(need) => return self.wait_for(need),
            }
        }
        Ok(stop)
    }

    /// Counts blocks that only this volume, snapshot or object holds: what deleting it gives back. Looks at one chunk,
    /// the first with changes at or behind `from`; gives back where to go on. `Err(Busy)`: poll and ask again.
    pub fn exclusive(&mut self, target: Target, from: u64, blocks: &mut u64) -> Result<Option<u64>, Error> {
        let (layer, _) = self.target_layer(target)?;
        let child = match self.catalog.children(layer) {
            [] => None,
            [one] => Some(*one),
            // Both children see it.
            _ => return Ok(None),
        };
        let chunk = match self.next_chunk(layer, from) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(None),
            Err(need) => return self.wait_for(need).map(Some),
        };
        let first = chunk.saturating_mul(CHUNK_BLOCKS);
        let mut count: u64 = 0;
        for block in first..first.saturating_add(CHUNK_BLOCKS) {
            let alone = self.own_mapping(layer, block).and_then(|mapping| {
                let hidden = match child {
                    Some(child) => self.own_mapping(child, block)? != Mapping::ABSENT,
                    None => true,
                };
                Ok(mapping.is_data() && hidden)
            });
            match alone {
                Ok(alone) => count = count.saturating_add(u64::from(alone)),
                Err(need) => return self.wait_for(need).map(Some),
            }
        }
        *blocks = blocks.saturating_add(count);
        Ok(Some(chunk.saturating_add(1)))
    }

    /// The first chunk of a layer at or behind `from` that has a page, in memory or in the tree.
    fn next_chunk(&mut self, layer: u64, from: u64) -> Result<Option<u64>, Need> {
        let key = Key { owner: layer, index: from };
        let in_tree = self.tree_next(key)?.map(|(key, _)| key);
        let generations = [Some(&self.active), self.frozen.as_ref()];
        let in_memory = generations.into_iter().flatten().filter_map(|g| g.chunks.range(key..).next());
        let first = in_memory.map(|(key, _)| *key).chain(in_tree).filter(|key| key.owner == layer).min();
        Ok(first.map(|key| key.index))
    }

    fn is_ancestor(&self, floor: u64, layer: u64) -> bool {
        let mut at = layer;
        while at != 0 && at != floor {
            at = self.catalog.parent(at);
        }
        at == floor
    }

    fn wait_for(&mut self, need: Need) -> Result<u64, Error> {
        match need {
            Need::Failed(error) => Err(error),
            Need::Page(pointer) => {
                self.fetch(pointer);
                Err(Error::Busy)
            }
        }
    }
}
