//! What a board offers beside disks and networks: its firmware, watchdog, random generator and LED.
//!
//! Found in the device tree by [`crate::host_devices`], which calls [`Services::poll`]. What is absent or half described
//! is named in the log, and the rest works.

use crate::host::Host;
use crate::host_disk::DiskDriver;
use crate::log;
use alloc::boxed::Box;
use drivers::board::DeviceNode;
use drivers::firmware::Firmware;
use drivers::led::{Led, Sign};
use drivers::mailbox::Mailbox;
use drivers::pm::PowerManagement;
use drivers::probe::{Driver, driver_for};
use drivers::rng200::{Feeder, Rng200};
use el2::DeviceRegisters;
use el2::dma::HostDma;
use specs::Intid;

/// The watchdog's time, and how often it is begun anew, in seconds.
const WATCHDOG_SECONDS: u32 = 15;
const PET_SECONDS: u64 = 5;

/// The services of a board.
#[derive(Default)]
pub struct Services {
    /// The firmware, behind its mailbox.
    pub firmware: Option<Box<Firmware<DeviceRegisters, HostDma>>>,
    /// Its interrupt.
    pub mailbox_intid: Option<Intid>,
    /// The random generator.
    pub entropy: Option<Feeder<DeviceRegisters>>,
    power: Option<PowerManagement<DeviceRegisters>>,
    watchdog: bool,
    pet_at: u64,
    led: Option<Led<DeviceRegisters>>,
}

/// The DMA of a device.
pub const fn dma_of(node: &DeviceNode) -> HostDma {
    HostDma { limit: node.dma.limit, offset: node.dma.offset }
}

impl Services {
    /// Takes the device, when it is one of these.
    pub fn take(&mut self, host: &Host, node: &DeviceNode) -> Result<(), &'static str> {
        let Some(driver) = driver_for(&node.compatible) else { return Ok(()) };
        let kinds = [Driver::Mailbox, Driver::PowerManagement, Driver::Rng200, Driver::Gpio];
        if !kinds.contains(&driver) {
            return Ok(());
        }
        let registers = DeviceRegisters::map(node.registers).ok_or("its registers can't be mapped")?;
        let hertz = el2::regs::counter_hz();
        match driver {
            Driver::Mailbox => {
                let mailbox = Mailbox::new(registers, &dma_of(node), hertz)
                    .ok_or("no memory that the firmware reaches")?;
                self.firmware = Some(Box::new(Firmware::new(mailbox, hertz)));
                self.mailbox_intid = node.intid.map(Intid);
            }
            Driver::PowerManagement => {
                let power = PowerManagement::new(registers);
                log!(host.console, "last reset: {:?}", power.reset_reason());
                self.power = Some(power);
                self.watchdog = crate::start::has_argument(host, "bramble.watchdog");
            }
            Driver::Rng200 => self.entropy = Some(Feeder::new(Rng200::new(registers), hertz)),
            _ => {
                let led = host.board.wiring.act_led.ok_or("the device tree names no ACT LED")?;
                self.led = Some(Led::new(registers, led, hertz));
            }
        }
        Ok(())
    }

    /// Goes on; when to call again at the latest.
    pub fn poll(&mut self, host: &Host, now: u64) -> u64 {
        let mut due = u64::MAX;
        if let Some(firmware) = &mut self.firmware {
            due = due.min(firmware.poll(now, &mut |line| host.console.log(line)));
        }
        if let Some(entropy) = &mut self.entropy {
            let was_seeded = host.random.is_seeded();
            let (next, failure) = entropy.poll(now, |bytes| {
                // Half of each bit is claimed: see `drivers::rng200`.
                host.random.absorb(bytes, bytes.len() / 2);
            });
            if let Some(failure) = failure {
                log!(host.console, "random generator: the board's source is unhealthy: {failure:?}");
            }
            if !was_seeded && host.random.is_seeded() {
                log!(host.console, "random generator: seeded by the board's source");
            }
            due = due.min(next);
        }
        if let Some(power) = self.power.as_mut().filter(|_| self.watchdog) {
            if now >= self.pet_at {
                power.pet(WATCHDOG_SECONDS);
                self.pet_at = now.saturating_add(el2::regs::counter_hz().saturating_mul(PET_SECONDS));
            }
            due = due.min(self.pet_at);
        }
        if let Some(led) = &mut self.led {
            due = due.min(led.poll(now));
        }
        due
    }

    /// What the LED says from now on.
    pub fn show(&mut self, sign: Sign) {
        if let Some(led) = &mut self.led {
            led.show(sign);
            led.poll(el2::regs::counter());
        }
    }

    /// The firmware has answered what disks and network need of it, or there is none to ask.
    pub fn are_known(&self) -> bool {
        self.firmware.as_ref().is_none_or(|firmware| firmware.is_known())
    }

    /// What an SD controller wants of its slot goes to the firmware, and the answer back; `true` when it moved.
    pub fn pass(&mut self, host: &Host, disk: &mut DiskDriver, now: u64) -> bool {
        let DiskDriver::Sd(driver, slot) = disk else { return false };
        let Some(firmware) = &mut self.firmware else {
            // The slot stays as the firmware left it, on and at 3.3 V.
            let wanted = driver.wants().is_some();
            if wanted {
                driver.answer(false);
            }
            return wanted;
        };
        let moved = slot.pass(driver, &mut firmware.mailbox);
        firmware.mailbox.poll(now);
        if let Some(refusal) = slot.take_refusal() {
            log!(host.console, "SD slot: {refusal}: it stays on and at 3.3 V");
        }
        moved
    }

    /// Ends the machine, or restarts it; returns where the board can't.
    pub fn end(&mut self, restart: bool) {
        el2::boot::psci_system(restart);
        if let Some(power) = &mut self.power {
            if restart {
                power.restart();
            } else {
                power.power_off();
            }
        }
    }
}
