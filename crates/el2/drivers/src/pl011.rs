//! The PL011 UART of the host.
//!
//! Called by the vmkernel's console through [`Serial`]. Calls [`Registers`].
//! Source: PrimeCell UART (PL011) Technical Reference Manual (DDI 0183), 3.3 "Register descriptions"; `specs::pl011`.
//! Concurrency: every access is one register access; see [`Serial`].

use crate::hardware::Registers;
use crate::serial::{Received, Serial};
use specs::pl011 as regs;

/// UARTCR: the UART is enabled.
const CR_UARTEN: u32 = 1;
/// UARTCR: transmit and receive are enabled.
const CR_TXE_RXE: u32 = 0x300;
/// UARTLCR_H: eight bits; no parity, one stop bit.
const LCR_H_WLEN8: u32 = 0b11 << 5;
/// UARTDR: overrun; bytes before this one were lost.
const DR_OE: u32 = 1 << 11;
/// UARTDR: break, parity or framing error.
const DR_BAD: u32 = 0b111 << 8;

/// What sets the speed of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speed {
    /// Hz of UARTCLK.
    pub clock_hertz: u32,
    /// Bits a second.
    pub baud: u32,
}

impl Speed {
    /// UARTIBRD and UARTFBRD: clock / (16 × baud) in 64ths, rounded (3.3.6 "Fractional baud rate register").
    fn divisors(self) -> Option<(u32, u32)> {
        let clock = u64::from(self.clock_hertz);
        let baud = u64::from(self.baud);
        let in_64ths = clock.checked_mul(8)?.checked_div(baud)?.checked_add(1)? / 2;
        let whole = u32::try_from(in_64ths >> 6).ok().filter(|whole| (1..=0xffff).contains(whole))?;
        Some((whole, u32::try_from(in_64ths & 0x3f).ok()?))
    }
}

/// A PL011.
#[derive(Debug)]
pub struct Pl011<R> {
    registers: R,
}

#[allow(clippy::cast_possible_truncation, reason = "offsets below 0x1000")]
const fn at(offset: u64) -> usize {
    offset as usize
}

impl<R: Registers> Pl011<R> {
    /// Takes the UART over, with interrupts off. The speed stays as firmware set it unless one is given; so does all else
    /// where firmware uses the line (a byte that is being sent would be lost).
    pub fn new(registers: R, speed: Option<Speed>) -> Self {
        let uart = Self { registers };
        uart.store(regs::IMSC, 0);
        let running = CR_UARTEN | CR_TXE_RXE;
        if uart.load(regs::CR) & running != running || speed.is_some() {
            uart.store(regs::CR, 0);
            if let Some((whole, fraction)) = speed.and_then(Speed::divisors) {
                uart.store(regs::IBRD, whole);
                uart.store(regs::FBRD, fraction);
            }
            // Also makes new divisors count (3.3.7).
            uart.store(regs::LCR_H, LCR_H_WLEN8 | regs::LCR_H_FEN);
            uart.store(regs::ICR, regs::INT_ALL);
            uart.store(regs::CR, running);
        }
        uart
    }

    fn load(&self, offset: u64) -> u32 {
        self.registers.read32(at(offset))
    }

    fn store(&self, offset: u64, value: u32) {
        self.registers.write32(at(offset), value);
    }
}

impl<R: Registers> Serial for Pl011<R> {
    fn put(&self, bytes: &[u8]) -> usize {
        let mut sent = 0_usize;
        for byte in bytes {
            if self.load(regs::FR) & regs::FR_TXFF != 0 {
                break;
            }
            self.store(regs::DR, u32::from(*byte));
            sent = sent.saturating_add(1);
        }
        sent
    }

    fn receive(&self) -> Option<Received> {
        if self.load(regs::FR) & regs::FR_RXFE != 0 {
            return None;
        }
        let data = self.load(regs::DR);
        let [byte, ..] = data.to_le_bytes();
        Some(if data & DR_BAD != 0 {
            Received::Broken
        } else if data & DR_OE != 0 {
            Received::AfterLoss(byte)
        } else {
            Received::Byte(byte)
        })
    }

    fn enable_receive_interrupt(&self) {
        // The time-out covers what stays below the FIFO's level. Neither is ever cleared by UARTICR: both fall when the
        // bytes are read (2.8 "Interrupts"), and one that is cleared with bytes left comes back only after more bytes.
        self.store(regs::IMSC, regs::INT_RX | regs::INT_RT);
    }
}

#[cfg(test)]
mod tests;
