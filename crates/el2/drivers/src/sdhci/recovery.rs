//! After a fault: free the lines, ask the card how it is, and decide between trying again, a slower start, and giving up.
//!
//! Called by `transfer`; calls `controller`, `bring_up`. Every path is bounded: a piece is tried [`MAX_FAILURES`] times,
//! the clock is taken back at most [`super::bring_up::SLOWEST`] times, the card is asked for at most a second.
//! Source: SD Host Controller Simplified Specification 3.00, 3.10.1 "Error Interrupt Recovery", 3.8 "Abort Transaction".

use super::bring_up::SLOWEST;
use super::card::CardStatus;
use super::command::{Command, Fault, Reply};
use super::controller::Progress;
use super::transfer::address_of;
use super::{Phase, Sdhci, Trouble};
use crate::hardware::{Dma, Registers};
use ports::BlockError;

/// Tries of one piece.
const MAX_FAILURES: u8 = 5;
/// Faults of the signal on one piece after which the clock is taken back.
const SIGNAL_FAILURES: u8 = 2;
/// Questions that a card may leave unanswered before it is gone.
const MAX_UNANSWERED: u8 = 3;
/// Times that a card may say "not ready", 1 ms apart.
const MAX_UNREADY: u16 = 1000;

/// The steps, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// Software Reset For CMD and DAT Line, with the fault that led here.
    Lines(Fault),
    /// CMD12, whose outcome does not matter: the card may be in any state.
    Stop(Fault),
    /// CMD13 until the card is ready.
    Status { fault: Fault, unanswered: u8, unready: u16 },
}

impl<R: Registers, D: Dma> Sdhci<R, D> {
    /// Begins; always `true`, as a step.
    pub(super) fn recover(&mut self, fault: Fault, now: u64) -> bool {
        self.statistics.faults = self.statistics.faults.saturating_add(1);
        if fault.is_signal() {
            self.statistics.signal_faults = self.statistics.signal_faults.saturating_add(1);
        }
        if let Some(slot) = self.queue.first() {
            slot.failures = slot.failures.saturating_add(1);
        }
        self.not_before = now;
        self.phase = Phase::Recovering { remedy: Remedy::Lines(fault), begun: false };
        true
    }

    pub(super) fn step_recovery(&mut self, remedy: Remedy, begun: bool, now: u64) -> bool {
        if !begun {
            return now >= self.not_before && self.begin_remedy(remedy, now);
        }
        match remedy {
            Remedy::Lines(fault) => {
                if self.controller.is_reset() {
                    self.next_remedy(Remedy::Stop(fault))
                } else if now > self.not_before {
                    self.give_up(fault, now)
                } else {
                    false
                }
            }
            Remedy::Stop(fault) => match self.advance(now) {
                Progress::Waiting => false,
                Progress::Moving => true,
                Progress::Done(_) | Progress::Failed(_) => {
                    self.next_remedy(Remedy::Status { fault, unanswered: 0, unready: 0 })
                }
            },
            Remedy::Status { fault, unanswered, unready } => match self.advance(now) {
                Progress::Waiting => false,
                Progress::Moving => true,
                Progress::Failed(_) => {
                    // Three silences and the card is gone.
                    self.controller.reset_lines();
                    self.pause(now, 1000);
                    self.ask_again(fault, unanswered.saturating_add(1), unready, now)
                }
                Progress::Done(word) if CardStatus(word).is_ready() => self.decide(fault, now),
                Progress::Done(_) => {
                    self.pause(now, 1000);
                    self.ask_again(fault, 0, unready.saturating_add(1), now)
                }
            },
        }
    }

    fn next_remedy(&mut self, remedy: Remedy) -> bool {
        self.phase = Phase::Recovering { remedy, begun: false };
        true
    }

    fn ask_again(&mut self, fault: Fault, unanswered: u8, unready: u16, now: u64) -> bool {
        if unanswered >= MAX_UNANSWERED || unready >= MAX_UNREADY {
            return self.give_up(fault, now);
        }
        self.next_remedy(Remedy::Status { fault, unanswered, unready })
    }

    fn begin_remedy(&mut self, remedy: Remedy, now: u64) -> bool {
        self.phase = Phase::Recovering { remedy, begun: true };
        let Some(card) = self.card else { return self.give_up(Fault::NoAnswer, now) };
        let issued = match remedy {
            Remedy::Lines(_) => {
                self.controller.reset_lines();
                self.pause(now, 100_000);
                return true;
            }
            Remedy::Stop(_) => self.issue(Command::plain(12, 0, Reply::ShortBusy), 1000),
            Remedy::Status { .. } => self.issue(Command::plain(13, address_of(&card), Reply::Short), 500),
        };
        if issued.is_err() {
            // The lines were just reset: a controller that still says "inhibited" needs more than that.
            return self.give_up(Fault::Inhibited, now);
        }
        true
    }

    /// The card is well again: what about the request?
    fn decide(&mut self, fault: Fault, now: u64) -> bool {
        self.phase = Phase::Ready;
        let Some(slot) = self.queue.first() else { return true };
        let failures = slot.failures;
        if let Fault::Status(status) = fault
            && status.write_protect_violation()
        {
            self.lose_first(BlockError::ReadOnly);
        } else if failures >= MAX_FAILURES {
            self.lose_first(BlockError::Io);
        } else if fault.is_signal() && failures >= SIGNAL_FAILURES && self.slower < SLOWEST {
            self.slower = self.slower.saturating_add(1);
            self.start_bring_up(now);
        }
        true
    }

    /// The card does not get well by itself: start it again, at most as often as a piece may fail; else it is gone.
    fn give_up(&mut self, fault: Fault, now: u64) -> bool {
        let there = self.controller.is_card_there();
        let failures = self.queue.first().map_or(MAX_FAILURES, |slot| slot.failures);
        if !there {
            self.leave(Trouble::NoCard, None);
        } else if failures < MAX_FAILURES {
            self.start_bring_up(now);
        } else {
            self.leave_refused(fault, now);
        }
        true
    }
}
