//! The Pi's power management block.
//!
//! | offset | register | access | reset | source |
//! |---|---|---|---|---|
//! | 0x1c | RSTC | RW with password | 0x102 | Linux `bcm2835_wdt.c` |
//! | 0x20 | RSTS | RW with password | 0x1000 (power-on) | QEMU `bcm2835_powermgt.c`, Linux `bcm2835-pm.h` |
//! | 0x24 | WDOG | RW with password, counts down | 0 | Linux `bcm2835_wdt.c` |
//!
//! A write without the password in bits 31:24 stops the test.

use crate::hardware::Registers;
use crate::pm as reg;
use std::cell::Cell;
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Reset,
    Halt,
}

pub struct PmModel {
    control: Cell<u32>,
    status: Cell<u32>,
    watchdog: Cell<u32>,
    /// What the watchdog did.
    pub outcome: Cell<Option<Outcome>>,
}

impl PmModel {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            control: Cell::new(reg::STOPPED),
            status: Cell::new(0x1000),
            watchdog: Cell::new(0),
            outcome: Cell::new(None),
        })
    }

    /// `ticks` of 1/65,536 s pass.
    pub fn pass(&self, ticks: u32) {
        if self.control.get() & reg::ON_TIMEOUT != reg::FULL_RESET {
            return;
        }
        let left = self.watchdog.get().saturating_sub(ticks);
        self.watchdog.set(left);
        if left == 0 {
            let halts = self.status.get() & reg::HALT == reg::HALT;
            self.outcome.set(Some(if halts { Outcome::Halt } else { Outcome::Reset }));
            self.status.set(self.status.get() & !0x1000 | 0x20);
            self.control.set(reg::STOPPED);
        }
    }
}

impl Registers for Rc<PmModel> {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            reg::RSTC => self.control.get(),
            reg::RSTS => self.status.get(),
            reg::WDOG => self.watchdog.get(),
            _ => panic!("a read at {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(value & 0xff00_0000, reg::PASSWORD, "the password");
        let value = value & 0x00ff_ffff;
        match offset {
            reg::RSTC => self.control.set(value),
            reg::RSTS => self.status.set(value),
            reg::WDOG => self.watchdog.set(value & 0xf_ffff),
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
