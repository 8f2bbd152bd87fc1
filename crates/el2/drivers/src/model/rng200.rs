//! The Pi's random generator.
//!
//! | offset | register | access | reset | source |
//! |---|---|---|---|---|
//! | 0x00 | CTRL | RW | 0 | Linux `iproc-rng200.c` |
//! | 0x04 | RNG_SOFT_RESET | RW | 0 | same |
//! | 0x08 | RBG_SOFT_RESET | RW | 0 | same |
//! | 0x18 | INT_STATUS | RW1C | 0 | same |
//! | 0x20 | FIFO_DATA | RO, pops | none | same |
//! | 0x24 | FIFO_COUNT | RO | 0 | same |

use crate::hardware::Registers;
use crate::rng200 as reg;
use std::cell::Cell;
use std::rc::Rc;

/// How good the bits are: the faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Good,
    /// The same word again and again.
    Stuck,
    /// A third of the bytes are zero.
    Biased,
    /// The hardware's own test fails.
    Failing,
    /// Nothing comes.
    Empty,
}

pub struct Rng200Model {
    source: Source,
    state: Cell<u64>,
    control: Cell<u32>,
    resets: Cell<(u32, u32)>,
}

impl Rng200Model {
    pub fn new(source: Source) -> Rc<Self> {
        Rc::new(Self {
            source,
            state: Cell::new(0x9e37_79b9_7f4a_7c15),
            control: Cell::new(0),
            resets: Cell::new((0, 0)),
        })
    }

    fn next(&self) -> u32 {
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        let [a, b, c, d, e, ..] = state.to_le_bytes();
        match self.source {
            Source::Stuck => 0x5555_aaaa,
            Source::Biased if e.is_multiple_of(3) => u32::from_le_bytes([0, b, 0, d]),
            Source::Biased => u32::from_le_bytes([a, 0, c, d]),
            _ => u32::from_le_bytes([a, b, c, d]),
        }
    }

    fn runs(&self) -> bool {
        self.control.get() & reg::ENABLE_FIELD == 1 && self.resets.get() == (0, 0)
    }
}

impl Registers for Rc<Rng200Model> {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            reg::CTRL => self.control.get(),
            reg::INT_STATUS => u32::from(self.source == Source::Failing && self.runs()) << 5,
            reg::FIFO_COUNT if self.source == Source::Empty || !self.runs() => 0,
            reg::FIFO_COUNT => 16,
            reg::FIFO_DATA => self.next(),
            _ => panic!("a read at {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let (rng, rbg) = self.resets.get();
        match offset {
            reg::CTRL => self.control.set(value),
            reg::RNG_SOFT_RESET => self.resets.set((value & 1, rbg)),
            reg::RBG_SOFT_RESET => self.resets.set((rng, value & 1)),
            reg::INT_STATUS => {}
            _ => panic!("a write at {offset:#x}"),
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte read at {offset:#x}")
    }

    fn write8(&self, offset: usize, _value: u8) {
        panic!("a byte write at {offset:#x}")
    }
}
