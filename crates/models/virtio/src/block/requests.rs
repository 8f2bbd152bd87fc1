//! The requests of a block device, from the queue to the backend and back.
//!
//! Called by: [`super::Block`], under its lock. Calls: `BlockBackend`, [`Queue`].
//! Source: virtio 1.2, 5.2.6 "Device Operation".
//! Invariants: a slot per head descriptor, so a head is in flight at most once. A token holds the generation, which
//! every reset moves on: what completes later is dropped. Without FLUSH agreed the disk is write-through (5.2.6.2): a
//! write is answered only after a flush behind it. A FLUSH is passed on, never answered here.
//! Back-pressure: a request that the backend has no slot for waits in `waiting`, its data in `chain`; the queue is not
//! popped meanwhile.

use super::{QUEUE_SIZE, RANGE_SECTORS_MAX, SPANS_MAX};
use crate::chain::{Chain, scatter};
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

/// What the driver agreed to.
#[derive(Clone, Copy, Default)]
pub(super) struct Agreed {
    pub ranges: bool,
    pub zeroes: bool,
    pub flush: bool,
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
        let mut answer = Answer { status, data: 0, sectors: 0, is_write: false };
        match self.parse(memory, serial, &mut answer) {
            Ok(Some((op, sector))) => self.submit(memory, queue, Request { head, op, sector, answer }),
            Ok(None) => self.answer(memory, queue, head, answer, Ok(())),
            Err(error) => self.answer(memory, queue, head, answer, Err(error)),
        }
    }

    /// What the chain asks of the backend; `None`: it is done already.
    fn parse<M: GuestMemory>(
        &mut self,
        memory: &M,
        serial: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<(BlockOp, Sector)>, BlockError> {
        let mut header = [0; blk::HEADER_BYTES];
        if !self.chain.is_whole() || !self.chain.take_readable(memory, &mut header) {
            return Err(BlockError::Io);
        }
        let [t0, t1, t2, t3, _, _, _, _, s @ ..] = header;
        let sector = Sector(u64::from_le_bytes(s));
        let geometry = self.backend.geometry();
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            blk::T_IN => {
                answer.data = self.chain.writable_bytes();
                answer.sectors = whole_sectors(answer.data)?;
                within(geometry, sector, answer.sectors)?;
                Ok(Some((BlockOp::Read, sector)).filter(|_| answer.sectors != 0))
            }
            blk::T_OUT => {
                writable(geometry)?;
                answer.sectors = whole_sectors(self.chain.readable_bytes())?;
                answer.is_write = true;
                within(geometry, sector, answer.sectors)?;
                Ok(Some((BlockOp::Write, sector)).filter(|_| answer.sectors != 0))
            }
            blk::T_FLUSH => Ok(Some((BlockOp::Flush, Sector(0)))),
            blk::T_GET_ID => {
                answer.data = scatter(memory, self.chain.writable(), serial);
                Ok(None)
            }
            blk::T_DISCARD if self.agreed.ranges => {
                let (sector, sectors) = self.range(memory, geometry, 0)?;
                Ok(Some((BlockOp::Discard { sectors }, sector)))
            }
            blk::T_WRITE_ZEROES if self.agreed.zeroes => {
                let (sector, sectors) = self.range(memory, geometry, blk::RANGE_UNMAP)?;
                answer.is_write = true;
                Ok(Some((BlockOp::WriteZeroes { sectors }, sector)))
            }
            _ => Err(BlockError::Unsupported),
        }
    }

    /// The one range of a discard or write-zeroes.
    fn range<M: GuestMemory>(
        &mut self,
        memory: &M,
        geometry: BlockGeometry,
        flags_allowed: u32,
    ) -> Result<(Sector, u32), BlockError> {
        writable(geometry)?;
        let mut raw = [0; blk::RANGE_BYTES];
        if !self.chain.take_readable(memory, &mut raw) || self.chain.readable_bytes() != 0 {
            return Err(BlockError::Io);
        }
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = raw;
        if u32::from_le_bytes(flags) & !flags_allowed != 0 {
            return Err(BlockError::Unsupported);
        }
        let sector = Sector(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        if sectors > RANGE_SECTORS_MAX {
            return Err(BlockError::OutOfRange);
        }
        within(geometry, sector, sectors)?;
        Ok((sector, sectors))
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

fn whole_sectors(bytes: u32) -> Result<u32, BlockError> {
    if bytes.is_multiple_of(512) { Ok(bytes / 512) } else { Err(BlockError::Io) }
}

fn writable(geometry: BlockGeometry) -> Result<(), BlockError> {
    if geometry.read_only { Err(BlockError::ReadOnly) } else { Ok(()) }
}

fn within(geometry: BlockGeometry, sector: Sector, sectors: u32) -> Result<(), BlockError> {
    match sector.0.checked_add(sectors.into()) {
        Some(end) if end <= geometry.sectors => Ok(()),
        _ => Err(BlockError::OutOfRange),
    }
}
