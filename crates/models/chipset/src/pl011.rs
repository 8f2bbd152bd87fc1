//! PL011: the guest's serial line.
//!
//! Called by the vmkernel's bus (exits) and by its console (input); calls the interrupt line and the byte sink.
//! Source: PrimeCell UART (PL011) Technical Reference Manual (DDI 0183), 2.4 "Operation", 2.8 "Interrupts",
//! 3.3 "Register descriptions".
//!
//! Invariants: `flags` is UARTFR at any moment, so that polling it is one load; `ris` has RX exactly while the receive
//! FIFO is at its level or above; the line is high exactly while `ris & imsc` is not 0.
//!
//! Not as on the wire: a byte is sent at once, whatever the baud rate and whether or not the guest has enabled the UART
//! (earlycon does not), so TXFE is always set, and the transmit interrupt follows each byte. The receive timeout is up
//! as soon as a byte arrives. No loopback, modem lines, errors or DMA.

use ports::{ByteSink, InterruptLine, MmioDevice, Width};
use specs::pl011 as regs;

/// Bytes from UARTIFLS's receive level to entries of the FIFO: 1/8, 1/4, 1/2, 3/4, 7/8; the rest is reserved.
const RX_LEVELS: [usize; 8] = [2, 4, 8, 12, 14, 14, 14, 14];

/// The UART.
pub struct Pl011<L, S> {
    line: L,
    sink: S,
    flags: u32,
    ris: u32,
    imsc: u32,
    line_control: u32,
    control: u32,
    levels: u32,
    baud: [u32; 3],
    dma_control: u32,
    input: Fifo,
}

/// The receive FIFO.
#[derive(Default)]
struct Fifo {
    bytes: [u8; regs::FIFO_ENTRIES],
    first: usize,
    len: usize,
}

impl Fifo {
    fn push(&mut self, byte: u8) {
        let at = (self.first + self.len) % regs::FIFO_ENTRIES;
        if let Some(place) = self.bytes.get_mut(at) {
            *place = byte;
            self.len += 1;
        }
    }

    /// The oldest byte, or 0 where there is none.
    fn pop(&mut self) -> u8 {
        if self.len == 0 {
            return 0;
        }
        let byte = self.bytes.get(self.first).copied().unwrap_or(0);
        self.first = (self.first + 1) % regs::FIFO_ENTRIES;
        self.len -= 1;
        byte
    }
}

impl<L: InterruptLine, S: ByteSink> Pl011<L, S> {
    /// A UART after reset.
    pub fn new(line: L, sink: S) -> Self {
        Self {
            line,
            sink,
            flags: regs::FR_TXFE | regs::FR_RXFE,
            ris: 0,
            imsc: 0,
            line_control: 0,
            control: regs::CR_RESET,
            levels: regs::IFLS_RESET,
            baud: [0; 3],
            dma_control: 0,
            input: Fifo::default(),
        }
    }

    /// A byte arrives. False where the FIFO is full: the byte is to be offered again when the guest has read one.
    pub fn receive(&mut self, byte: u8) -> bool {
        if self.flags & regs::FR_RXFF != 0 {
            return false;
        }
        self.input.push(byte);
        self.ris |= regs::INT_RT;
        self.input_changed();
        true
    }

    fn depth(&self) -> usize {
        if self.line_control & regs::LCR_H_FEN != 0 { regs::FIFO_ENTRIES } else { 1 }
    }

    fn level(&self) -> usize {
        let level = (self.levels >> regs::IFLS_RX_SHIFT) & regs::IFLS_RX_MASK;
        RX_LEVELS.get(level as usize).copied().unwrap_or(1).min(self.depth())
    }

    /// Brings flags and interrupts in line with what is in the receive FIFO.
    fn input_changed(&mut self) {
        self.flags &= !(regs::FR_RXFE | regs::FR_RXFF);
        if self.input.len == 0 {
            self.flags |= regs::FR_RXFE;
            self.ris &= !regs::INT_RT;
        }
        if self.input.len >= self.depth() {
            self.flags |= regs::FR_RXFF;
        }
        if self.input.len >= self.level() {
            self.ris |= regs::INT_RX;
        } else {
            self.ris &= !regs::INT_RX;
        }
        self.drive_line();
    }

    fn drive_line(&self) {
        if self.ris & self.imsc != 0 {
            self.line.raise();
        } else {
            self.line.lower();
        }
    }

    #[inline]
    fn send(&mut self, byte: u8) {
        self.sink.put(&[byte]);
        // The interrupt is raised by what changes it only: a polling guest has it masked.
        if self.ris & regs::INT_TX == 0 {
            self.ris |= regs::INT_TX;
            if self.imsc & regs::INT_TX != 0 {
                self.line.raise();
            }
        }
    }

    #[inline(never)]
    fn read_other(&mut self, offset: u64) -> u32 {
        match offset {
            regs::DR => {
                let byte = self.input.pop();
                self.input_changed();
                u32::from(byte)
            }
            regs::ILPR => self.baud[0],
            regs::IBRD => self.baud[1],
            regs::FBRD => self.baud[2],
            regs::LCR_H => self.line_control,
            regs::CR => self.control,
            regs::IFLS => self.levels,
            regs::IMSC => self.imsc,
            regs::RIS => self.ris,
            regs::MIS => self.ris & self.imsc,
            regs::DMACR => self.dma_control,
            // RSR has no error to report; ICR is write-only.
            _ => id_byte(&regs::ID_BYTES, offset),
        }
    }

    #[inline(never)]
    fn write_other(&mut self, offset: u64, value: u32) {
        match offset {
            regs::ILPR => self.baud[0] = value & 0xff,
            regs::IBRD => self.baud[1] = value & 0xffff,
            regs::FBRD => self.baud[2] = value & 0x3f,
            regs::LCR_H => {
                // Switching the FIFO on or off empties it.
                if (self.line_control ^ value) & regs::LCR_H_FEN != 0 {
                    self.input = Fifo::default();
                }
                self.line_control = value & 0xff;
                self.input_changed();
            }
            regs::CR => self.control = value & 0xffff,
            regs::IFLS => {
                self.levels = value & 0x3f;
                self.input_changed();
            }
            regs::IMSC => {
                self.imsc = value & regs::INT_ALL;
                self.drive_line();
            }
            regs::ICR => {
                self.ris &= !value;
                self.drive_line();
            }
            regs::DMACR => self.dma_control = value & 0x7,
            _ => {}
        }
    }
}

/// UARTPeriphID and UARTPCellID of any PrimeCell: a byte in each word at the end of its page.
pub(crate) fn id_byte(ids: &[u8; 8], offset: u64) -> u32 {
    let Some(place) = offset.checked_sub(regs::ID).filter(|place| place.is_multiple_of(4)) else { return 0 };
    let byte = usize::try_from(place / 4).ok().and_then(|index| ids.get(index));
    byte.map_or(0, |byte| u32::from(*byte))
}

impl<L: InterruptLine, S: ByteSink> MmioDevice for Pl011<L, S> {
    #[inline]
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        // Drivers poll this one around every byte.
        if offset == regs::FR {
            return u64::from(self.flags);
        }
        width.truncate(u64::from(self.read_other(offset)))
    }

    #[inline]
    fn write(&mut self, offset: u64, _width: Width, value: u64) {
        let [byte, ..] = value.to_le_bytes();
        if offset == regs::DR {
            return self.send(byte);
        }
        // Every register fits 16 bits; the upper half of a 64-bit store meets none.
        self.write_other(offset, (value & 0xffff_ffff) as u32);
    }
}
