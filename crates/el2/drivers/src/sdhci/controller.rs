//! The controller below the driver: reset, clock, bus, one command in flight.
//!
//! Called by `bring_up`, `transfer` and `recovery`; calls the registers. Knows no card. One owner; nothing here waits:
//! what takes time is asked about again by the next poll.
//! Source: SD Host Controller Simplified Specification 3.00, 3.2 "SD Clock Control", 3.7 "SD Transaction Generation".

use super::command::{Command, Fault, Stop};
use super::registers::{self as reg, capability, clock, control, control_2, present, status};
use super::tuning::SEND_TUNING_BLOCK;
use crate::hardware::Registers;

/// Blocks that one call moves through the data port, so that it ends soon (4 KiB).
const PORT_BLOCKS: u32 = 8;

/// What is particular about a controller. Data, found by `compatible` (`crate::probe`); none is QEMU's `sdhci-pci`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    /// There is no card-detect line: a card is there when it answers (`broken-cd` of the Pi).
    pub no_card_detect: bool,
    /// The capabilities register reads as nothing useful: high speed, 3.3 V, no DMA (the Pi's Arasan).
    pub no_capabilities: bool,
    /// High Speed Enable in Host Control 1 has no effect or does harm; it stays clear (the Pi's Arasan).
    pub no_high_speed_bit: bool,
    /// Power and signal voltage are switched by the board, not by Power Control.
    pub board_power: bool,
}

impl Quirks {
    /// The BCM2711's EMMC2: the card slot of a Pi 4.
    pub const EMMC2: Self =
        Self { no_card_detect: true, no_capabilities: false, no_high_speed_bit: false, board_power: true };
    /// The BCM2835's Arasan: Wi-Fi on a Pi 4, the card in QEMU.
    pub const ARASAN: Self =
        Self { no_card_detect: true, no_capabilities: true, no_high_speed_bit: true, board_power: false };
}

/// What a controller can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Abilities {
    /// ADMA2; else data goes through the port.
    pub adma2: bool,
    /// High speed.
    pub high_speed: bool,
    /// 1.8 V signalling with SDR50.
    pub sdr50: bool,
    /// 1.8 V signalling with SDR104.
    pub sdr104: bool,
    /// SDR50 needs tuning.
    pub tunes_sdr50: bool,
    /// 1.8 V signalling with DDR50.
    pub ddr50: bool,
    /// Specification 3.00 or later: 10-bit clock divider, Auto CMD23.
    pub version_3: bool,
    /// Base clock in Hz.
    pub base_hertz: u32,
}

/// What became of the command in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// Something moved: ask again.
    Moving,
    /// It ended; the first word of the answer.
    Done(u32),
    /// It failed.
    Failed(Fault),
}

/// A command in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    command: Command,
    /// Command Complete was seen.
    answered: bool,
    /// Blocks that went through the port.
    blocks: u16,
}

/// Where the data port's bytes go: the bounce buffer.
pub trait PortMemory {
    /// Takes block `index`, read from the card.
    fn take_block(&mut self, index: u16, bytes: &[u8]);
    /// Gives block `index`, to be written to the card.
    fn give_block(&self, index: u16, bytes: &mut [u8]);
}

/// A controller.
pub struct Controller<R> {
    pub(super) registers: R,
    quirks: Quirks,
    /// What it can do.
    pub abilities: Abilities,
    /// Host Control 1 and Power Control as last written.
    control: u32,
    /// Signal Enable as last written.
    signals: u32,
    flight: Option<Flight>,
    /// Blocks that went through the port since [`Self::drop_strays`].
    pub(super) ported: u32,
}

impl<R: Registers> Controller<R> {
    /// Reads what it can do.
    pub fn new(registers: R, quirks: Quirks) -> Self {
        let mut low = registers.read32(reg::CAPABILITIES);
        let high = registers.read32(reg::CAPABILITIES_HIGH);
        let version = registers.read32(reg::VERSION) >> 16 & 0xff;
        if quirks.no_capabilities {
            let clocks = low & 0xff00;
            low = capability::HIGH_SPEED | capability::V3_3 | clocks;
        }
        let low_voltage = (low & capability::V1_8 != 0 || quirks.board_power) && !quirks.no_capabilities;
        let megahertz = low >> capability::BASE_CLOCK_SHIFT & if version >= 2 { 0xff } else { 0x3f };
        let abilities = Abilities {
            adma2: low & capability::ADMA2 != 0,
            high_speed: low & capability::HIGH_SPEED != 0,
            sdr50: low_voltage && high & capability::HIGH_SDR50 != 0,
            sdr104: low_voltage && high & capability::HIGH_SDR104 != 0,
            tunes_sdr50: high & capability::HIGH_TUNES_SDR50 != 0,
            ddr50: low_voltage && high & capability::HIGH_DDR50 != 0,
            version_3: version >= 2,
            base_hertz: megahertz.saturating_mul(1_000_000),
        };
        Self { registers, quirks, abilities, control: 0, signals: 0, flight: None, ported: 0 }
    }

    /// What feeds it, where the board knows better than the capabilities.
    pub fn set_base_hertz(&mut self, hertz: u32) {
        if hertz >= 1_000_000 {
            self.abilities.base_hertz = hertz;
        }
    }

    /// Starts Software Reset For All.
    pub fn reset(&mut self) {
        self.flight = None;
        self.control = 0;
        self.registers.write32(reg::CLOCK, clock::RESET_ALL);
    }

    /// Starts Software Reset For CMD and DAT Line; ends the command in flight.
    pub fn reset_lines(&mut self) {
        self.flight = None;
        let kept = self.registers.read32(reg::CLOCK);
        self.registers.write32(reg::CLOCK, kept | clock::RESET_LINES);
        self.registers.write32(reg::STATUS, !(status::INSERTED | status::REMOVED));
    }

    /// Whether a reset ended.
    pub fn is_reset(&self) -> bool {
        self.registers.read32(reg::CLOCK) & (clock::RESET_ALL | clock::RESET_LINES) == 0
    }

    /// After a reset: which interrupts are seen.
    pub fn enable_interrupts(&mut self) {
        let detect = if self.quirks.no_card_detect { 0 } else { status::INSERTED | status::REMOVED };
        self.signals = status::TRANSFER | status::ERRORS | self.port_signals() | detect;
        self.registers.write32(reg::STATUS, u32::MAX);
        self.registers.write32(reg::STATUS_ENABLE, self.signals | status::COMMAND);
        self.registers.write32(reg::SIGNAL_ENABLE, self.signals);
    }

    const fn port_signals(&self) -> u32 {
        if self.abilities.adma2 { 0 } else { status::READ_READY | status::WRITE_READY }
    }

    /// Command Complete raises an interrupt only for a command that moves no data: a transfer then costs one
    /// interrupt, not two.
    fn signal_command(&mut self, signalled: bool) {
        let signals =
            if signalled { self.signals | status::COMMAND } else { self.signals & !status::COMMAND };
        if signals != self.signals {
            self.signals = signals;
            self.registers.write32(reg::SIGNAL_ENABLE, signals);
        }
    }

    /// Bus power at 3.3 V, 1-bit bus, default speed, ADMA2 chosen where it is there.
    pub fn power_on(&mut self) {
        self.control = control::POWER_3V3 | if self.abilities.adma2 { control::ADMA2 } else { 0 };
        self.registers.write32(reg::HOST_CONTROL, self.control);
    }

    /// Bus power off.
    pub fn power_off(&mut self) {
        self.control = 0;
        self.registers.write32(reg::HOST_CONTROL, 0);
        self.registers.write32(reg::CLOCK, 0);
    }

    /// Stops the card's clock.
    pub fn stop_clock(&mut self) {
        self.registers.write32(reg::CLOCK, clock::LONGEST_TIMEOUT);
    }

    /// Starts the internal clock for at most `hertz`; the card's clock comes with [`Self::start_clock`].
    pub fn set_clock(&mut self, hertz: u32) {
        let divider = divider(self.abilities.base_hertz, hertz, self.abilities.version_3);
        let word = clock::LONGEST_TIMEOUT | divider | clock::INTERNAL;
        self.registers.write32(reg::CLOCK, word);
    }

    /// Whether the internal clock is stable; if so, the card's clock is started.
    pub fn start_clock(&mut self) -> bool {
        let word = self.registers.read32(reg::CLOCK);
        if word & clock::STABLE == 0 {
            return false;
        }
        self.registers.write32(reg::CLOCK, word | clock::CARD);
        true
    }

    /// Stops the card's clock and leaves the internal one as it is.
    pub fn pause_clock(&mut self) {
        let word = self.registers.read32(reg::CLOCK);
        self.registers.write32(reg::CLOCK, word & !clock::CARD);
    }

    /// 4-bit bus.
    pub fn set_four_bit(&mut self) {
        self.control |= control::FOUR_BIT;
        self.registers.write32(reg::HOST_CONTROL, self.control);
    }

    /// The timing of a speed: High Speed Enable at 3.3 V, UHS Mode Select at 1.8 V.
    pub fn set_timing(&mut self, function: u8, low_voltage: bool) {
        if low_voltage {
            let word = self.registers.read32(reg::HOST_CONTROL_2) & 0xffff_0000 & !control_2::UHS;
            let mode = u32::from(function & 7) << control_2::UHS_SHIFT;
            self.registers.write32(reg::HOST_CONTROL_2, word | mode);
        }
        if function != 0 && !self.quirks.no_high_speed_bit {
            self.control |= control::HIGH_SPEED;
            self.registers.write32(reg::HOST_CONTROL, self.control);
        }
    }

    /// 1.8 V signalling.
    pub fn set_low_voltage(&mut self) {
        let word = self.registers.read32(reg::HOST_CONTROL_2) & 0xffff_0000;
        self.registers.write32(reg::HOST_CONTROL_2, word | control_2::V1_8);
    }

    /// Whether 1.8 V signalling held.
    pub fn is_low_voltage(&self) -> bool {
        self.registers.read32(reg::HOST_CONTROL_2) & control_2::V1_8 != 0
    }

    /// The levels of DAT\[3:0\].
    pub fn data_levels(&self) -> u32 {
        (self.registers.read32(reg::PRESENT) & present::DAT) >> 20
    }

    /// Whether the card-detect line says that a card is there. Without such a line: perhaps.
    pub fn is_card_there(&self) -> bool {
        self.quirks.no_card_detect || self.registers.read32(reg::PRESENT) & present::INSERTED != 0
    }

    /// Whether the write-protect switch allows writing.
    pub fn is_write_enabled(&self) -> bool {
        self.registers.read32(reg::PRESENT) & present::WRITE_ENABLED != 0
    }

    /// Whether a command is in flight.
    pub fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    /// Issues a command; `descriptors` is where ADMA2 begins.
    pub fn issue(&mut self, command: Command, descriptors: u32) -> Result<(), Fault> {
        let inhibit = if command.uses_data_lines() && command.index != 12 {
            present::COMMAND_INHIBIT | present::DATA_INHIBIT
        } else {
            present::COMMAND_INHIBIT
        };
        if self.registers.read32(reg::PRESENT) & inhibit != 0 {
            return Err(Fault::Inhibited);
        }
        if let Some(data) = command.data {
            if self.abilities.adma2 {
                self.registers.write32(reg::ADMA_ADDRESS, descriptors);
            }
            if data.stop == Stop::Auto23 {
                self.registers.write32(reg::ARGUMENT_2, data.blocks.into());
            }
            self.registers.write32(reg::BLOCK, u32::from(data.blocks) << 16 | u32::from(data.block_bytes));
        }
        self.signal_command(!command.uses_data_lines());
        self.registers.write32(reg::ARGUMENT, command.argument);
        let by_dma = self.abilities.adma2 && command.index != SEND_TUNING_BLOCK;
        self.registers.write32(reg::COMMAND, command.word(by_dma));
        self.flight = Some(Flight { command, answered: false, blocks: 0 });
        Ok(())
    }

    /// What became of the command in flight. Card changes are left in the status for [`Self::take_card_change`].
    pub fn advance(&mut self, memory: &mut impl PortMemory) -> Progress {
        let Some(mut flight) = self.flight else { return Progress::Waiting };
        let status = self.registers.read32(reg::STATUS) & !(status::INSERTED | status::REMOVED);
        if status == 0 {
            return Progress::Waiting;
        }
        self.registers.write32(reg::STATUS, status);
        if status & status::ERRORS != 0 {
            self.flight = None;
            return Progress::Failed(Fault::from_status(status));
        }
        if flight.command.index == SEND_TUNING_BLOCK {
            self.flight = None;
            return Progress::Done(0);
        }
        flight.answered |= status & status::COMMAND != 0;
        if status & (status::READ_READY | status::WRITE_READY) != 0 {
            self.move_blocks(&mut flight, memory);
        }
        let ends_with_transfer = flight.command.uses_data_lines();
        let ended = if ends_with_transfer { status & status::TRANSFER != 0 } else { flight.answered };
        self.flight = (!ended).then_some(flight);
        if ended { Progress::Done(self.registers.read32(reg::RESPONSE)) } else { Progress::Moving }
    }

    fn move_blocks(&mut self, flight: &mut Flight, memory: &mut impl PortMemory) {
        let Some(data) = flight.command.data else { return };
        let ready = if data.read { status::READ_READY } else { status::WRITE_READY };
        let mut block = [0; 512];
        let Some(block) = block.get_mut(..usize::from(data.block_bytes)) else { return };
        for turn in 0..PORT_BLOCKS {
            if flight.blocks >= data.blocks {
                return;
            }
            // The first block's sign was cleared by the caller. Cleared before the block moves: the sign of the next one
            // may come with this one's last word.
            if turn > 0 {
                if self.registers.read32(reg::STATUS) & ready == 0 {
                    return;
                }
                self.registers.write32(reg::STATUS, ready);
            }
            if data.read {
                self.registers.read_port(reg::BUFFER, block);
                memory.take_block(flight.blocks, block);
            } else {
                memory.give_block(flight.blocks, block);
                self.registers.write_port(reg::BUFFER, block);
            }
            flight.blocks = flight.blocks.saturating_add(1);
            self.ported = self.ported.saturating_add(1);
        }
    }

    /// A poll begins. Acknowledges what came with no command in flight: a line that stays up would interrupt for ever. Card changes are
    /// left for [`Self::take_card_change`].
    pub fn drop_strays(&mut self) {
        self.ported = 0;
        if self.flight.is_some() {
            return;
        }
        let strays = self.registers.read32(reg::STATUS) & !(status::INSERTED | status::REMOVED);
        if strays != 0 {
            self.registers.write32(reg::STATUS, strays);
        }
    }

    /// The 136-bit answer of the last command, its bits 127:8 in place.
    pub fn long_response(&self) -> u128 {
        [12, 8, 4, 0].iter().fold(0, |sum, offset| {
            sum << 32 | u128::from(self.registers.read32(reg::RESPONSE.saturating_add(*offset)))
        }) << 8
    }

    /// Whether a card was put in or taken out since the last call.
    pub fn take_card_change(&mut self) -> bool {
        if self.quirks.no_card_detect {
            return false;
        }
        let changes = status::INSERTED | status::REMOVED;
        let status = self.registers.read32(reg::STATUS) & changes;
        if status != 0 {
            self.registers.write32(reg::STATUS, status);
        }
        status != 0
    }
}

/// SDCLK Frequency Select for at most `hertz`, in place in [`reg::CLOCK`]: base / 2N with N of 10 bits from version
/// 3.00 on, of one bit before (2.2.14).
fn divider(base: u32, hertz: u32, version_3: bool) -> u32 {
    let ratio = base.div_ceil(hertz.max(1));
    let n = if ratio <= 1 {
        0
    } else if version_3 {
        ratio.div_ceil(2).min(1023)
    } else {
        ratio.div_ceil(2).checked_next_power_of_two().unwrap_or(128).min(128)
    };
    (n & 0xff) << 8 | (n >> 8 & 3) << 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_clock_is_never_too_fast(base in 1_000_000u32..255_000_000, hertz in 400_000u32..208_000_000, v3: bool) {
            let word = divider(base, hertz, v3);
            let n = word >> 8 & 0xff | (word >> 6 & 3) << 8;
            let got = if n == 0 { base } else { base / (2 * n) };
            // Version 2 divides by 256 at most.
            prop_assert!(got <= hertz || !v3 && n == 128);
            prop_assert_eq!(word & !0xffc0, 0);
        }
    }
}
