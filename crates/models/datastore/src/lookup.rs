//! Finding what a block of a layer is: generations in memory first, then the tree, then the parent layer.
//!
//! Called by: requests, collector, send. A metadata page that is not in memory ends the lookup with `Need`; the caller
//! fetches it and asks again. Within a layer nothing is kept between. Along a chain the lookup goes on at the layer where it
//! ended ([`Trails`]): a chain may be longer than the cache, which then never had all of its pages at once.

use crate::error::Error;
use crate::format::Pointer;
use crate::log::Record;
use crate::overlay::{Known, locate};
use crate::port::BlockPort;
use crate::store::{Need, Store};
use crate::tree::{
    CHUNK_BLOCKS, Key, MAX_LEVEL, Mapping, is_stamped, magic_of, map_entry, node_key, node_len, node_pointer,
    upper_bound,
};
use crate::wire::{PageBytes, index};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Most blocks of one look-up of a run.
const LOOKUP: usize = 32;
/// More than there can be requests in flight.
const MOST_TRAILS: usize = 2048;

/// Where a descent ended.
pub(crate) struct Found {
    /// The entry at or before the key.
    pub pointer: Pointer,
    /// Smallest key of the next entry, if any.
    pub bound: Option<Key>,
    /// The key under which the parent node has it; `None` for the root.
    pub separator: Option<Key>,
}

/// How far lookups along chains have come, by what they ask: layer, floor, first block, count (0: whether anything is there).
#[derive(Default)]
pub(crate) struct Trails(BTreeMap<Ask, (u64, Vec<Mapping>)>);

type Ask = (u64, u64, u64, usize);

impl Trails {
    /// Goes on where the same lookup has ended; without one at its first layer.
    fn resume(&mut self, ask: Ask, found: &mut [Mapping]) -> u64 {
        let Some((at, before)) = self.0.remove(&ask) else { return ask.0 };
        for (place, mapping) in found.iter_mut().zip(before) {
            *place = mapping;
        }
        at
    }

    fn keep(&mut self, ask: Ask, need: Need, at: u64, found: &[Mapping]) {
        if matches!(need, Need::Failed(_)) {
            return;
        }
        // Some are of requests that have ended otherwise.
        if self.0.len() >= MOST_TRAILS {
            self.0.clear();
        }
        self.0.insert(ask, (at, found.to_vec()));
    }

    /// What a layer had may be in another one now, or the first layer may have more: who asks from now on has to see it.
    pub(crate) fn note(&mut self, record: &Record) {
        let chunk_of = |chunk: &u64| chunk.saturating_mul(CHUNK_BLOCKS);
        let (changed, first, count) = match record {
            Record::Entry { .. } => return self.0.clear(),
            Record::Absorb { chunk, .. } => (None, chunk_of(chunk), CHUNK_BLOCKS),
            Record::Map { layer, block, crcs, .. } => (Some(*layer), *block, crcs.len() as u64),
            Record::Blank { layer, block, count, .. } => (Some(*layer), *block, u64::from(*count)),
            Record::Clear { layer, chunk, .. } => (Some(*layer), chunk_of(chunk), CHUNK_BLOCKS),
        };
        let end = first.saturating_add(count);
        self.0.retain(|(layer, _, block, len), _| {
            // The others are frozen.
            let concerned = changed.is_none_or(|changed| changed == *layer);
            let (from, len) = match *len {
                0 => (block.saturating_sub(block % CHUNK_BLOCKS), CHUNK_BLOCKS),
                len => (*block, len as u64),
            };
            !concerned || from >= end || first >= from.saturating_add(len)
        });
    }
}

fn corrupt(pointer: Pointer) -> Need {
    Need::Failed(Error::Corrupt { block: pointer.block, expected: pointer.crc, found: pointer.crc })
}

impl<P: BlockPort> Store<P> {
    /// A metadata page, if it is in memory.
    pub(crate) fn page(&mut self, pointer: Pointer) -> Result<&PageBytes, Need> {
        // Asked twice because of the borrow: the first answer would keep `failed` out of reach.
        if self.cache.get(pointer.block, pointer.crc).is_none() {
            return Err(self.failed.remove(&pointer.block).map_or(Need::Page(pointer), Need::Failed));
        }
        self.cache.get(pointer.block, pointer.crc).ok_or(Need::Page(pointer))
    }

    /// The node of `level` that is responsible for `key`; `None` when the tree has no such level.
    pub(crate) fn descend(&mut self, key: Key, level: u16) -> Result<Option<Found>, Need> {
        let (mut pointer, mut at) = (self.root.tree, self.root.level);
        if pointer.block == 0 || at < level || at > MAX_LEVEL {
            return Ok(None);
        }
        let (mut bound, mut separator) = (None, None);
        while at > level {
            let page = self.page(pointer)?;
            let count = node_len(page, at).ok_or(corrupt(pointer))?;
            let next = upper_bound(page, count, key).max(1);
            if next < count {
                bound = Some(node_key(page, next));
            }
            separator = Some(node_key(page, next.saturating_sub(1)));
            pointer = node_pointer(page, next.saturating_sub(1));
            at = at.saturating_sub(1);
        }
        Ok(Some(Found { pointer, bound, separator }))
    }

    /// The page that the tree has for a key.
    pub(crate) fn tree_get(&mut self, key: Key) -> Result<Option<Pointer>, Need> {
        let Some(leaf) = self.descend(key, 0)? else { return Ok(None) };
        let page = self.page(leaf.pointer)?;
        let count = node_len(page, 0).ok_or(corrupt(leaf.pointer))?;
        let Some(at) = upper_bound(page, count, key).checked_sub(1) else { return Ok(None) };
        Ok((node_key(page, at) == key).then(|| node_pointer(page, at)))
    }

    /// The first key at or behind `key` that the tree has.
    pub(crate) fn tree_next(&mut self, key: Key) -> Result<Option<(Key, Pointer)>, Need> {
        let mut from = key;
        loop {
            let Some(leaf) = self.descend(from, 0)? else { return Ok(None) };
            let page = self.page(leaf.pointer)?;
            let count = node_len(page, 0).ok_or(corrupt(leaf.pointer))?;
            let mut at = upper_bound(page, count, key);
            if at > 0 && node_key(page, at.saturating_sub(1)) == key {
                at = at.saturating_sub(1);
            }
            if at < count {
                return Ok(Some((node_key(page, at), node_pointer(page, at))));
            }
            match leaf.bound {
                Some(bound) if bound > from => from = bound,
                _ => return Ok(None),
            }
        }
    }

    /// A page of the tree by its pointer, with its header checked.
    pub(crate) fn keyed_page(&mut self, key: Key, pointer: Pointer) -> Result<&PageBytes, Need> {
        let page = self.page(pointer)?;
        if is_stamped(magic_of(key), key, page) { Ok(page) } else { Err(corrupt(pointer)) }
    }

    /// What one layer says of a block, without its parents.
    pub(crate) fn own_mapping(&mut self, layer: u64, block: u64) -> Result<Mapping, Need> {
        let (key, entry) = locate(layer, block);
        for generation in [Some(&self.active), self.frozen.as_ref()].into_iter().flatten() {
            if let Known::Yes(mapping) = generation.lookup(key, entry) {
                return Ok(mapping);
            }
        }
        let own = self.tree_mapping(key, entry)?;
        if own != Mapping::ABSENT {
            return Ok(own);
        }
        let mut at = 0;
        while let Some((layer, known)) = self.absorbed(key, entry, at) {
            let key = Key { owner: layer, index: key.index };
            let mapping = match known {
                Known::Yes(mapping) => mapping,
                Known::No => self.tree_mapping(key, entry)?,
            };
            if mapping != Mapping::ABSENT {
                return Ok(mapping);
            }
            at = at.saturating_add(1);
        }
        Ok(Mapping::ABSENT)
    }

    fn tree_mapping(&mut self, key: Key, entry: u16) -> Result<Mapping, Need> {
        let Some(pointer) = self.tree_get(key)? else { return Ok(Mapping::ABSENT) };
        Ok(map_entry(self.keyed_page(key, pointer)?, entry))
    }

    /// The `at`th layer that a page is absorbing, and what that one's own changes say.
    fn absorbed(&self, key: Key, entry: u16, at: usize) -> Option<(u64, Known)> {
        let generations = [self.frozen.as_ref(), Some(&self.active)];
        let deltas = generations.into_iter().flatten().filter_map(|g| g.chunks.get(&key));
        let (layer, delta) = deltas.flat_map(|delta| &delta.absorbed).nth(at)?;
        Some((*layer, delta.lookup(entry)))
    }

    /// What the blocks from `block` on are, as [`Self::mapping`] says of each: at least one, at most `count`. They are of
    /// one chunk, so that each layer's page is looked for once.
    pub(crate) fn mappings(
        &mut self,
        layer: u64,
        block: u64,
        count: usize,
        into: &mut Vec<Mapping>,
    ) -> Result<(), Need> {
        let in_chunk = index(CHUNK_BLOCKS.saturating_sub(block % CHUNK_BLOCKS));
        let mut found = [Mapping::ABSENT; LOOKUP];
        let found = found.get_mut(..count.min(LOOKUP).min(in_chunk)).unwrap_or_default();
        self.walk(layer, 0, block, found)?;
        into.extend_from_slice(found);
        Ok(())
    }

    /// Looks along a chain, down to (and without) the layer `floor`.
    fn walk(&mut self, layer: u64, floor: u64, block: u64, found: &mut [Mapping]) -> Result<(), Need> {
        let ask = (layer, floor, block, found.len());
        let mut at = self.trails.resume(ask, found);
        while at != 0 && at != floor && found.contains(&Mapping::ABSENT) {
            if let Err(need) = self.own_mappings(at, block, found) {
                self.trails.keep(ask, need, at, found);
                return Err(need);
            }
            at = self.catalog.parent(at);
        }
        Ok(())
    }

    /// No layer of the chain has a page for the block's chunk.
    pub(crate) fn is_blank(&mut self, layer: u64, block: u64) -> Result<bool, Need> {
        let ask = (layer, 0, block, 0);
        let mut at = self.trails.resume(ask, &mut []);
        while at != 0 {
            let key = Key { owner: at, index: block / CHUNK_BLOCKS };
            let frozen = self.frozen.as_ref().is_some_and(|g| g.chunks.contains_key(&key));
            let known = frozen || self.active.chunks.contains_key(&key);
            match self.tree_get(key).map(|found| known || found.is_some()) {
                Ok(true) => return Ok(false),
                Ok(false) => at = self.catalog.parent(at),
                Err(need) => {
                    self.trails.keep(ask, need, at, &[]);
                    return Err(need);
                }
            }
        }
        Ok(true)
    }

    /// What one layer says of those blocks of a chunk that are still absent.
    fn own_mappings(&mut self, layer: u64, block: u64, found: &mut [Mapping]) -> Result<(), Need> {
        let (key, first) = locate(layer, block);
        let generations = [Some(&self.active), self.frozen.as_ref()];
        let deltas = generations.map(|g| g.and_then(|g| g.chunks.get(&key)));
        if deltas.iter().flatten().any(|delta| !delta.absorbed.is_empty()) {
            return self.own_one_by_one(layer, block, found);
        }
        let mut own = [None; LOOKUP];
        let known = own.get_mut(..found.len()).unwrap_or_default();
        deltas.iter().flatten().for_each(|delta| delta.lookup_run(first, known));
        let wanted = own.iter().zip(&*found).any(|(own, found)| own.is_none() && *found == Mapping::ABSENT);
        if wanted && let Some(pointer) = self.tree_get(key)? {
            let page = self.keyed_page(key, pointer)?;
            for (place, entry) in own.iter_mut().zip(first..) {
                place.get_or_insert_with(|| map_entry(page, entry));
            }
        }
        for (place, own) in found.iter_mut().zip(own) {
            if *place == Mapping::ABSENT {
                *place = own.unwrap_or_default();
            }
        }
        Ok(())
    }

    fn own_one_by_one(&mut self, layer: u64, block: u64, found: &mut [Mapping]) -> Result<(), Need> {
        for (place, block) in found.iter_mut().zip(block..) {
            if *place == Mapping::ABSENT {
                *place = self.own_mapping(layer, block)?;
            }
        }
        Ok(())
    }

    /// What a block is, seen through the whole chain down to (and without) the layer `floor`.
    pub(crate) fn mapping(&mut self, layer: u64, block: u64, floor: u64) -> Result<Mapping, Need> {
        let mut found = [Mapping::ABSENT];
        self.walk(layer, floor, block, &mut found)?;
        let [mapping] = found;
        Ok(mapping)
    }
}
