//! What one generation changes: deltas to map pages, records, and the space taken and given.
//!
//! Called by: `apply` (at run time and at replay alike), lookups, the checkpoint. Invariants: a delta's entries rise;
//! `weight` bounds both memory and what one checkpoint may free.

use crate::tree::{CHUNK_BLOCKS, Key, Mapping};
use crate::wire::{count32, index};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a delta starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Base {
    /// The page in the tree.
    #[default]
    Keep,
    /// Nothing: the layer says nothing about any block.
    Absent,
    /// All zeroes.
    Zero,
}

/// Changes to one map page.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// What it starts from.
    pub base: Base,
    /// At the checkpoint, entries that are still absent are taken from these layers' pages of the same chunk, in this
    /// order; each with the changes that it had when it was absorbed. (More than one, or any changes, only after a
    /// mount that had to replay two generations.)
    pub absorbed: Vec<(u64, Delta)>,
    /// Absorbed by a child: here for lookups only, the checkpoint finds it there.
    pub moved: bool,
    /// Changed entries, by index.
    pub entries: Vec<(u16, Mapping)>,
}

/// What an overlay knows of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// This.
    Yes(Mapping),
    /// Ask below.
    No,
}

/// Runs of blocks whose state differs from the committed space map. Later calls win.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    runs: BTreeMap<u32, (u32, bool)>,
}

impl Pending {
    /// Sets the state of a run.
    pub fn set(&mut self, first: u32, len: u32, used: bool) {
        if len == 0 {
            return;
        }
        let end = first.saturating_add(len);
        self.cut(first);
        self.cut(end);
        while let Some((at, _)) = self.runs.range(first..end).next() {
            let at = *at;
            self.runs.remove(&at);
        }
        if let Some((at, (before, state))) = self.runs.range_mut(..first).next_back()
            && *state == used
            && at.saturating_add(*before) == first
        {
            *before = before.saturating_add(len);
            return;
        }
        self.runs.insert(first, (len, used));
    }

    /// Splits the run that contains `at` without starting there.
    fn cut(&mut self, at: u32) {
        let Some((start, (len, used))) = self.runs.range_mut(..at).next_back() else { return };
        let end = start.saturating_add(*len);
        if end > at {
            let tail = (end.saturating_sub(at), *used);
            *len = at.saturating_sub(*start);
            self.runs.insert(at, tail);
        }
    }

    /// Runs that touch `first..first+len`, in order, clipped to it.
    pub fn within(&self, first: u32, len: u32) -> impl Iterator<Item = (u32, u32, bool)> + '_ {
        let end = first.saturating_add(len);
        let before = self.runs.range(..first).next_back();
        before.into_iter().chain(self.runs.range(first..end)).filter_map(move |(at, (n, used))| {
            let from = (*at).max(first);
            let to = at.saturating_add(*n).min(end);
            (from < to).then(|| (from, to.saturating_sub(from), *used))
        })
    }

    /// The first run at or behind `block`.
    pub fn next_from(&self, block: u32) -> Option<u32> {
        self.within(block, u32::MAX.saturating_sub(block)).next().map(|(at, ..)| at)
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (u32, u32, bool)> + '_ {
        self.runs.iter().map(|(at, (len, used))| (*at, *len, *used))
    }
}

/// All that one generation changes.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// Deltas by layer and chunk.
    pub chunks: BTreeMap<Key, Delta>,
    /// New contents of catalog entries; `None` removes.
    pub records: BTreeMap<u64, Option<Vec<u8>>>,
    /// Space taken and given.
    pub space: Pending,
    /// Entries, and 508 for each page that is dropped or absorbed.
    pub weight: usize,
    /// Blocks that were handed out for it.
    pub taken: u64,
    /// Its first log block.
    pub log_start: u64,
}

/// The page of a block of a layer, and the entry in it.
pub fn locate(layer: u64, block: u64) -> (Key, u16) {
    let entry = u16::try_from(block % CHUNK_BLOCKS).unwrap_or(0);
    (Key { owner: layer, index: block / CHUNK_BLOCKS }, entry)
}

impl Generation {
    /// Nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.records.is_empty()
    }

    /// What is known of an entry.
    pub fn lookup(&self, key: Key, entry: u16) -> Known {
        self.chunks.get(&key).map_or(Known::No, |delta| delta.lookup(entry))
    }
}

impl Delta {
    /// What is known of an entry, without what is absorbed.
    pub fn lookup(&self, entry: u16) -> Known {
        let delta = self;
        if let Ok(at) = delta.entries.binary_search_by_key(&entry, |(e, _)| *e) {
            return delta.entries.get(at).map_or(Known::No, |(_, mapping)| Known::Yes(*mapping));
        }
        match delta.base {
            Base::Keep => Known::No,
            Base::Absent => Known::Yes(Mapping::ABSENT),
            Base::Zero => Known::Yes(Mapping::ZERO),
        }
    }
}

impl Delta {
    /// Sets one entry, and gives back how many were added: one, or none. A block that it replaces goes back.
    fn put(&mut self, entry: u16, mapping: Mapping, space: &mut Pending) -> usize {
        match self.entries.binary_search_by_key(&entry, |(e, _)| *e) {
            Ok(at) => {
                if let Some((_, old)) = self.entries.get_mut(at) {
                    if old.is_data() && old.block != mapping.block {
                        space.set(old.block, 1, false);
                    }
                    *old = mapping;
                }
                0
            }
            Err(at) => {
                self.entries.insert(at, (entry, mapping));
                1
            }
        }
    }

    /// What is known of the entries from `first` on, for those that nothing is known of yet; without what is absorbed.
    pub fn lookup_run(&self, first: u16, into: &mut [Option<Mapping>]) {
        let start = self.entries.partition_point(|(entry, _)| *entry < first);
        for (entry, mapping) in self.entries.get(start..).unwrap_or_default() {
            match into.get_mut(usize::from(entry.saturating_sub(first))) {
                Some(place) => place.get_or_insert(*mapping),
                None => break,
            };
        }
        let rest = match self.base {
            Base::Keep => return,
            Base::Absent => Mapping::ABSENT,
            Base::Zero => Mapping::ZERO,
        };
        for place in into {
            place.get_or_insert(rest);
        }
    }
}

impl Generation {
    /// Sets one entry; a block that it replaces within this generation is given back.
    pub fn set(&mut self, layer: u64, block: u64, mapping: Mapping) {
        let (key, entry) = locate(layer, block);
        let delta = self.chunks.entry(key).or_default();
        // "The layer says nothing" would let what is absorbed shine through.
        let hidden = mapping == Mapping::ABSENT && !delta.absorbed.is_empty();
        let mapping = if hidden { Mapping::ZERO } else { mapping };
        if mapping.is_data() {
            self.space.set(mapping.block, 1, true);
        }
        self.weight = self.weight.saturating_add(delta.put(entry, mapping, &mut self.space));
    }

    /// Blocks `block..` of a layer now lie at `first..`, with these checksums.
    pub fn set_run(&mut self, layer: u64, block: u64, first: u32, crcs: &[u32]) {
        self.space.set(first, count32(crcs.len()), true);
        let (mut block, mut first, mut left) = (block, first, crcs);
        while !left.is_empty() {
            let (key, entry) = locate(layer, block);
            let in_chunk = index(CHUNK_BLOCKS).saturating_sub(usize::from(entry));
            let (piece, rest) = left.split_at(left.len().min(in_chunk));
            let mappings = (first..).zip(piece).map(|(block, crc)| Mapping { block, crc: *crc });
            let delta = self.chunks.entry(key).or_default();
            let mut added = piece.len();
            if delta.entries.last().is_none_or(|(last, _)| *last < entry) {
                delta.entries.extend((entry..).zip(mappings));
            } else {
                added = (entry..).zip(mappings).map(|(at, to)| delta.put(at, to, &mut self.space)).sum();
            }
            self.weight = self.weight.saturating_add(added);
            block = block.saturating_add(piece.len() as u64);
            first = first.saturating_add(count32(piece.len()));
            left = rest;
        }
    }

    /// Replaces a whole page by nothing or zeroes.
    pub fn clear(&mut self, layer: u64, chunk: u64, base: Base) {
        let delta = self.chunks.entry(Key { owner: layer, index: chunk }).or_default();
        for (_, old) in delta.entries.drain(..) {
            if old.is_data() {
                self.space.set(old.block, 1, false);
            }
        }
        if delta.base == Base::Keep {
            self.weight = self.weight.saturating_add(index(CHUNK_BLOCKS));
        }
        delta.base = if delta.absorbed.is_empty() { base } else { Base::Zero };
    }

    /// Lets a child's page absorb its parent's at the checkpoint.
    pub fn absorb(&mut self, parent: u64, child: u64, chunk: u64) {
        let mut captured = Delta::default();
        if let Some(theirs) = self.chunks.get_mut(&Key { owner: parent, index: chunk }) {
            captured = theirs.clone();
            theirs.moved = true;
        }
        let below = core::mem::take(&mut captured.absorbed);
        let captured_weight = below
            .iter()
            .map(|(_, delta)| delta)
            .chain([&captured])
            .map(|delta| delta.entries.len().saturating_add(16))
            .fold(0, usize::saturating_add);
        let delta = self.chunks.entry(Key { owner: child, index: chunk }).or_default();
        delta.absorbed.push((parent, captured));
        delta.absorbed.extend(below);
        self.weight = self.weight.saturating_add(index(CHUNK_BLOCKS)).saturating_add(captured_weight);
    }

    /// About how much memory it takes, by what is found on 64-bit PEs; never too little by half.
    pub fn bytes(&self) -> usize {
        let parts = [(self.weight, 12), (self.chunks.len(), 180), (self.records.len(), 400)];
        let runs = (self.space.runs.len(), 32);
        parts.into_iter().chain([runs]).map(|(n, each)| n.saturating_mul(each)).fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::Pending;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pending_is_what_was_set_last(ops in prop::collection::vec((0u32..64, 1u32..16, any::<bool>()), 1..40)) {
            let mut pending = Pending::default();
            let mut model = [None; 80];
            for (first, len, used) in ops {
                pending.set(first, len, used);
                for slot in &mut model[first as usize..(first + len) as usize] {
                    *slot = Some(used);
                }
                let mut seen = [None; 80];
                for (at, n, state) in pending.iter() {
                    for slot in &mut seen[at as usize..(at + n) as usize] {
                        prop_assert!(slot.is_none(), "runs overlap");
                        *slot = Some(state);
                    }
                }
                prop_assert_eq!(seen, model);
            }
        }
    }
}
