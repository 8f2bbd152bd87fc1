//! From a controller in any state to a card in the transfer state: one step per thing that takes time.
//!
//! Called by the driver's `step`; calls `controller` and `card`. A failed start is tried again with less ambition
//! ([`BringUp::attempts`] and `slower`): without 1.8 V, without high speed, at half the clock.
//! Source: SD Physical Layer Simplified Specification 6.00, 4.2 "Card Identification Mode", 4.2.4 "Bus Signal Voltage
//! Switch Sequence", 4.3.10 "Switch Function Command"; SD Host Controller Simplified Specification 3.00, 3.6 "Card
//! Initialization and Identification". Pauses of 10 µs between writes to one register at 400 kHz: Linux `sdhci-iproc.c`.

use super::card::{BusSpeed, Card, CardStatus, Cid, Csd, Nonsense, Scr, SdStatus, SwitchStatus};
use super::command::{Command, Fault, Reply};
use super::controller::Progress;
use super::tuning;
use super::{Phase, Sdhci, SlotChange, Trouble};
use crate::hardware::{Dma, Registers};

/// `slower`: signals stay at 3.3 V.
pub(super) const NO_LOW_VOLTAGE: u8 = 1;
/// `slower`: and no high speed.
pub(super) const NO_HIGH_SPEED: u8 = 2;
/// `slower`: and half the default clock.
pub(super) const HALF_SPEED: u8 = 3;
/// `slower`: nothing slower than this.
pub(super) const SLOWEST: u8 = HALF_SPEED;

const MAX_ATTEMPTS: u8 = 4;
/// Identification clock.
const SLOW_HERTZ: u32 = 400_000;
/// CMD8: 2.7–3.6 V and a check pattern.
const INTERFACE_CONDITION: u32 = 0x1aa;
/// ACMD41: 2.7–3.6 V.
const VOLTAGES: u32 = 0x00ff_8000;
/// ACMD41: high capacity is supported; in the answer, the card has it.
const HIGH_CAPACITY: u32 = 1 << 30;
/// ACMD41: maximum performance.
const PERFORMANCE: u32 = 1 << 28;
/// ACMD41: switch to 1.8 V; in the answer, accepted.
const SWITCH_1V8: u32 = 1 << 24;
/// ACMD41's answer: power-up is over.
const POWERED_UP: u32 = 1 << 31;
/// ACMD41 is repeated for a second (4.2.3), 10 ms apart; twice that.
const MAX_ASKED: u16 = 200;
/// CMD6: group 1 is the function given, the others stay.
const OTHER_GROUPS: u32 = 0x00ff_fff0;
/// CMD6: switch, not check.
const SWITCH: u32 = 1 << 31;
/// How often a slot without card detect is looked at.
const LOOK_AGAIN_US: u64 = 2_000_000;

/// What is learnt on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct BringUp {
    attempts: u8,
    /// CMD55 was accepted: the step's own command is next.
    prefixed: bool,
    /// CMD55 is in flight.
    prefix: bool,
    /// CMD8 was answered.
    version_2: bool,
    asked: u16,
    /// Tuning blocks read.
    tuned: u16,
    operating_condition: u32,
    cid: u128,
    relative_address: u16,
    csd: u128,
    scr: Scr,
    speed: BusSpeed,
    four_bit: bool,
    low_voltage: bool,
    status: SdStatus,
    /// The board refused a change.
    pub(super) refused: bool,
}

/// The steps, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Reset,
    SlotOff,
    SlotSignal,
    SlotOn,
    Power,
    SlowClock,
    SlowClockOn,
    GoIdle,
    InterfaceCondition,
    OperatingCondition,
    SwitchVoltage,
    SignalsLow,
    SlotLow,
    LowVoltage,
    LowVoltageClock,
    AllSendCid,
    SendRelativeAddress,
    SendCsd,
    Select,
    SetBlockLength,
    SendScr,
    BusWidth,
    CheckFunctions,
    SwitchFunction,
    StopClock,
    FastClock,
    FastClockOn,
    StartTuning,
    Tune,
    SendStatus,
}

impl<R: Registers, D: Dma> Sdhci<R, D> {
    /// Starts over, keeping what waits.
    pub(super) fn start_bring_up(&mut self, now: u64) {
        let attempts = self.bring_up.attempts;
        self.bring_up = BringUp { attempts, ..BringUp::default() };
        self.not_before = now;
        self.phase = Phase::BringUp { step: Step::Reset, begun: false };
    }

    pub(super) fn step_bring_up(&mut self, step: Step, begun: bool, now: u64) -> bool {
        if now < self.not_before {
            return false;
        }
        let outcome = if !begun {
            self.phase = Phase::BringUp { step, begun: true };
            self.begin(step, now).map(|()| None)
        } else if self.controller.is_busy() {
            match self.advance(now) {
                Progress::Waiting => return false,
                Progress::Moving => return true,
                Progress::Failed(fault) => self.unanswered(step, fault, now),
                Progress::Done(word) => self.answered(step, word, now),
            }
        } else {
            match self.finished(step) {
                Ok(None) => return self.wait_longer(now),
                outcome => outcome,
            }
        };
        match outcome {
            Ok(Some(next)) => self.phase = Phase::BringUp { step: next, begun: false },
            Ok(None) => {}
            Err(fault) => self.bring_up_failed(fault, now),
        }
        true
    }

    /// A step that waits for the controller or the board: for 500 ms.
    fn wait_longer(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) > self.ticks(500_000) {
            let fault = if self.wants.is_some() { Fault::Board } else { Fault::Silent };
            self.bring_up_failed(fault, now);
            return true;
        }
        false
    }

    fn begin(&mut self, step: Step, now: u64) -> Result<(), Fault> {
        self.since = None;
        if let Some(command) = self.command_of(step) {
            return self.begin_command(step, command);
        }
        let change = match step {
            Step::SlotOff => Some(SlotChange::PowerOff),
            Step::SlotSignal => Some(SlotChange::Signal3V3),
            Step::SlotOn => Some(SlotChange::PowerOn),
            Step::SlotLow => Some(SlotChange::Signal1V8),
            _ => None,
        };
        self.wants = change.filter(|_| self.config.quirks.board_power);
        let microseconds = match step {
            Step::Reset => {
                self.statistics.bring_ups = self.statistics.bring_ups.saturating_add(1);
                self.card = None;
                self.controller.reset();
                10
            }
            // SD 6.00, 6.4.1: off for at least 1 ms below 0.5 V; regulators take longer.
            Step::SlotOff => {
                self.controller.power_off();
                20_000
            }
            Step::Power => {
                self.controller.power_on();
                10_000
            }
            Step::SlowClock => {
                self.controller.set_clock(SLOW_HERTZ);
                10
            }
            Step::SignalsLow => {
                self.controller.pause_clock();
                10
            }
            Step::LowVoltage => {
                self.controller.set_low_voltage();
                5_000
            }
            Step::StopClock => {
                self.controller.stop_clock();
                10
            }
            Step::StartTuning => {
                self.controller.start_tuning();
                1
            }
            Step::FastClock => {
                let slowest = if self.slower >= HALF_SPEED { 12_500_000 } else { u32::MAX };
                self.controller.set_timing(self.bring_up.speed.function(), self.bring_up.low_voltage);
                self.controller.set_clock(self.bring_up.speed.hertz().min(slowest));
                10
            }
            _ => 1,
        };
        self.pause(now, microseconds);
        Ok(())
    }

    fn command_of(&self, step: Step) -> Option<Command> {
        let address = u32::from(self.bring_up.relative_address) << 16;
        let function = u32::from(self.bring_up.speed.function());
        Some(match step {
            Step::GoIdle => Command::plain(0, 0, Reply::None),
            Step::InterfaceCondition => Command::plain(8, INTERFACE_CONDITION, Reply::Short),
            Step::OperatingCondition => Command::plain(41, self.operating_condition(), Reply::NoCrc),
            Step::SwitchVoltage => Command::plain(11, 0, Reply::Short),
            Step::AllSendCid => Command::plain(2, 0, Reply::Long),
            Step::SendRelativeAddress => Command::plain(3, 0, Reply::Short),
            Step::SendCsd => Command::plain(9, address, Reply::Long),
            Step::Select => Command::plain(7, address, Reply::ShortBusy),
            Step::SetBlockLength => Command::plain(16, 512, Reply::Short),
            Step::SendScr => Command::question(51, 0, 8),
            Step::BusWidth => Command::plain(6, 2, Reply::Short),
            Step::CheckFunctions => Command::question(6, OTHER_GROUPS | 1, 64),
            Step::SwitchFunction => Command::question(6, SWITCH | OTHER_GROUPS | function, 64),
            Step::Tune => tuning::command(),
            Step::SendStatus => Command::question(13, 0, 64),
            _ => return None,
        })
    }

    fn begin_command(&mut self, step: Step, command: Command) -> Result<(), Fault> {
        let application =
            matches!(step, Step::OperatingCondition | Step::SendScr | Step::BusWidth | Step::SendStatus);
        self.bring_up.prefix = application && !self.bring_up.prefixed;
        if self.bring_up.prefix {
            let address = u32::from(self.bring_up.relative_address) << 16;
            return self.issue(Command::plain(55, address, Reply::Short), 500);
        }
        self.bring_up.prefixed = false;
        self.ask(command)
    }

    fn operating_condition(&self) -> u32 {
        let high = if self.bring_up.version_2 { HIGH_CAPACITY } else { 0 };
        let host = self.controller.abilities;
        let able = host.sdr104 || host.sdr50 || host.ddr50;
        let low = if self.bring_up.version_2 && able && self.slower < NO_LOW_VOLTAGE {
            SWITCH_1V8 | PERFORMANCE
        } else {
            0
        };
        VOLTAGES | high | low
    }

    /// A step without a command: whether it is over, and what is next.
    fn finished(&mut self, step: Step) -> Result<Option<Step>, Fault> {
        if self.bring_up.refused {
            return Err(Fault::Board);
        }
        if self.wants.is_some() {
            return Ok(None);
        }
        let next = match step {
            Step::Reset if !self.controller.is_reset() => return Ok(None),
            Step::Reset => {
                self.controller.enable_interrupts();
                if !self.controller.is_card_there() {
                    return Err(Fault::NoAnswer);
                }
                if self.bring_up.attempts > 0 { Step::SlotOff } else { Step::SlotSignal }
            }
            Step::SlotOff => Step::SlotSignal,
            Step::SlotSignal => Step::SlotOn,
            Step::SlotOn => Step::Power,
            Step::Power => Step::SlowClock,
            Step::SlowClock => Step::SlowClockOn,
            Step::SlowClockOn if !self.controller.start_clock() => return Ok(None),
            Step::SlowClockOn => Step::GoIdle,
            Step::SignalsLow if self.controller.data_levels() != 0 => return Err(Fault::Voltage),
            Step::SignalsLow => Step::SlotLow,
            Step::SlotLow => Step::LowVoltage,
            Step::LowVoltage if !self.controller.is_low_voltage() => return Err(Fault::Voltage),
            Step::LowVoltage => Step::LowVoltageClock,
            Step::LowVoltageClock if !self.controller.start_clock() => return Ok(None),
            Step::LowVoltageClock => {
                self.bring_up.low_voltage = true;
                Step::AllSendCid
            }
            Step::StopClock => Step::FastClock,
            Step::FastClock => Step::FastClockOn,
            Step::FastClockOn if !self.controller.start_clock() => return Ok(None),
            Step::FastClockOn if self.controller.must_tune(self.bring_up.speed) => Step::StartTuning,
            Step::FastClockOn => Step::SendStatus,
            Step::StartTuning => Step::Tune,
            _ => return Ok(None),
        };
        // 74 clocks at 400 kHz before the first command (6.4.1), 1 ms after the voltage switch (4.2.4.2).
        let settles = matches!(step, Step::SlowClockOn | Step::LowVoltageClock | Step::FastClockOn);
        if settles {
            self.not_before = self.not_before.saturating_add(self.ticks(1000));
        }
        Ok(Some(next))
    }

    /// A step's command failed: some may.
    fn unanswered(&mut self, step: Step, fault: Fault, now: u64) -> Result<Option<Step>, Fault> {
        let next = match step {
            // Cards of version 1.x do not know CMD8.
            Step::InterfaceCondition if fault == Fault::NoAnswer => Step::OperatingCondition,
            // What follows can be done without.
            Step::CheckFunctions if self.bring_up.attempts > 0 => Step::StopClock,
            Step::SendStatus if self.bring_up.attempts > 0 && !fault.is_signal() => {
                self.bring_up_done();
                self.recover(fault, now);
                return Ok(None);
            }
            _ => return Err(fault),
        };
        self.controller.reset_lines();
        self.pause(now, 100);
        Ok(Some(next))
    }

    /// A step's command was answered.
    fn answered(&mut self, step: Step, word: u32, now: u64) -> Result<Option<Step>, Fault> {
        if self.bring_up.prefix {
            self.bring_up.prefixed = true;
            return Ok(Some(step));
        }
        Ok(Some(match step {
            Step::GoIdle => {
                self.pause(now, 1000);
                Step::InterfaceCondition
            }
            Step::InterfaceCondition if word & 0xfff != INTERFACE_CONDITION => {
                return Err(Nonsense::InterfaceCondition(word).into());
            }
            Step::InterfaceCondition => {
                self.bring_up.version_2 = true;
                Step::OperatingCondition
            }
            Step::OperatingCondition => return self.operating_answer(word, now),
            Step::SwitchVoltage => {
                no_errors(word)?;
                Step::SignalsLow
            }
            Step::AllSendCid => {
                self.bring_up.cid = self.controller.long_response();
                Step::SendRelativeAddress
            }
            Step::SendRelativeAddress => {
                self.bring_up.relative_address = u16::try_from(word >> 16).unwrap_or(0);
                if self.bring_up.relative_address == 0 {
                    return Err(Nonsense::RelativeAddress.into());
                }
                Step::SendCsd
            }
            Step::SendCsd => {
                self.bring_up.csd = self.controller.long_response();
                Csd::parse(self.bring_up.csd)?;
                Step::Select
            }
            _ => return self.configured(step, word),
        }))
    }

    /// An answer of the selected card.
    fn configured(&mut self, step: Step, word: u32) -> Result<Option<Step>, Fault> {
        let up = self.bring_up;
        Ok(Some(match step {
            Step::Select => {
                no_errors(word)?;
                if up.operating_condition & HIGH_CAPACITY != 0 { Step::SendScr } else { Step::SetBlockLength }
            }
            Step::SetBlockLength => {
                no_errors(word)?;
                Step::SendScr
            }
            Step::SendScr => {
                self.bring_up.scr = Scr::parse(self.answer_bytes())?;
                if self.bring_up.scr.four_bit { Step::BusWidth } else { self.after_width() }
            }
            Step::BusWidth => {
                no_errors(word)?;
                self.bring_up.four_bit = true;
                self.controller.set_four_bit();
                self.after_width()
            }
            Step::CheckFunctions => {
                self.bring_up.speed = self.best_speed(SwitchStatus::parse(&self.answer_bytes()));
                if self.bring_up.speed == BusSpeed::Default { Step::StopClock } else { Step::SwitchFunction }
            }
            Step::SwitchFunction => {
                let status = SwitchStatus::parse(&self.answer_bytes());
                if status.selected != up.speed.function() {
                    self.bring_up.speed = BusSpeed::Default;
                }
                Step::StopClock
            }
            Step::Tune => {
                self.bring_up.tuned = self.bring_up.tuned.saturating_add(1);
                let over = self.controller.is_tuned(self.bring_up.tuned)?;
                if over { Step::SendStatus } else { Step::Tune }
            }
            Step::SendStatus => {
                self.bring_up.status = SdStatus::parse(&self.answer_bytes());
                self.bring_up_done();
                return Ok(None);
            }
            _ => return Err(Fault::Silent),
        }))
    }

    fn after_width(&self) -> Step {
        let knows_switch = self.bring_up.scr.version >= (1, 10);
        if knows_switch && self.slower < NO_HIGH_SPEED { Step::CheckFunctions } else { Step::StopClock }
    }

    fn operating_answer(&mut self, word: u32, now: u64) -> Result<Option<Step>, Fault> {
        if word & POWERED_UP == 0 {
            self.bring_up.asked = self.bring_up.asked.saturating_add(1);
            if self.bring_up.asked > MAX_ASKED {
                return Err(Fault::Voltage);
            }
            self.pause(now, 10_000);
            return Ok(Some(Step::OperatingCondition));
        }
        if word & VOLTAGES == 0 {
            return Err(Fault::Voltage);
        }
        let asked = self.operating_condition();
        self.bring_up.operating_condition = word;
        let switches = word & asked & SWITCH_1V8 != 0;
        Ok(Some(if switches { Step::SwitchVoltage } else { Step::AllSendCid }))
    }

    fn best_speed(&self, card: SwitchStatus) -> BusSpeed {
        let host = self.controller.abilities;
        let low = self.bring_up.low_voltage && self.bring_up.four_bit;
        let choices = [
            (BusSpeed::Sdr104, low && host.sdr104),
            (BusSpeed::Sdr50, low && host.sdr50),
            (BusSpeed::Ddr50, low && host.ddr50),
            (BusSpeed::High, host.high_speed || low),
        ];
        let best = choices.iter().find(|(speed, host)| *host && card.offers(*speed));
        best.map_or(BusSpeed::Default, |(speed, _)| *speed)
    }

    fn bring_up_done(&mut self) {
        let up = self.bring_up;
        let Ok(csd) = Csd::parse(up.csd) else { return };
        let card = Card {
            cid: Cid(up.cid),
            relative_address: up.relative_address,
            addresses_sectors: up.operating_condition & HIGH_CAPACITY != 0,
            csd,
            scr: up.scr,
            status: up.status,
            bus_width: if up.four_bit { 4 } else { 1 },
            speed: up.speed,
            low_voltage: up.low_voltage,
        };
        self.bring_up.attempts = 0;
        self.card = Some(card);
        self.trouble = None;
        self.phase = Phase::Ready;
        let known = *self.known.get_or_insert(card.cid);
        if known != card.cid {
            self.trouble = Some(Trouble::OtherCard(card.cid));
            while !self.queue.is_idle() {
                self.lose_first(ports::BlockError::Io);
            }
        }
    }

    /// Tries again with less ambition, or gives the card up.
    fn bring_up_failed(&mut self, fault: Fault, now: u64) {
        let step = match self.phase {
            Phase::BringUp { step, .. } => step,
            _ => Step::Reset,
        };
        // Nobody answered anything: no card.
        let nobody = fault == Fault::NoAnswer
            && matches!(step, Step::Reset | Step::InterfaceCondition | Step::OperatingCondition)
            && !self.bring_up.version_2;
        self.wants = None;
        self.bring_up.attempts = self.bring_up.attempts.saturating_add(1);
        if nobody {
            let detects = !self.config.quirks.no_card_detect;
            let again = now.saturating_add(self.ticks(LOOK_AGAIN_US));
            self.bring_up.attempts = 0;
            return self.leave(Trouble::NoCard, (!detects).then_some(again));
        }
        self.statistics.faults = self.statistics.faults.saturating_add(1);
        if self.bring_up.attempts >= MAX_ATTEMPTS {
            return self.leave_refused(fault, now);
        }
        self.slower = self.slower.max(self.bring_up.attempts).min(SLOWEST);
        self.start_bring_up(now);
    }

    pub(super) fn leave_refused(&mut self, fault: Fault, now: u64) {
        let again = now.saturating_add(self.ticks(LOOK_AGAIN_US));
        self.bring_up.attempts = 0;
        let detects = !self.config.quirks.no_card_detect;
        self.leave(Trouble::Refused(fault), (!detects).then_some(again));
    }
}

fn no_errors(word: u32) -> Result<(), Fault> {
    let status = CardStatus(word);
    if status.errors() == 0 { Ok(()) } else { Err(Fault::Status(status)) }
}
