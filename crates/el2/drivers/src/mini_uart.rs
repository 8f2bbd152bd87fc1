//! The mini UART of BCM2835 to BCM2711: what a Pi 4 has on header pins 14 and 15.
//!
//! Called by the vmkernel's console through [`Serial`]. Calls [`Registers`].
//! Source: BCM2711 ARM Peripherals, 2.2 "Mini UART". Offsets are those of the device tree's node, which starts at
//! AUX_MU_IO_REG (AUX + 0x40).
//!
//! | offset | register | used for |
//! |---|---|---|
//! | 0x00 | AUX_MU_IO_REG | a byte out, a byte in |
//! | 0x04 | AUX_MU_IER_REG | bit 0: interrupt on receive (the manual's text has bits 0 and 1 the wrong way round; the table of AUX_MU_IIR_REG and Linux's 8250 driver, which drives this UART, have them so) |
//! | 0x08 | AUX_MU_IIR_REG | reading tells the cause; there is nothing to acknowledge |
//! | 0x0c | AUX_MU_LCR_REG | 3: eight bits |
//! | 0x14 | AUX_MU_LSR_REG | bit 0: data in; 1: overrun, cleared by reading; 5: place for a byte |
//! | 0x20 | AUX_MU_CNTL_REG | 3: transmitter and receiver enabled |
//!
//! The speed hangs on the VPU's clock, which firmware holds still (`enable_uart=1`) and knows: it is left alone. The
//! enable bit in AUX_ENABLES lies outside the node and is firmware's, too.
//! Concurrency: see [`Serial`].

use crate::hardware::Registers;
use crate::serial::{Received, Serial};

const IO: usize = 0x00;
const IER: usize = 0x04;
const LCR: usize = 0x0c;
const LSR: usize = 0x14;
const CNTL: usize = 0x20;

const IER_RECEIVE: u32 = 1;
const LCR_EIGHT_BITS: u32 = 3;
const LSR_DATA_READY: u32 = 1;
const LSR_OVERRUN: u32 = 1 << 1;
const LSR_PLACE: u32 = 1 << 5;
const CNTL_ENABLE: u32 = 3;

/// A mini UART.
#[derive(Debug)]
pub struct MiniUart<R> {
    registers: R,
}

impl<R: Registers> MiniUart<R> {
    /// Takes the UART over, with interrupts off.
    pub fn new(registers: R) -> Self {
        registers.write32(IER, 0);
        if registers.read32(CNTL) & CNTL_ENABLE != CNTL_ENABLE {
            registers.write32(LCR, LCR_EIGHT_BITS);
            registers.write32(CNTL, CNTL_ENABLE);
        }
        Self { registers }
    }
}

impl<R: Registers> Serial for MiniUart<R> {
    fn put(&self, bytes: &[u8]) -> usize {
        let mut sent = 0_usize;
        for byte in bytes {
            if self.registers.read32(LSR) & LSR_PLACE == 0 {
                break;
            }
            self.registers.write32(IO, u32::from(*byte));
            sent = sent.saturating_add(1);
        }
        sent
    }

    fn receive(&self) -> Option<Received> {
        let status = self.registers.read32(LSR);
        if status & LSR_DATA_READY == 0 {
            return None;
        }
        let [byte, ..] = self.registers.read32(IO).to_le_bytes();
        Some(if status & LSR_OVERRUN != 0 { Received::AfterLoss(byte) } else { Received::Byte(byte) })
    }

    fn enable_receive_interrupt(&self) {
        self.registers.write32(IER, IER_RECEIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::vec::Vec;

    #[derive(Default)]
    struct Fake {
        status: Cell<u32>,
        stores: RefCell<Vec<(usize, u32)>>,
        control: u32,
    }

    impl Registers for &Fake {
        fn read32(&self, offset: usize) -> u32 {
            match offset {
                IO => {
                    self.status.set(self.status.get() & !LSR_DATA_READY);
                    0x41
                }
                LSR => {
                    let status = self.status.get();
                    self.status.set(status & !LSR_OVERRUN);
                    status
                }
                CNTL => self.control,
                _ => 0,
            }
        }
        fn write32(&self, offset: usize, value: u32) {
            self.stores.borrow_mut().push((offset, value));
            if offset == IO {
                self.status.set(self.status.get() & !LSR_PLACE);
            }
        }
        fn read8(&self, _offset: usize) -> u8 {
            0
        }
        fn write8(&self, _offset: usize, _value: u8) {}
    }

    #[test]
    fn a_line_that_firmware_uses_keeps_its_settings() {
        let fake = Fake { control: 3, ..Fake::default() };
        MiniUart::new(&fake);
        assert_eq!(*fake.stores.borrow(), [(IER, 0)]);
        let stopped = Fake::default();
        MiniUart::new(&stopped);
        assert_eq!(*stopped.stores.borrow(), [(0x04, 0), (0x0c, 3), (0x20, 3)]);
    }

    #[test]
    fn bytes_go_and_come_while_there_is_place() {
        let fake = Fake { control: 3, ..Fake::default() };
        let uart = MiniUart::new(&fake);
        assert_eq!(uart.put(b"ab"), 0);
        fake.status.set(LSR_PLACE);
        assert_eq!(uart.put(b"ab"), 1);
        assert_eq!(uart.receive(), None);
        fake.status.set(LSR_DATA_READY | LSR_OVERRUN);
        assert_eq!(uart.receive(), Some(Received::AfterLoss(0x41)));
        fake.status.set(LSR_DATA_READY);
        assert_eq!(uart.receive(), Some(Received::Byte(0x41)));
        assert_eq!(uart.receive(), None);
    }
}
