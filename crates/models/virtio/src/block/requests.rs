//! The requests of a block device, from the queue to the backend and back.
//!
//! Called by: [`super::Block`], under its lock. Calls: [`parse`], `BlockBackend`, [`Queue`].
//! Source: virtio 1.2, 5.2.6 "Device Operation".
//! Invariants: a slot per head descriptor, so a head is in flight at most once. A token holds the generation, which
//! every reset moves on: what completes later is dropped. Without FLUSH agreed the disk is write-through (5.2.6.2): a
//! write is answered only after a flush behind it. A FLUSH is passed on, never answered here.
//! Back-pressure: a request that the backend has no slot for waits in `waiting`, its data in `chain`; the queue is not
//! popped meanwhile.

use super::parse::{Agreed, Parsed, parse};
use super::{QUEUE_SIZE, SPANS_MAX};
use crate::chain::Chain;
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use crate::transport::Progress;
use alloc::{boxed::Box, vec};
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, GuestMemory,
    InterruptLine, Sector, Span, Submitted, Token,
};
use specs::Pa;
use specs::virtio::blk;

/// What was done for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockCounters {
    /// Sectors read.
    pub sectors_read: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Requests that succeeded, of any kind.
    pub succeeded: u64,
    /// Requests that failed, of any kind.
    pub failed: u64,
    /// Completions of before a reset, dropped.
    pub late: u64,
    /// Times that the backend was full.
    pub full: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Free,
    /// The backend has it; its completion is the answer.
    Last,
    /// The backend has it; a flush must follow.
    FlushFollows,
    /// The flush that must follow found no slot.
    FlushDue,
}

#[derive(Clone, Copy)]
struct Slot {
    stage: Stage,
    answer: Answer,
}

/// Where a request's answer goes.
#[derive(Clone, Copy)]
struct Answer {
    status: Span,
    /// Bytes of data that the device writes if all goes well.
    data: u32,
    /// The same for the counters: sectors moved, and whether they were written to the disk.
    sectors: u32,
    is_write: bool,
}

/// A request that was parsed.
#[derive(Clone, Copy)]
struct Request {
    head: u16,
    op: BlockOp,
    sector: Sector,
    answer: Answer,
}

const FREE: Slot = Slot {
    stage: Stage::Free,
    answer: Answer { status: Span { start: Pa(0), bytes: 0 }, data: 0, sectors: 0, is_write: false },
};

/// Requests taken from the queue in one call: the guest can't hold a PE for longer.
const BUDGET: u16 = QUEUE_SIZE * 2;

/// Bits of a token that hold the head.
const HEAD_BITS: u32 = QUEUE_SIZE.ilog2();

pub(super) struct Requests<B> {
    backend: B,
    queue: Option<Queue>,
    agreed: Agreed,
    chain: Box<Chain<SPANS_MAX>>,
    waiting: Option<Request>,
    slots: Box<[Slot]>,
    flushes_due: u16,
    generation: u32,
    in_flight: u32,
    counters: BlockCounters,
}

impl<B: BlockBackend> Requests<B> {
    pub(super) fn new(backend: B) -> Self {
        Self {
            backend,
            queue: None,
            agreed: Agreed::default(),
            chain: Box::new(Chain::new()),
            waiting: None,
            slots: vec![FREE; usize::from(QUEUE_SIZE)].into_boxed_slice(),
            flushes_due: 0,
            generation: 0,
            in_flight: 0,
            counters: BlockCounters::default(),
        }
    }

    pub(super) const fn counters(&self) -> BlockCounters {
        self.counters
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn geometry(&self) -> BlockGeometry {
        self.backend.geometry()
    }

    pub(super) fn attach(&mut self, queue: Queue, agreed: Agreed) {
        self.queue = Some(queue);
        self.agreed = agreed;
    }

    pub(super) fn detach(&mut self) {
        self.queue = None;
        self.waiting = None;
        self.slots.fill(FREE);
        self.flushes_due = 0;
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn work<M: GuestMemory, L: InterruptLine>(
        &mut self,
        link: &Link<M, L>,
        serial: &[u8],
    ) -> Progress {
        let Some(mut queue) = link.take(&mut self.queue) else {
            self.drop_completions();
            return Progress::Done;
        };
        let worked = self.serve(link.memory(), &mut queue, serial);
        link.put_back(&mut self.queue, queue, worked).unwrap_or_else(|| {
            self.detach();
            Progress::Done
        })
    }

    /// Nobody is there to hear them.
    fn drop_completions(&mut self) {
        while self.backend.complete().is_some() {
            self.in_flight = self.in_flight.saturating_sub(1);
            self.counters.late = self.counters.late.saturating_add(1);
        }
    }

    fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        serial: &[u8],
    ) -> Result<Progress, QueueFault> {
        while let Some(completion) = self.backend.complete() {
            self.take_completion(memory, queue, completion)?;
        }
        if self.flushes_due != 0 {
            self.submit_due_flushes(memory, queue)?;
        }
        if let Some(request) = self.waiting.take() {
            self.submit(memory, queue, request)?;
        }
        for _ in 0..BUDGET {
            if self.waiting.is_some() {
                return Ok(Progress::Done);
            }
            if queue.pop(memory, &mut self.chain)? {
                self.begin(memory, queue, serial)?;
            } else if !queue.arm(memory)? {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::More)
    }

    /// Starts the request in `chain`.
    fn begin<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        serial: &[u8],
    ) -> Result<(), QueueFault> {
        let head = self.chain.head();
        if self.slots.get(usize::from(head)).is_none_or(|slot| slot.stage != Stage::Free) {
            return Err(QueueFault::HeadInFlight);
        }
        let status = self.chain.take_last_byte().ok_or(QueueFault::NoAnswerBuffer)?;
        let failed = Answer { status, data: 0, sectors: 0, is_write: false };
        let geometry = self.backend.geometry();
        let parsed = match parse(memory, &mut self.chain, geometry, self.agreed, serial) {
            Ok(parsed) => parsed,
            Err(error) => return self.answer(memory, queue, head, failed, Err(error)),
        };
        let Parsed { ask, data, sectors, is_write } = parsed;
        let answer = Answer { status, data, sectors, is_write };
        match ask {
            Some((op, sector)) => self.submit(memory, queue, Request { head, op, sector, answer }),
            None => self.answer(memory, queue, head, answer, Ok(())),
        }
    }

    fn submit<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        request: Request,
    ) -> Result<(), QueueFault> {
        let Request { head, op, sector, answer } = request;
        let data = match op {
            BlockOp::Read => self.chain.writable(),
            BlockOp::Write => self.chain.readable(),
            BlockOp::Flush | BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. } => &[],
        };
        let flush_follows = answer.is_write && !self.agreed.flush;
        match self.backend.submit(&BlockRequest { token: self.token(head), op, sector, data, memory }) {
            Submitted::Done(Ok(())) if flush_follows => self.submit_flush(memory, queue, head, answer),
            Submitted::Done(result) => self.answer(memory, queue, head, answer, result),
            Submitted::InFlight => {
                self.in_flight = self.in_flight.saturating_add(1);
                self.set(head, if flush_follows { Stage::FlushFollows } else { Stage::Last }, answer);
                Ok(())
            }
            Submitted::Full => {
                self.counters.full = self.counters.full.saturating_add(1);
                self.waiting = Some(request);
                Ok(())
            }
        }
    }

    /// The flush behind a write of a driver that knows no FLUSH.
    fn submit_flush<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        head: u16,
        answer: Answer,
    ) -> Result<(), QueueFault> {
        let (token, sector) = (self.token(head), Sector(0));
        match self.backend.submit(&BlockRequest { token, op: BlockOp::Flush, sector, data: &[], memory }) {
            Submitted::Done(result) => return self.answer(memory, queue, head, answer, result),
            Submitted::InFlight => {
                self.in_flight = self.in_flight.saturating_add(1);
                self.set(head, Stage::Last, answer);
            }
            Submitted::Full => {
                self.flushes_due = self.flushes_due.saturating_add(1);
                self.set(head, Stage::FlushDue, answer);
            }
        }
        Ok(())
    }

    fn submit_due_flushes<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
    ) -> Result<(), QueueFault> {
        for head in 0..QUEUE_SIZE {
            let due = self.slots.get(usize::from(head)).filter(|slot| slot.stage == Stage::FlushDue);
            let Some(answer) = due.map(|slot| slot.answer) else { continue };
            let before = self.flushes_due;
            self.flushes_due = before.saturating_sub(1);
            self.submit_flush(memory, queue, head, answer)?;
            if self.flushes_due == before {
                break;
            }
        }
        Ok(())
    }

    fn take_completion<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        completion: BlockCompletion,
    ) -> Result<(), QueueFault> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let head = u16::try_from(completion.token.0 & (u32::from(QUEUE_SIZE) - 1)).unwrap_or(0);
        let slot = self.slots.get(usize::from(head)).copied().unwrap_or(FREE);
        let ours = completion.token == self.token(head);
        match slot.stage {
            Stage::Last if ours => self.answer(memory, queue, head, slot.answer, completion.result),
            Stage::FlushFollows if ours && completion.result.is_ok() => {
                self.submit_flush(memory, queue, head, slot.answer)
            }
            Stage::FlushFollows if ours => self.answer(memory, queue, head, slot.answer, completion.result),
            _ => {
                self.counters.late = self.counters.late.saturating_add(1);
                Ok(())
            }
        }
    }

    /// Ends a request.
    fn answer<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        head: u16,
        answer: Answer,
        result: Result<(), BlockError>,
    ) -> Result<(), QueueFault> {
        let (status, data) = match result {
            Ok(()) => (blk::S_OK, answer.data),
            Err(BlockError::Unsupported) => (blk::S_UNSUPP, 0),
            Err(_) => (blk::S_IOERR, 0),
        };
        self.count(answer, result.is_ok());
        self.set(head, Stage::Free, FREE.answer);
        memory.write_span(answer.status, &[status]);
        queue.push_used(memory, head, data.saturating_add(1))
    }

    fn count(&mut self, answer: Answer, succeeded: bool) {
        let counters = &mut self.counters;
        if !succeeded {
            counters.failed = counters.failed.saturating_add(1);
            return;
        }
        counters.succeeded = counters.succeeded.saturating_add(1);
        let moved = if answer.is_write { &mut counters.sectors_written } else { &mut counters.sectors_read };
        *moved = moved.saturating_add(answer.sectors.into());
    }

    fn set(&mut self, head: u16, stage: Stage, answer: Answer) {
        if let Some(slot) = self.slots.get_mut(usize::from(head)) {
            *slot = Slot { stage, answer };
        }
    }

    const fn token(&self, head: u16) -> Token {
        Token(self.generation << HEAD_BITS | head as u32)
    }
}
