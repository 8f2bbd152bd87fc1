//! Registers of an SD host controller, by name. No behaviour.
//!
//! Source: SD Host Controller Simplified Specification 3.00, 2.2 "SD Host Control Registers"; numbers compared with
//! Linux `drivers/mmc/host/sdhci.h`. All are accessed as whole 32-bit words: the Pi's controllers take nothing else
//! (Linux `sdhci-iproc.c`). docs/pi/registers.md names the use of each.

/// Argument 2: the block count of an automatic CMD23. (SDMA System Address, which is not used here.)
pub const ARGUMENT_2: usize = 0x00;
/// Block Size (15:0) and Block Count (31:16).
pub const BLOCK: usize = 0x04;
/// Argument 1.
pub const ARGUMENT: usize = 0x08;
/// Transfer Mode (15:0) and Command (31:16); writing it starts the command.
pub const COMMAND: usize = 0x0c;
/// Response, four words.
pub const RESPONSE: usize = 0x10;
/// Buffer Data Port.
pub const BUFFER: usize = 0x20;
/// Present State.
pub const PRESENT: usize = 0x24;
/// Host Control 1 (7:0), Power Control (15:8), Block Gap Control, Wakeup Control.
pub const HOST_CONTROL: usize = 0x28;
/// Clock Control (15:0), Timeout Control (23:16), Software Reset (31:24).
pub const CLOCK: usize = 0x2c;
/// Normal (15:0) and Error (31:16) Interrupt Status; write 1 to clear.
pub const STATUS: usize = 0x30;
/// Their Status Enable.
pub const STATUS_ENABLE: usize = 0x34;
/// Their Signal Enable.
pub const SIGNAL_ENABLE: usize = 0x38;
/// Auto CMD Error Status (15:0) and Host Control 2 (31:16).
pub const HOST_CONTROL_2: usize = 0x3c;
/// Capabilities, low word.
pub const CAPABILITIES: usize = 0x40;
/// Capabilities, high word.
pub const CAPABILITIES_HIGH: usize = 0x44;
/// ADMA System Address, low word.
pub const ADMA_ADDRESS: usize = 0x58;
/// ADMA System Address, high word.
pub const ADMA_ADDRESS_HIGH: usize = 0x5c;
/// Slot Interrupt Status (15:0) and Host Controller Version (31:16).
pub const VERSION: usize = 0xfc;

/// Fields of Transfer Mode (2.2.5).
pub mod mode {
    /// DMA Enable.
    pub const DMA: u32 = 1;
    /// Block Count Enable.
    pub const COUNT: u32 = 1 << 1;
    /// Auto CMD12.
    pub const AUTO_12: u32 = 1 << 2;
    /// Auto CMD23.
    pub const AUTO_23: u32 = 2 << 2;
    /// Card to host.
    pub const READ: u32 = 1 << 4;
    /// Multi Block.
    pub const MULTI: u32 = 1 << 5;
}

/// Fields of Command (2.2.6), in place in the word [`COMMAND`].
pub mod command {
    /// Response of 136 bits.
    pub const LONG: u32 = 1 << 16;
    /// Response of 48 bits.
    pub const SHORT: u32 = 2 << 16;
    /// Response of 48 bits with busy.
    pub const SHORT_BUSY: u32 = 3 << 16;
    /// Check the response's CRC.
    pub const CHECK_CRC: u32 = 1 << 19;
    /// Check the response's index.
    pub const CHECK_INDEX: u32 = 1 << 20;
    /// Data present.
    pub const DATA: u32 = 1 << 21;
    /// Command type: abort.
    pub const ABORT: u32 = 3 << 22;
    /// Where the index is.
    pub const INDEX: u32 = 24;
}

/// Fields of Present State (2.2.9).
pub mod present {
    /// A command may not be issued.
    pub const COMMAND_INHIBIT: u32 = 1;
    /// A command that uses the DAT lines may not be issued.
    pub const DATA_INHIBIT: u32 = 1 << 1;
    /// Card inserted.
    pub const INSERTED: u32 = 1 << 16;
    /// Card state stable.
    pub const STABLE: u32 = 1 << 17;
    /// The write-protect switch allows writing.
    pub const WRITE_ENABLED: u32 = 1 << 19;
    /// Levels of DAT\[3:0\].
    pub const DAT: u32 = 0xf << 20;
}

/// Fields of Host Control 1 (2.2.10) and Power Control (2.2.11), in place in the word [`HOST_CONTROL`].
pub mod control {
    /// 4-bit bus.
    pub const FOUR_BIT: u32 = 1 << 1;
    /// High Speed Enable.
    pub const HIGH_SPEED: u32 = 1 << 2;
    /// DMA Select: ADMA2 with 32-bit addresses.
    pub const ADMA2: u32 = 2 << 3;
    /// SD Bus Power with SD Bus Voltage 3.3 V.
    pub const POWER_3V3: u32 = 0xf << 8;
}

/// Fields of Clock Control (2.2.14) and Software Reset (2.2.16), in place in the word [`CLOCK`].
pub mod clock {
    /// Internal Clock Enable.
    pub const INTERNAL: u32 = 1;
    /// Internal Clock Stable.
    pub const STABLE: u32 = 1 << 1;
    /// SD Clock Enable.
    pub const CARD: u32 = 1 << 2;
    /// Data Timeout Counter Value: TMCLK × 2^27, the longest.
    pub const LONGEST_TIMEOUT: u32 = 0xe << 16;
    /// Software Reset For All.
    pub const RESET_ALL: u32 = 1 << 24;
    /// Software Reset For CMD and DAT Line.
    pub const RESET_LINES: u32 = 3 << 25;
}

/// Bits of the interrupt status registers (2.2.17, 2.2.18).
pub mod status {
    /// Command Complete.
    pub const COMMAND: u32 = 1;
    /// Transfer Complete.
    pub const TRANSFER: u32 = 1 << 1;
    /// Buffer Write Ready.
    pub const WRITE_READY: u32 = 1 << 4;
    /// Buffer Read Ready.
    pub const READ_READY: u32 = 1 << 5;
    /// Card Insertion.
    pub const INSERTED: u32 = 1 << 6;
    /// Card Removal.
    pub const REMOVED: u32 = 1 << 7;
    /// Error Interrupt: some bit of the upper half is set.
    pub const ERROR: u32 = 1 << 15;
    /// Command Timeout.
    pub const COMMAND_TIMEOUT: u32 = 1 << 16;
    /// Command CRC.
    pub const COMMAND_CRC: u32 = 1 << 17;
    /// Command End Bit.
    pub const COMMAND_END: u32 = 1 << 18;
    /// Command Index.
    pub const COMMAND_INDEX: u32 = 1 << 19;
    /// Data Timeout.
    pub const DATA_TIMEOUT: u32 = 1 << 20;
    /// Data CRC.
    pub const DATA_CRC: u32 = 1 << 21;
    /// Data End Bit.
    pub const DATA_END: u32 = 1 << 22;
    /// Current Limit.
    pub const CURRENT: u32 = 1 << 23;
    /// Auto CMD.
    pub const AUTO: u32 = 1 << 24;
    /// ADMA.
    pub const ADMA: u32 = 1 << 25;
    /// Every error.
    pub const ERRORS: u32 = 0x03ff_0000;
}

/// Fields of Capabilities, low word (2.2.26).
pub mod capability {
    /// Base Clock Frequency For SD Clock, in MHz.
    pub const BASE_CLOCK_SHIFT: u32 = 8;
    /// ADMA2 Support.
    pub const ADMA2: u32 = 1 << 19;
    /// High Speed Support.
    pub const HIGH_SPEED: u32 = 1 << 21;
    /// Voltage Support 3.3 V.
    pub const V3_3: u32 = 1 << 24;
    /// Voltage Support 1.8 V.
    pub const V1_8: u32 = 1 << 26;
    /// High word: SDR50.
    pub const HIGH_SDR50: u32 = 1;
    /// High word: SDR104.
    pub const HIGH_SDR104: u32 = 1 << 1;
    /// High word: DDR50.
    pub const HIGH_DDR50: u32 = 1 << 2;
    /// High word: SDR50 needs tuning.
    pub const HIGH_TUNES_SDR50: u32 = 1 << 13;
}

/// Fields of Host Control 2 (2.2.25), in place in the word [`HOST_CONTROL_2`].
pub mod control_2 {
    /// Where UHS Mode Select is.
    pub const UHS_SHIFT: u32 = 16;
    /// UHS Mode Select.
    pub const UHS: u32 = 7 << 16;
    /// 1.8V Signaling Enable.
    pub const V1_8: u32 = 1 << 19;
    /// Execute Tuning.
    pub const EXECUTE_TUNING: u32 = 1 << 22;
    /// Sampling Clock Select: the tuned clock is in use.
    pub const SAMPLING_CLOCK: u32 = 1 << 23;
}
