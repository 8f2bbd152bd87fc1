//! The Pi's firmware as the host uses it: the inventory at start, its health while it runs, the way to the SD slot.
//!
//! Called by `vmkernel` on the mailbox's interrupt and at the time that it named; owns the [`Mailbox`]. What there is to
//! tell goes to the caller's log, each refusal by its name and once. Nothing waits.
//! Source: as [`crate::mailbox`].

use crate::hardware::{Dma, Registers};
use crate::mailbox::{Answer, Ask, BoardRevision, Clock, Mailbox, Refusal, Throttled};
use crate::selftest::FirmwareFacts;
use core::fmt;

/// What is asked at start, with the name that a refusal is told by.
const INVENTORY: [(Ask, &str); 5] = [
    (Ask::FirmwareRevision, "firmware revision"),
    (Ask::BoardRevision, "board revision"),
    (Ask::BoardSerial, "serial number"),
    (Ask::MacAddress, "MAC address"),
    (Ask::ClockRate(Clock::Emmc2), "clock of the SD slot"),
];
/// What is asked again and again.
const HEALTH: [(Ask, &str); 2] = [(Ask::Temperature, "temperature"), (Ask::Throttled, "throttling state")];
/// Seconds between two looks at the health.
const HEALTH_SECONDS: u64 = 10;
/// Thousandths of a degree: the SoC is throttled at 80 °C (Raspberry Pi documentation, "Frequency management and thermal
/// control"); told again when it was below 75.
const HOT: u32 = 80_000;
const COOL: u32 = 75_000;

type Said = Result<Answer, Refusal>;

/// Where what there is to tell goes.
pub type Tell<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

/// The firmware.
pub struct Firmware<R: Registers, D: Dma> {
    /// The mailbox.
    pub mailbox: Mailbox<R, D>,
    ticks_per_second: u64,
    inventory: [Option<Said>; INVENTORY.len()],
    asked: bool,
    told: bool,
    health: [Option<Said>; HEALTH.len()],
    /// Answers that the health still misses.
    health_open: usize,
    health_at: u64,
    hot: bool,
}

impl<R: Registers, D: Dma> Firmware<R, D> {
    /// Behind a mailbox.
    pub fn new(mailbox: Mailbox<R, D>, ticks_per_second: u64) -> Self {
        Self {
            mailbox,
            ticks_per_second,
            inventory: [None; INVENTORY.len()],
            asked: false,
            told: false,
            health: [None; HEALTH.len()],
            health_open: 0,
            health_at: 0,
            hot: false,
        }
    }

    /// Goes on. Returns when to call again at the latest.
    pub fn poll(&mut self, now: u64, tell: Tell<'_>) -> u64 {
        if !self.asked {
            self.asked = true;
            for ((ask, _), place) in INVENTORY.iter().zip(&mut self.inventory) {
                *place = self.mailbox.ask(*ask).err().map(Err);
            }
        }
        if now >= self.health_at && self.health_open == 0 {
            self.health_at = now.saturating_add(self.ticks_per_second.saturating_mul(HEALTH_SECONDS));
            self.health_open = HEALTH.iter().filter(|(ask, _)| self.mailbox.ask(*ask).is_ok()).count();
        }
        let due = self.mailbox.poll(now);
        for ((ask, _), place) in INVENTORY.iter().zip(&mut self.inventory) {
            if place.is_none() {
                *place = self.mailbox.take(*ask);
            }
        }
        if self.is_known() && !self.told {
            self.told = true;
            self.tell_inventory(tell);
        }
        for (index, (ask, name)) in HEALTH.iter().enumerate() {
            if let Some(said) = self.mailbox.take(*ask) {
                self.health_open = self.health_open.saturating_sub(1);
                self.take_health(index, name, said, tell);
            }
        }
        due.unwrap_or(u64::MAX).min(if self.health_open == 0 { self.health_at } else { u64::MAX })
    }

    /// Every question of the inventory has its answer, or its refusal.
    pub fn is_known(&self) -> bool {
        self.inventory.iter().all(Option::is_some)
    }

    /// What was answered to a question of the inventory.
    pub fn answer(&self, wanted: Ask) -> Said {
        let index = INVENTORY.iter().position(|(ask, _)| *ask == wanted);
        index.and_then(|index| self.inventory.get(index).copied().flatten()).unwrap_or(Err(Refusal::Silent))
    }

    /// Hz of what feeds EMMC2.
    pub fn slot_hertz(&self) -> Option<u32> {
        self.answer(Ask::ClockRate(Clock::Emmc2)).ok().map(|answer| answer.low)
    }

    /// The board's own MAC address.
    pub fn mac_address(&self) -> Option<[u8; 6]> {
        self.answer(Ask::MacAddress).ok().and_then(Answer::mac_address)
    }

    /// For the self-test's page.
    pub fn facts(&self) -> FirmwareFacts {
        let low = |said: Said| said.map(|answer| answer.low);
        let [temperature, throttled] = self.health.map(|said| low(said.unwrap_or(Err(Refusal::Silent))));
        FirmwareFacts {
            date: low(self.answer(Ask::FirmwareRevision)),
            board: low(self.answer(Ask::BoardRevision)),
            temperature,
            throttled,
        }
    }

    /// Whether something holds the SoC back now.
    pub fn is_in_trouble(&self) -> bool {
        let throttled = self.facts().throttled.unwrap_or(0);
        self.hot || throttled & 0xf != 0
    }

    fn tell_inventory(&self, tell: Tell<'_>) {
        for ((_, name), said) in INVENTORY.iter().zip(&self.inventory) {
            if let Some(Err(refusal)) = said {
                tell(format_args!("firmware: {name}: {refusal}"));
            }
        }
        if let Ok(date) = self.answer(Ask::FirmwareRevision) {
            tell(format_args!("firmware of {} (seconds since 1970)", date.low));
        }
        if let Ok(code) = self.answer(Ask::BoardRevision) {
            let board = BoardRevision(code.low);
            let serial = self.answer(Ask::BoardSerial).unwrap_or_default();
            tell(format_args!(
                "board: {}, revision 1.{}, {} MiB, code {:06x}, serial {:08x}{:08x}",
                board.model().unwrap_or("of another kind"),
                board.minor(),
                board.mebibytes(),
                code.low,
                serial.high,
                serial.low
            ));
        }
    }

    /// Tells what changed.
    fn take_health(&mut self, index: usize, name: &str, said: Said, tell: Tell<'_>) {
        let Some(place) = self.health.get_mut(index) else { return };
        let before = place.replace(said);
        match said {
            Err(refusal) if before != Some(said) => tell(format_args!("firmware: {name}: {refusal}")),
            Err(_) => {}
            Ok(answer) if index == 0 => {
                let hot = answer.low >= if self.hot { COOL } else { HOT };
                if hot != self.hot || !matches!(before, Some(Ok(_))) {
                    let (degrees, tenth) = (answer.low / 1000, answer.low % 1000 / 100);
                    let mark = if hot { ": the board is slowed down; cool it" } else { "" };
                    tell(format_args!("temperature: {degrees}.{tenth} C{mark}"));
                }
                self.hot = hot;
            }
            Ok(answer) if before != Some(said) => {
                tell(format_args!("throttling: {}", Throttled(answer.low)));
            }
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mailbox::MailboxModel;
    use crate::model::memory::{FakeDma, TwoViews};
    use std::rc::Rc;
    use std::string::String;

    struct Bench {
        model: Rc<MailboxModel>,
        firmware: Firmware<Rc<MailboxModel>, FakeDma>,
        log: String,
    }

    impl Bench {
        fn new() -> Self {
            let memory = TwoViews::new(0x4000, 0x4000);
            let model = MailboxModel::new(memory.clone());
            let mailbox = Mailbox::new(model.clone(), &FakeDma(memory), 1_000_000).unwrap();
            Self { model, firmware: Firmware::new(mailbox, 1_000_000), log: String::new() }
        }

        /// Runs from `from` to `to`, in µs.
        fn run(&mut self, from: u64, to: u64) {
            let mut now = from;
            while now < to {
                let log = &mut self.log;
                let due = self.firmware.poll(now, &mut |line| {
                    log.push_str(&std::format!("{line}\n"));
                });
                self.model.run();
                // An interrupt comes when the firmware has answered.
                now = if self.model.interrupts() { now + 1 } else { due.max(now + 1) };
            }
        }
    }

    #[test]
    fn the_inventory_is_told_once() {
        let mut bench = Bench::new();
        bench.run(0, 25_000_000);
        let expected = "\
firmware of 1698898176 (seconds since 1970)
board: 4B, revision 1.5, 4096 MiB, code c03115, serial 1000000089abcdef
temperature: 48.3 C
throttling: under-voltage before, throttled before
";
        assert_eq!(bench.log, expected);
        assert!(bench.firmware.is_known() && !bench.firmware.is_in_trouble());
        assert_eq!(bench.firmware.slot_hertz(), Some(100_000_000));
        assert_eq!(bench.firmware.mac_address(), Some([0xdc, 0xa6, 0x32, 1, 2, 3]));
        assert_eq!(bench.firmware.facts().temperature, Ok(48_312));
        assert_eq!(bench.model.questions.get(), 5 + 3 * 2, "the health every ten seconds");
    }

    #[test]
    fn a_refusal_is_named_and_the_rest_works() {
        let mut bench = Bench::new();
        bench.model.unknown.set(0x0003_0002);
        bench.run(0, 1_000_000);
        assert!(
            bench.log.contains("firmware: clock of the SD slot: the firmware does not know this question")
        );
        assert!(bench.log.contains("board: 4B"), "{}", bench.log);
        assert_eq!(bench.firmware.slot_hertz(), None);
    }

    #[test]
    fn a_silent_firmware_ends_the_inventory_after_a_second() {
        let mut bench = Bench::new();
        bench.model.silent.set(true);
        bench.run(0, 12_000_000);
        assert!(bench.firmware.is_known());
        assert_eq!(bench.log.matches("the firmware does not answer").count(), 5 + 2, "{}", bench.log);
        assert_eq!(bench.firmware.facts().board, Err(Refusal::Silent));
        // It wakes up: what is asked later is answered.
        bench.model.silent.set(false);
        bench.run(12_000_000, 45_000_000);
        assert!(bench.log.contains("temperature: 48.3 C"), "{}", bench.log);
    }
}
