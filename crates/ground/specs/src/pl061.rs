//! Registers of the PL061 GPIO.
//!
//! Source: PrimeCell General Purpose Input/Output (PL061) Technical Reference Manual (DDI 0190), 3.3 "Register
//! descriptions".

/// GPIODATA: its address bits 9:2 are the mask of the lines that an access reaches.
pub const DATA_END: u64 = 0x400;
/// GPIODIR: direction; 1 is output.
pub const DIR: u64 = 0x400;
/// GPIOIS: interrupt sense; 1 is level.
pub const IS: u64 = 0x404;
/// GPIOIBE: interrupt on both edges.
pub const IBE: u64 = 0x408;
/// GPIOIEV: interrupt event; 1 is rising or high.
pub const IEV: u64 = 0x40c;
/// GPIOIE: interrupt mask; 1 lets it through.
pub const IE: u64 = 0x410;
/// GPIORIS: raw interrupt status.
pub const RIS: u64 = 0x414;
/// GPIOMIS: masked interrupt status.
pub const MIS: u64 = 0x418;
/// GPIOIC: interrupt clear.
pub const IC: u64 = 0x41c;
/// GPIOAFSEL: mode control.
pub const AFSEL: u64 = 0x420;

/// GPIOPeriphID0–3 and GPIOPCellID0–3.
pub const ID_BYTES: [u8; 8] = [0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
