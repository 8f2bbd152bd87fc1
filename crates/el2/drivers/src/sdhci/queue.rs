//! Requests that wait for the card, in order, in a fixed pool of slots.
//!
//! Called by `transfer` and the driver's `BlockBackend`. A slot is free again when its completion was fetched, so that a
//! full pool is back-pressure and no completion is ever lost. Nothing is allocated after `new`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use heapless::Deque;
use ports::{BlockCompletion, BlockError, BlockOp, Span, Token};

/// Requests that a card holds at once.
pub const SLOTS: usize = 32;
/// Spans that a request may have: 1 MiB of single pages, and a front end's first and last pieces.
pub const MAX_SPANS: usize = 258;

/// One request.
pub struct Slot {
    /// The submitter's token.
    pub token: Token,
    /// What is asked.
    pub op: BlockOp,
    /// First sector that is not yet done.
    pub sector: u64,
    /// Sectors that are not yet done.
    pub sectors: u64,
    /// Where the data is.
    pub spans: Vec<Span>,
    /// First span that is not yet done, and bytes of it that are.
    pub cursor: (usize, u32),
    /// The data must go through the bounce buffer.
    pub bounce: bool,
    /// Tries of the present piece that failed.
    pub failures: u8,
}

/// The pool.
pub struct Queue {
    slots: Box<[Slot]>,
    free: Deque<u8, SLOTS>,
    waiting: Deque<u8, SLOTS>,
    done: Deque<(u8, BlockCompletion), SLOTS>,
}

impl Queue {
    /// An empty pool.
    pub fn new() -> Self {
        let slot = || Slot {
            token: Token(0),
            op: BlockOp::Flush,
            sector: 0,
            sectors: 0,
            spans: Vec::with_capacity(MAX_SPANS),
            cursor: (0, 0),
            bounce: false,
            failures: 0,
        };
        let mut free = Deque::new();
        for index in 0..SLOTS {
            let _ = free.push_back(u8::try_from(index).unwrap_or(0));
        }
        Self {
            slots: core::iter::repeat_with(slot).take(SLOTS).collect(),
            free,
            waiting: Deque::new(),
            done: Deque::new(),
        }
    }

    /// Queues a request; `false` when the pool is full.
    pub fn push(&mut self, token: Token, op: BlockOp, sector: u64, sectors: u64, spans: &[Span]) -> bool {
        let Some(index) = self.free.pop_front() else { return false };
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return false };
        slot.token = token;
        slot.op = op;
        slot.sector = sector;
        slot.sectors = sectors;
        slot.spans.clear();
        slot.spans.extend_from_slice(spans);
        slot.cursor = (0, 0);
        slot.bounce = false;
        slot.failures = 0;
        let _ = self.waiting.push_back(index);
        true
    }

    /// The oldest request that is not finished.
    pub fn first(&mut self) -> Option<&mut Slot> {
        let index = *self.waiting.front()?;
        self.slots.get_mut(usize::from(index))
    }

    /// No request is unfinished.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends the oldest request.
    pub fn finish_first(&mut self, result: Result<(), BlockError>) {
        let Some(index) = self.waiting.pop_front() else { return };
        let Some(slot) = self.slots.get(usize::from(index)) else { return };
        let _ = self.done.push_back((index, BlockCompletion { token: slot.token, result }));
    }

    /// The next completion; frees its slot.
    pub fn complete(&mut self) -> Option<BlockCompletion> {
        let (index, completion) = self.done.pop_front()?;
        let _ = self.free.push_back(index);
        Some(completion)
    }
}

impl Slot {
    /// Walks the next `bytes` bytes of the data, one call per run of contiguous memory, until `visit` says `false`.
    #[inline]
    pub fn each_run(&self, bytes: u32, mut visit: impl FnMut(Span) -> bool) {
        let (index, mut offset) = self.cursor;
        let mut left = bytes;
        for span in self.spans.get(index..).unwrap_or(&[]) {
            if left == 0 {
                return;
            }
            let run = span.bytes.saturating_sub(offset).min(left);
            let start = span.start.checked_add(offset.into()).unwrap_or(span.start);
            if run > 0 && !visit(Span { start, bytes: run }) {
                return;
            }
            left = left.saturating_sub(run);
            offset = 0;
        }
    }

    /// Marks `sectors` sectors as done.
    pub fn advance(&mut self, sectors: u32) {
        self.failures = 0;
        self.sector = self.sector.saturating_add(sectors.into());
        self.sectors = self.sectors.saturating_sub(sectors.into());
        let mut left = sectors.saturating_mul(512);
        while left > 0 {
            let (index, offset) = self.cursor;
            let Some(span) = self.spans.get(index) else { return };
            let rest = span.bytes.saturating_sub(offset);
            if left < rest {
                self.cursor = (index, offset.saturating_add(left));
                return;
            }
            left = left.saturating_sub(rest);
            self.cursor = (index.saturating_add(1), 0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]
mod tests {
    use super::*;
    use crate::model::memory::span;
    use std::vec;

    #[test]
    fn a_slot_is_walked_piece_by_piece() {
        let mut queue = Queue::new();
        let spans = [span(0, 700), span(0x1000, 324), span(0x2000, 1024)];
        assert!(queue.push(Token(1), BlockOp::Read, 10, 4, &spans));
        let slot = queue.first().unwrap();
        let runs = |slot: &Slot, bytes| {
            let mut runs = vec![];
            slot.each_run(bytes, |run| {
                runs.push((run.start.0, run.bytes));
                true
            });
            runs
        };
        assert_eq!(runs(slot, 1024), [(0, 700), (0x1000, 324)]);
        slot.advance(1);
        assert_eq!(runs(slot, 1536), [(512, 188), (0x1000, 324), (0x2000, 1024)]);
        slot.advance(2);
        assert_eq!((slot.sector, slot.sectors, slot.cursor), (13, 1, (2, 512)));
        assert_eq!(runs(slot, 4096), [(0x2200, 512)]);
    }

    #[test]
    fn a_full_pool_is_back_pressure_until_a_completion_is_fetched() {
        let mut queue = Queue::new();
        for token in 0..SLOTS {
            assert!(queue.push(Token(token as u32), BlockOp::Flush, 0, 0, &[]));
        }
        assert!(!queue.push(Token(99), BlockOp::Flush, 0, 0, &[]));
        queue.finish_first(Ok(()));
        assert!(!queue.push(Token(99), BlockOp::Flush, 0, 0, &[]));
        assert_eq!(queue.complete().unwrap().token, Token(0));
        assert!(queue.push(Token(99), BlockOp::Flush, 0, 0, &[]));
        while !queue.is_idle() {
            queue.finish_first(Err(BlockError::Io));
        }
        let last = core::iter::from_fn(|| queue.complete()).last().unwrap();
        assert_eq!(last, BlockCompletion { token: Token(99), result: Err(BlockError::Io) });
    }
}
