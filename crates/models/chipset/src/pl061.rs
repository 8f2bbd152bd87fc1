//! PL061: eight GPIO lines, of which one is the power button.
//!
//! Called by the vmkernel's bus and by management (a press); calls the interrupt line.
//! Source: PrimeCell General Purpose Input/Output (PL061) Technical Reference Manual (DDI 0190), 2.2 "Functional
//! description", 3.3 "Register descriptions".
//!
//! Invariants: the line is high exactly while `edges | levels` meets `enabled`; an edge is remembered until GPIOIC
//! clears it, a level is not. A line that the guest makes an output shows what it wrote and no longer what is outside.

use crate::pl011::id_byte;
use ports::{InterruptLine, MmioDevice, Width};
use specs::pl061 as regs;

/// The GPIO.
pub struct Pl061<L> {
    line: L,
    /// Levels from outside.
    inputs: u8,
    /// What the guest wrote.
    outputs: u8,
    direction: u8,
    level_sense: u8,
    both_edges: u8,
    event: u8,
    enabled: u8,
    function: u8,
    /// Edges seen and not cleared.
    edges: u8,
    /// Levels of all lines at the last look.
    seen: u8,
}

impl<L: InterruptLine> Pl061<L> {
    /// A GPIO after reset, all inputs low.
    pub fn new(line: L) -> Self {
        Self {
            line,
            inputs: 0,
            outputs: 0,
            direction: 0,
            level_sense: 0,
            both_edges: 0,
            event: 0,
            enabled: 0,
            function: 0,
            edges: 0,
            seen: 0,
        }
    }

    /// Drives input `number` (0 to 7) from outside. A press of the power button drives its line high, and low again
    /// after 100 ms: Linux looks at the level some time after the edge.
    pub fn drive(&mut self, number: u8, high: bool) {
        let bit = 1_u8.checked_shl(u32::from(number)).unwrap_or(0);
        self.inputs = if high { self.inputs | bit } else { self.inputs & !bit };
        self.settle();
    }

    /// Levels of all lines.
    fn levels(&self) -> u8 {
        (self.inputs & !self.direction) | (self.outputs & self.direction)
    }

    /// GPIORIS.
    fn raw(&self) -> u8 {
        let at_level = !(self.levels() ^ self.event) & self.level_sense;
        at_level | (self.edges & !self.level_sense)
    }

    /// Remembers edges and drives the interrupt line.
    fn settle(&mut self) {
        let levels = self.levels();
        let changed = levels ^ self.seen;
        let wanted = self.both_edges | !(levels ^ self.event);
        self.edges |= changed & wanted & !self.level_sense;
        self.seen = levels;
        if self.raw() & self.enabled != 0 {
            self.line.raise();
        } else {
            self.line.lower();
        }
    }
}

/// The lines that an access to GPIODATA reaches.
fn data_mask(offset: u64) -> u8 {
    let [mask, ..] = (offset >> 2).to_le_bytes();
    mask
}

impl<L: InterruptLine> MmioDevice for Pl061<L> {
    fn read(&mut self, offset: u64, _width: Width) -> u64 {
        let byte = match offset {
            0..regs::DATA_END => self.levels() & data_mask(offset),
            regs::DIR => self.direction,
            regs::IS => self.level_sense,
            regs::IBE => self.both_edges,
            regs::IEV => self.event,
            regs::IE => self.enabled,
            regs::RIS => self.raw(),
            regs::MIS => self.raw() & self.enabled,
            regs::AFSEL => self.function,
            _ => return u64::from(id_byte(&regs::ID_BYTES, offset)),
        };
        u64::from(byte)
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) {
        let [value, ..] = value.to_le_bytes();
        match offset {
            0..regs::DATA_END => {
                let mask = data_mask(offset);
                self.outputs = (self.outputs & !mask) | (value & mask);
            }
            regs::DIR => self.direction = value,
            regs::IS => self.level_sense = value,
            regs::IBE => self.both_edges = value,
            regs::IEV => self.event = value,
            regs::IE => self.enabled = value,
            regs::IC => self.edges &= !value,
            regs::AFSEL => self.function = value,
            _ => {}
        }
        self.settle();
    }
}
