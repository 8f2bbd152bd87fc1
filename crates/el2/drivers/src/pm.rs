//! Power management of the Pi: watchdog, restart, power off, and why the board restarted.
//!
//! Called by `vmkernel` (watchdog, shutdown) and by the panic path of `bramble`; calls the registers. No state but theirs.
//! Source: Linux `drivers/watchdog/bcm2835_wdt.c`, `include/linux/mfd/bcm2835-pm.h`; QEMU `hw/misc/bcm2835_powermgt.c`.

use crate::hardware::Registers;

/// Reset control.
pub const RSTC: usize = 0x1c;
/// Reset status.
pub const RSTS: usize = 0x20;
/// Watchdog: what is left, in 1/65,536 s, 20 bits.
pub const WDOG: usize = 0x24;
/// Every write carries this in bits 31:24.
pub const PASSWORD: u32 = 0x5a00_0000;
/// RSTC: what happens when the watchdog runs out.
pub const ON_TIMEOUT: u32 = 0x30;
/// RSTC: a full reset does.
pub const FULL_RESET: u32 = 0x20;
/// RSTC: its value with the watchdog stopped.
pub const STOPPED: u32 = 0x102;
/// RSTS: the partition to boot from, in bits 0, 2, 4, 6, 8, 10; 63 is "halt".
pub const HALT: u32 = 0x555;
const TICKS: u32 = 0x000f_ffff;
/// The longest time that the watchdog takes, in seconds.
pub const MAX_SECONDS: u32 = 15;

/// Why the board restarted (RSTS; BCM2835 PM block as in Linux `bcm2835-pm.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetReason {
    /// Power came.
    PowerOn,
    /// The watchdog ran out, which a restart by software also is.
    Watchdog,
    /// A debugger's or a software reset.
    Other,
}

/// The block.
pub struct PowerManagement<R> {
    registers: R,
}

impl<R: Registers> PowerManagement<R> {
    /// A driver; touches nothing.
    pub const fn new(registers: R) -> Self {
        Self { registers }
    }

    /// Starts the watchdog, or begins its time anew: without another call within `seconds`, 1 to 15, the board resets.
    pub fn pet(&mut self, seconds: u32) {
        self.run(seconds.clamp(1, MAX_SECONDS) << 16);
    }

    /// Stops the watchdog.
    pub fn stop(&mut self) {
        self.registers.write32(RSTC, PASSWORD | STOPPED);
    }

    /// Whether the watchdog runs.
    pub fn is_running(&self) -> bool {
        self.registers.read32(RSTC) & ON_TIMEOUT == FULL_RESET
    }

    /// Resets the board in about 150 µs; the caller sleeps until then.
    pub fn restart(&mut self) {
        let status = self.registers.read32(RSTS) & !HALT;
        self.registers.write32(RSTS, PASSWORD | status & 0x00ff_ffff);
        self.run(10);
    }

    /// Halts the board: a reset after which its firmware stops. The power stays.
    pub fn power_off(&mut self) {
        let status = self.registers.read32(RSTS) | HALT;
        self.registers.write32(RSTS, PASSWORD | status & 0x00ff_ffff);
        self.run(10);
    }

    /// Why the board restarted.
    pub fn reset_reason(&self) -> ResetReason {
        let status = self.registers.read32(RSTS);
        if status & 0x1000 != 0 {
            ResetReason::PowerOn
        } else if status & 0x70 != 0 {
            ResetReason::Watchdog
        } else {
            ResetReason::Other
        }
    }

    fn run(&mut self, ticks: u32) {
        self.registers.write32(WDOG, PASSWORD | ticks & TICKS);
        let control = self.registers.read32(RSTC) & !ON_TIMEOUT & 0x00ff_ffff;
        self.registers.write32(RSTC, PASSWORD | control | FULL_RESET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pm::{Outcome, PmModel};

    #[test]
    fn a_watchdog_that_is_petted_does_not_bite() {
        let model = PmModel::new();
        let mut pm = PowerManagement::new(model.clone());
        assert_eq!(pm.reset_reason(), ResetReason::PowerOn);
        pm.pet(15);
        model.pass(14 << 16);
        assert!(pm.is_running() && model.outcome.get().is_none());
        pm.pet(15);
        model.pass(14 << 16);
        assert_eq!(model.outcome.get(), None);
        model.pass(2 << 16);
        assert_eq!((model.outcome.get(), pm.reset_reason()), (Some(Outcome::Reset), ResetReason::Watchdog));
    }

    #[test]
    fn a_stopped_watchdog_never_bites_and_too_long_a_time_is_cut() {
        let model = PmModel::new();
        let mut pm = PowerManagement::new(model.clone());
        pm.pet(100);
        pm.stop();
        model.pass(100 << 16);
        assert_eq!((model.outcome.get(), pm.is_running()), (None, false));
        pm.pet(100);
        model.pass(16 << 16);
        assert_eq!(model.outcome.get(), Some(Outcome::Reset));
    }

    #[test]
    fn restart_and_power_off_differ_in_the_partition() {
        let model = PmModel::new();
        PowerManagement::new(model.clone()).power_off();
        model.pass(11);
        assert_eq!(model.outcome.get(), Some(Outcome::Halt));
        // Bits of an earlier halt do not stop a restart.
        let mut pm = PowerManagement::new(model.clone());
        model.outcome.set(None);
        pm.restart();
        model.pass(11);
        assert_eq!(model.outcome.get(), Some(Outcome::Reset));
    }
}
