//! Requests become pieces, pieces become commands: direct ADMA2 to the request's own memory, or through the bounce buffer.
//!
//! Called by the driver's `step`; calls `controller` and `queue`. A piece is at most [`MAX_PIECE`] sectors. Direct is
//! taken when the device reaches every span, spans are whole words, and, where the card writes memory, whole cache lines
//! (a line that is half a guest's other data could be evicted over what the card wrote).
//! Source: SD Host Controller Simplified Specification 3.00, 1.13 "Advanced DMA"; SD Physical Layer 6.00, 4.3.3 to 4.3.5.

use super::card::{Card, CardStatus};
use super::command::{Command, Fault, Reply, Stop};
use super::controller::Progress;
use super::queue::MAX_SPANS;
use super::{BOUNCE_BYTES, DESCRIPTOR_BYTES, Phase, Sdhci, ZERO_BYTES};
use crate::hardware::{Dma, DmaBuffer, Registers};
use ports::{BlockError, BlockOp, BlockRequest, Sector, Span};

/// Sectors of a piece: 256 KiB.
const MAX_PIECE: u64 = 512;
/// Sectors of one erase; a card may take a second for it.
const MAX_ERASE: u64 = 65_536;
/// Bytes of a descriptor: 16 bits of length, of which 0 would mean 64 KiB.
const MAX_RUN: u32 = 32 * 1024;
/// Attributes of a descriptor: transfer data (bits 5:4 = 10), valid.
const TRANSFER: u32 = 0x21;
/// The last descriptor.
const END: u8 = 2;
/// A cache line of every PE that we run on.
const LINE: u64 = 64;

/// The commands of an erase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Erase {
    /// CMD32.
    Start,
    /// CMD33.
    End,
    /// CMD38.
    Go,
}

impl<R: Registers, D: Dma> Sdhci<R, D> {
    /// Checks a request; its length in sectors.
    pub(super) fn admit(&self, request: &BlockRequest<'_>) -> Result<u64, BlockError> {
        let card = self.card().ok_or(BlockError::Io)?;
        let sectors = match request.op {
            BlockOp::Read | BlockOp::Write => {
                let bytes: u64 =
                    request.data.iter().fold(0, |sum, span| sum.saturating_add(span.bytes.into()));
                if !bytes.is_multiple_of(Sector::BYTES) || request.data.len() > MAX_SPANS {
                    return Err(BlockError::Unsupported);
                }
                bytes / Sector::BYTES
            }
            BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } => sectors.into(),
            BlockOp::Flush => 0,
        };
        let end = request.sector.0.checked_add(sectors).ok_or(BlockError::OutOfRange)?;
        if end > card.csd.sectors {
            return Err(BlockError::OutOfRange);
        }
        let writes = !matches!(request.op, BlockOp::Read | BlockOp::Flush);
        if writes && self.is_write_protected(card) {
            return Err(BlockError::ReadOnly);
        }
        if matches!(request.op, BlockOp::Discard { .. }) && !card.csd.can_erase {
            return Err(BlockError::Unsupported);
        }
        Ok(sectors)
    }

    /// Starts the first request's next piece. `now` is only used for what fails at once.
    pub(super) fn start_next(&mut self, now: u64) -> bool {
        let Some(slot) = self.queue.first() else { return false };
        let (op, left) = (slot.op, slot.sectors);
        let Some(card) = self.card else { return false };
        let started = match op {
            BlockOp::Flush => {
                self.phase = Phase::Checking;
                self.issue(Command::plain(13, address_of(&card), Reply::Short), 500)
            }
            BlockOp::Discard { .. } => {
                let sectors = u32::try_from(left.min(MAX_ERASE)).unwrap_or(0);
                self.start_erase(&card, Erase::Start, sectors)
            }
            BlockOp::Read => self.start_piece(&card, true),
            BlockOp::Write => self.start_piece(&card, false),
            BlockOp::WriteZeroes { .. } => self.start_zeros(&card),
        };
        if let Err(fault) = started {
            self.recover(fault, now);
        }
        true
    }

    fn start_piece(&mut self, card: &Card, read: bool) -> Result<(), Fault> {
        let by_dma = self.controller.abilities.adma2;
        let Some(slot) = self.queue.first() else { return Ok(()) };
        let mut sectors = slot.sectors.min(MAX_PIECE);
        let sector = slot.sector;
        if by_dma && !slot.bounce && !self.describe_direct(sectors, read)? {
            let Some(slot) = self.queue.first() else { return Ok(()) };
            slot.bounce = true;
        }
        let Some(slot) = self.queue.first() else { return Ok(()) };
        if slot.bounce || !by_dma {
            sectors = sectors.min(u64::try_from(BOUNCE_BYTES / 512).unwrap_or(1));
            self.prepare_bounce(sectors, read)?;
        }
        let sectors = u32::try_from(sectors).unwrap_or(0);
        self.phase = Phase::Moving { sectors };
        self.issue_sectors(card, sector, sectors, read)
    }

    /// Describes the next piece where it lies; `false` when it must be bounced.
    fn describe_direct(&mut self, sectors: u64, read: bool) -> Result<bool, Fault> {
        let bytes = u32::try_from(sectors.saturating_mul(512)).unwrap_or(0);
        let Some(slot) = self.queue.first() else { return Ok(false) };
        let unit = if read { LINE } else { 4 };
        let mut table = Descriptors::default();
        let mut reached = true;
        let (dma, descriptors) = (&self.dma, &mut self.descriptors);
        slot.each_run(bytes, |run| {
            let aligned = run.start.is_aligned(unit) && u64::from(run.bytes).is_multiple_of(unit);
            let address = match (aligned, read) {
                (false, _) => None,
                (true, true) => dma.span_for_device_write(run),
                (true, false) => dma.span_to_device(run),
            };
            reached = address.is_some_and(|address| table.push(descriptors, address.0, run.bytes));
            reached
        });
        if reached {
            table.end(descriptors);
        }
        Ok(reached)
    }

    fn prepare_bounce(&mut self, sectors: u64, read: bool) -> Result<(), Fault> {
        let bytes = u32::try_from(sectors.saturating_mul(512)).unwrap_or(0);
        let length = usize::try_from(bytes).unwrap_or(0);
        if !read {
            self.copy_bounce(bytes, false);
        }
        self.statistics.sectors_bounced = self.statistics.sectors_bounced.saturating_add(sectors);
        if self.controller.abilities.adma2 {
            self.bounce.to_device(0, length);
            self.write_descriptors(core::iter::once((self.bounce.address().0, bytes)))?;
        }
        Ok(())
    }

    /// Copies a piece between the bounce buffer and where it belongs.
    fn copy_bounce(&mut self, bytes: u32, from_bounce: bool) {
        let Some(slot) = self.queue.first() else { return };
        let mut offset: u32 = 0;
        let (dma, bounce) = (&self.dma, &self.bounce);
        slot.each_run(bytes, |run| {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(part) = bounce.span(at, run.bytes) else { return false };
            let (into, from) = if from_bounce { (run, part) } else { (part, run) };
            dma.copy_span(into, from);
            offset = offset.saturating_add(run.bytes);
            true
        });
    }

    fn start_zeros(&mut self, card: &Card) -> Result<(), Fault> {
        let Some(slot) = self.queue.first() else { return Ok(()) };
        let by_dma = self.controller.abilities.adma2;
        let most = if by_dma { MAX_PIECE } else { 128 };
        let (sector, sectors) = (slot.sector, u32::try_from(slot.sectors.min(most)).unwrap_or(0));
        if by_dma {
            let zeros = self.zeros.address().0;
            let whole = u32::try_from(ZERO_BYTES).unwrap_or(512);
            let bytes = sectors.saturating_mul(512);
            let runs =
                (0..bytes.div_ceil(whole)).map(|n| (zeros, bytes.saturating_sub(n * whole).min(whole)));
            self.write_descriptors(runs)?;
        }
        self.phase = Phase::Moving { sectors };
        self.issue_sectors(card, sector, sectors, false)
    }

    fn issue_sectors(&mut self, card: &Card, sector: u64, sectors: u32, read: bool) -> Result<(), Fault> {
        let stop = if self.controller.abilities.version_3 && card.scr.set_block_count {
            Stop::Auto23
        } else {
            Stop::Auto12
        };
        let blocks = u16::try_from(sectors).unwrap_or(0);
        let argument = argument_of(card, sector);
        // A card answers a read within 100 ms and ends a write within 500 ms (4.6.2); per block, and with margin.
        self.issue(Command::sectors(argument, blocks, read, stop), if read { 2000 } else { 5000 })
    }

    pub(super) fn write_descriptors(&mut self, runs: impl Iterator<Item = (u64, u32)>) -> Result<(), Fault> {
        let mut table = Descriptors::default();
        for (address, bytes) in runs {
            if !table.push(&mut self.descriptors, address, bytes) {
                return Err(Fault::Adma);
            }
        }
        table.end(&mut self.descriptors);
        Ok(())
    }

    pub(super) fn step_moving(&mut self, sectors: u32, now: u64) -> bool {
        let status = match self.advance(now) {
            Progress::Waiting => return false,
            Progress::Moving => return true,
            Progress::Failed(fault) => return self.recover(fault, now),
            Progress::Done(word) => CardStatus(word),
        };
        if status.errors() != 0 {
            return self.recover(Fault::Status(status), now);
        }
        let Some(slot) = self.queue.first() else { return false };
        let (read, bounced) = (slot.op == BlockOp::Read, slot.bounce || !self.controller.abilities.adma2);
        let bytes = sectors.saturating_mul(512);
        if read && bounced {
            if self.controller.abilities.adma2 {
                self.bounce.from_device(0, usize::try_from(bytes).unwrap_or(0));
            }
            self.copy_bounce(bytes, true);
        } else if read {
            let dma = &self.dma;
            slot.each_run(bytes, |run| {
                dma.span_from_device(run);
                true
            });
        }
        let counter =
            if read { &mut self.statistics.sectors_read } else { &mut self.statistics.sectors_written };
        *counter = counter.saturating_add(sectors.into());
        self.moved = self.moved.saturating_add(sectors);
        self.finish_piece(sectors)
    }

    /// A piece is done; the request too when it was the last.
    fn finish_piece(&mut self, sectors: u32) -> bool {
        self.phase = Phase::Ready;
        let Some(slot) = self.queue.first() else { return false };
        // The last piece, which is the only one of most requests, needs no cursor any more.
        if slot.sectors <= sectors.into() {
            self.queue.finish_first(Ok(()));
        } else {
            slot.advance(sectors);
        }
        true
    }

    fn start_erase(&mut self, card: &Card, step: Erase, sectors: u32) -> Result<(), Fault> {
        let Some(slot) = self.queue.first() else { return Ok(()) };
        let last = slot.sector.saturating_add(sectors.into()).saturating_sub(1);
        let sector = slot.sector;
        self.phase = Phase::Erasing { step, sectors };
        let (command, limit) = match step {
            Erase::Start => (Command::plain(32, argument_of(card, sector), Reply::Short), 500),
            Erase::End => (Command::plain(33, argument_of(card, last), Reply::Short), 500),
            // Argument 1 is Discard, where the card has it (4.3.6): it may keep or forget; 0 erases.
            Erase::Go => (Command::plain(38, card.status.discard.into(), Reply::ShortBusy), 10_000),
        };
        self.issue(command, limit)
    }

    pub(super) fn step_erasing(&mut self, step: Erase, sectors: u32, now: u64) -> bool {
        let status = match self.advance(now) {
            Progress::Waiting => return false,
            Progress::Moving => return true,
            Progress::Failed(fault) => return self.recover(fault, now),
            Progress::Done(word) => CardStatus(word),
        };
        let Some(card) = self.card else { return false };
        if status.errors() != 0 {
            return self.recover(Fault::Status(status), now);
        }
        let next = match step {
            Erase::Start => Erase::End,
            Erase::End => Erase::Go,
            Erase::Go => return self.finish_piece(sectors),
        };
        if let Err(fault) = self.start_erase(&card, next, sectors) {
            self.recover(fault, now);
        }
        true
    }

    /// A flush is done when the card, asked after the last write's busy, reports no error and takes data again: what it
    /// acknowledged is on its medium (the cache of SD 6.00, 4.17 is never enabled).
    pub(super) fn step_checking(&mut self, now: u64) -> bool {
        match self.advance(now) {
            Progress::Waiting => false,
            Progress::Moving => true,
            Progress::Failed(fault) => self.recover(fault, now),
            Progress::Done(word) if CardStatus(word).errors() != 0 || !CardStatus(word).is_ready() => {
                self.recover(Fault::Status(CardStatus(word)), now)
            }
            Progress::Done(_) => {
                self.phase = Phase::Ready;
                self.queue.finish_first(Ok(()));
                true
            }
        }
    }
}

/// The card's address, as an argument.
pub(super) fn address_of(card: &Card) -> u32 {
    u32::from(card.relative_address) << 16
}

/// A sector, as an argument: SDSC cards count bytes.
fn argument_of(card: &Card, sector: u64) -> u32 {
    let unit = if card.addresses_sectors { 1 } else { Sector::BYTES };
    u32::try_from(sector.saturating_mul(unit)).unwrap_or(u32::MAX)
}

/// Writes descriptors of ADMA2 with 32-bit addresses, 8 bytes each: attributes 15:0, length 31:16, address 63:32.
/// They go to the table eight at a time; the last ones wait for [`Self::end`].
struct Descriptors {
    batch: [u8; BATCH_BYTES],
    /// Bytes of the batch in use.
    waiting: usize,
    written: usize,
}

const ENTRY_BYTES: usize = 8;
const BATCH_BYTES: usize = 8 * ENTRY_BYTES;

impl Default for Descriptors {
    fn default() -> Self {
        Self { batch: [0; BATCH_BYTES], waiting: 0, written: 0 }
    }
}

impl Descriptors {
    /// One run of memory; `false` when the device can't be told its address or the table is full.
    #[inline]
    fn push(&mut self, table: &mut impl DmaBuffer, address: u64, bytes: u32) -> bool {
        let (mut at, mut left) = (address, bytes);
        while left > 0 {
            let part = left.min(MAX_RUN);
            if self.waiting == BATCH_BYTES {
                self.write(table);
            }
            let (Ok(low), true) = (u32::try_from(at), self.written < DESCRIPTOR_BYTES) else { return false };
            let word = u64::from(low) << 32 | u64::from(part) << 16 | u64::from(TRANSFER);
            let end = self.waiting.wrapping_add(ENTRY_BYTES);
            if let Some(next) = self.batch.get_mut(self.waiting..end) {
                next.copy_from_slice(&word.to_le_bytes());
            }
            self.waiting = end;
            at = at.wrapping_add(part.into());
            left = left.wrapping_sub(part);
        }
        true
    }

    fn write(&mut self, table: &mut impl DmaBuffer) {
        table.write(self.written, self.batch.get(..self.waiting).unwrap_or(&[]));
        self.written = self.written.wrapping_add(self.waiting);
        self.waiting = 0;
    }

    /// Marks the last one and hands the table to the device.
    fn end(&mut self, table: &mut impl DmaBuffer) {
        let last = self.waiting.checked_sub(ENTRY_BYTES).and_then(|last| self.batch.get_mut(last));
        if let Some(attributes) = last {
            *attributes |= END;
        }
        self.write(table);
        table.to_device(0, self.written);
    }
}

const _: () =
    assert!(DESCRIPTOR_BYTES / 8 >= MAX_SPANS + 512 * 512 / (MAX_RUN as usize), "a piece fits its table");
const _: () = assert!(core::mem::size_of::<Span>() == 16, "the pool of spans stays small");
