//! Commands, status and the query table of a NOR flash with the Intel extended command set.
//!
//! Sources: Common Flash Interface (JEDEC JESD68.01), 2 "CFI query structure"; command set 0001, as in Intel StrataFlash
//! Embedded Memory (P30) datasheet 306666, 8.0 "Command bus cycles", 9.3 "Read Status Register". The numbers of the
//! query table are those of the flash that QEMU's `virt` board has (two x16 chips side by side, 64 MiB).

/// Read Array.
pub const READ_ARRAY: u8 = 0xff;
/// Read Array in AMD's command set, which probing drivers send too.
pub const READ_ARRAY_AMD: u8 = 0xf0;
/// Read Device Identifier.
pub const READ_ID: u8 = 0x90;
/// Read Query.
pub const READ_QUERY: u8 = 0x98;
/// Read Status Register.
pub const READ_STATUS: u8 = 0x70;
/// Clear Status Register.
pub const CLEAR_STATUS: u8 = 0x50;
/// Word Program, first code.
pub const PROGRAM: u8 = 0x40;
/// Word Program, second code.
pub const PROGRAM_ALTERNATE: u8 = 0x10;
/// Buffered Program.
pub const BUFFERED_PROGRAM: u8 = 0xe8;
/// Block Erase.
pub const BLOCK_ERASE: u8 = 0x20;
/// Lock setup.
pub const LOCK_SETUP: u8 = 0x60;
/// Confirms an erase, a buffered program or an unlock.
pub const CONFIRM: u8 = 0xd0;

/// Status: ready.
pub const STATUS_READY: u8 = 1 << 7;
/// Status: the erase failed.
pub const STATUS_ERASE_FAILED: u8 = 1 << 5;
/// Status: the program failed.
pub const STATUS_PROGRAM_FAILED: u8 = 1 << 4;
/// Status: the commands came in a wrong order.
pub const STATUS_WRONG_SEQUENCE: u8 = STATUS_ERASE_FAILED | STATUS_PROGRAM_FAILED;

/// Identifier word 0: Intel.
pub const MANUFACTURER: u8 = 0x89;
/// Identifier word 1: 28F128.
pub const DEVICE: u8 = 0x18;

/// Bytes of an erase block of both chips together.
pub const BLOCK_BYTES: u64 = 0x4_0000;
/// Most data words of one buffered program.
pub const BUFFER_WORDS: u16 = 1024;

/// First word of the query table below.
pub const QUERY_FIRST: u64 = 0x10;
/// The query table of each chip, a byte a word.
pub const QUERY: [u8; 0x30] = [
    b'Q', b'R', b'Y', 0x01, 0x00, 0x31, 0x00, 0x00, // 10: command set 0001, its table at 31
    0x00, 0x00, 0x00, 0x45, 0x55, 0x00, 0x00, 0x07, // 18: 4.5 to 5.5 V; program 2^7 µs
    0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00, 0x19, // 20: buffer 2^7 µs, erase 2^10 ms; 2^25 bytes
    0x02, 0x00, 0x0b, 0x00, 0x01, 0xff, 0x00,
    0x00, // 28: x8/x16; buffer of 2^11 bytes; one region of 256
    0x02, b'P', b'R', b'I', b'1', b'0', 0x00, 0x00, // 30: blocks of 0x200 × 256 bytes
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, // 38: no optional feature; one protection field
];
