//! The steps of a write: its edges, its blocks, the data, and the record of where it is.
//!
//! Called by the slot's own step in [`super`]; each returns whether the slot has ended.

use super::{MAX_TRANSFER, Op, SECTORS, Slot, Stage, Target};
use crate::error::Error;
use crate::log::Record;
use crate::port::{BlockPort, Io, IoOp};
use crate::store::{KIND_SLOT, Store, Wait, token};
use crate::tree::Mapping;
use crate::wire::{BLOCK_BYTES, PageBytes, count32, index};
use alloc::vec::Vec;

impl<P: BlockPort> Store<P> {
    /// The part of a first or last block that the write leaves as it is: (page, from, to) of the new bytes.
    fn edge_of(slot: &Slot<P::Page>, side: usize) -> Option<(usize, usize, usize)> {
        let Op::Write { sector, sectors, .. } = slot.op else { return None };
        let head = index(sector % SECTORS).saturating_mul(512);
        let last = slot.count.saturating_sub(1);
        let tail = match index(sector.saturating_add(u64::from(sectors)) % SECTORS).saturating_mul(512) {
            0 => BLOCK_BYTES,
            n => n,
        };
        let (page, from, to) = match side {
            0 => (0, head, if last == 0 { tail } else { BLOCK_BYTES }),
            _ if last == 0 => return None,
            _ => (last, 0, tail),
        };
        (from != 0 || to != BLOCK_BYTES).then_some((page, from, to))
    }

    pub(super) fn step_edge(&mut self, slot: &mut Slot<P::Page>, side: usize, i: usize) -> bool {
        let next = if side == 0 { Stage::Edge(1) } else { Stage::Place };
        let Some((page, from, to)) = Self::edge_of(slot, side) else {
            slot.stage = next;
            return false;
        };
        let block = slot.first.saturating_add(page as u64);
        let layer = match self.target_layer(slot.target) {
            Ok((layer, _)) => layer,
            Err(error) => return Self::fail(slot, error),
        };
        let mapping = match self.staged(slot.target, block).map_or_else(|| self.mapping(layer, block, 0), Ok)
        {
            Ok(mapping) => mapping,
            Err(need) => return self.need(slot, need),
        };
        if !mapping.is_data() {
            if let Some(Some(new)) = slot.pages.get_mut(page) {
                let bytes = new.as_mut();
                bytes.get_mut(..from).unwrap_or_default().fill(0);
                bytes.get_mut(to..).unwrap_or_default().fill(0);
            }
            slot.stage = next;
            return false;
        }
        let Some(old) = slot.edge.take() else { return Self::fail(slot, Error::Busy) };
        slot.maps = Vec::from([mapping]);
        slot.stage = Stage::EdgeRead(side);
        slot.outstanding = 1;
        slot.wait = Wait::Io;
        let token = token(KIND_SLOT, i as u64);
        self.send(Io { token, op: IoOp::Read, block: mapping.block, pages: Vec::from([old]) });
        false
    }

    pub(super) fn step_edge_read(&mut self, slot: &mut Slot<P::Page>, side: usize) -> bool {
        let (Some(mapping), Some(old)) = (slot.maps.pop(), slot.edge.as_ref()) else {
            return Self::fail(slot, Error::Busy);
        };
        if slot.error.is_some() {
            return true;
        }
        let found = self.port.page_checksum(old);
        if found != mapping.crc {
            slot.retries = slot.retries.saturating_add(1);
            // The block may have been replaced (by a merge) and reused while the read was under way.
            slot.stage = Stage::Edge(side);
            let error = Error::Corrupt { block: mapping.block, expected: mapping.crc, found };
            return slot.retries > 3 && Self::fail(slot, error);
        }
        if let Some((page, from, to)) = Self::edge_of(slot, side)
            && let Some(Some(new)) = slot.pages.get_mut(page)
        {
            let (new, old) = (new.as_mut(), old.as_ref());
            for part in [0..from, to..BLOCK_BYTES] {
                if let (Some(into), Some(bytes)) = (new.get_mut(part.clone()), old.get(part)) {
                    into.copy_from_slice(bytes);
                }
            }
        }
        slot.stage = if side == 0 { Stage::Edge(1) } else { Stage::Place };
        false
    }

    /// Takes one run of blocks and writes it.
    pub(super) fn step_place(&mut self, slot: &mut Slot<P::Page>, i: usize) -> bool {
        let placed = slot.maps.len();
        if placed >= slot.count || slot.error.is_some() {
            slot.stage = Stage::Data;
            slot.wait = if slot.outstanding > 0 { Wait::Io } else { Wait::Nothing };
            return false;
        }
        let want = slot.count.saturating_sub(placed).min(MAX_TRANSFER);
        match self.take_blocks(want as u64) {
            Err(wait) => {
                match wait {
                    Some(wait) => slot.wait = wait,
                    None => slot.error = Some(self.full_error()),
                }
                false
            }
            Ok((first, len)) => {
                slot.runs.push((first, len));
                let mut pages = Vec::with_capacity(index(u64::from(len)));
                for (n, block) in (first..first.saturating_add(len)).enumerate() {
                    let Some(page) = slot.pages.get_mut(placed.saturating_add(n)).and_then(Option::take)
                    else {
                        break;
                    };
                    // The checksum follows when the transfer is done: a port's threads may have worked it out by then.
                    slot.maps.push(Mapping { block, crc: 0 });
                    pages.push(page);
                }
                slot.outstanding = slot.outstanding.saturating_add(1);
                let token = token(KIND_SLOT, (placed as u64) << 16 | i as u64);
                self.send(Io { token, op: IoOp::Write, block: first, pages });
                false
            }
        }
    }

    fn full_error(&self) -> Error {
        self.check_not_read_only().err().unwrap_or(Error::NoSpace)
    }

    /// A run of at most `want` blocks for data. `Err(Some)`: wait; `Err(None)`: there is no space.
    fn take_blocks(&mut self, want: u64) -> Result<(u32, u32), Option<Wait>> {
        if self.read_only.is_some() {
            return Err(None);
        }
        // One generation is bounded; what is in flight is let in, since it is bounded by the slots.
        if self.active.weight >= self.options.generation_weight || self.generation_log_full() {
            self.checkpoint_wanted = true;
            return Err(Some(Wait::Space));
        }
        if self.space.available() < want.saturating_add(self.reserve()) {
            return self.wait_for_space().map_or(Err(None), |wait| Err(Some(wait)));
        }
        if let Some(run) = self.space.allocate(crate::wire::low32(want)) {
            return Ok(run);
        }
        if self.space.is_exhausted() {
            return Err(self.wait_for_space());
        }
        self.group_wanted = true;
        Err(Some(Wait::Space))
    }

    pub(super) fn step_data(slot: &mut Slot<P::Page>) -> bool {
        if slot.outstanding > 0 {
            slot.wait = Wait::Io;
            return false;
        }
        if slot.error.is_some() {
            return true;
        }
        slot.stage = Stage::Record;
        false
    }

    /// The data is written: the volume now has it.
    pub(super) fn step_record(&mut self, slot: &mut Slot<P::Page>) -> bool {
        let Ok((layer, _)) = self.target_layer(slot.target) else {
            return Self::fail(slot, Error::NotFound);
        };
        let records = map_records(layer, slot.first, &slot.runs, &slot.maps);
        let committed = match slot.target {
            Target::Transaction { id, volume } => self.stage(id, volume, records),
            _ => self.commit(&records),
        };
        match committed {
            Err(Error::Busy) => {
                slot.wait = Wait::Log;
                return false;
            }
            Err(error) => return Self::fail(slot, error),
            Ok(()) => slot.runs.clear(),
        }
        slot.stage = Stage::Durable;
        slot.cursor = self.log_position();
        !matches!(slot.op, Op::Write { durable: true, .. })
    }
}

pub(super) fn fill_pages<Page: AsMut<PageBytes>>(
    pages: &mut [Option<Page>],
    sector: u64,
    sectors: u64,
    fill: &mut dyn FnMut(usize, &mut [u8]),
) {
    let mut from = index(sector % SECTORS).saturating_mul(512);
    let mut left = index(sectors).saturating_mul(512);
    let mut offset: usize = 0;
    for page in pages.iter_mut().flatten() {
        let len = left.min(BLOCK_BYTES.saturating_sub(from));
        fill(offset, page.as_mut().get_mut(from..from.saturating_add(len)).unwrap_or_default());
        offset = offset.saturating_add(len);
        left = left.saturating_sub(len);
        from = 0;
    }
}

/// The records of a write: one per run of blocks.
fn map_records(layer: u64, first: u64, runs: &[(u32, u32)], maps: &[Mapping]) -> Vec<Record> {
    let mut records = Vec::with_capacity(runs.len());
    let mut at: usize = 0;
    for (start, len) in runs {
        let end = at.saturating_add(index(u64::from(*len)));
        let crcs: Vec<u32> = maps.get(at..end).unwrap_or_default().iter().map(|m| m.crc).collect();
        let block = first.saturating_add(u64::from(count32(at)));
        records.push(Record::Map { layer, block, first: *start, crcs });
        at = end;
    }
    records
}
