//! SD commands as the driver uses them, and what can go wrong with one.
//!
//! Called by `bring_up`, `transfer`, `recovery`; used by `controller`.
//! Source: SD Physical Layer Simplified Specification 6.00, 4.7.4 "Detailed Command Description", 4.9 "Responses";
//! SD Host Controller Simplified Specification 3.00, 2.2.6 "Command Register", table 2-12.

use super::card::{CardStatus, Nonsense};
use super::registers::{command, mode, status};
use core::fmt;

/// The form of a card's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// None.
    None,
    /// R1, R6, R7: 48 bits.
    Short,
    /// R1b: 48 bits, then busy on DAT0.
    ShortBusy,
    /// R2: 136 bits.
    Long,
    /// R3: 48 bits without a CRC.
    NoCrc,
}

/// How a transfer of several blocks is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// One block.
    Single,
    /// The controller sends CMD12 after the last block.
    Auto12,
    /// The controller sends CMD23 before the command.
    Auto23,
}

/// Data that goes with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    /// Bytes of a block.
    pub block_bytes: u16,
    /// How many.
    pub blocks: u16,
    /// Card to host.
    pub read: bool,
    /// What ends it.
    pub stop: Stop,
}

/// One command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// Its number.
    pub index: u8,
    /// Its argument.
    pub argument: u32,
    /// The form of the answer.
    pub reply: Reply,
    /// Its data.
    pub data: Option<Data>,
}

impl Command {
    /// Without data.
    pub const fn plain(index: u8, argument: u32, reply: Reply) -> Self {
        Self { index, argument, reply, data: None }
    }

    /// One short block from the card.
    pub const fn question(index: u8, argument: u32, bytes: u16) -> Self {
        let data = Data { block_bytes: bytes, blocks: 1, read: true, stop: Stop::Single };
        Self { index, argument, reply: Reply::Short, data: Some(data) }
    }

    /// Sectors to or from the card: CMD17, 18, 24, 25.
    pub const fn sectors(argument: u32, blocks: u16, read: bool, stop: Stop) -> Self {
        let index = match (read, blocks) {
            (true, 1) => 17,
            (true, _) => 18,
            (false, 1) => 24,
            (false, _) => 25,
        };
        let stop = if blocks == 1 { Stop::Single } else { stop };
        let data = Data { block_bytes: 512, blocks, read, stop };
        Self { index, argument, reply: Reply::Short, data: Some(data) }
    }

    /// Whether it uses the DAT lines.
    pub const fn uses_data_lines(&self) -> bool {
        self.data.is_some() || matches!(self.reply, Reply::ShortBusy)
    }

    /// The word that starts it.
    pub const fn word(&self, dma: bool) -> u32 {
        const CHECKED: u32 = command::CHECK_CRC | command::CHECK_INDEX;
        let reply = match self.reply {
            Reply::None => 0,
            Reply::Short => command::SHORT | CHECKED,
            Reply::ShortBusy => command::SHORT_BUSY | CHECKED,
            Reply::Long => command::LONG | command::CHECK_CRC,
            Reply::NoCrc => command::SHORT,
        };
        let kind = if self.index == 12 { command::ABORT } else { 0 };
        let data = match self.data {
            None => 0,
            Some(data) => {
                let read = if data.read { mode::READ } else { 0 };
                let dma = if dma { mode::DMA } else { 0 };
                let stop = match data.stop {
                    Stop::Single => 0,
                    Stop::Auto12 => mode::MULTI | mode::COUNT | mode::AUTO_12,
                    Stop::Auto23 => mode::MULTI | mode::COUNT | mode::AUTO_23,
                };
                command::DATA | read | dma | stop
            }
        };
        (self.index as u32) << command::INDEX | kind | reply | data
    }
}

/// What went wrong with a command or its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The card did not answer the command.
    NoAnswer,
    /// The answer was damaged: CRC, end bit or index.
    DamagedAnswer,
    /// The data did not come, or busy did not end.
    DataTimeout,
    /// The data was damaged: CRC or end bit.
    DamagedData,
    /// The automatic CMD12 or CMD23 failed.
    AutoCommand,
    /// The controller could not follow its descriptors.
    Adma,
    /// The card draws too much current.
    Current,
    /// The controller said nothing in time.
    Silent,
    /// The controller's lines never became free.
    Inhibited,
    /// The card reports errors.
    Status(CardStatus),
    /// The card says what no card may say.
    Nonsense(Nonsense),
    /// The board refuses or fails to switch the card's power or voltage.
    Board,
    /// No sampling moment was found.
    Tuning,
    /// No operating voltage in common, or the card never got ready.
    Voltage,
}

impl Fault {
    /// From the error bits of the interrupt status; the most telling first.
    pub const fn from_status(bits: u32) -> Self {
        const DAMAGED: u32 = status::COMMAND_CRC | status::COMMAND_END | status::COMMAND_INDEX;
        // A time-out together with a CRC error means that another card drove the line (2.2.18, table 2-25).
        if bits & DAMAGED != 0 {
            Self::DamagedAnswer
        } else if bits & status::COMMAND_TIMEOUT != 0 {
            Self::NoAnswer
        } else if bits & (status::DATA_CRC | status::DATA_END) != 0 {
            Self::DamagedData
        } else if bits & status::DATA_TIMEOUT != 0 {
            Self::DataTimeout
        } else if bits & status::ADMA != 0 {
            Self::Adma
        } else if bits & status::AUTO != 0 {
            Self::AutoCommand
        } else {
            Self::Current
        }
    }

    /// Whether a slower clock may help.
    pub const fn is_signal(self) -> bool {
        matches!(self, Self::DamagedAnswer | Self::DamagedData | Self::AutoCommand | Self::Tuning)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("the card does not answer"),
            Self::DamagedAnswer => f.write_str("the card's answer was damaged on the way"),
            Self::DataTimeout => f.write_str("the card's data did not come in time"),
            Self::DamagedData => f.write_str("data was damaged on the way"),
            Self::AutoCommand => f.write_str("the controller's automatic command failed"),
            Self::Adma => f.write_str("the controller could not follow its descriptors"),
            Self::Current => f.write_str("the card draws too much current"),
            Self::Silent => f.write_str("the controller says nothing"),
            Self::Inhibited => f.write_str("the controller's lines stay busy"),
            Self::Status(status) => write!(f, "the card reports errors {:#010x}", status.errors()),
            Self::Nonsense(nonsense) => write!(f, "the card answers nonsense: {nonsense}"),
            Self::Board => f.write_str("the board does not switch the card's power or voltage"),
            Self::Tuning => f.write_str("no moment was found at which its data is whole (tuning)"),
            Self::Voltage => f.write_str("the card never got ready at this voltage"),
        }
    }
}

impl From<Nonsense> for Fault {
    fn from(nonsense: Nonsense) -> Self {
        Self::Nonsense(nonsense)
    }
}
