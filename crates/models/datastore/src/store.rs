//! The mounted store: its state, and the loop that moves it on.
//!
//! Called by: the owner's loop, `poll` after `poll`. Calls: the port. Each step is short (one request's next step, one
//! page of a checkpoint), so that a PE is never kept. One owner, no locks: whoever holds `&mut Store` is the owner.

use crate::cache::Cache;
use crate::catalog::{Catalog, Entry};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Event, ReadOnly};
use crate::format::{Group, Pointer, Root, Superblock};
use crate::gc::Collector;
use crate::log::{LogWriter, Record};
use crate::lookup::Trails;
use crate::manage::Transaction;
use crate::overlay::Generation;
use crate::port::{BlockPort, Io, IoDone, IoFailed, IoOp};
use crate::request::{Completion, Slot};
use crate::scrub::{Scrub, ScrubReport};
use crate::space::Space;
use crate::wire::PageBytes;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What the owner decides at mount.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Metadata pages kept in memory; at least 64.
    pub cache_pages: usize,
    /// Pages for data in flight; at least 64.
    pub io_pages: usize,
    /// Requests in flight.
    pub slots: usize,
    /// Changes gathered before a checkpoint.
    pub generation_weight: usize,
    /// Take no writes.
    pub read_only: bool,
    /// Memory, about, for the changes that the log may hold at mount: three generations of a store with these options.
    pub log_bytes: usize,
    /// Go on although a log block is missing: what was written last may be lost.
    pub accept_log_loss: bool,
    /// For the simulator to find.
    #[cfg(any(test, feature = "sim"))]
    pub defect: Option<crate::Defect>,
}

/// Whether the store was told to have a defect; only the simulator's builds have any.
macro_rules! has_defect {
    ($store:expr, $defect:ident) => {{
        #[cfg(any(test, feature = "sim"))]
        let found = $store.options.defect == Some(crate::Defect::$defect);
        #[cfg(not(any(test, feature = "sim")))]
        let found = false;
        found
    }};
}
pub(crate) use has_defect;

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_pages: 1024,
            io_pages: 1024,
            slots: 64,
            generation_weight: 8192,
            read_only: false,
            log_bytes: 16 << 20,
            accept_log_loss: false,
            #[cfg(any(test, feature = "sim"))]
            defect: None,
        }
    }
}

/// Counters since the mount.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Blocks written below, of whatever kind.
    pub blocks_written: u64,
    /// Blocks read below.
    pub blocks_read: u64,
    /// Device flushes.
    pub flushes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of guests' writes.
    pub bytes_written: u64,
    /// FLUSH requests.
    pub guest_flushes: u64,
}

pub(crate) const KIND_FETCH: u64 = 1;
pub(crate) const KIND_SLOT: u64 = 2;
pub(crate) const KIND_LOG: u64 = 3;
pub(crate) const KIND_FLUSH: u64 = 4;
pub(crate) const KIND_CHECKPOINT: u64 = 5;
pub(crate) const KIND_GROUP: u64 = 6;
pub(crate) const KIND_SCRUB: u64 = 7;
/// Data pages that requests leave to log and checkpoint.
pub(crate) const SPARE_PAGES: usize = 16;
const WRITE_ERRORS: u32 = 16;
/// A poll begins nothing more that moves pages after so many: a large request's pages are moved in a poll of their own.
const PAGES_A_POLL: usize = 8;

pub(crate) fn token(kind: u64, rest: u64) -> u64 {
    (kind << 56) | (rest & 0x00ff_ffff_ffff_ffff)
}

/// A metadata page that has to come from the device first, or cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    Page(Pointer),
    Failed(Error),
}

/// What a slot waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    Nothing,
    Fetch(u32),
    Io,
    Space,
    Log,
    Lock,
    Durable(u64),
}

/// Device flushes, and who wants the next one.
#[derive(Default)]
pub(crate) struct Flusher {
    pub started: u64,
    pub done: u64,
    pub in_flight: bool,
    /// Log blocks below this are covered by the flush in flight.
    pub covers: u64,
    /// The next flush has to start now.
    pub wanted: bool,
}

/// A bitmap that was read, and whether its own checksum is right.
type Bitmap = (alloc::boxed::Box<PageBytes>, bool);

/// A group being opened.
pub(crate) struct Opening {
    pub group: u32,
    /// What the group table said when its bitmap was asked for.
    pub entry: Group,
    /// The bitmap and the one before it, as far as they could be read.
    pub pages: [Option<Bitmap>; 2],
    pub outstanding: u32,
    pub retries: u32,
}

/// How often a bitmap that the device fails to read is asked for again.
const BITMAP_RETRIES: u32 = 8;

/// A mounted datastore.
pub struct Store<P: BlockPort> {
    pub(crate) port: P,
    pub(crate) options: Options,
    pub(crate) superblock: Superblock,
    pub(crate) root: Root,
    pub(crate) pool: Vec<P::Page>,
    pub(crate) backlog: VecDeque<Io<P::Page>>,
    /// Requests that did not go to the device.
    pub(crate) refused: VecDeque<IoDone<P::Page>>,
    pub(crate) cache: Cache<P::Page>,
    pub(crate) fetches: BTreeMap<u32, (Pointer, bool)>,
    pub(crate) failed: BTreeMap<u32, Error>,
    pub(crate) trails: Trails,
    pub(crate) space: Space,
    pub(crate) opening: Option<Opening>,
    pub(crate) group_wanted: bool,
    pub(crate) catalog: Catalog,
    pub(crate) next_id: u64,
    pub(crate) active: Generation,
    pub(crate) frozen: Option<Generation>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) checkpoint_wanted: bool,
    pub(crate) checkpoint_failures: u32,
    pub(crate) checkpoint_forced: bool,
    pub(crate) log: LogWriter,
    pub(crate) log_in_flight: usize,
    /// Log blocks from here on are still needed by a root that may be mounted.
    pub(crate) log_kept: u64,
    pub(crate) flusher: Flusher,
    pub(crate) slots: Vec<Option<Slot<P::Page>>>,
    pub(crate) ready: VecDeque<usize>,
    pub(crate) completions: VecDeque<Completion<P::Page>>,
    pub(crate) transactions: BTreeMap<u64, Transaction>,
    pub(crate) writing: BTreeMap<u64, u32>,
    pub(crate) collector: Collector,
    pub(crate) scrub: Option<Scrub<P::Page>>,
    pub(crate) scrubbed: ScrubReport,
    pub(crate) read_only: Option<ReadOnly>,
    pub(crate) write_errors: u32,
    pub(crate) events: VecDeque<Event>,
    pub(crate) stats: Stats,
    pub(crate) request_count: u64,
    /// Chain value of the log before the active generation's first block.
    pub(crate) frozen_tag: u64,
    pub(crate) commit_root: bool,
    /// The store grew; it had so many groups before.
    pub(crate) grown_from: Option<u32>,
}

/// Whether there is more to do right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Call again.
    More,
    /// Nothing until the device completes something or a request comes.
    Waiting,
}

impl<P: BlockPort> Store<P> {
    /// Does one short piece of work.
    pub fn poll(&mut self) -> Progress {
        let mut moved = false;
        // Handing pages to the device, and checking those that came back, takes its time for each of them. Every one of these
        // comes to an end by itself, so that the next always gets its turn.
        let mut pages: usize = 0;
        while pages < PAGES_A_POLL
            && let Some(io) = self.backlog.pop_front()
        {
            let count = io.pages.len();
            if let Err(io) = self.port.submit(io) {
                self.backlog.push_front(io);
                break;
            }
            pages = pages.saturating_add(count);
            moved = true;
        }
        for _ in 0..4 {
            if pages >= PAGES_A_POLL {
                break;
            }
            let refused = self.refused.pop_front();
            let Some(done) = refused.or_else(|| self.port.complete()) else { break };
            pages = pages.saturating_add(done.pages.len());
            self.finish_io(done);
            moved = true;
        }
        if pages < PAGES_A_POLL
            && let Some(slot) = self.ready.pop_front()
        {
            self.step_slot(slot);
            moved = true;
        }
        // One that is being opened comes by itself: to want it still is no progress.
        if core::mem::take(&mut self.group_wanted) && self.opening.is_none() {
            self.open_group();
            moved = true;
        }
        moved |= self.step_log();
        moved |= self.step_checkpoint();
        moved |= self.step_collector();
        moved |= self.step_scrub();
        if moved { Progress::More } else { Progress::Waiting }
    }

    /// The next finished request.
    pub fn completion(&mut self) -> Option<Completion<P::Page>> {
        self.completions.pop_front()
    }

    /// The next thing that management should know.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The device.
    pub fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// Gives the device back. What was not flushed is lost, as at a power cut; call [`Store::shut_down`] first.
    pub fn into_port(self) -> P {
        self.port
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Why the store takes no writes, if so.
    pub fn read_only(&self) -> Option<ReadOnly> {
        self.read_only
    }

    pub(crate) fn check_not_read_only(&self) -> Result<(), Error> {
        self.read_only.map_or(Ok(()), |why| Err(Error::ReadOnly(Some(why))))
    }

    pub(crate) fn report(&mut self, event: Event) {
        // The oldest go first: a store that is read by nobody does not grow.
        if self.events.len() >= 256 {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn become_read_only(&mut self, why: ReadOnly) {
        if self.read_only.is_none() {
            self.read_only = Some(why);
            self.report(Event::BecameReadOnly(why));
            self.wake(|_| true);
        }
    }

    pub(crate) fn send(&mut self, io: Io<P::Page>) {
        let blocks = io.pages.len() as u64;
        if u64::from(io.block).saturating_add(blocks) > self.port.blocks() {
            // A made-up map or pointer names what there is not.
            let Io { token, pages, .. } = io;
            return self.refused.push_back(IoDone { token, pages, result: Err(IoFailed) });
        }
        match io.op {
            IoOp::Read => self.stats.blocks_read = self.stats.blocks_read.saturating_add(blocks),
            IoOp::Write => self.stats.blocks_written = self.stats.blocks_written.saturating_add(blocks),
            IoOp::Flush => self.stats.flushes = self.stats.flushes.saturating_add(1),
        }
        if self.backlog.is_empty() {
            if let Err(io) = self.port.submit(io) {
                self.backlog.push_back(io);
            }
        } else {
            self.backlog.push_back(io);
        }
    }

    fn finish_io(&mut self, done: IoDone<P::Page>) {
        let rest = done.token & 0x00ff_ffff_ffff_ffff;
        match done.token >> 56 {
            KIND_FETCH => self.finish_fetch(rest, done),
            KIND_SLOT => self.finish_slot_io(rest, done),
            KIND_LOG => self.finish_log(rest, done),
            KIND_FLUSH => self.finish_flush(done),
            KIND_CHECKPOINT => self.finish_checkpoint_io(rest, done),
            KIND_GROUP => self.finish_group(rest, done),
            KIND_SCRUB => self.finish_scrub(done),
            _ => self.pool.extend(done.pages),
        }
    }

    /// Counts failed writes; many make the store read-only.
    pub(crate) fn note_write(&mut self, ok: bool) {
        self.write_errors = if ok { 0 } else { self.write_errors.saturating_add(1) };
        if self.write_errors >= WRITE_ERRORS {
            self.become_read_only(ReadOnly::WritesFailed);
        }
    }

    /// Makes slots ready whose wait satisfies `which`.
    pub(crate) fn wake(&mut self, which: impl Fn(Wait) -> bool) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Some(slot) = slot
                && slot.wait != Wait::Nothing
                && slot.wait != Wait::Io
                && which(slot.wait)
            {
                slot.wait = Wait::Nothing;
                self.ready.push_back(i);
            }
        }
    }

    /// Starts reading a metadata page, unless it is under way.
    pub(crate) fn fetch(&mut self, pointer: Pointer) -> bool {
        if self.fetches.contains_key(&pointer.block) {
            return true;
        }
        if pointer.block < 2 || pointer.block >= self.root.blocks {
            let error = Error::Corrupt { block: pointer.block, expected: pointer.crc, found: 0 };
            self.failed.insert(pointer.block, error);
            return true;
        }
        let Some(page) = self.pool.pop() else { return false };
        self.fetches.insert(pointer.block, (pointer, false));
        let token = token(KIND_FETCH, u64::from(pointer.block));
        self.send(Io { token, op: IoOp::Read, block: pointer.block, pages: Vec::from([page]) });
        true
    }

    fn finish_fetch(&mut self, block: u64, mut done: IoDone<P::Page>) {
        let block = crate::wire::low32(block);
        let Some((pointer, second)) = self.fetches.get(&block).copied() else {
            return self.pool.extend(done.pages);
        };
        let Some(page) = done.pages.pop() else { return };
        let found = self.port.page_checksum(&page);
        if done.result.is_ok() && found == pointer.crc {
            self.fetches.remove(&block);
            let evicted = self.cache.insert(block, pointer.crc, page);
            self.pool.extend(evicted);
        } else if !second && pointer.copy != 0 {
            self.fetches.insert(block, (pointer, true));
            self.report(Event::MetadataCopy { block });
            let token = token(KIND_FETCH, u64::from(block));
            return self.send(Io { token, op: IoOp::Read, block: pointer.copy, pages: Vec::from([page]) });
        } else {
            self.fetches.remove(&block);
            self.pool.push(page);
            let corrupt = Error::Corrupt { block, expected: pointer.crc, found };
            let error = if done.result.is_err() { Error::Io { block } } else { corrupt };
            self.report(Event::Corrupt(error));
            self.failed.insert(block, error);
        }
        self.wake(|wait| wait == Wait::Fetch(block));
    }

    /// Opens the next group for allocation, or starts to. Called between steps only, when nothing is taken out of
    /// `self`: what is in flight has to be seen and masked.
    fn open_group(&mut self) {
        match self.space.next_group() {
            Some(group) => self.start_opening(group),
            None => self.wake(|wait| wait == Wait::Space),
        }
    }

    fn group_entry(&self, group: u32) -> Group {
        self.space.groups.get(crate::wire::index(u64::from(group))).copied().unwrap_or_default()
    }

    fn start_opening(&mut self, group: u32) {
        let entry = self.group_entry(group);
        if entry.fresh {
            self.space.open(group, None, None);
            self.mask_open_group();
            return self.wake(|wait| wait == Wait::Space);
        }
        self.opening = Some(Opening { group, entry, pages: [None, None], outstanding: 2, retries: 0 });
        for which in 0..2 {
            // Two of the spare pages are always left for this: fetches are few and end.
            let Some(page) = self.pool.pop().or_else(|| self.port.allocate()) else { continue };
            self.read_bitmap(group, entry, which, page);
        }
    }

    /// Reads a group's bitmap (0), or the one before it (1).
    fn read_bitmap(&mut self, group: u32, entry: Group, which: u64, page: P::Page) {
        let slot = u32::from(entry.slot).saturating_add(crate::wire::low32(which.saturating_mul(2)));
        let block = self.space.geometry.bitmap_block(group, slot);
        let pages = Vec::from([page]);
        self.send(Io { token: token(KIND_GROUP, which), op: IoOp::Read, block, pages });
    }

    fn finish_group(&mut self, which: u64, mut done: IoDone<P::Page>) {
        let Some(opening) = self.opening.as_mut() else { return self.pool.extend(done.pages) };
        let Some(page) = done.pages.pop() else { return };
        if done.result.is_err() && opening.retries < BITMAP_RETRIES {
            // Without the bitmap before, what the older root still names would be handed out.
            opening.retries = opening.retries.saturating_add(1);
            let (group, entry) = (opening.group, opening.entry);
            return self.read_bitmap(group, entry, which, page);
        }
        let bytes = (alloc::boxed::Box::new(*page.as_ref()), self.port.is_sealed(&page));
        if let Some(slot) = opening.pages.get_mut(crate::wire::index(which)) {
            *slot = done.result.ok().map(|()| bytes);
        }
        opening.outstanding = opening.outstanding.saturating_sub(1);
        let ready = opening.outstanding == 0;
        self.pool.push(page);
        if ready {
            self.open_read_group();
        }
    }

    fn open_read_group(&mut self) {
        let Some(Opening { group, entry, pages: [current, before], .. }) = self.opening.take() else {
            return;
        };
        if self.group_entry(group) != entry {
            // A checkpoint came in between: the bitmap is another one now.
            return self.start_opening(group);
        }
        let Some((current, sealed)) = current.filter(|(page, _)| self.port.checksum(page) == entry.crc)
        else {
            self.space.lose(group);
            self.report(Event::GroupLost { group });
            return self.wake(|wait| wait == Wait::Space);
        };
        // Blocks that became free by the last checkpoint still belong to the older root.
        let generation =
            |page: &PageBytes, sealed: bool| crate::format::bitmap_generation(group, page).filter(|_| sealed);
        let spare_freed = generation(&current, sealed) == Some(self.root.generation);
        let before = before.filter(|(page, sealed)| {
            let spare = spare_freed && !has_defect!(self, ReusedEarly);
            spare && generation(page, *sealed).is_some_and(|g| g < self.root.generation)
        });
        self.space.open(group, Some(&current), before.as_ref().map(|(page, _)| &**page));
        self.mask_open_group();
        self.wake(|wait| wait == Wait::Space);
    }

    fn mask_open_group(&mut self) {
        // Who asked once more while it was being opened has it now: another one would take its place.
        self.group_wanted = false;
        let Some((start, len)) = self.space.open_range() else { return };
        let generations = [Some(&self.active), self.frozen.as_ref()];
        let attempt = self.checkpoint.as_ref().map(|c| &c.space);
        let pending = generations.into_iter().flatten().map(|g| &g.space).chain(attempt);
        let mut runs: Vec<(u32, u32)> =
            pending.flat_map(|p| p.within(start, len)).map(|(at, n, _)| (at, n)).collect();
        for slot in self.slots.iter().flatten() {
            runs.extend_from_slice(&slot.runs);
        }
        runs.extend(self.transactions.values().flat_map(Transaction::runs));
        for (first, len) in runs {
            self.space.mask(first, len);
        }
    }

    /// Applies changes to memory. At run time they go to the log as well (`commit`); at replay they come from it.
    pub(crate) fn apply(&mut self, record: &Record) {
        self.trails.note(record);
        match record {
            Record::Map { layer, block, first, crcs } => {
                self.active.taken = self.active.taken.saturating_add(crcs.len() as u64);
                self.active.set_run(*layer, *block, *first, crcs);
            }
            Record::Blank { layer, block, count, mapping } => {
                let end = block.saturating_add(u64::from(*count));
                (*block..end).for_each(|at| self.active.set(*layer, at, *mapping));
            }
            Record::Clear { layer, chunk, base } => self.active.clear(*layer, *chunk, *base),
            Record::Absorb { parent, child, chunk } => self.active.absorb(*parent, *child, *chunk),
            Record::Entry { id, bytes } => {
                self.collector.look = true;
                self.catalog.set(*id, bytes.as_deref().and_then(Entry::decode));
                self.active.records.insert(*id, bytes.clone());
                self.active.weight = self.active.weight.saturating_add(4);
                self.next_id = self.next_id.max(id.saturating_add(1));
            }
        }
    }

    /// Logs and applies changes, all or none. `Busy` when the log has no room now.
    pub(crate) fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        let encoded: Vec<Vec<u8>> = records
            .iter()
            .map(|record| {
                let mut out = Vec::new();
                record.encode(&mut out);
                out
            })
            .collect();
        let bytes = encoded.iter().map(Vec::len).sum();
        if self.log_is_full() {
            self.request_checkpoint();
            return Err(Error::Busy);
        }
        if !self.log.has_room(bytes) {
            return Err(Error::Busy);
        }
        self.log.append(&encoded, &|page| self.port.checksum(page));
        records.iter().for_each(|record| self.apply(record));
        Ok(())
    }
}
