//! The SD slot of a Pi 4: power and signal voltage are GPIOs of the firmware, behind the mailbox.
//!
//! Called by `vmkernel`'s loop after the polls of both drivers; passes what the slot wants to the mailbox and the answer
//! back. Source: Linux `bcm2711-rpi-4-b.dts`, `sd_io_1v8_reg` (expander line 4, 5 ms to settle), `sd_vcc_reg` (line 6).

use crate::hardware::{Dma, Registers};
use crate::mailbox::{Ask, Line, Mailbox, Refusal};
use crate::sdhci::{Sdhci, SlotChange};

/// The wire between the two.
#[derive(Default)]
pub struct Slot {
    asked: Option<Ask>,
    refusal: Option<Refusal>,
    told: bool,
}

impl Slot {
    /// Goes on; `true` when something moved, and both are to be polled again.
    pub fn pass<R: Registers, S: Registers, D: Dma>(
        &mut self,
        driver: &mut Sdhci<R, D>,
        mailbox: &mut Mailbox<S, D>,
    ) -> bool {
        if let Some(ask) = self.asked {
            let Some(answer) = mailbox.take(ask) else { return false };
            self.asked = None;
            driver.answer(answer.is_ok());
            self.refusal = self.refusal.or(answer.err());
            return true;
        }
        let Some(change) = driver.wants() else { return false };
        let ask = match change {
            SlotChange::PowerOn => Ask::SetLine(Line::SdPower, true),
            SlotChange::PowerOff => Ask::SetLine(Line::SdPower, false),
            SlotChange::Signal3V3 => Ask::SetLine(Line::SdSignals1V8, false),
            SlotChange::Signal1V8 => Ask::SetLine(Line::SdSignals1V8, true),
        };
        match mailbox.ask(ask) {
            Ok(()) => self.asked = Some(ask),
            Err(refusal) => {
                driver.answer(false);
                self.refusal = self.refusal.or(Some(refusal));
            }
        }
        true
    }

    /// Why the firmware does not do what the slot wants: once.
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        let refusal = self.refusal.filter(|_| !self.told);
        self.told |= refusal.is_some();
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mailbox::MailboxModel;
    use crate::model::memory::{FakeDma, TwoViews};
    use crate::model::sd_card::SdCard;
    use crate::model::sdhci::SdhciModel;
    use crate::sdhci::controller::Quirks;
    use crate::sdhci::{Config, registers};

    fn bring_up(refuse: bool) -> bool {
        let memory = TwoViews::new(0x4_0000, 0x4_0000);
        let dma = FakeDma(memory.clone());
        let firmware = MailboxModel::new(memory.clone());
        firmware.refuse_lines.set(refuse);
        let model = SdhciModel::new(memory, Some(SdCard::fast()));
        model.capabilities_high.set(registers::capability::HIGH_DDR50);
        let quirks = Quirks { no_card_detect: true, board_power: true, ..Quirks::default() };
        let config = Config { quirks, ticks_per_second: 1_000_000 };
        let mut driver = Sdhci::new(model.clone(), dma.clone(), config).unwrap();
        let mut mailbox = Mailbox::new(firmware.clone(), &dma, 1_000_000).unwrap();
        let mut slot = Slot::default();
        for now in (0u64..).step_by(50).take(100_000) {
            model.now.set(now);
            model.board_1v8.set(firmware.lines.borrow().get(&132) == Some(&1));
            driver.poll(now);
            while slot.pass(&mut driver, &mut mailbox) {
                mailbox.poll(now);
            }
            firmware.run();
            mailbox.poll(now);
            if driver.is_settled() {
                break;
            }
        }
        assert_eq!(firmware.lines.borrow().get(&134), (!refuse).then_some(&1));
        assert_eq!(slot.take_refusal(), refuse.then_some(Refusal::Line));
        assert_eq!(slot.take_refusal(), None, "it is told once");
        driver.card().unwrap().low_voltage
    }

    #[test]
    fn the_firmware_switches_the_slot_to_1v8() {
        assert!(bring_up(false));
    }

    #[test]
    fn a_firmware_without_the_lines_leaves_the_card_at_3v3() {
        assert!(!bring_up(true));
    }
}
