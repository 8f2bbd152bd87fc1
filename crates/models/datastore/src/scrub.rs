//! Scrub: reads everything that the committed tree names, in the background, and writes good copies over bad ones.
//!
//! Called by: `poll`, one request to the device at a time. The walk goes by keys, so that checkpoints may come in
//! between. Invariants: what is written is what the tree names at that moment; a block that a checkpoint frees is
//! handed out after the *next* checkpoint only, and that one waits for a repair in flight: so a repair never lands on
//! somebody else's data.

use crate::error::{Error, Event};
use crate::format::{Pointer, ROOT_BLOCKS, SUPER_BLOCKS};
use crate::port::{BlockPort, Io, IoDone, IoOp};
use crate::store::{KIND_SCRUB, Need, SPARE_PAGES, Store, token};
use crate::tree::{CATALOG, CHUNK_BLOCKS, Key, Mapping, map_entry};
use crate::wire::{BLOCK_BYTES, PageBytes, index};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Blocks of one transfer.
const RUN: usize = 16;

/// What a scrub has seen so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ScrubReport {
    /// Blocks that were read.
    pub blocks: u64,
    /// Blocks that are not what was written; each was reported as an event.
    pub corrupt: u64,
    /// Of those, blocks that were written anew from a copy.
    pub repaired: u64,
}

/// Where the walk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Superblock(usize),
    Root,
    /// The node of a level that is responsible for a key.
    Node(u16, Key),
    /// The first page at or behind a key.
    Page(Key),
}

/// A page and its copy being looked at.
struct Pair {
    pointer: Pointer,
    /// A node's level, or the page's own key.
    key: Key,
    level: Option<u16>,
    next: Option<Place>,
    turn: usize,
    good: Option<Box<PageBytes>>,
    bad: Vec<u32>,
}

/// A map page's data being looked at.
struct Data {
    key: Key,
    pointer: Pointer,
    map: Box<PageBytes>,
    at: u16,
    expected: Vec<Mapping>,
}

/// A scrub that is under way.
pub(crate) struct Scrub<Page> {
    place: Option<Place>,
    pair: Option<Pair>,
    data: Option<Data>,
    in_flight: bool,
    pub repairing: bool,
    done: Option<IoDone<Page>>,
}

impl<P: BlockPort> Store<P> {
    /// Starts to read everything, unless that is under way. It goes on with each `poll`; what is wrong is reported as
    /// events.
    pub fn scrub(&mut self) {
        if self.scrub.is_none() {
            self.scrubbed = ScrubReport::default();
            let place = Some(Place::Superblock(0));
            self.scrub =
                Some(Scrub { place, pair: None, data: None, in_flight: false, repairing: false, done: None });
        }
    }

    /// What the scrub that is under way, or the last one, has seen; and whether it is under way.
    pub fn scrubbed(&self) -> (ScrubReport, bool) {
        (self.scrubbed, self.scrub.is_some())
    }

    pub(crate) fn step_scrub(&mut self) -> bool {
        let Some(mut scrub) = self.scrub.take_if(|scrub| !scrub.in_flight) else { return false };
        let moved = self.advance_scrub(&mut scrub);
        if scrub.place.is_none() && scrub.pair.is_none() && scrub.data.is_none() && !scrub.in_flight {
            self.report(Event::Scrubbed(self.scrubbed));
        } else {
            self.scrub = Some(scrub);
        }
        moved
    }

    pub(crate) fn finish_scrub(&mut self, done: IoDone<P::Page>) {
        match self.scrub.as_mut() {
            Some(scrub) => (scrub.in_flight, scrub.done) = (false, Some(done)),
            None => self.pool.extend(done.pages),
        }
    }

    fn advance_scrub(&mut self, scrub: &mut Scrub<P::Page>) -> bool {
        if let Some(done) = scrub.done.take() {
            self.take_scrubbed(scrub, done);
            return true;
        }
        if let Some(data) = scrub.data.as_mut() {
            return match next_run(data) {
                Some(first) => self.read_for_scrub(scrub, first),
                None => {
                    scrub.data = None;
                    true
                }
            };
        }
        if let Some(pair) = scrub.pair.take() {
            return self.advance_pair(scrub, pair);
        }
        match scrub.place {
            Some(Place::Superblock(i)) => {
                self.read_for_scrub(scrub, SUPER_BLOCKS.get(i).copied().unwrap_or(0))
            }
            Some(Place::Root) => self.read_for_scrub(scrub, self.root_block()),
            Some(place) => self.find_pair(scrub, place),
            None => true,
        }
    }

    fn root_block(&self) -> u32 {
        ROOT_BLOCKS.get(index(self.root.generation % 2)).copied().unwrap_or(1)
    }

    /// Reads a block, or the run that `data` expects. False: no page is free now.
    fn read_for_scrub(&mut self, scrub: &mut Scrub<P::Page>, block: u32) -> bool {
        let count = scrub.data.as_ref().map_or(1, |data| data.expected.len());
        if self.pool.len() < SPARE_PAGES.saturating_add(count) {
            return false;
        }
        let at = self.pool.len().saturating_sub(count);
        let pages = self.pool.drain(at..).collect();
        scrub.in_flight = true;
        self.scrubbed.blocks = self.scrubbed.blocks.saturating_add(count as u64);
        self.send(Io { token: token(KIND_SCRUB, 0), op: IoOp::Read, block, pages });
        true
    }

    fn repair(&mut self, scrub: &mut Scrub<P::Page>, block: u32, bytes: &PageBytes) {
        let Some(mut page) = self.pool.pop() else { return };
        page.as_mut().copy_from_slice(bytes);
        (scrub.in_flight, scrub.repairing) = (true, true);
        self.send(Io { token: token(KIND_SCRUB, 1), op: IoOp::Write, block, pages: Vec::from([page]) });
    }

    fn note_corrupt(&mut self, error: Error) {
        self.scrubbed.corrupt = self.scrubbed.corrupt.saturating_add(1);
        self.report(Event::Corrupt(error));
    }

    /// What was read, or written.
    fn take_scrubbed(&mut self, scrub: &mut Scrub<P::Page>, done: IoDone<P::Page>) {
        if core::mem::take(&mut scrub.repairing) {
            let repaired = u64::from(done.result.is_ok());
            self.scrubbed.repaired = self.scrubbed.repaired.saturating_add(repaired);
        } else if let Some(data) = scrub.data.as_mut() {
            let (expected, key, pointer) = (core::mem::take(&mut data.expected), data.key, data.pointer);
            self.judge_data(&expected, key, pointer, &done);
        } else if let Some(pair) = scrub.pair.as_mut() {
            let block = if pair.turn == 0 { pair.pointer.block } else { pair.pointer.copy };
            pair.turn = pair.turn.saturating_add(1);
            match done.pages.first() {
                Some(page) if done.result.is_ok() && self.port.page_checksum(page) == pair.pointer.crc => {
                    pair.good = Some(Box::new(*page.as_ref()));
                }
                _ => pair.bad.push(block),
            }
        } else {
            self.judge_anchor(scrub, &done);
        }
        self.pool.extend(done.pages);
    }

    /// A superblock or the root: what it should be is in memory.
    fn judge_anchor(&mut self, scrub: &mut Scrub<P::Page>, done: &IoDone<P::Page>) {
        let Some(place) = scrub.place else { return };
        let mut bytes: Box<PageBytes> = Box::new([0; BLOCK_BYTES]);
        let block = match place {
            Place::Superblock(i) => {
                self.superblock.encode(&mut bytes);
                scrub.place = Some(if i == 0 { Place::Superblock(1) } else { Place::Root });
                SUPER_BLOCKS.get(i).copied().unwrap_or(0)
            }
            _ => {
                self.root.encode(&self.superblock.uuid, &mut bytes);
                scrub.place = Some(Place::Node(self.root.level, Key::default()));
                self.root_block()
            }
        };
        // A checkpoint may be writing the root, which is then younger than ours.
        let whole = done.result.is_ok() && done.pages.first().is_some_and(|page| self.port.is_sealed(page));
        if whole || (place == Place::Root && self.checkpoint.is_some()) {
            return;
        }
        let found = done.pages.first().map_or(0, |page| crate::wire::get_u32(page.as_ref(), 4));
        self.note_corrupt(Error::Corrupt {
            block,
            expected: crate::wire::get_u32(bytes.as_slice(), 4),
            found,
        });
        self.repair(scrub, block, &bytes);
    }

    /// The next node or page to look at.
    fn find_pair(&mut self, scrub: &mut Scrub<P::Page>, place: Place) -> bool {
        let found = match place {
            Place::Node(level, key) => self.descend(key, level).map(|found| {
                let found = found?;
                let below = level
                    .checked_sub(1)
                    .map_or(Place::Page(Key::default()), |l| Place::Node(l, Key::default()));
                let next = found.bound.map_or(below, |bound| Place::Node(level, bound));
                Some((found.pointer, key, Some(level), next))
            }),
            Place::Page(key) => self.tree_next(key).map(|found| {
                let (key, pointer) = found?;
                let after = Key { owner: key.owner, index: key.index.saturating_add(1) };
                Some((pointer, key, None, Place::Page(after)))
            }),
            _ => Ok(None),
        };
        match found {
            Err(Need::Page(pointer)) => {
                self.fetch(pointer);
                true
            }
            // What leads further is unreadable; it was reported when it was fetched.
            Err(Need::Failed(_)) => {
                self.scrubbed.corrupt = self.scrubbed.corrupt.saturating_add(1);
                scrub.place = None;
                true
            }
            Ok(None) => {
                scrub.place = None;
                true
            }
            Ok(Some((pointer, key, level, next))) => {
                scrub.place = None;
                let (good, bad) = (None, Vec::new());
                scrub.pair = Some(Pair { pointer, key, level, next: Some(next), turn: 0, good, bad });
                true
            }
        }
    }

    /// The tree still has this page there.
    fn is_current(&mut self, key: Key, level: Option<u16>, pointer: Pointer) -> Result<bool, Need> {
        let now = match level {
            Some(level) => self.descend(key, level)?.map(|found| found.pointer),
            None => self.tree_get(key)?,
        };
        Ok(now == Some(pointer))
    }

    fn advance_pair(&mut self, scrub: &mut Scrub<P::Page>, mut pair: Pair) -> bool {
        let copy = pair.pointer.copy;
        if pair.turn == 0 || (pair.turn == 1 && copy != 0) {
            let block = if pair.turn == 0 { pair.pointer.block } else { copy };
            scrub.pair = Some(pair);
            return self.read_for_scrub(scrub, block);
        }
        if !pair.bad.is_empty() {
            match self.is_current(pair.key, pair.level, pair.pointer) {
                Ok(true) => return self.mend(scrub, pair),
                // It was replaced meanwhile.
                Ok(false) | Err(Need::Failed(_)) => pair.bad.clear(),
                Err(Need::Page(pointer)) => {
                    self.fetch(pointer);
                    scrub.pair = Some(pair);
                    return true;
                }
            }
        }
        scrub.place = pair.next;
        if let (None, Some(map)) = (pair.level, pair.good)
            && pair.key.owner != CATALOG
        {
            scrub.data =
                Some(Data { key: pair.key, pointer: pair.pointer, map, at: 0, expected: Vec::new() });
        }
        true
    }

    /// Reports a bad copy and writes the good one over it.
    fn mend(&mut self, scrub: &mut Scrub<P::Page>, mut pair: Pair) -> bool {
        if self.pool.is_empty() {
            scrub.pair = Some(pair);
            return false;
        }
        if let Some(block) = pair.bad.pop() {
            self.note_corrupt(Error::Corrupt { block, expected: pair.pointer.crc, found: 0 });
            if let Some(good) = &pair.good
                && self.read_only.is_none()
            {
                self.repair(scrub, block, good);
            }
        }
        scrub.pair = Some(pair);
        true
    }

    fn judge_data(&mut self, expected: &[Mapping], key: Key, pointer: Pointer, done: &IoDone<P::Page>) {
        for (mapping, page) in expected.iter().zip(&done.pages) {
            let found = self.port.page_checksum(page);
            if done.result.is_ok() && found == mapping.crc {
                continue;
            }
            // Freed and reused since the map was read: no finding.
            if !matches!(self.is_current(key, None, pointer), Ok(true)) {
                continue;
            }
            let corrupt = Error::Corrupt { block: mapping.block, expected: mapping.crc, found };
            self.note_corrupt(if done.result.is_ok() { corrupt } else { Error::Io { block: mapping.block } });
        }
    }
}

/// The next run of blocks that lie together; leaves what is expected in `data`.
fn next_run(data: &mut Data) -> Option<u32> {
    let mut first = None;
    while u64::from(data.at) < CHUNK_BLOCKS && data.expected.len() < RUN {
        let mapping = map_entry(&data.map, data.at);
        let next = data.expected.last().map(|m: &Mapping| m.block.saturating_add(1));
        if mapping.is_data() {
            if next.is_some_and(|next| next != mapping.block) {
                break;
            }
            first = first.or(Some(mapping.block));
            data.expected.push(mapping);
        } else if first.is_some() {
            break;
        }
        data.at = data.at.saturating_add(1);
    }
    first
}
