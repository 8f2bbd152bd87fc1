//! Registers of the PL031 real-time clock.
//!
//! Source: PrimeCell Real Time Clock (PL031) Technical Reference Manual (DDI 0224), 3.3 "Register descriptions".

/// RTCDR: seconds now.
pub const DR: u64 = 0x000;
/// RTCMR: seconds to match.
pub const MR: u64 = 0x004;
/// RTCLR: sets the seconds.
pub const LR: u64 = 0x008;
/// RTCCR: bit 0 starts the clock; it can't be stopped.
pub const CR: u64 = 0x00c;
/// RTCIMSC: bit 0 lets the interrupt through.
pub const IMSC: u64 = 0x010;
/// RTCRIS: raw interrupt status.
pub const RIS: u64 = 0x014;
/// RTCMIS: masked interrupt status.
pub const MIS: u64 = 0x018;
/// RTCICR: interrupt clear.
pub const ICR: u64 = 0x01c;

/// RTCPeriphID0–3 and RTCPCellID0–3.
pub const ID_BYTES: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
