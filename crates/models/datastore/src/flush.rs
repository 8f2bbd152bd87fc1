//! Log blocks to the device, device flushes, and who waits for them.
//!
//! Called by: `poll`. One device flush serves every FLUSH that came before it (group commit), and the checkpoint's
//! own needs ride on it where there is one: so a FLUSH costs at most one.

use crate::error::ReadOnly;
use crate::port::{BlockPort, Io, IoDone, IoOp};
use crate::store::{KIND_FLUSH, KIND_LOG, Store, Wait, has_defect, token};
use alloc::vec::Vec;

/// Log blocks that are left free for what is under way.
const LOG_MARGIN: u64 = 20;

impl<P: BlockPort> Store<P> {
    /// When the log is durable up to here, everything recorded so far is.
    pub(crate) fn log_position(&self) -> u64 {
        self.log.next_seq.saturating_add(u64::from(self.log.has_partial()))
    }

    /// The ring has no room but what is kept for what is under way.
    pub(crate) fn log_is_full(&self) -> bool {
        let used = self.log.next_seq.saturating_sub(self.log_kept);
        used.saturating_add(LOG_MARGIN) >= u64::from(self.space.geometry.log_blocks)
    }

    /// The generation has used its quarter of the ring. (The ring holds three: the older root's, the newer root's,
    /// and the one being gathered.)
    pub(crate) fn generation_log_full(&self) -> bool {
        let used = self.log.next_seq.saturating_sub(self.active.log_start);
        used >= u64::from(self.space.geometry.log_blocks) / 4 || self.log_is_full()
    }

    /// Who fills the generation will soon wait for the checkpoint of the one before.
    pub(crate) fn generation_half_full(&self) -> bool {
        let used = self.log.next_seq.saturating_sub(self.active.log_start);
        self.active.weight >= self.options.generation_weight / 2
            || used >= u64::from(self.space.geometry.log_blocks) / 8
    }

    pub(crate) fn step_log(&mut self) -> bool {
        let mut moved = false;
        if self.flusher.wanted && !self.flusher.in_flight {
            self.log.seal(false, &|page| self.port.checksum(page));
        }
        while let Some(sealed) = self.log.take() {
            let Some(mut page) = self.pool.pop() else {
                self.log.put_back(sealed);
                return moved;
            };
            page.as_mut().copy_from_slice(sealed.page.as_slice());
            let block = self.space.geometry.log_block(sealed.seq);
            self.log.recycle(sealed.page);
            self.log_in_flight = self.log_in_flight.saturating_add(1);
            let token = token(KIND_LOG, sealed.seq);
            self.send(Io { token, op: IoOp::Write, block, pages: Vec::from([page]) });
            self.wake(|wait| wait == Wait::Log);
            moved = true;
        }
        if self.flusher.wanted
            && !self.flusher.in_flight
            && self.log_in_flight == 0
            && self.read_only.is_none()
        {
            self.flusher.wanted = false;
            self.flusher.in_flight = true;
            self.flusher.started = self.flusher.started.saturating_add(1);
            self.flusher.covers = self.log.next_seq;
            if has_defect!(self, FlushAhead) {
                self.log.durable = self.flusher.covers;
                self.wake(|wait| matches!(wait, Wait::Durable(_)));
            }
            self.send(Io { token: token(KIND_FLUSH, 0), op: IoOp::Flush, block: 0, pages: Vec::new() });
            moved = true;
        }
        moved
    }

    pub(crate) fn finish_log(&mut self, seq: u64, done: IoDone<P::Page>) {
        self.note_write(done.result.is_ok());
        if done.result.is_err() && self.read_only.is_none() {
            // The chain has no gaps: the same block again, until it works or the store gives up.
            let block = self.space.geometry.log_block(seq);
            let io = Io { token: token(KIND_LOG, seq), op: IoOp::Write, block, pages: done.pages };
            return self.send(io);
        }
        self.log_in_flight = self.log_in_flight.saturating_sub(1);
        self.pool.extend(done.pages);
        self.wake(|wait| wait == Wait::Log);
    }

    pub(crate) fn finish_flush(&mut self, done: IoDone<P::Page>) {
        self.flusher.in_flight = false;
        if done.result.is_err() {
            // What the device dropped is unknown, and the next flush may well succeed: nothing may rest on it.
            return self.become_read_only(ReadOnly::FlushFailed);
        }
        self.flusher.done = self.flusher.started;
        self.log.durable = self.log.durable.max(self.flusher.covers);
        let durable = self.log.durable;
        self.wake(|wait| matches!(wait, Wait::Durable(seq) if seq <= durable));
        if self.slots.iter().flatten().any(|slot| matches!(slot.wait, Wait::Durable(_))) {
            self.flusher.wanted = true;
        }
    }
}
