//! The UART behind the line: PL011 or the Pi's mini UART.

use drivers::board::{UartKind, UartNode};
use drivers::hardware::Registers;
use el2::DeviceRegisters;

/// Loads that a character may wait for the FIFO: about a character at 115,200 baud.
const PATIENCE: u32 = 20_000;

/// A UART that firmware has set up.
#[derive(Debug)]
pub struct Serial {
    kind: UartKind,
    registers: DeviceRegisters,
}

impl Serial {
    /// Maps it.
    pub fn new(node: UartNode) -> Option<Self> {
        let serial = Self { kind: node.kind, registers: DeviceRegisters::map(node.registers)? };
        if serial.kind == UartKind::Pl011 {
            serial.registers.write32(0x30, 0x301); // CR: UARTEN, TXE, RXE
        }
        Some(serial)
    }

    fn can_put(&self) -> bool {
        match self.kind {
            UartKind::Pl011 => self.registers.read32(0x18) & 1 << 5 == 0,
            UartKind::MiniUart => self.registers.read32(0x14) & 1 << 5 != 0,
        }
    }

    /// Sends bytes; a character that the hardware does not take in time is dropped.
    pub fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let mut left = PATIENCE;
            while !self.can_put() && left > 0 {
                left = left.saturating_sub(1);
            }
            self.registers.write32(0, u32::from(*byte));
        }
    }

    /// A byte that was received.
    pub fn get(&mut self) -> Option<u8> {
        let empty = match self.kind {
            UartKind::Pl011 => self.registers.read32(0x18) & 1 << 4 != 0,
            UartKind::MiniUart => self.registers.read32(0x14) & 1 == 0,
        };
        (!empty).then(|| (self.registers.read32(0) & 0xff) as u8)
    }

    /// Asks for an interrupt when bytes come.
    pub fn listen(&mut self) {
        match self.kind {
            UartKind::Pl011 => self.registers.write32(0x38, 1 << 4 | 1 << 6), // IMSC: RXIM, RTIM
            UartKind::MiniUart => self.registers.write32(0x04, 1),            // IER: receive
        }
    }
}
