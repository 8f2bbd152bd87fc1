//! A generation's changes put into pages and nodes: the middle of a checkpoint.
//!
//! Called by: the checkpoint. Changes come sorted, so that each page and each node is read and written once; a level's
//! new nodes are the changes of the level above. Memory: the changes, and one node.

use crate::checkpoint::{Checkpoint, Phase, Stall};
use crate::format::Pointer;
use crate::overlay::{Base, Delta, Generation};
use crate::port::BlockPort;
use crate::store::Store;
use crate::tree::{
    CATALOG, CHUNK_BLOCKS, Key, Mapping, NODE_ENTRIES, encode_node, encode_record, magic_of, map_entry,
    node_entries, node_len, set_map_entry, stamp,
};
use crate::wire::{BLOCK_BYTES, PageBytes, count32};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

type Step<T> = Result<T, Stall>;

/// One level being rewritten.
pub(crate) struct LevelPass {
    pub level: u16,
    /// Changes of this level that are left.
    pub updates: BTreeMap<Key, Option<Pointer>>,
    /// Changes of the level above.
    pub above: BTreeMap<Key, Option<Pointer>>,
    node: Option<NodeWork>,
}

/// What becomes of one old node.
struct NodeWork {
    entries: Vec<(Key, Pointer)>,
    at: usize,
    per: usize,
    separator: Option<Key>,
}

impl LevelPass {
    pub(crate) fn new(level: u16, updates: BTreeMap<Key, Option<Pointer>>) -> Self {
        Self { level, updates, above: BTreeMap::new(), node: None }
    }
}

fn entry_indices() -> impl Iterator<Item = u16> {
    0..u16::try_from(CHUNK_BLOCKS).unwrap_or(0)
}

/// Puts a delta over a page; gives back blocks that the layer no longer has, to `freed`.
fn overlay_page(page: &mut PageBytes, delta: &Delta, freed: &mut Vec<u32>) {
    if delta.base != Base::Keep {
        let fill = if delta.base == Base::Zero { Mapping::ZERO } else { Mapping::ABSENT };
        for i in entry_indices() {
            let old = map_entry(page, i);
            if old.is_data() {
                freed.push(old.block);
            }
            set_map_entry(page, i, fill);
        }
    }
    for (i, mapping) in &delta.entries {
        let old = map_entry(page, *i);
        if old.is_data() && old.block != mapping.block {
            freed.push(old.block);
        }
        set_map_entry(page, *i, *mapping);
    }
}

/// Takes over what a parent's page has and this one does not.
fn absorb_page(page: &mut PageBytes, parent: &PageBytes, freed: &mut Vec<u32>) {
    for i in entry_indices() {
        let theirs = map_entry(parent, i);
        if map_entry(page, i) == Mapping::ABSENT {
            set_map_entry(page, i, theirs);
        } else if theirs.is_data() {
            freed.push(theirs.block);
        }
    }
}

impl<P: BlockPort> Store<P> {
    fn page_copy(&mut self, key: Key) -> Step<Option<(Pointer, Box<PageBytes>)>> {
        let found = self.tree_get(key).map_err(|need| self.stall(need))?;
        let Some(pointer) = found else { return Ok(None) };
        match self.keyed_page(key, pointer) {
            Ok(page) => Ok(Some((pointer, Box::new(*page)))),
            Err(need) => Err(self.stall(need)),
        }
    }

    /// One map page.
    pub(crate) fn step_pages(
        &mut self,
        frozen: &Generation,
        attempt: &mut Checkpoint,
        after: Option<Key>,
    ) -> Step<()> {
        let from = after.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        let Some((key, delta)) = frozen.chunks.range((from, core::ops::Bound::Unbounded)).next() else {
            attempt.phase = Phase::Records(None);
            return Ok(());
        };
        if delta.moved {
            attempt.phase = Phase::Pages(Some(*key));
            return Ok(());
        }
        self.stash(attempt)?;
        let old = self.page_copy(*key)?;
        let mut parents = Vec::new();
        for (owner, changes) in &delta.absorbed {
            let parent_key = Key { owner: *owner, index: key.index };
            parents.push((parent_key, changes, self.page_copy(parent_key)?));
        }
        let (old_pointer, mut page) = match old {
            Some((pointer, page)) => (Some(pointer), page),
            None => (None, Box::new([0; BLOCK_BYTES])),
        };
        let mut freed = Vec::new();
        overlay_page(&mut page, delta, &mut freed);
        for (parent_key, changes, parent) in parents {
            let mut below = Box::new([0; BLOCK_BYTES]);
            if let Some((pointer, parent)) = parent {
                below = parent;
                Self::release(attempt, pointer);
                attempt.updates.insert(parent_key, None);
            }
            overlay_page(&mut below, changes, &mut freed);
            absorb_page(&mut page, &below, &mut freed);
        }
        stamp(magic_of(*key), *key, &mut page);
        for run in freed.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            run.first().into_iter().for_each(|first| attempt.space.set(*first, count32(run.len()), false));
        }
        if let Some(pointer) = old_pointer {
            Self::release(attempt, pointer);
        }
        // Zeroes of a layer that is gone hide nothing.
        let gone = self.catalog.get(key.owner).is_none();
        let says_nothing = |m: Mapping| m == Mapping::ABSENT || (gone && !m.is_data());
        if entry_indices().all(|i| says_nothing(map_entry(&page, i))) {
            if old_pointer.is_some() {
                attempt.updates.insert(*key, None);
            }
        } else {
            let pointer = self.write_page(attempt, &page);
            attempt.updates.insert(*key, Some(pointer));
        }
        attempt.phase = Phase::Pages(Some(*key));
        Ok(())
    }

    /// One catalog entry.
    pub(crate) fn step_records(
        &mut self,
        frozen: &Generation,
        attempt: &mut Checkpoint,
        after: Option<u64>,
    ) -> Step<()> {
        let from = after.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        let Some((id, bytes)) = frozen.records.range((from, core::ops::Bound::Unbounded)).next() else {
            let updates = core::mem::take(&mut attempt.updates);
            let nothing = updates.is_empty();
            attempt.phase = if nothing { Phase::Bitmaps(0) } else { Phase::Tree(LevelPass::new(0, updates)) };
            return Ok(());
        };
        self.stash(attempt)?;
        let key = Key { owner: CATALOG, index: *id };
        let old = self.tree_get(key).map_err(|need| self.stall(need))?;
        if let Some(pointer) = old {
            Self::release(attempt, pointer);
        }
        match bytes {
            Some(bytes) => {
                let mut page = Box::new([0; BLOCK_BYTES]);
                encode_record(*id, bytes, &mut page);
                let pointer = self.write_page(attempt, &page);
                attempt.updates.insert(key, Some(pointer));
            }
            None if old.is_some() => {
                attempt.updates.insert(key, None);
            }
            None => {}
        }
        attempt.phase = Phase::Records(Some(*id));
        Ok(())
    }

    /// One new node, or one old node opened.
    pub(crate) fn step_tree(&mut self, attempt: &mut Checkpoint) -> Step<()> {
        self.stash(attempt)?;
        let Phase::Tree(mut pass) = core::mem::replace(&mut attempt.phase, Phase::Bitmaps(0)) else {
            return Ok(());
        };
        let result = self.step_level(attempt, &mut pass);
        match result {
            Ok(true) => {
                self.end_level(attempt, pass);
                Ok(())
            }
            Ok(false) => {
                attempt.phase = Phase::Tree(pass);
                Ok(())
            }
            Err(stall) => {
                attempt.phase = Phase::Tree(pass);
                Err(stall)
            }
        }
    }

    fn step_level(&mut self, attempt: &mut Checkpoint, pass: &mut LevelPass) -> Step<bool> {
        if pass.node.is_none() {
            let Some((key, _)) = pass.updates.first_key_value() else { return Ok(true) };
            let key = *key;
            pass.node = Some(self.open_node(attempt, pass, key)?);
            return Ok(false);
        }
        let Some(work) = pass.node.as_mut() else { return Ok(false) };
        let end = work.at.saturating_add(work.per).min(work.entries.len());
        let entries = work.entries.get(work.at..end).unwrap_or_default();
        let Some((first, _)) = entries.first() else {
            if work.entries.is_empty()
                && let Some(separator) = work.separator
            {
                pass.above.insert(separator, None);
            }
            pass.node = None;
            return Ok(false);
        };
        let mut key = *first;
        let mut page = Box::new([0; BLOCK_BYTES]);
        encode_node(pass.level, entries, &mut page);
        if work.at == 0
            && let Some(separator) = work.separator
        {
            key = key.min(separator);
            if key != separator {
                pass.above.insert(separator, None);
            }
        }
        work.at = end;
        let pointer = self.write_page(attempt, &page);
        pass.above.insert(key, Some(pointer));
        Ok(false)
    }

    /// The old node that is responsible for `key`, with all its changes.
    fn open_node(&mut self, attempt: &mut Checkpoint, pass: &mut LevelPass, key: Key) -> Step<NodeWork> {
        let found = self.descend(key, pass.level).map_err(|need| self.stall(need))?;
        let mut old = Vec::new();
        let (mut bound, mut separator) = (None, None);
        if let Some(found) = found {
            match self.page(found.pointer) {
                Ok(page) => {
                    let count = node_len(page, pass.level).ok_or(Stall::Damaged)?;
                    old = node_entries(page, count);
                }
                Err(need) => return Err(self.stall(need)),
            }
            Self::release(attempt, found.pointer);
            (bound, separator) = (found.bound, found.separator);
        }
        let rest = bound.map(|bound| pass.updates.split_off(&bound)).unwrap_or_default();
        let changes = core::mem::replace(&mut pass.updates, rest);
        let mut merged: Vec<(Key, Pointer)> = Vec::with_capacity(old.len().saturating_add(changes.len()));
        let mut old = old.into_iter().peekable();
        for (key, change) in changes {
            while let Some(entry) = old.next_if(|(k, _)| *k < key) {
                merged.push(entry);
            }
            old.next_if(|(k, _)| *k == key);
            merged.extend(change.map(|pointer| (key, pointer)));
        }
        merged.extend(old);
        let nodes = merged.len().div_ceil(NODE_ENTRIES).max(1);
        let per = merged.len().div_ceil(nodes).max(1);
        Ok(NodeWork { entries: merged, at: 0, per, separator })
    }

    /// A level is done: go one up, or that was the root.
    fn end_level(&mut self, attempt: &mut Checkpoint, pass: LevelPass) {
        let old_root = self.root.tree.block != 0;
        if old_root && pass.level < self.root.level {
            if pass.above.is_empty() {
                attempt.phase = Phase::Bitmaps(0);
                return;
            }
            attempt.phase = Phase::Tree(LevelPass::new(pass.level.saturating_add(1), pass.above));
            return;
        }
        let live: Vec<Pointer> = pass.above.values().copied().flatten().collect();
        match live.as_slice() {
            [] => (attempt.root.tree, attempt.root.level) = (Pointer::default(), 0),
            [one] => (attempt.root.tree, attempt.root.level) = (*one, pass.level),
            _ => {
                attempt.phase = Phase::Tree(LevelPass::new(pass.level.saturating_add(1), pass.above));
                return;
            }
        }
        attempt.phase = Phase::Bitmaps(0);
    }
}
