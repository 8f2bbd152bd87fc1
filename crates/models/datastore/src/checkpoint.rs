//! The checkpoint: one generation merged into the tree, and a new root.
//!
//! Called by: `poll`, one page per step. Order: map and record pages, nodes level by level, bitmaps, group table,
//! device flush, root, device flush. Invariants: nothing that the root or the root before it names is overwritten; a
//! failed attempt is dropped whole and begun again; the new root is the only thing that makes any of it count.

use crate::error::{Event, ReadOnly};
use crate::format::{
    Group, HEADER_BYTES, Pointer, ROOT_BLOCKS, Root, count_used, encode_groups, fresh_bitmap, mark,
    seal_bitmap,
};
use crate::merge::LevelPass;
use crate::overlay::{Generation, Pending};
use crate::port::{BlockPort, Io, IoDone, IoOp};
use crate::store::{KIND_CHECKPOINT, Need, Store, Wait, has_defect, token};
use crate::tree::Key;
use crate::wire::{PageBytes, index, low32};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Pages of a checkpoint on their way to the device at once.
const MAX_OUTSTANDING: usize = 24;
const MAX_FAILURES: u32 = 3;
/// A metadata page and its copy.
const COPIES: usize = 2;

/// Where a checkpoint is.
pub(crate) enum Phase {
    Pages(Option<Key>),
    Records(Option<u64>),
    Tree(LevelPass),
    Bitmaps(u32),
    Tables(u32),
    Settle(Option<u64>),
    Root(Option<u64>),
}

/// An attempt to write a new root.
pub(crate) struct Checkpoint {
    /// Metadata blocks taken and given by this attempt.
    pub space: Pending,
    pub taken: u64,
    pub phase: Phase,
    pub outstanding: BTreeMap<u32, Option<u32>>,
    /// It has come to nothing: this is why, if that happens again and again.
    pub failed: Option<ReadOnly>,
    pub updates: BTreeMap<Key, Option<Pointer>>,
    /// Blocks taken for the next page to be written.
    pub stash: Vec<u32>,
    pub root: Root,
    groups: BTreeMap<u32, Group>,
}

/// Why a step did not get on.
pub(crate) enum Stall {
    /// Something is under way; try again.
    Wait,
    /// The attempt is over.
    Fail(ReadOnly),
    /// Metadata is unreadable.
    Damaged,
}

type Step<T> = Result<T, Stall>;

impl Checkpoint {
    /// It has not failed. When it has, the pages on their way come back first: a later attempt must not meet them.
    fn is_going_on(&self) -> Step<()> {
        match self.failed {
            Some(why) if self.outstanding.is_empty() => Err(Stall::Fail(why)),
            Some(_) => Err(Stall::Wait),
            None => Ok(()),
        }
    }
}

impl<P: BlockPort> Store<P> {
    /// Asks for a checkpoint at the next occasion, and for the device flushes that it needs.
    pub fn request_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
        self.checkpoint_forced = true;
    }

    /// Everything is in the tree and the root is on stable storage: the log is empty.
    pub fn is_settled(&self) -> bool {
        let quiet = self.frozen.is_none() && self.checkpoint.is_none() && !self.checkpoint_wanted;
        self.active.is_empty() && quiet
    }

    pub(crate) fn step_checkpoint(&mut self) -> bool {
        // What led there (a page that can't be read) would be tried for ever.
        if self.read_only.is_some() {
            return false;
        }
        if self.checkpoint.is_none() && !self.begin_checkpoint() {
            return false;
        }
        let Some(frozen) = self.frozen.take() else { return false };
        let Some(mut attempt) = self.checkpoint.take() else { return false };
        let result = self.advance(&frozen, &mut attempt);
        self.frozen = Some(frozen);
        self.checkpoint = Some(attempt);
        match result {
            Ok(()) if self.commit_root => {
                self.finish_checkpoint();
                true
            }
            Ok(()) => true,
            Err(Stall::Wait) => false,
            Err(Stall::Fail(why)) => {
                self.abort_checkpoint(why);
                true
            }
            Err(Stall::Damaged) => {
                self.become_read_only(ReadOnly::MetadataDamaged);
                false
            }
        }
    }

    fn begin_checkpoint(&mut self) -> bool {
        if self.scrub.as_ref().is_some_and(|scrub| scrub.repairing) {
            return false;
        }
        if self.frozen.is_none() {
            if !self.checkpoint_wanted {
                return false;
            }
            self.checkpoint_wanted = false;
            // A made-up root may let the log be full without a change in it: the next root begins it anew.
            let makes_room = self.space.freed > 0 || self.log_is_full();
            let useful = !self.active.is_empty() || makes_room || self.grown_from.is_some();
            if !useful {
                self.checkpoint_forced = false;
                self.wake(|wait| matches!(wait, Wait::Space | Wait::Log));
                return false;
            }
            self.log.seal(false, &|page| self.port.checksum(page));
            let fresh = Generation { log_start: self.log.next_seq, ..Generation::default() };
            self.frozen = Some(core::mem::replace(&mut self.active, fresh));
            self.frozen_tag = self.log.tag;
            self.wake(|wait| matches!(wait, Wait::Space | Wait::Log));
        }
        let root = Root {
            generation: self.root.generation.saturating_add(1),
            log_seq: self.active.log_start,
            log_tag: self.frozen_tag,
            next_id: self.next_id,
            freed: 0,
            blocks: self.space.geometry.blocks,
            ..self.root.clone()
        };
        // Every group table that has a new group is written anew.
        let geometry = self.space.geometry;
        let mut root = root;
        root.tables.resize(index(u64::from(geometry.tables())), (0, 0));
        let from = self.grown_from.map_or(geometry.groups(), |groups| groups.saturating_sub(1));
        let groups = (from..geometry.groups())
            .filter_map(|g| Some((g, *self.space.groups.get(index(u64::from(g)))?)))
            .collect();
        self.checkpoint = Some(Checkpoint {
            space: Pending::default(),
            taken: 0,
            phase: Phase::Pages(None),
            outstanding: BTreeMap::new(),
            failed: None,
            updates: BTreeMap::new(),
            stash: Vec::new(),
            root,
            groups,
        });
        true
    }

    fn abort_checkpoint(&mut self, why: ReadOnly) {
        let Some(attempt) = self.checkpoint.take() else { return };
        self.space.taken = self.space.taken.saturating_sub(attempt.taken);
        self.space.retry();
        self.checkpoint_failures = self.checkpoint_failures.saturating_add(1);
        if self.checkpoint_failures >= MAX_FAILURES {
            self.become_read_only(why);
        }
    }

    fn advance(&mut self, frozen: &Generation, attempt: &mut Checkpoint) -> Step<()> {
        attempt.is_going_on()?;
        if attempt.outstanding.len() >= MAX_OUTSTANDING {
            return Err(Stall::Wait);
        }
        match &mut attempt.phase {
            Phase::Pages(after) => {
                let after = *after;
                self.step_pages(frozen, attempt, after)
            }
            Phase::Records(after) => {
                let after = *after;
                self.step_records(frozen, attempt, after)
            }
            Phase::Tree(_) => self.step_tree(attempt),
            Phase::Bitmaps(from) => {
                let from = *from;
                self.step_bitmaps(frozen, attempt, from)
            }
            Phase::Tables(table) => {
                let table = *table;
                self.step_tables(attempt, table)
            }
            Phase::Settle(flush) => {
                let flush = *flush;
                self.step_settle(attempt, flush)
            }
            Phase::Root(flush) => {
                let flush = *flush;
                self.step_root(attempt, flush)
            }
        }
    }

    /// What the need for a page means to a checkpoint.
    pub(crate) fn stall(&mut self, need: Need) -> Stall {
        match need {
            Need::Page(pointer) => {
                self.fetch(pointer);
                Stall::Wait
            }
            Need::Failed(_) => Stall::Damaged,
        }
    }

    /// Sees to it that blocks for a page and its copy are in the stash.
    pub(crate) fn stash(&mut self, attempt: &mut Checkpoint) -> Step<()> {
        while attempt.stash.len() < COPIES {
            let Some((block, n)) = self.space.allocate(1) else {
                if self.space.is_exhausted() {
                    attempt.failed = Some(ReadOnly::NoRoom);
                    return attempt.is_going_on();
                }
                self.group_wanted = true;
                return Err(Stall::Wait);
            };
            attempt.taken = attempt.taken.saturating_add(u64::from(n));
            attempt.space.set(block, n, true);
            attempt.stash.push(block);
        }
        if self.pool.len() < COPIES { Err(Stall::Wait) } else { Ok(()) }
    }

    /// Writes a page and its copy to stashed blocks.
    pub(crate) fn write_page(&mut self, attempt: &mut Checkpoint, bytes: &PageBytes) -> Pointer {
        let crc = self.port.checksum(bytes);
        let block = attempt.stash.pop().unwrap_or(0);
        let copy = attempt.stash.pop().unwrap_or(0);
        self.send_page(attempt, block, bytes, Some(crc));
        self.send_page(attempt, copy, bytes, None);
        Pointer { block, copy, crc }
    }

    fn send_page(&mut self, attempt: &mut Checkpoint, block: u32, bytes: &PageBytes, cache: Option<u32>) {
        let Some(mut page) = self.pool.pop() else {
            attempt.failed = Some(ReadOnly::WritesFailed);
            return;
        };
        page.as_mut().copy_from_slice(bytes);
        attempt.outstanding.insert(block, cache);
        let token = token(KIND_CHECKPOINT, u64::from(block));
        self.send(Io { token, op: IoOp::Write, block, pages: Vec::from([page]) });
    }

    pub(crate) fn finish_checkpoint_io(&mut self, block: u64, mut done: IoDone<P::Page>) {
        self.note_write(done.result.is_ok());
        let block = low32(block);
        if done.result.is_err() && ROOT_BLOCKS.contains(&block) && self.read_only.is_none() {
            // It may be there all the same, and then nothing that it names may be written again: only the same root.
            let token = token(KIND_CHECKPOINT, u64::from(block));
            return self.send(Io { token, op: IoOp::Write, block, pages: done.pages });
        }
        let Some(attempt) = self.checkpoint.as_mut() else { return self.pool.extend(done.pages) };
        let cache = attempt.outstanding.remove(&block).flatten();
        if done.result.is_err() {
            attempt.failed = Some(ReadOnly::WritesFailed);
        }
        if let Some(crc) = cache
            && done.result.is_ok()
            && let Some(page) = done.pages.pop()
        {
            let evicted = self.cache.insert(block, crc, page);
            return self.pool.extend(evicted);
        }
        self.pool.extend(done.pages);
    }

    /// Gives a replaced page's blocks back.
    pub(crate) fn release(attempt: &mut Checkpoint, pointer: Pointer) {
        for block in [pointer.block, pointer.copy] {
            if block != 0 {
                attempt.space.set(block, 1, false);
            }
        }
    }

    fn step_bitmaps(&mut self, frozen: &Generation, attempt: &mut Checkpoint, from: u32) -> Step<()> {
        // What was taken for a page that was not needed.
        for block in attempt.stash.drain(..) {
            attempt.space.set(block, 1, false);
        }
        let geometry = self.space.geometry;
        let next = [frozen.space.next_from(from), attempt.space.next_from(from)].into_iter().flatten().min();
        // What a made-up map named behind the end, and no longer names, has no bit.
        let Some(block) = next.filter(|block| *block < geometry.blocks) else {
            attempt.phase = Phase::Tables(0);
            return Ok(());
        };
        let group = block / crate::format::GROUP_BLOCKS;
        let (start, len) = (geometry.group_start(group), geometry.group_len(group));
        attempt.phase = Phase::Bitmaps(start.saturating_add(len.max(1)));
        let Some(entry) = self.space.groups.get(index(u64::from(group))).copied() else { return Ok(()) };
        let mut bits: Box<PageBytes> = Box::new([0; crate::wire::BLOCK_BYTES]);
        if entry.fresh {
            fresh_bitmap(geometry, group, &mut bits);
        } else {
            let at = geometry.bitmap_block(group, u32::from(entry.slot));
            match self.page(Pointer { block: at, copy: 0, crc: entry.crc }) {
                Ok(page) => bits.copy_from_slice(page),
                Err(need @ Need::Page(_)) => {
                    attempt.phase = Phase::Bitmaps(from);
                    return Err(self.stall(need));
                }
                Err(Need::Failed(_)) => {
                    let mut pending = [&frozen.space, &attempt.space].into_iter();
                    if pending.any(|p| p.within(start, len).any(|(.., used)| used)) {
                        // A root whose space map calls blocks free that it uses must never be.
                        attempt.failed = Some(ReadOnly::MetadataDamaged);
                        return Ok(());
                    }
                    // What is freed there stays lost until a scrub on a PC rebuilds the space map; nothing is handed out there.
                    self.report(Event::GroupLost { group });
                    return Ok(());
                }
            }
        }
        let before = bits.clone();
        for pending in [&frozen.space, &attempt.space] {
            for (at, n, used) in pending.within(start, len) {
                mark(&mut bits, at.saturating_sub(start), n, used);
            }
        }
        let freed: u32 =
            before.iter().zip(bits.iter()).skip(HEADER_BYTES).map(|(b, a)| (b & !a).count_ones()).sum();
        attempt.root.freed = attempt.root.freed.saturating_add(u64::from(freed));
        seal_bitmap(group, attempt.root.generation, &mut bits, &|page| self.port.checksum(page));
        let slot = (entry.slot.saturating_add(1)) % 3;
        let crc = self.port.checksum(&bits);
        let free = u16::try_from(len.saturating_sub(count_used(&bits, len))).unwrap_or(0);
        attempt.groups.insert(group, Group { crc, free, slot, fresh: false });
        self.send_page(attempt, geometry.bitmap_block(group, u32::from(slot)), &bits, Some(crc));
        Ok(())
    }

    fn step_tables(&mut self, attempt: &mut Checkpoint, table: u32) -> Step<()> {
        let per = crate::format::GROUPS_PER_TABLE;
        let first = table.saturating_mul(per);
        let Some((group, _)) = attempt.groups.range(first..).next() else {
            attempt.phase = Phase::Settle(None);
            return Ok(());
        };
        let table = group / per;
        let first = index(u64::from(table.saturating_mul(per)));
        let mut groups: Vec<Group> =
            self.space.groups.iter().skip(first).take(index(u64::from(per))).copied().collect();
        for (group, entry) in attempt.groups.range(table.saturating_mul(per)..) {
            if let Some(place) = groups.get_mut(index(u64::from(*group)).saturating_sub(first)) {
                *place = *entry;
            }
        }
        let mut page: Box<PageBytes> = Box::new([0; crate::wire::BLOCK_BYTES]);
        encode_groups(table, attempt.root.generation, &groups, &mut page);
        let crc = self.port.checksum(&page);
        if let Some(place) = attempt.root.tables.get_mut(index(u64::from(table))) {
            let slot = place.1.saturating_add(1) % 3;
            *place = (crc, slot);
            self.send_page(attempt, self.space.geometry.table_block(table, slot), &page, None);
        }
        attempt.phase = Phase::Tables(table.saturating_add(1));
        Ok(())
    }

    /// Someone waits for this checkpoint: it may ask for a device flush of its own.
    fn is_pressed(&self) -> bool {
        let waits = |wait: Wait| matches!(wait, Wait::Space | Wait::Log);
        let slots = self.slots.iter().flatten().any(|slot| waits(slot.wait));
        slots || self.checkpoint_forced || self.collecting() || self.generation_half_full()
    }

    /// Waits for a device flush that starts from now on. `Ok(true)`: it is done.
    fn await_flush(&mut self, flush: &mut Option<u64>) -> bool {
        let wanted = *flush.get_or_insert(self.flusher.started.saturating_add(1));
        if self.flusher.done >= wanted {
            return true;
        }
        if self.is_pressed() && self.flusher.started < wanted {
            self.flusher.wanted = true;
        }
        false
    }

    fn step_settle(&mut self, attempt: &mut Checkpoint, mut flush: Option<u64>) -> Step<()> {
        if !attempt.outstanding.is_empty() {
            return Err(Stall::Wait);
        }
        let done = self.await_flush(&mut flush);
        attempt.phase = Phase::Settle(flush);
        if !done && !has_defect!(self, RootUnflushed) {
            return Err(Stall::Wait);
        }
        // The older root's log ends here for good: from the root on, blocks that it names may be reused, so a mount that
        // falls back must not judge them by their data.
        self.log.mark(&|page| self.port.checksum(page));
        let mut page: Box<PageBytes> = Box::new([0; crate::wire::BLOCK_BYTES]);
        attempt.root.encode(&self.superblock.uuid, &mut page);
        let at = ROOT_BLOCKS.get(index(attempt.root.generation % 2)).copied().unwrap_or(1);
        self.send_page(attempt, at, &page, None);
        attempt.phase = Phase::Root(None);
        Ok(())
    }

    fn step_root(&mut self, attempt: &mut Checkpoint, mut flush: Option<u64>) -> Step<()> {
        if !attempt.outstanding.is_empty() {
            return Err(Stall::Wait);
        }
        let done = self.await_flush(&mut flush);
        attempt.phase = Phase::Root(flush);
        if !done {
            return Err(Stall::Wait);
        }
        self.commit_root = true;
        Ok(())
    }

    /// The new root is on stable storage.
    pub(crate) fn finish_checkpoint(&mut self) {
        self.commit_root = false;
        self.grown_from = None;
        let (Some(attempt), Some(frozen)) = (self.checkpoint.take(), self.frozen.take()) else { return };
        self.log_kept = self.root.log_seq;
        self.root = attempt.root;
        for (group, entry) in &attempt.groups {
            if let Some(place) = self.space.groups.get_mut(index(u64::from(*group))) {
                *place = *entry;
            }
        }
        self.space.free = self.space.groups.iter().map(|g| u64::from(g.free)).sum();
        self.space.freed = self.root.freed;
        self.space.taken = self.space.taken.saturating_sub(frozen.taken).saturating_sub(attempt.taken);
        self.space.retry();
        self.checkpoint_failures = 0;
        self.checkpoint_forced = self.checkpoint_wanted && self.checkpoint_forced;
        self.stats.checkpoints = self.stats.checkpoints.saturating_add(1);
        self.wake(|wait| matches!(wait, Wait::Space | Wait::Log));
    }
}
