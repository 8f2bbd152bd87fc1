//! The steps of a request that read, make durable, discard and resize.
//!
//! Called by the slot's own step in [`super`]; each returns whether the slot has ended.

use super::{MAX_TRANSFER, Op, SECTORS, Slot, Stage, Target};
use crate::catalog::Entry;
use crate::error::Error;
use crate::log::Record;
use crate::port::{Io, IoDone, IoOp};
use crate::room::FOR_DELETION;
use crate::store::{KIND_SLOT, Wait, has_defect, token};
use crate::tree::CHUNK_BLOCKS;
use crate::wire::index;
use crate::{BlockPort, Store};
use alloc::vec::Vec;

impl<P: BlockPort> Store<P> {
    pub(super) fn step_resolve(&mut self, slot: &mut Slot<P::Page>, i: usize) -> bool {
        let (layer, _) = match self.target_layer(slot.target) {
            Ok(found) => found,
            Err(error) => return Self::fail(slot, error),
        };
        // An object that was replaced in between, or a volume that was reverted, is read from the beginning: all of one state.
        if layer != slot.layer {
            slot.maps.clear();
            slot.layer = layer;
        }
        // A step resolves some blocks only: a deep chain is slow, never long.
        let (next, left) = (slot.maps.len() as u64, slot.count.saturating_sub(slot.maps.len()));
        if let Err(need) = self.mappings(layer, slot.first.saturating_add(next), left, &mut slot.maps) {
            return self.need(slot, need);
        }
        if slot.maps.len() < slot.count {
            return false;
        }
        slot.stage = Stage::Reading;
        self.issue_reads(slot, i);
        slot.wait = if slot.outstanding > 0 { Wait::Io } else { Wait::Nothing };
        false
    }

    pub(super) fn issue_reads(&mut self, slot: &mut Slot<P::Page>, i: usize) {
        let mut at = 0;
        while let Some(mapping) = slot.maps.get(at).copied() {
            let mut pages: Vec<P::Page> = Vec::new();
            let first = at;
            let mut expected = mapping.block;
            while pages.len() < MAX_TRANSFER
                && mapping.is_data()
                && slot.maps.get(at).is_some_and(|m| m.block == expected)
                && let Some(page) = slot.pages.get_mut(at).and_then(Option::take)
            {
                pages.push(page);
                at = at.saturating_add(1);
                expected = expected.saturating_add(1);
            }
            if pages.is_empty() {
                if !mapping.is_data()
                    && let Some(Some(page)) = slot.pages.get_mut(at)
                {
                    self.port.zero(page);
                }
                at = at.saturating_add(1);
                continue;
            }
            slot.outstanding = slot.outstanding.saturating_add(1);
            let token = token(KIND_SLOT, (first as u64) << 16 | i as u64);
            self.send(Io { token, op: IoOp::Read, block: mapping.block, pages });
        }
    }

    /// Everything was read: check it.
    pub(super) fn step_reading(&mut self, slot: &mut Slot<P::Page>) -> bool {
        if slot.error.is_some() {
            return true;
        }
        let bad = slot.maps.iter().zip(&slot.pages).find_map(|(mapping, page)| {
            let page = page.as_ref().filter(|_| mapping.is_data())?;
            let found = self.port.page_checksum(page);
            (found != mapping.crc).then_some((*mapping, found))
        });
        let bad = if has_defect!(self, ReadUnchecked) { None } else { bad };
        let Some((mapping, found)) = bad else { return true };
        // The block may have been freed and reused while the read was under way: look again.
        slot.retries = slot.retries.saturating_add(1);
        if slot.retries < 3 {
            slot.maps.clear();
            slot.stage = Stage::Resolve;
            return false;
        }
        let error = Error::Corrupt { block: mapping.block, expected: mapping.crc, found };
        self.report(crate::error::Event::Corrupt(error));
        Self::fail(slot, error)
    }

    pub(crate) fn finish_slot_io(&mut self, rest: u64, done: IoDone<P::Page>) {
        let (i, at) = (index(rest & 0xffff), index(rest >> 16));
        let Some(Some(slot)) = self.slots.get_mut(i) else { return self.pool.extend(done.pages) };
        if done.result.is_err() {
            let mapping = slot.maps.get(at).or(slot.maps.last()).copied().unwrap_or_default();
            slot.error.get_or_insert(Error::Io { block: mapping.block });
        }
        let writes = slot.stage == Stage::Data || slot.stage == Stage::Place;
        if let Stage::EdgeRead(_) = slot.stage {
            slot.edge = done.pages.into_iter().next();
        } else {
            for (n, page) in done.pages.into_iter().enumerate() {
                if writes && let Some(mapping) = slot.maps.get_mut(at.saturating_add(n)) {
                    mapping.crc = self.port.page_checksum(&page);
                }
                if let Some(place) = slot.pages.get_mut(at.saturating_add(n)) {
                    *place = Some(page);
                }
            }
        }
        slot.outstanding = slot.outstanding.saturating_sub(1);
        if slot.outstanding == 0 && slot.wait == Wait::Io {
            slot.wait = Wait::Nothing;
            self.ready.push_back(i);
        }
        if writes {
            self.note_write(done.result.is_ok());
        }
    }

    /// Waits until what was recorded is on stable storage.
    pub(super) fn step_durable(&mut self, slot: &mut Slot<P::Page>) -> bool {
        if slot.op == Op::Flush && slot.retries == 0 {
            slot.retries = 1;
            slot.cursor = self.log_position();
        }
        if self.log.durable >= slot.cursor {
            return true;
        }
        if let Err(error) = self.check_not_read_only() {
            return Self::fail(slot, error);
        }
        self.flusher.wanted = true;
        slot.wait = Wait::Durable(slot.cursor);
        false
    }

    /// One chunk's part of a discard.
    pub(super) fn step_discard(&mut self, slot: &mut Slot<P::Page>) -> bool {
        let (sector, end) = match slot.op {
            Op::Discard { sector, sectors } => (sector, sector.saturating_add(sectors) / SECTORS),
            _ => (slot.first.saturating_mul(SECTORS), slot.first.saturating_add(slot.count as u64)),
        };
        let from = slot.cursor.max(sector.div_ceil(SECTORS));
        if from >= end && !matches!(slot.op, Op::Resize { .. }) {
            return true;
        }
        if let Err(error) = self.check_not_read_only() {
            return Self::fail(slot, error);
        }
        if self.active.weight >= self.options.generation_weight || self.generation_log_full() {
            self.checkpoint_wanted = true;
            slot.wait = Wait::Space;
            return false;
        }
        let Ok((layer, _)) = self.target_layer(slot.target) else {
            return Self::fail(slot, Error::NotFound);
        };
        if from >= end {
            return self.finish_resize(slot);
        }
        let (record, next) = crate::gc::blank_record(layer, self.catalog.parent(layer), from, end);
        match self.is_blank(layer, from) {
            Ok(true) => {
                slot.cursor = (from / CHUNK_BLOCKS).saturating_add(1).saturating_mul(CHUNK_BLOCKS);
                return false;
            }
            Ok(false) => {}
            Err(need) => return self.need(slot, need),
        }
        if let Some(failed) = self.cannot_afford(slot) {
            return failed;
        }
        match self.commit(core::slice::from_ref(&record)) {
            Err(Error::Busy) => slot.wait = Wait::Log,
            Err(error) => return Self::fail(slot, error),
            Ok(()) => slot.cursor = next,
        }
        next >= end && !matches!(slot.op, Op::Resize { .. })
    }

    /// There is no room for one more changed page: now (the slot waits), or at all.
    fn cannot_afford(&mut self, slot: &mut Slot<P::Page>) -> Option<bool> {
        match self.afford(1, FOR_DELETION) {
            Ok(()) => None,
            Err(Error::Busy) => {
                slot.wait = Wait::Space;
                Some(false)
            }
            Err(error) => Some(Self::fail(slot, error)),
        }
    }

    pub(super) fn finish_resize(&mut self, slot: &mut Slot<P::Page>) -> bool {
        let (Op::Resize { sectors }, Target::Volume(id)) = (slot.op, slot.target) else { return true };
        let Some(Entry::Volume { name, head, .. }) = self.catalog.get(id) else {
            return Self::fail(slot, Error::NotFound);
        };
        let entry = Entry::Volume { name: name.clone(), sectors, head: *head };
        if let Some(failed) = self.cannot_afford(slot) {
            return failed;
        }
        match self.commit(&[Record::Entry { id, bytes: Some(entry.encode()) }]) {
            Err(Error::Busy) => {
                slot.wait = Wait::Log;
                false
            }
            Err(error) => Self::fail(slot, error),
            Ok(()) => true,
        }
    }
}
