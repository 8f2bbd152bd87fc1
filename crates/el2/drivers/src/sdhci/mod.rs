//! SD host controllers of the SDHCI kind and the card behind them: the Pi's EMMC2 and Arasan EMMC, QEMU's `sdhci-pci`.
//!
//! A guest's disk request comes by [`ports::BlockBackend::submit`] (from `vmkernel`'s datastore or a virtio-blk), is cut
//! into pieces (`transfer`), goes to the `controller` as one SD command each, and is completed by [`Sdhci::poll`], which
//! the PE's loop calls on the controller's interrupt and at the time that the last call named. Nothing here waits: a poll
//! does at most [`STEPS_PER_POLL`] steps and moves at most [`SECTORS_PER_POLL`] sectors.
//!
//! What goes wrong is answered in three stages (`recovery`): the lines are reset and the piece tried again; the card is
//! brought up again at a slower clock; the request fails. A card that was changed for another one is not written to.
//!
//! One owner (a PE's loop); no locks. Source: SD Host Controller Simplified Specification 3.00; SD Physical Layer
//! Simplified Specification 6.00.

mod bring_up;
pub mod card;
pub mod command;
pub mod controller;
mod queue;
mod recovery;
pub mod registers;
#[cfg(test)]
mod tests;
mod transfer;
mod tuning;

use crate::hardware::{Dma, DmaBuffer, Registers};
use bring_up::{BringUp, Step};
use card::{Card, Cid};
use command::{Command, Fault};
use controller::{Controller, PortMemory, Progress, Quirks};
use core::fmt;
use ports::{BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Submitted};
use queue::Queue;
use recovery::Remedy;
use transfer::Erase;

/// Bytes of descriptors: 512 of 8 bytes, more than a piece needs.
const DESCRIPTOR_BYTES: usize = 4096;
/// Bytes of the bounce buffer.
const BOUNCE_BYTES: usize = 64 * 1024;
/// Bytes of zeros that WriteZeroes sends again and again.
const ZERO_BYTES: usize = 4096;
/// Steps of one poll.
pub const STEPS_PER_POLL: u32 = 12;
/// Sectors after whose move a poll ends: their cache maintenance costs instructions too.
pub const SECTORS_PER_POLL: u32 = 512;
/// Sectors through the data port after which a poll ends: 128 loads each.
pub const PORTED_PER_POLL: u32 = 16;

/// What the driver is told about its controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// What is particular about it.
    pub quirks: Quirks,
    /// Ticks of `poll`'s time in a second.
    pub ticks_per_second: u64,
}

/// A change of the slot that only the board can make ([`Quirks::board_power`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotChange {
    /// Power for the card.
    PowerOn,
    /// No power for the card.
    PowerOff,
    /// Signals at 3.3 V.
    Signal3V3,
    /// Signals at 1.8 V.
    Signal1V8,
}

/// What was counted since the driver began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Sectors read.
    pub sectors_read: u64,
    /// Sectors written.
    pub sectors_written: u64,
    /// Sectors that went through the bounce buffer.
    pub sectors_bounced: u64,
    /// Commands and pieces that failed.
    pub faults: u32,
    /// Of those: damaged data or answers.
    pub signal_faults: u32,
    /// Times that the card was brought up.
    pub bring_ups: u32,
    /// Requests that failed for good.
    pub lost_requests: u32,
}

/// What keeps the card from being used, or did last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No card answers.
    NoCard,
    /// The card can't be brought up.
    Refused(Fault),
    /// Another card than before was put in; see [`Sdhci::adopt`].
    OtherCard(Cid),
    /// The controller has no memory for descriptors.
    NoMemory,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("no card, or it does not answer; put one in"),
            Self::Refused(fault) => write!(f, "the card can't be used: {fault}"),
            Self::OtherCard(cid) => {
                write!(
                    f,
                    "another card was put in ({cid}); it is not touched: put the first one back, or restart"
                )
            }
            Self::NoMemory => f.write_str("no memory that the controller reaches"),
        }
    }
}

/// What the driver is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Bringing the card up; whether the step has begun.
    BringUp { step: Step, begun: bool },
    /// Nothing in flight.
    Ready,
    /// A piece of the first request is in flight.
    Moving { sectors: u32 },
    /// The first request is an erase.
    Erasing { step: Erase, sectors: u32 },
    /// The first request is a flush; CMD13 is in flight.
    Checking,
    /// After a fault.
    Recovering { remedy: Remedy, begun: bool },
    /// No card in use; looked for again then, or when one is put in.
    Away { again: Option<u64> },
}

/// A driver for one controller.
pub struct Sdhci<R: Registers, D: Dma> {
    controller: Controller<R>,
    dma: D,
    descriptors: D::Buffer,
    bounce: D::Buffer,
    zeros: D::Buffer,
    config: Config,
    phase: Phase,
    /// When the command in flight was first looked at; how long it may take.
    since: Option<u64>,
    limit: u64,
    /// No step begins before.
    not_before: u64,
    bring_up: BringUp,
    card: Option<Card>,
    /// The card that requests are for.
    known: Option<Cid>,
    queue: Queue,
    wants: Option<SlotChange>,
    /// How far speed was taken back: see `bring_up`.
    slower: u8,
    statistics: Statistics,
    trouble: Option<Trouble>,
    /// Sectors moved by this poll.
    moved: u32,
}

impl<R: Registers, D: Dma> Sdhci<R, D> {
    /// A driver over a controller's registers. Touches nothing but the capabilities until the first [`Self::poll`].
    pub fn new(registers: R, dma: D, config: Config) -> Result<Self, Trouble> {
        let buffers = (dma.allocate(DESCRIPTOR_BYTES), dma.allocate(BOUNCE_BYTES), dma.allocate(ZERO_BYTES));
        let (Some(descriptors), Some(bounce), Some(zeros)) = buffers else { return Err(Trouble::NoMemory) };
        zeros.to_device(0, ZERO_BYTES);
        Ok(Self {
            controller: Controller::new(registers, config.quirks),
            dma,
            descriptors,
            bounce,
            zeros,
            config,
            phase: Phase::BringUp { step: Step::Reset, begun: false },
            since: None,
            limit: 0,
            not_before: 0,
            bring_up: BringUp::default(),
            card: None,
            known: None,
            queue: Queue::new(),
            wants: None,
            slower: 0,
            statistics: Statistics::default(),
            trouble: None,
            moved: 0,
        })
    }

    /// Goes on. Returns when to call again at the latest; `None`: on the next interrupt or submission. While requests
    /// wait, something is in flight when it returns, whose end raises an interrupt.
    pub fn poll(&mut self, now: u64) -> Option<u64> {
        self.moved = 0;
        self.controller.drop_strays();
        for _ in 0..STEPS_PER_POLL {
            if self.moved >= SECTORS_PER_POLL || self.controller.ported >= PORTED_PER_POLL {
                break;
            }
            if !self.step(now) {
                return self.deadline(now);
            }
        }
        if self.phase == Phase::Ready {
            self.start_next(now);
        }
        Some(now)
    }

    /// The card in use.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref().filter(|card| self.known == Some(card.cid))
    }

    /// What is wrong now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// The counters.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Whether the search for a card has come to an end: there is one, or there is none.
    pub fn is_settled(&self) -> bool {
        !matches!(self.phase, Phase::BringUp { .. })
    }

    /// Hz of what feeds the controller, where the board knows better than the capabilities (mailbox: clock EMMC2); before
    /// the first poll.
    pub fn set_base_hertz(&mut self, hertz: u32) {
        self.controller.set_base_hertz(hertz);
    }

    /// What the board is to change; answer with [`Self::answer`].
    pub fn wants(&self) -> Option<SlotChange> {
        self.wants
    }

    /// The board made the change, or refused. Only a refused 1.8 V matters (the card would be driven at the wrong level);
    /// the firmware left everything else on, so that a board that can't switch it still works.
    pub fn answer(&mut self, granted: bool) {
        let change = self.wants.take();
        self.bring_up.refused |= !granted && change == Some(SlotChange::Signal1V8);
    }

    /// Takes the card that was put in instead of the first one.
    pub fn adopt(&mut self) {
        if let Some(card) = self.card {
            self.known = Some(card.cid);
            self.trouble = None;
        }
    }

    /// Hz on the card's clock line, as asked for.
    pub fn hertz(&self) -> u32 {
        let slowest = if self.slower >= bring_up::HALF_SPEED { 12_500_000 } else { u32::MAX };
        self.card.map_or(0, |card| card.speed.hertz().min(slowest))
    }

    /// Whether data goes by DMA.
    pub fn uses_dma(&self) -> bool {
        self.controller.abilities.adma2
    }

    fn ticks(&self, microseconds: u64) -> u64 {
        (microseconds.saturating_mul(self.config.ticks_per_second) / 1_000_000).max(1)
    }

    fn pause(&mut self, now: u64, microseconds: u64) {
        self.not_before = now.saturating_add(self.ticks(microseconds));
    }

    /// One step; `false` when nothing moved.
    fn step(&mut self, now: u64) -> bool {
        if let Phase::Ready | Phase::Away { .. } = self.phase
            && self.controller.take_card_change()
        {
            return self.look_for_card(now);
        }
        match self.phase {
            Phase::BringUp { step, begun } => self.step_bring_up(step, begun, now),
            Phase::Ready => self.start_next(now),
            Phase::Moving { sectors } => self.step_moving(sectors, now),
            Phase::Erasing { step, sectors } => self.step_erasing(step, sectors, now),
            Phase::Checking => self.step_checking(now),
            Phase::Recovering { remedy, begun } => self.step_recovery(remedy, begun, now),
            Phase::Away { again } => {
                let due = again.is_some_and(|again| again <= now);
                due && self.look_for_card(now)
            }
        }
    }

    /// A card was put in or taken out, or it is time to look again.
    fn look_for_card(&mut self, now: u64) -> bool {
        if self.controller.is_card_there() {
            self.slower = 0;
            self.bring_up = BringUp::default();
            // A card that is being put in bounces: let it settle.
            self.pause(now, if self.config.quirks.no_card_detect { 1 } else { 200_000 });
            self.phase = Phase::BringUp { step: Step::Reset, begun: false };
        } else {
            self.leave(Trouble::NoCard, None);
        }
        true
    }

    /// Gives the card up and fails what waits for it.
    fn leave(&mut self, trouble: Trouble, again: Option<u64>) {
        self.card = None;
        self.trouble = Some(trouble);
        while !self.queue.is_idle() {
            self.lose_first(BlockError::Io);
        }
        self.wants = None;
        self.phase = Phase::Away { again };
    }

    fn lose_first(&mut self, error: BlockError) {
        self.statistics.lost_requests = self.statistics.lost_requests.saturating_add(1);
        self.queue.finish_first(Err(error));
    }

    /// What comes without an interrupt is asked about after 50 µs, and then the more seldom the longer it takes.
    fn deadline(&self, now: u64) -> Option<u64> {
        let since = self.since.unwrap_or(now);
        let soon = now.saturating_add(self.ticks(50).max(now.saturating_sub(since) / 4));
        if self.controller.is_busy() {
            return Some(since.saturating_add(self.limit).saturating_add(1));
        }
        match self.phase {
            Phase::BringUp { .. } | Phase::Recovering { .. } => Some(soon.max(self.not_before)),
            Phase::Away { again } => again,
            _ => None,
        }
    }

    /// Issues a command that may take `milliseconds`.
    fn issue(&mut self, command: Command, milliseconds: u64) -> Result<(), Fault> {
        self.since = None;
        self.limit = self.ticks(milliseconds.saturating_mul(1000));
        let descriptors = u32::try_from(self.descriptors.address().0).map_err(|_| Fault::Adma)?;
        self.controller.issue(command, descriptors)
    }

    /// Issues a question: one block into the bounce buffer.
    fn ask(&mut self, command: Command) -> Result<(), Fault> {
        if let Some(data) = command.data
            && self.controller.abilities.adma2
        {
            self.bounce.to_device(0, 512);
            self.write_descriptors(core::iter::once((self.bounce.address().0, data.block_bytes.into())))?;
        }
        self.issue(command, 500)
    }

    /// The answer to a question.
    fn answer_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        if self.controller.abilities.adma2 {
            self.bounce.from_device(0, 512);
        }
        self.bounce.read(0, &mut bytes);
        bytes
    }

    /// What became of the command in flight; a silent controller is a fault once the limit is over.
    fn advance(&mut self, now: u64) -> Progress {
        let zeros =
            matches!(self.queue.first(), Some(slot) if matches!(slot.op, BlockOp::WriteZeroes { .. }));
        let progress = self.controller.advance(&mut Port { buffer: &mut self.bounce, zeros });
        if progress == Progress::Waiting {
            let since = *self.since.get_or_insert(now);
            if now.saturating_sub(since) > self.limit {
                return Progress::Failed(Fault::Silent);
            }
        }
        progress
    }

    fn is_write_protected(&self, card: &Card) -> bool {
        card.csd.write_protected || !self.controller.is_write_enabled()
    }
}

/// The bounce buffer as the data port's other end; or zeros.
struct Port<'a, B> {
    buffer: &'a mut B,
    zeros: bool,
}

impl<B: DmaBuffer> PortMemory for Port<'_, B> {
    fn take_block(&mut self, index: u16, bytes: &[u8]) {
        self.buffer.write(usize::from(index).saturating_mul(512), bytes);
    }

    fn give_block(&self, index: u16, bytes: &mut [u8]) {
        if self.zeros {
            bytes.fill(0);
        } else {
            self.buffer.read(usize::from(index).saturating_mul(512), bytes);
        }
    }
}

impl<R: Registers, D: Dma> BlockBackend for Sdhci<R, D> {
    /// No card in use is a disk without sectors.
    fn geometry(&self) -> BlockGeometry {
        let card = self.card();
        BlockGeometry {
            sectors: card.map_or(0, |card| card.csd.sectors),
            read_only: card.is_none_or(|card| self.is_write_protected(card)),
            block_bytes: 4096,
            discard: card.is_some_and(|card| card.csd.can_erase),
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let sectors = match self.admit(request) {
            Ok(sectors) => sectors,
            Err(error) => return Submitted::Done(Err(error)),
        };
        if sectors == 0 && request.op != BlockOp::Flush {
            return Submitted::Done(Ok(()));
        }
        if !self.queue.push(request.token, request.op, request.sector.0, sectors, request.data) {
            return Submitted::Full;
        }
        if self.phase == Phase::Ready {
            // Not a poll: its time is not known here. The next one sets the limit.
            self.start_next(0);
        }
        Submitted::InFlight
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        self.queue.complete()
    }
}
