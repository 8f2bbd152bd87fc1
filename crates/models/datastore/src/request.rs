//! Requests in flight: a fixed pool of slots, each a small state machine that `poll` moves on.
//!
//! Called by: volume views, send/receive, tools. Calls: lookup, space, log, port. A read resolves every block, reads
//! runs that lie together, and checks each checksum. A write takes new blocks, writes them, and only then records
//! where they are. No slot allocates without a bound: a request has at most [`MAX_REQUEST_BLOCKS`] blocks.

mod steps;
mod write;

use crate::catalog::{Entry, MAX_SECTORS};
use crate::error::Error;
use crate::port::BlockPort;
use crate::store::{Need, SPARE_PAGES, Store, Wait};
use crate::tree::Mapping;
use crate::wire::{BLOCK_BYTES, PageBytes, index};
use alloc::vec::Vec;

/// Most blocks of one request (an unaligned megabyte needs one more than 256).
pub const MAX_REQUEST_BLOCKS: usize = 257;
/// Sectors of a block.
pub const SECTORS: u64 = 8;
/// Blocks of one transfer to the device.
const MAX_TRANSFER: usize = 64;

/// What is read or written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    /// A volume, by id.
    Volume(u64),
    /// A snapshot, by id; read-only.
    Snapshot(u64),
    /// An object, by id; read-only.
    Object(u64),
    /// The contents of an object that is being written.
    Staging(u64),
    /// A volume, within a transaction: what is written is seen when the transaction is committed. Where that is part of a
    /// block, the rest of the block becomes what the volume had when the part was written.
    Transaction {
        /// The transaction.
        id: u64,
        /// The volume.
        volume: u64,
    },
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read sectors.
    Read {
        /// First.
        sector: u64,
        /// How many.
        sectors: u32,
    },
    /// Write sectors; `durable` is FUA.
    Write {
        /// First.
        sector: u64,
        /// How many.
        sectors: u32,
        /// Complete only when it is on stable storage.
        durable: bool,
    },
    /// Everything completed before is on stable storage.
    Flush,
    /// Change a volume's size, a multiple of 8 sectors; what is cut off is gone.
    Resize {
        /// New size.
        sectors: u64,
    },
    /// The contents may be forgotten: whole blocks read as zero, parts of blocks stay.
    Discard {
        /// First.
        sector: u64,
        /// How many.
        sectors: u64,
    },
}

/// The end of a request.
pub struct Completion<Page> {
    /// As given.
    pub token: u64,
    /// As given.
    pub target: Target,
    /// What was asked.
    pub op: Op,
    /// How it ended.
    pub result: Result<(), Error>,
    /// A read's blocks; give them back with [`Store::recycle`].
    pub pages: Vec<Page>,
}

impl<Page: AsRef<PageBytes>> Completion<Page> {
    /// Shows a read's bytes in order, piece by piece, with the offset of each.
    pub fn for_each(&self, mut take: impl FnMut(usize, &[u8])) {
        let Op::Read { sector, sectors } = self.op else { return };
        let skip = index(sector % SECTORS).saturating_mul(512);
        let mut left = index(u64::from(sectors)).saturating_mul(512);
        let mut offset: usize = 0;
        for (i, page) in self.pages.iter().enumerate() {
            let from = if i == 0 { skip } else { 0 };
            let len = left.min(BLOCK_BYTES.saturating_sub(from));
            take(offset, page.as_ref().get(from..from.saturating_add(len)).unwrap_or_default());
            offset = offset.saturating_add(len);
            left = left.saturating_sub(len);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Lock,
    Edge(usize),
    EdgeRead(usize),
    Place,
    Data,
    Record,
    Resolve,
    Reading,
    Discard,
    Durable,
}

/// A request in flight.
pub(crate) struct Slot<Page> {
    token: u64,
    target: Target,
    op: Op,
    stage: Stage,
    pub wait: Wait,
    first: u64,
    count: usize,
    pages: Vec<Option<Page>>,
    edge: Option<Page>,
    maps: Vec<Mapping>,
    /// The layer that a read looks in.
    layer: u64,
    /// Blocks taken and not recorded yet: kept from being handed out again.
    pub runs: Vec<(u32, u32)>,
    outstanding: usize,
    error: Option<Error>,
    retries: u8,
    sequence: u64,
    cursor: u64,
}

impl<Page> Slot<Page> {
    /// It writes data.
    pub(crate) fn takes_blocks(&self) -> bool {
        matches!(self.op, Op::Write { .. })
    }
}

impl<P: BlockPort> Store<P> {
    /// Starts a request. A write's bytes are asked for at once, piece by piece: `fill(offset, into)`.
    /// `Err(Busy)`: no slot or no page is free; submit again after a completion.
    pub fn submit(
        &mut self,
        token: u64,
        target: Target,
        op: Op,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<(), Error> {
        let (sector, sectors) = match op {
            Op::Read { sector, sectors } | Op::Write { sector, sectors, .. } => (sector, u64::from(sectors)),
            Op::Flush => (0, 0),
            Op::Discard { sector, sectors } => (sector, sectors),
            Op::Resize { sectors } => (sectors, self.target_layer(target)?.1.saturating_sub(sectors)),
        };
        let end = sector.checked_add(sectors).ok_or(Error::OutOfRange)?;
        if let Op::Resize { sectors } = op
            && (!sectors.is_multiple_of(SECTORS)
                || sectors > MAX_SECTORS
                || !matches!(target, Target::Volume(_)))
        {
            return Err(Error::BadRequest);
        }
        if !matches!(op, Op::Flush | Op::Resize { .. }) {
            let (_, size) = self.target_layer(target)?;
            if end > size || sectors == 0 {
                return Err(Error::OutOfRange);
            }
        }
        self.check_writable(target, op)?;
        let first = sector / SECTORS;
        let count = index(end.div_ceil(SECTORS).saturating_sub(first));
        let moves = matches!(op, Op::Read { .. } | Op::Write { .. });
        if moves && count > MAX_REQUEST_BLOCKS {
            return Err(Error::BadRequest);
        }
        let free = self.slots.iter().position(Option::is_none).ok_or(Error::Busy)?;
        // What the cache, log and checkpoint still need is left to them: requests may be waiting for a checkpoint.
        let left = count.saturating_add(1).saturating_add(SPARE_PAGES).saturating_add(self.cache.room());
        if moves && self.pool.len() < left {
            return Err(Error::Busy);
        }
        let mut pages: Vec<Option<P::Page>> = Vec::new();
        if moves {
            let at = self.pool.len().saturating_sub(count);
            pages.extend(self.pool.drain(at..).map(Some));
        }
        let stage = match op {
            Op::Read { .. } => Stage::Resolve,
            Op::Flush => Stage::Durable,
            _ => Stage::Lock,
        };
        self.stats.bytes_written = match op {
            Op::Write { .. } => self.stats.bytes_written.saturating_add(sectors.saturating_mul(512)),
            _ => self.stats.bytes_written,
        };
        let mut slot = Slot {
            token,
            target,
            op,
            stage,
            wait: Wait::Nothing,
            first,
            count,
            pages,
            edge: None,
            maps: Vec::new(),
            layer: 0,
            runs: Vec::new(),
            outstanding: 0,
            error: None,
            retries: 0,
            sequence: self.next_sequence(),
            cursor: first,
        };
        if let Op::Write { .. } = op {
            write::fill_pages(&mut slot.pages, sector, sectors, fill);
            slot.edge = self.pool.pop();
        }
        if op == Op::Flush {
            self.stats.guest_flushes = self.stats.guest_flushes.saturating_add(1);
        }
        if let Some(place) = self.slots.get_mut(free) {
            *place = Some(slot);
            self.ready.push_back(free);
        }
        Ok(())
    }

    fn next_sequence(&mut self) -> u64 {
        self.request_count = self.request_count.saturating_add(1);
        self.request_count
    }

    fn check_writable(&self, target: Target, op: Op) -> Result<(), Error> {
        if matches!(op, Op::Read { .. }) {
            return Ok(());
        }
        self.check_not_read_only()?;
        // A discard counts at once, chunk by chunk.
        if matches!((op, target), (Op::Discard { .. }, Target::Transaction { .. })) {
            return Err(Error::BadRequest);
        }
        let writes = !matches!(op, Op::Flush);
        if writes && matches!(target, Target::Snapshot(_) | Target::Object(_)) {
            return Err(Error::ReadOnly(None));
        }
        Ok(())
    }

    /// The layer to look in, and the size in sectors.
    pub(crate) fn target_layer(&self, target: Target) -> Result<(u64, u64), Error> {
        let entry = match target {
            Target::Volume(id) | Target::Snapshot(id) | Target::Object(id) => self.catalog.get(id),
            Target::Transaction { id, volume } => {
                let open = self.transactions.contains_key(&id);
                return if open { self.target_layer(Target::Volume(volume)) } else { Err(Error::NotFound) };
            }
            Target::Staging(layer) => {
                let known = self.writing.contains_key(&layer);
                return if known { Ok((layer, u64::from(u32::MAX) * SECTORS)) } else { Err(Error::NotFound) };
            }
        };
        match (target, entry) {
            (Target::Volume(_), Some(Entry::Volume { head, sectors, .. })) => Ok((*head, *sectors)),
            (Target::Snapshot(_), Some(Entry::Snapshot { layer, sectors, .. })) => Ok((*layer, *sectors)),
            (Target::Object(_), Some(Entry::Object { layer, bytes, .. })) => {
                Ok((*layer, bytes.div_ceil(512)))
            }
            _ => Err(Error::NotFound),
        }
    }

    /// Writes to a volume are in flight.
    pub(crate) fn is_written(&self, volume: u64) -> bool {
        let mut writes = self.slots.iter().flatten().filter(|slot| slot.takes_blocks());
        writes.any(|slot| match slot.target {
            Target::Volume(id) | Target::Transaction { volume: id, .. } => id == volume,
            _ => false,
        })
    }

    /// Gives a completion's pages back.
    pub fn recycle(&mut self, pages: Vec<P::Page>) {
        self.pool.extend(pages);
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    pub(crate) fn step_slot(&mut self, i: usize) {
        let Some(mut slot) = self.slots.get_mut(i).and_then(Option::take) else { return };
        slot.wait = Wait::Nothing;
        let mut finished = false;
        // What a write does before it is placed is but a look at what is in memory.
        for _ in 0..4 {
            let brief = matches!(slot.stage, Stage::Lock | Stage::Edge(_));
            finished = self.step(&mut slot, i);
            if finished || !brief || slot.wait != Wait::Nothing {
                break;
            }
        }
        let again = slot.wait == Wait::Nothing;
        if finished {
            return self.end_slot(slot);
        }
        if let Some(place) = self.slots.get_mut(i) {
            *place = Some(slot);
        }
        if again {
            self.ready.push_back(i);
        }
    }

    fn step(&mut self, slot: &mut Slot<P::Page>, i: usize) -> bool {
        match slot.stage {
            Stage::Lock => self.step_lock(slot),
            Stage::Edge(side) => self.step_edge(slot, side, i),
            Stage::EdgeRead(side) => self.step_edge_read(slot, side),
            Stage::Place => self.step_place(slot, i),
            Stage::Data => Self::step_data(slot),
            Stage::Record => self.step_record(slot),
            Stage::Resolve => self.step_resolve(slot, i),
            Stage::Reading => self.step_reading(slot),
            Stage::Discard => self.step_discard(slot),
            Stage::Durable => self.step_durable(slot),
        }
    }

    fn end_slot(&mut self, mut slot: Slot<P::Page>) {
        // Blocks of a write that failed were never recorded: they are free as far as the space map knows.
        let kept: u64 = slot.runs.iter().map(|(_, n)| u64::from(*n)).sum();
        self.space.taken = self.space.taken.saturating_sub(kept);
        self.pool.extend(slot.edge.take());
        let mut pages: Vec<P::Page> = slot.pages.drain(..).flatten().collect();
        let result = slot.error.map_or(Ok(()), Err);
        if !matches!(slot.op, Op::Read { .. }) || result.is_err() {
            self.pool.append(&mut pages);
        }
        let (token, target, op) = (slot.token, slot.target, slot.op);
        self.completions.push_back(Completion { token, target, op, result, pages });
        self.wake(|wait| wait == Wait::Lock);
    }

    /// Fails the slot; true, for `return fail(...)`.
    fn fail(slot: &mut Slot<P::Page>, error: Error) -> bool {
        slot.error.get_or_insert(error);
        slot.outstanding == 0
    }

    /// Waits for a metadata page, or fails.
    fn need(&mut self, slot: &mut Slot<P::Page>, need: Need) -> bool {
        match need {
            Need::Failed(error) => Self::fail(slot, error),
            Need::Page(pointer) => {
                if self.fetch(pointer) && !self.failed.contains_key(&pointer.block) {
                    slot.wait = Wait::Fetch(pointer.block);
                }
                false
            }
        }
    }

    /// Changes of the same blocks go one after another, in the order of submission.
    fn step_lock(&mut self, slot: &mut Slot<P::Page>) -> bool {
        let end = slot.first.saturating_add(slot.count as u64);
        let conflict = self.slots.iter().flatten().any(|other| {
            let other_end = other.first.saturating_add(other.count as u64);
            let writes = !matches!(other.op, Op::Read { .. } | Op::Flush);
            let overlaps = other.first < end && slot.first < other_end && other.target == slot.target;
            writes && overlaps && other.sequence < slot.sequence
        });
        if conflict {
            slot.wait = Wait::Lock;
            return false;
        }
        slot.stage = if matches!(slot.op, Op::Write { .. }) { Stage::Edge(0) } else { Stage::Discard };
        false
    }
}
