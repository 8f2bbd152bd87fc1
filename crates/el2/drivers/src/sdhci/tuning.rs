//! Tuning: the controller finds the moment at which the card's data lines are to be sampled.
//!
//! Called by `bring_up` once the fast clock runs, for SDR104, and for SDR50 where the controller asks for it. While
//! Execute Tuning is set, each CMD19 ends in Buffer Read Ready and nothing else; the controller compares the block by
//! itself and clears the bit when it is done. Not redone by time: a fault of the signal starts the card again.
//! Source: SD Host Controller Simplified Specification 3.00, 3.7.7 "Sampling Clock Tuning Procedure", 2.2.25 "Host Control
//! 2 Register"; SD Physical Layer Simplified Specification 6.00, 4.2.4.5 "Tuning Command".

use super::card::BusSpeed;
use super::command::{Command, Fault};
use super::controller::Controller;
use super::registers::{self as reg, control_2, status};
use crate::hardware::Registers;

/// The most blocks that a tuning may take (3.7.7).
const MAX_BLOCKS: u16 = 40;
/// Number of SEND_TUNING_BLOCK.
pub(super) const SEND_TUNING_BLOCK: u8 = 19;

/// CMD19: 64 bytes, which nobody but the controller looks at.
pub(super) const fn command() -> Command {
    Command::question(SEND_TUNING_BLOCK, 0, 64)
}

impl<R: Registers> Controller<R> {
    /// Whether a speed needs tuning before its first data.
    pub(super) fn must_tune(&self, speed: BusSpeed) -> bool {
        speed == BusSpeed::Sdr104 || speed == BusSpeed::Sdr50 && self.abilities.tunes_sdr50
    }

    /// Sets Execute Tuning; only Buffer Read Ready and errors are seen from now on.
    pub(super) fn start_tuning(&mut self) {
        let word = self.registers.read32(reg::HOST_CONTROL_2) & 0xffff_0000 & !control_2::SAMPLING_CLOCK;
        self.registers.write32(reg::HOST_CONTROL_2, word | control_2::EXECUTE_TUNING);
        let seen = status::READ_READY | status::ERRORS;
        self.registers.write32(reg::STATUS_ENABLE, seen);
        self.registers.write32(reg::SIGNAL_ENABLE, seen);
    }

    /// After `blocks` blocks: whether the tuning is over; then interrupts are as before.
    pub(super) fn is_tuned(&mut self, blocks: u16) -> Result<bool, Fault> {
        let word = self.registers.read32(reg::HOST_CONTROL_2);
        if word & control_2::EXECUTE_TUNING != 0 && blocks < MAX_BLOCKS {
            return Ok(false);
        }
        let good =
            word & (control_2::EXECUTE_TUNING | control_2::SAMPLING_CLOCK) == control_2::SAMPLING_CLOCK;
        self.registers.write32(
            reg::HOST_CONTROL_2,
            word & 0xffff_0000
                & !control_2::EXECUTE_TUNING
                & if good { u32::MAX } else { !control_2::SAMPLING_CLOCK },
        );
        self.enable_interrupts();
        if good { Ok(true) } else { Err(Fault::Tuning) }
    }
}
