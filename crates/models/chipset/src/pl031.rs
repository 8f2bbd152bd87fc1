//! PL031: the guest's real-time clock.
//!
//! Called by the vmkernel's bus, and by [`Pl031::poll`] when its deadline comes; calls the clock and the interrupt line.
//! Source: PrimeCell Real Time Clock (PL031) Technical Reference Manual (DDI 0224), 2.2 "Functional description".
//!
//! Invariants: what the guest reads is the host's time plus an offset that its own stores to RTCLR make; the line is
//! high exactly while the match interrupt is pending and unmasked. A match is found when the register machine is looked
//! at, by comparing the time with that of the look before, so that none is lost and none comes twice. Time that is set
//! back, or forward by 2^31 seconds or more, matches nothing.

use crate::pl011::id_byte;
use ports::{Clock, InterruptLine, MmioDevice, Width};
use specs::pl031 as regs;

/// The clock.
pub struct Pl031<L, C> {
    line: L,
    clock: C,
    /// Guest time minus host time.
    offset: u32,
    /// Guest time at the last look.
    seen: u32,
    matched: u32,
    pending: bool,
    unmasked: bool,
}

impl<L: InterruptLine, C: Clock> Pl031<L, C> {
    /// A clock after reset, set to the host's time.
    pub fn new(line: L, clock: C) -> Self {
        let mut rtc = Self { line, clock, offset: 0, seen: 0, matched: 0, pending: false, unmasked: false };
        rtc.seen = rtc.now();
        rtc
    }

    /// Looks at the time. To be called at [`Pl031::deadline`], and when the host's time was set.
    pub fn poll(&mut self) {
        let now = self.now();
        let passed = now.wrapping_sub(self.seen);
        let until_match = self.matched.wrapping_sub(self.seen);
        if passed.cast_signed() > 0 && until_match != 0 && until_match <= passed {
            self.pending = true;
        }
        self.seen = now;
        self.drive_line();
    }

    /// The tick of the host's counter at which [`Pl031::poll`] is to be called next; `None` where no interrupt can
    /// come. At most a second late, which is what the clock counts in. It is past where the match came after the last
    /// look.
    pub fn deadline(&self) -> Option<u64> {
        let seconds = self.matched.wrapping_sub(self.now()).cast_signed();
        let comes = self.unmasked && !self.pending && self.matched.wrapping_sub(self.seen).cast_signed() > 0;
        let ticks = u64::try_from(seconds).unwrap_or(0).saturating_mul(self.clock.ticks_per_second());
        comes.then(|| self.clock.now_ticks().saturating_add(ticks))
    }

    /// Guest time: 32 bits of seconds, as the hardware has it.
    fn now(&self) -> u32 {
        let [a, b, c, d, ..] = self.clock.unix_seconds().to_le_bytes();
        u32::from_le_bytes([a, b, c, d]).wrapping_add(self.offset)
    }

    fn drive_line(&self) {
        if self.pending && self.unmasked {
            self.line.raise();
        } else {
            self.line.lower();
        }
    }

    /// After a store to RTCMR or RTCLR: a match with the present second counts.
    fn compare(&mut self) {
        self.seen = self.now();
        self.pending |= self.seen == self.matched;
    }
}

impl<L: InterruptLine, C: Clock> MmioDevice for Pl031<L, C> {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        self.poll();
        let value = match offset {
            regs::DR => self.seen,
            regs::MR => self.matched,
            regs::LR => self.offset,
            regs::CR => 1,
            regs::IMSC => u32::from(self.unmasked),
            regs::RIS => u32::from(self.pending),
            regs::MIS => u32::from(self.pending && self.unmasked),
            _ => id_byte(&regs::ID_BYTES, offset),
        };
        width.truncate(u64::from(value))
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) {
        self.poll();
        let [a, b, c, d, ..] = value.to_le_bytes();
        let value = u32::from_le_bytes([a, b, c, d]);
        match offset {
            regs::MR => {
                self.matched = value;
                self.compare();
            }
            regs::LR => {
                self.offset = value.wrapping_sub(self.now().wrapping_sub(self.offset));
                self.compare();
            }
            regs::IMSC => self.unmasked = value & 1 != 0,
            regs::ICR if value & 1 != 0 => self.pending = false,
            _ => {}
        }
        self.drive_line();
    }
}
