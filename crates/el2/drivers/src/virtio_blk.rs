//! A host's virtio disk, as the backend of guests' disks and of the datastore.
//!
//! Called by: whoever holds it as a [`BlockBackend`]; the PE's loop on the device's interrupt
//! ([`VirtioBlk::acknowledge`], then `complete` until it gives nothing). Calls: the transport, the driver's side of a
//! queue, [`Dma`].
//! Source: virtio 1.2, 5.2 "Block Device".
//! Invariants: a request holds one of [`SLOTS`] slots from submission to completion. One with more runs than the device
//! takes in a chain goes piece by piece (`piece`), one piece in flight at a time. What the device answers is input: after
//! the first answer that makes no sense the device is reset, so that it writes no memory any more, and every request
//! fails with [`BlockError::Io`].
//! Concurrency: one owner.

mod limits;
mod piece;
#[cfg(test)]
mod tests;

use crate::hardware::{Dma, DmaBuffer, Registers};
use crate::virtio_mmio::{HostQueue, QUEUE_MAX, Transport, VirtioError};
use alloc::vec::Vec;
use limits::Limits;
use piece::{PIECE_SPANS, Piece};
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Span, Submitted,
    Token,
};
use specs::virtio::{blk, device_id, feature};
use virtio::driver_queue::{Access, Segment, Used};

/// Requests in flight.
pub const SLOTS: usize = 32;
/// Runs of memory in one request: as many as the virtual disk gives.
pub const SPANS_MAX: usize = 256;

/// Each slot's part of the shared memory: what the device reads, and, in lines of its own, what it writes.
///
/// | offset | bytes | content |
/// |---|---|---|
/// | 0 | 16 | header |
/// | 16 | 16 | range of a discard or write-zeroes |
/// | 128 | 1 | status |
/// | 132 | 20 | id string |
const SLOT_BYTES: usize = 256;
const RANGE: usize = 16;
const STATUS: usize = 128;
const ID: usize = 132;
/// No status of the device's: what lies there before it answers.
const NO_STATUS: u8 = 0xff;

const WANTED: u64 = blk::F_SIZE_MAX
    | blk::F_SEG_MAX
    | blk::F_RO
    | blk::F_BLK_SIZE
    | blk::F_FLUSH
    | blk::F_TOPOLOGY
    | blk::F_DISCARD
    | blk::F_WRITE_ZEROES
    | feature::EVENT_IDX;

/// What a slot is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Free,
    /// The driver's own question for the serial number.
    Identify,
    Request(Token, BlockOp),
}

struct Slot {
    work: Work,
    sector: Sector,
    spans: heapless::Vec<Span, SPANS_MAX>,
    bytes: u64,
    /// Bytes of the pieces before the one in flight, and of that one.
    done: u64,
    piece_bytes: u64,
    /// The next piece found no descriptors.
    stalled: bool,
}

impl Slot {
    const fn free() -> Self {
        let spans = heapless::Vec::new();
        Self { work: Work::Free, sector: Sector(0), spans, bytes: 0, done: 0, piece_bytes: 0, stalled: false }
    }
}

/// A virtio block device of the host.
pub struct VirtioBlk<R, D: Dma> {
    transport: Transport<R>,
    dma: D,
    queue: HostQueue<D::Buffer>,
    shared: D::Buffer,
    slots: Vec<Slot>,
    /// Which slot a head of the queue belongs to.
    owners: [u8; QUEUE_MAX],
    features: u64,
    limits: Limits,
    sectors: u64,
    serial: Option<[u8; blk::ID_BYTES]>,
    stalled: usize,
    broken: bool,
}

impl<R: Registers, D: Dma> VirtioBlk<R, D> {
    /// Brings the device up and asks for its serial number, which arrives with a later `complete`.
    pub fn new(registers: R, dma: D) -> Result<Self, VirtioError> {
        let transport = Transport::open(registers)?;
        if transport.device_id() != device_id::BLOCK {
            return Err(VirtioError::WrongDevice);
        }
        let features = transport.negotiate(WANTED)?;
        let queue = transport.attach(0, features, |bytes| dma.allocate(bytes))?;
        let shared = dma.allocate(SLOTS.saturating_mul(SLOT_BYTES)).ok_or(VirtioError::NoMemory)?;
        let limits = Limits::read(&transport, features, queue.size())?;
        let sectors = transport.config_number::<8>(blk::config::CAPACITY);
        transport.start();
        let slots = core::iter::repeat_with(Slot::free).take(SLOTS).collect();
        let owners = [0; QUEUE_MAX];
        let (serial, stalled, broken) = (None, 0, false);
        let mut disk = Self {
            transport,
            dma,
            queue,
            shared,
            slots,
            owners,
            features,
            limits,
            sectors,
            serial,
            stalled,
            broken,
        };
        disk.identify();
        Ok(disk)
    }

    /// The serial number, once the device has told it; not terminated by zero where it has all 20 bytes.
    pub const fn serial(&self) -> Option<&[u8; blk::ID_BYTES]> {
        self.serial.as_ref()
    }

    /// Whether the device answered nonsense and was given up.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// The device's interrupt: acknowledges it. Call `complete` next.
    pub fn acknowledge(&mut self) {
        let interrupt = self.transport.acknowledge();
        if interrupt.broken {
            self.give_up();
        } else if interrupt.config {
            self.sectors = self.transport.config_number::<8>(blk::config::CAPACITY);
        }
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    fn identify(&mut self) {
        let header = header(blk::T_GET_ID, Sector(0));
        let segment = self.own(0, ID, blk::ID_BYTES, Access::Write);
        if let Some(slot) = self.slots.first_mut() {
            slot.work = Work::Identify;
        }
        self.send(0, &header, &[segment]);
    }

    /// What is wrong with a request, or what needs no device.
    fn answer_at_once(&self, request: &BlockRequest<'_>, bytes: u64) -> Option<Result<(), BlockError>> {
        if self.broken {
            return Some(Err(BlockError::Io));
        }
        let sectors = match request.op {
            // Without FLUSH every write is stable when it completes.
            BlockOp::Flush if !self.has(blk::F_FLUSH) => return Some(Ok(())),
            BlockOp::Flush => return None,
            BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } => u64::from(sectors),
            BlockOp::Read | BlockOp::Write if bytes == 0 || !bytes.is_multiple_of(Sector::BYTES) => {
                return Some(Err(BlockError::Io));
            }
            BlockOp::Read | BlockOp::Write => bytes / Sector::BYTES,
        };
        if request.sector.0.checked_add(sectors).is_none_or(|end| end > self.sectors) {
            return Some(Err(BlockError::OutOfRange));
        }
        match request.op {
            BlockOp::Read => None,
            _ if self.has(blk::F_RO) => Some(Err(BlockError::ReadOnly)),
            BlockOp::Discard { .. } if !self.has(blk::F_DISCARD) => Some(Err(BlockError::Unsupported)),
            // Contents may be forgotten, they need not.
            BlockOp::Discard { sectors } if sectors > self.limits.discard_sectors => Some(Ok(())),
            BlockOp::WriteZeroes { sectors }
                if !self.has(blk::F_WRITE_ZEROES) || sectors > self.limits.zero_sectors =>
            {
                Some(Err(BlockError::Unsupported))
            }
            _ => None,
        }
    }

    /// Sends the next piece of a request. False: it does not fit now, or (with `Err`) never.
    fn advance(&mut self, index: usize) -> Result<bool, BlockError> {
        let Some(slot) = self.slots.get(index) else { return Err(BlockError::Io) };
        let Work::Request(_, op) = slot.work else { return Err(BlockError::Io) };
        let piece = Piece::next(&slot.spans, slot.done, self.limits);
        if slot.done < slot.bytes && piece.bytes == 0 {
            return Err(BlockError::Io);
        }
        if usize::from(self.queue.free_descriptors()) < piece.spans.len().saturating_add(3) {
            return Ok(false);
        }
        let sector = Sector(slot.sector.0.saturating_add(slot.done / Sector::BYTES));
        let mut segments: heapless::Vec<Segment, PIECE_SPANS> = heapless::Vec::new();
        for span in &piece.spans {
            let segment = self.data_segment(*span, op).ok_or(BlockError::Io)?;
            segments.push(segment).map_err(|_| BlockError::Io)?;
        }
        if let BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } = op {
            let range = self.write_range(index, sector, sectors, op);
            segments.push(range).map_err(|_| BlockError::Io)?;
        }
        if !self.send(index, &header(request_type(op), sector), &segments) {
            return Ok(false);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.piece_bytes = piece.bytes;
        }
        Ok(true)
    }

    fn data_segment(&self, span: Span, op: BlockOp) -> Option<Segment> {
        let (address, access) = if op == BlockOp::Read {
            (self.dma.span_for_device_write(span)?, Access::Write)
        } else {
            (self.dma.span_to_device(span)?, Access::Read)
        };
        Some(Segment { address: address.0, bytes: span.bytes, access })
    }

    fn write_range(&mut self, index: usize, sector: Sector, sectors: u32, op: BlockOp) -> Segment {
        let flags = if matches!(op, BlockOp::WriteZeroes { .. }) && self.limits.zeroes_may_unmap {
            blk::RANGE_UNMAP
        } else {
            0
        };
        let words = u128::from(sector.0) | u128::from(sectors) << 64 | u128::from(flags) << 96;
        let at = index.saturating_mul(SLOT_BYTES).saturating_add(RANGE);
        self.shared.write(at, &words.to_le_bytes());
        self.shared.to_device(at, blk::RANGE_BYTES);
        self.own(index, RANGE, blk::RANGE_BYTES, Access::Read)
    }

    /// A part of a slot's shared memory.
    fn own(&self, index: usize, offset: usize, bytes: usize, access: Access) -> Segment {
        let at = index.saturating_mul(SLOT_BYTES).saturating_add(offset);
        let address = self.shared.address().0.saturating_add(at as u64);
        Segment { address, bytes: u32::try_from(bytes).unwrap_or(0), access }
    }

    /// Puts header, `middle` and status into the queue.
    fn send(&mut self, index: usize, header: &[u8; blk::HEADER_BYTES], middle: &[Segment]) -> bool {
        let base = index.saturating_mul(SLOT_BYTES);
        self.shared.write(base, header);
        self.shared.to_device(base, header.len());
        self.shared.write(base.saturating_add(STATUS), &[NO_STATUS]);
        self.shared.to_device(base.saturating_add(STATUS), 1);
        let mut chain: heapless::Vec<Segment, { PIECE_SPANS + 3 }> = heapless::Vec::new();
        let whole = chain.push(self.own(index, 0, blk::HEADER_BYTES, Access::Read)).is_ok()
            && chain.extend_from_slice(middle).is_ok()
            && chain.push(self.own(index, STATUS, 1, Access::Write)).is_ok();
        let Some(head) = whole.then(|| self.queue.submit(&chain).ok()).flatten() else { return false };
        if let (Some(owner), Ok(index)) = (self.owners.get_mut(usize::from(head.0)), u8::try_from(index)) {
            *owner = index;
        }
        if self.queue.publish() {
            self.transport.notify(0);
        }
        true
    }

    /// Takes the end of a piece; the completion, if its request ended with it.
    fn take(&mut self, used: Used) -> Option<BlockCompletion> {
        let index = usize::from(self.owners.get(usize::from(used.head.0)).copied().unwrap_or(0));
        let result = self.read_status(index);
        let slot = self.slots.get_mut(index)?;
        let Work::Request(token, op) = slot.work else {
            self.take_serial(index, result);
            return None;
        };
        if op == BlockOp::Read {
            let piece = Piece::next(&slot.spans, slot.done, self.limits);
            piece.spans.iter().for_each(|span| self.dma.span_from_device(*span));
        }
        slot.done = slot.done.saturating_add(slot.piece_bytes);
        if result.is_ok() && slot.done < slot.bytes {
            match self.advance(index) {
                Ok(true) => return None,
                Ok(false) => {
                    self.stall(index);
                    return None;
                }
                Err(error) => return Some(self.end(index, token, Err(error))),
            }
        }
        Some(self.end(index, token, result))
    }

    fn read_status(&self, index: usize) -> Result<(), BlockError> {
        let at = index.saturating_mul(SLOT_BYTES).saturating_add(STATUS);
        let mut status = [NO_STATUS];
        self.shared.from_device(at, 1);
        self.shared.read(at, &mut status);
        match status {
            [blk::S_OK] => Ok(()),
            [blk::S_UNSUPP] => Err(BlockError::Unsupported),
            _ => Err(BlockError::Io),
        }
    }

    fn take_serial(&mut self, index: usize, result: Result<(), BlockError>) {
        let mut serial = [0; blk::ID_BYTES];
        if result.is_ok() {
            let at = index.saturating_mul(SLOT_BYTES).saturating_add(ID);
            self.shared.from_device(at, blk::ID_BYTES);
            self.shared.read(at, &mut serial);
        }
        self.serial = Some(serial);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.work = Work::Free;
        }
    }

    fn stall(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.stalled = true;
            self.stalled = self.stalled.saturating_add(1);
        }
    }

    /// Sends pieces that found no descriptors before; the completion of one that can't be sent at all.
    fn resume(&mut self) -> Option<BlockCompletion> {
        if self.stalled == 0 {
            return None;
        }
        for index in 0..SLOTS {
            let Some(slot) = self.slots.get(index).filter(|slot| slot.stalled) else { continue };
            let Work::Request(token, _) = slot.work else { continue };
            let sent = self.advance(index);
            if sent == Ok(false) {
                break;
            }
            self.stalled = self.stalled.saturating_sub(1);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.stalled = false;
            }
            if let Err(error) = sent {
                return Some(self.end(index, token, Err(error)));
            }
        }
        None
    }

    fn end(&mut self, index: usize, token: Token, result: Result<(), BlockError>) -> BlockCompletion {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.work = Work::Free;
            slot.spans.clear();
        }
        BlockCompletion { token, result }
    }

    #[cold]
    fn give_up(&mut self) {
        self.transport.reset();
        self.broken = true;
    }

    /// After [`Self::give_up`]: ends what was in flight.
    #[cold]
    fn end_next(&mut self) -> Option<BlockCompletion> {
        for index in 0..SLOTS {
            let slot = self.slots.get_mut(index)?;
            match core::mem::replace(&mut slot.work, Work::Free) {
                Work::Request(token, _) => return Some(self.end(index, token, Err(BlockError::Io))),
                Work::Identify => self.serial = Some([0; blk::ID_BYTES]),
                Work::Free => {}
            }
        }
        None
    }
}

impl<R: Registers, D: Dma> BlockBackend for VirtioBlk<R, D> {
    fn geometry(&self) -> BlockGeometry {
        let discard = self.has(blk::F_DISCARD) && self.has(blk::F_WRITE_ZEROES);
        BlockGeometry {
            sectors: self.sectors,
            read_only: self.has(blk::F_RO),
            block_bytes: self.limits.block_bytes,
            discard,
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let bytes = request.data.iter().fold(0_u64, |sum, span| sum.saturating_add(span.bytes.into()));
        if let Some(result) = self.answer_at_once(request, bytes) {
            return Submitted::Done(result);
        }
        let Some(index) = self.slots.iter().position(|slot| slot.work == Work::Free) else {
            return Submitted::Full;
        };
        let Some(slot) = self.slots.get_mut(index) else { return Submitted::Full };
        slot.spans.clear();
        if slot.spans.extend_from_slice(request.data).is_err() {
            return Submitted::Done(Err(BlockError::Io));
        }
        slot.work = Work::Request(request.token, request.op);
        // A flush names no sector: the field must be 0 (5.2.6.1).
        slot.sector = if request.op == BlockOp::Flush { Sector(0) } else { request.sector };
        (slot.bytes, slot.done, slot.piece_bytes, slot.stalled) = (bytes, 0, 0, false);
        let answer = match self.advance(index) {
            Ok(true) => return Submitted::InFlight,
            Ok(false) => Submitted::Full,
            Err(error) => Submitted::Done(Err(error)),
        };
        self.end(index, request.token, Err(BlockError::Io));
        answer
    }

    /// When it gives nothing, the device's next answer raises the interrupt.
    fn complete(&mut self) -> Option<BlockCompletion> {
        loop {
            if self.broken {
                return self.end_next();
            }
            match self.queue.pop_used() {
                Ok(Some(used)) => {
                    if let Some(completion) = self.take(used) {
                        return Some(completion);
                    }
                }
                Ok(None) => {
                    if let Some(completion) = self.resume() {
                        return Some(completion);
                    }
                    if !self.queue.arm() {
                        return None;
                    }
                }
                Err(_) => self.give_up(),
            }
        }
    }
}

fn header(kind: u32, sector: Sector) -> [u8; blk::HEADER_BYTES] {
    (u128::from(kind) | u128::from(sector.0) << 64).to_le_bytes()
}

const fn request_type(op: BlockOp) -> u32 {
    match op {
        BlockOp::Read => blk::T_IN,
        BlockOp::Write => blk::T_OUT,
        BlockOp::Flush => blk::T_FLUSH,
        BlockOp::Discard { .. } => blk::T_DISCARD,
        BlockOp::WriteZeroes { .. } => blk::T_WRITE_ZEROES,
    }
}
