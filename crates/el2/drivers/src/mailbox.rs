//! The mailbox to the Pi's firmware and its property interface: clocks, power, GPIO expander, board, temperature.
//!
//! Called by `vmkernel` for the inventory and by [`crate::slot`] for the SD slot; calls the registers. Questions wait in
//! order, one is with the firmware at a time, [`Mailbox::poll`] goes on at the mailbox's interrupt, and each asker takes
//! its own answer. Nothing waits. A firmware that refuses, or never answers, is a named [`Refusal`].
//!
//! The message buffer belongs to the firmware until it answers: after a time-out it is not used again, and every later
//! question is refused, until the late answer comes.
//!
//! Source: Linux `drivers/mailbox/bcm2835-mailbox.c`, `include/soc/bcm2835/raspberrypi-firmware.h`,
//! `drivers/gpio/gpio-raspberrypi-exp.c`; Raspberry Pi firmware wiki, "Mailbox property interface".

use crate::hardware::{Dma, DmaBuffer, Registers};
use core::fmt;
use heapless::Deque;

/// Firmware to PE: data, read-only.
pub const READ: usize = 0x00;
/// Its status.
pub const STATUS: usize = 0x18;
/// Its configuration.
pub const CONFIG: usize = 0x1c;
/// PE to firmware: data, write-only.
pub const WRITE: usize = 0x20;
/// Status of the mailbox to the firmware.
pub const WRITE_STATUS: usize = 0x38;
/// Status: nothing may be written.
pub const FULL: u32 = 1 << 31;
/// Status: nothing can be read.
pub const EMPTY: u32 = 1 << 30;
/// Configuration: interrupt when there is data.
pub const INTERRUPT: u32 = 1;
/// Channel: properties, from the PE to the firmware.
pub const PROPERTIES: u32 = 8;

/// Code of a request.
pub const REQUEST: u32 = 0;
/// Code of an answer that went well.
pub const SUCCESS: u32 = 0x8000_0000;
/// Set in the length of a tag that was answered.
pub const ANSWERED: u32 = 0x8000_0000;

/// Words of a message: size, code, tag, buffer size, length, 6 of value, end.
const WORDS: usize = 12;
const VALUE: usize = 5;
const MESSAGE_BYTES: u32 = 48;
/// The firmware answers in under a millisecond; some tags switch regulators.
const LIMIT_US: u64 = 1_000_000;
const QUEUE: usize = 16;
/// GPIOs of the firmware's expander are numbered from here.
const EXPANDER: u32 = 128;

/// Clocks of the firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// What feeds the Arasan EMMC.
    Emmc = 1,
    /// The PL011s.
    Uart = 2,
    /// The PEs.
    Arm = 3,
    /// The VideoCore, which feeds the mini UART.
    Core = 4,
    /// What feeds EMMC2.
    Emmc2 = 12,
}

/// Lines of the GPIO expander of a Pi 4 (Linux `bcm2711-rpi-4-b.dts`, `gpio-line-names`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// The PWR LED, low is on.
    PowerLed = 2,
    /// VDD_SD_IO_SEL: high is 1.8 V.
    SdSignals1V8 = 4,
    /// SD_PWR_ON.
    SdPower = 6,
}

/// A question to the firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Date of the firmware, in seconds since 1970.
    FirmwareRevision,
    /// See [`BoardRevision`].
    BoardRevision,
    /// Serial number, two words, the low one first.
    BoardSerial,
    /// MAC address, six bytes.
    MacAddress,
    /// Temperature of the SoC in thousandths of a degree.
    Temperature,
    /// See [`Throttled`].
    Throttled,
    /// Rate of a clock in Hz.
    ClockRate(Clock),
    /// Level of an expander line.
    Line(Line),
    /// Sets an expander line.
    SetLine(Line, bool),
}

impl Ask {
    /// Tag, words of the request, words of the answer's buffer.
    const fn encode(self) -> (u32, [u32; 2], u32) {
        match self {
            Self::FirmwareRevision => (0x0000_0001, [0; 2], 1),
            Self::BoardRevision => (0x0001_0002, [0; 2], 1),
            Self::MacAddress => (0x0001_0003, [0; 2], 2),
            Self::BoardSerial => (0x0001_0004, [0; 2], 2),
            Self::ClockRate(clock) => (0x0003_0002, [clock as u32, 0], 2),
            Self::Temperature => (0x0003_0006, [0; 2], 2),
            Self::Throttled => (0x0003_0046, [0; 2], 1),
            Self::Line(line) => (0x0003_0041, [EXPANDER + line as u32, 0], 2),
            Self::SetLine(line, level) => (0x0003_8041, [EXPANDER + line as u32, level as u32], 2),
        }
    }

    /// The word that answers, of the first two: [`Answer::low`] for all that give one number.
    const fn answer(self, words: [u32; 2]) -> Result<Answer, Refusal> {
        let [first, second] = words;
        match self {
            Self::Line(_) | Self::SetLine(..) if first != 0 => Err(Refusal::Line),
            Self::ClockRate(_) | Self::Temperature | Self::Line(_) | Self::SetLine(..) => {
                Ok(Answer { low: second, high: 0 })
            }
            Self::MacAddress | Self::BoardSerial => Ok(Answer { low: first, high: second }),
            Self::FirmwareRevision | Self::BoardRevision | Self::Throttled => {
                Ok(Answer { low: first, high: 0 })
            }
        }
    }
}

/// What the firmware answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The number, or the low word.
    pub low: u32,
    /// The high word of a serial number or MAC address.
    pub high: u32,
}

impl Answer {
    /// As a MAC address: bytes in the order of memory. `None` for a group or zero address.
    pub fn mac_address(self) -> Option<[u8; 6]> {
        let ([a, b, c, d], [e, f, ..]) = (self.low.to_le_bytes(), self.high.to_le_bytes());
        let mac = [a, b, c, d, e, f];
        (a & 1 == 0 && mac != [0; 6]).then_some(mac)
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Too many questions wait.
    Busy,
    /// The firmware did not answer in a second, or did not take the question.
    Silent,
    /// The firmware calls the whole message bad.
    Message(u32),
    /// The firmware does not know the tag.
    Unknown,
    /// The answer is shorter than the tag's.
    Short(u32),
    /// The expander refuses the line.
    Line,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many questions wait for the firmware"),
            Self::Silent => f.write_str("the firmware does not answer"),
            Self::Message(code) => write!(f, "the firmware refuses the message with code {code:#x}"),
            Self::Unknown => f.write_str("the firmware does not know this question: update it"),
            Self::Short(bytes) => write!(f, "the firmware's answer has only {bytes} bytes"),
            Self::Line => f.write_str("the firmware does not switch this GPIO line"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    /// To be written once the mailbox has room.
    Ready(Ask),
    /// With the firmware.
    Asked(Ask),
    /// The firmware still holds the buffer, its asker was told "silent".
    Lost,
}

/// The mailbox.
pub struct Mailbox<R: Registers, D: Dma> {
    registers: R,
    message: D::Buffer,
    ticks_per_second: u64,
    state: State,
    since: Option<u64>,
    waiting: Deque<Ask, QUEUE>,
    done: Deque<(Ask, Result<Answer, Refusal>), QUEUE>,
    /// Words that came on other channels or for other messages.
    pub strays: u32,
}

impl<R: Registers, D: Dma> Mailbox<R, D> {
    /// A driver; `None` where there is no memory for messages.
    pub fn new(registers: R, dma: &D, ticks_per_second: u64) -> Option<Self> {
        let message = dma.allocate(64)?;
        registers.write32(CONFIG, INTERRUPT);
        Some(Self {
            registers,
            message,
            ticks_per_second,
            state: State::Idle,
            since: None,
            waiting: Deque::new(),
            done: Deque::new(),
            strays: 0,
        })
    }

    /// Queues a question; the answer is fetched with [`Self::take`].
    pub fn ask(&mut self, ask: Ask) -> Result<(), Refusal> {
        if self.done.len().saturating_add(self.waiting.len()).saturating_add(1) >= QUEUE {
            return Err(Refusal::Busy);
        }
        self.waiting.push_back(ask).map_err(|_| Refusal::Busy)
    }

    /// The oldest answer to this question.
    pub fn take(&mut self, ask: Ask) -> Option<Result<Answer, Refusal>> {
        let mut found = None;
        for _ in 0..self.done.len() {
            let entry = self.done.pop_front()?;
            if found.is_none() && entry.0 == ask {
                found = Some(entry.1);
            } else {
                let _ = self.done.push_back(entry);
            }
        }
        found
    }

    /// Goes on. Returns when to call again at the latest; `None`: on the next interrupt or question.
    pub fn poll(&mut self, now: u64) -> Option<u64> {
        for _ in 0..QUEUE {
            if !self.step(now) {
                break;
            }
        }
        let limit = self.ticks_per_second.saturating_mul(LIMIT_US) / 1_000_000;
        match self.state {
            State::Idle | State::Lost => None,
            // No interrupt says that there is room again.
            State::Ready(_) => Some(now.saturating_add(self.ticks_per_second / 10_000)),
            State::Asked(_) => Some(self.since.unwrap_or(now).saturating_add(limit).saturating_add(1)),
        }
    }

    fn step(&mut self, now: u64) -> bool {
        if self.registers.read32(STATUS) & EMPTY == 0 {
            let word = self.registers.read32(READ);
            self.receive(word);
            return true;
        }
        match self.state {
            State::Idle => {
                let Some(ask) = self.waiting.pop_front() else { return false };
                self.since = Some(now);
                self.state = State::Ready(ask);
                true
            }
            State::Ready(ask) if self.registers.read32(WRITE_STATUS) & FULL == 0 => {
                self.send(ask);
                self.since = Some(now);
                self.state = State::Asked(ask);
                true
            }
            State::Ready(ask) if self.is_over(now) => {
                self.finish(ask, Err(Refusal::Silent));
                self.state = State::Idle;
                true
            }
            State::Asked(ask) if self.is_over(now) => {
                self.finish(ask, Err(Refusal::Silent));
                self.state = State::Lost;
                true
            }
            State::Lost => match self.waiting.pop_front() {
                Some(ask) => {
                    self.finish(ask, Err(Refusal::Silent));
                    true
                }
                None => false,
            },
            State::Ready(_) | State::Asked(_) => false,
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let limit = self.ticks_per_second.saturating_mul(LIMIT_US) / 1_000_000;
        self.since.is_some_and(|since| now.saturating_sub(since) > limit)
    }

    fn finish(&mut self, ask: Ask, result: Result<Answer, Refusal>) {
        let _ = self.done.push_back((ask, result));
    }

    /// The word that names our message: its address, of which the firmware sees 32 bits, and the channel.
    fn name(&self) -> u32 {
        u32::try_from(self.message.address().0 & 0xffff_fff0).unwrap_or(0) | PROPERTIES
    }

    fn send(&mut self, ask: Ask) {
        let (tag, [first, second], words) = ask.encode();
        let mut message = [0; WORDS];
        let head = [MESSAGE_BYTES, REQUEST, tag, 4 * words, 4 * words, first, second];
        for (into, from) in message.iter_mut().zip(head) {
            *into = from;
        }
        for (index, word) in message.iter().enumerate() {
            self.message.write(index.saturating_mul(4), &word.to_le_bytes());
        }
        // Clean, and invalid on our side: the answer is written into the same lines.
        self.message.to_device(0, WORDS * 4);
        self.registers.write32(WRITE, self.name());
    }

    fn receive(&mut self, word: u32) {
        let asked = match self.state {
            State::Asked(ask) => Some(ask),
            State::Lost => None,
            State::Idle | State::Ready(_) => return self.strays = self.strays.saturating_add(1),
        };
        if word != self.name() {
            return self.strays = self.strays.saturating_add(1);
        }
        self.state = State::Idle;
        if let Some(ask) = asked {
            let result = self.read_answer(ask);
            self.finish(ask, result);
        }
    }

    fn word(&self, index: usize) -> u32 {
        let mut raw = [0; 4];
        self.message.read(index.saturating_mul(4), &mut raw);
        u32::from_le_bytes(raw)
    }

    fn read_answer(&self, ask: Ask) -> Result<Answer, Refusal> {
        self.message.from_device(0, WORDS * 4);
        let code = self.word(1);
        if code != SUCCESS {
            return Err(Refusal::Message(code));
        }
        let (tag, _, words) = ask.encode();
        let length = self.word(4);
        if length & ANSWERED == 0 || self.word(2) != tag {
            return Err(Refusal::Unknown);
        }
        // A MAC address has 6 bytes.
        let needed = if matches!(ask, Ask::MacAddress) { 6 } else { 4 * words };
        if length & !ANSWERED < needed {
            return Err(Refusal::Short(length & !ANSWERED));
        }
        ask.answer([self.word(VALUE), self.word(VALUE + 1)])
    }
}

/// A board's revision code, new style (Raspberry Pi documentation, "Raspberry Pi revision codes").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BoardRevision(pub u32);

impl BoardRevision {
    /// Name of the model, where it is one of ours.
    pub const fn model(self) -> Option<&'static str> {
        if self.0 & 1 << 23 == 0 {
            return None;
        }
        match self.0 >> 4 & 0xff {
            0x11 => Some("4B"),
            0x13 => Some("400"),
            0x14 => Some("CM4"),
            0x15 => Some("CM4S"),
            _ => None,
        }
    }

    /// RAM in MiB.
    pub const fn mebibytes(self) -> u32 {
        256 << (self.0 >> 20 & 7)
    }

    /// 1.n of the board.
    pub const fn minor(self) -> u32 {
        self.0 & 15
    }
}

/// GET_THROTTLED: what holds the SoC back now (bits 3:0) and did since power-on (bits 19:16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Throttled(pub u32);

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 4] = ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];
        let mut any = false;
        for (shift, when) in [(0, "now"), (16, "before")] {
            for (bit, name) in NAMES.iter().enumerate() {
                if self.0 >> shift >> bit & 1 != 0 {
                    write!(f, "{}{name} {when}", if any { ", " } else { "" })?;
                    any = true;
                }
            }
        }
        if any { Ok(()) } else { f.write_str("none") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mailbox::MailboxModel;
    use crate::model::memory::{FakeDma, TwoViews};
    use proptest::prelude::*;
    use std::rc::Rc;
    use std::string::ToString;

    type Driver = Mailbox<Rc<MailboxModel>, FakeDma>;

    fn bench() -> (Rc<MailboxModel>, Driver, Rc<TwoViews>) {
        let memory = TwoViews::new(0x4000, 0x4000);
        let model = MailboxModel::new(memory.clone());
        let driver = Mailbox::new(model.clone(), &FakeDma(memory.clone()), 1_000_000).unwrap();
        (model, driver, memory)
    }

    fn answer(model: &MailboxModel, driver: &mut Driver, ask: Ask) -> Result<Answer, Refusal> {
        driver.ask(ask)?;
        let mut now = 0;
        loop {
            let deadline = driver.poll(now);
            if let Some(answer) = driver.take(ask) {
                return answer;
            }
            model.run();
            now = deadline.unwrap_or(now).min(now + 100_000) + 1;
        }
    }

    #[test]
    fn each_question_gets_its_answer() {
        let (model, mut driver, memory) = bench();
        let low = |answer: Result<Answer, Refusal>| answer.unwrap().low;
        assert_eq!(low(answer(&model, &mut driver, Ask::BoardRevision)), 0x00c0_3115);
        assert_eq!(low(answer(&model, &mut driver, Ask::Temperature)), 48_312);
        assert_eq!(low(answer(&model, &mut driver, Ask::ClockRate(Clock::Emmc2))), 100_000_000);
        let mac = answer(&model, &mut driver, Ask::MacAddress).unwrap().mac_address();
        assert_eq!(mac, Some([0xdc, 0xa6, 0x32, 1, 2, 3]));
        answer(&model, &mut driver, Ask::SetLine(Line::SdSignals1V8, true)).unwrap();
        assert_eq!(low(answer(&model, &mut driver, Ask::Line(Line::SdSignals1V8))), 1);
        assert_eq!((memory.lost.get(), memory.stray.get(), driver.strays), (0, 0, 0));
    }

    #[test]
    fn a_firmware_that_refuses_is_named() {
        let (model, mut driver, _) = bench();
        model.refuse_message.set(true);
        assert_eq!(answer(&model, &mut driver, Ask::Temperature), Err(Refusal::Message(0x8000_0001)));
        model.refuse_message.set(false);
        model.unknown.set(0x0003_0006);
        assert_eq!(answer(&model, &mut driver, Ask::Temperature), Err(Refusal::Unknown));
        model.unknown.set(0);
        model.short.set(true);
        assert_eq!(answer(&model, &mut driver, Ask::Temperature), Err(Refusal::Short(4)));
        model.short.set(false);
        model.refuse_lines.set(true);
        assert_eq!(answer(&model, &mut driver, Ask::SetLine(Line::SdPower, true)), Err(Refusal::Line));
    }

    #[test]
    fn a_silent_firmware_keeps_the_buffer_until_it_answers() {
        let (model, mut driver, _) = bench();
        model.silent.set(true);
        assert_eq!(answer(&model, &mut driver, Ask::Temperature), Err(Refusal::Silent));
        assert_eq!(answer(&model, &mut driver, Ask::BoardRevision), Err(Refusal::Silent));
        assert_eq!(model.questions.get(), 1);
        model.silent.set(false);
        model.run();
        driver.poll(0);
        assert_eq!(answer(&model, &mut driver, Ask::Temperature).unwrap().low, 48_312);
    }

    #[test]
    fn strays_are_counted_and_a_full_mailbox_waits() {
        let (model, mut driver, _) = bench();
        model.put(0x1234_5670);
        model.full.set(true);
        driver.ask(Ask::Temperature).unwrap();
        assert!(driver.poll(0).is_some());
        assert_eq!((driver.strays, model.questions.get()), (1, 0));
        model.full.set(false);
        assert_eq!(answer(&model, &mut driver, Ask::BoardRevision).unwrap().low, 0x00c0_3115);
        model.full.set(true);
        assert_eq!(answer(&model, &mut driver, Ask::Throttled), Err(Refusal::Silent));
        for _ in 0..14 {
            let _ = driver.ask(Ask::Temperature);
        }
        assert_eq!(driver.ask(Ask::Temperature), Err(Refusal::Busy));
    }

    #[test]
    fn revisions_and_throttling_read_well() {
        let board = BoardRevision(0x00c0_3115);
        assert_eq!((board.model(), board.mebibytes(), board.minor()), (Some("4B"), 4096, 5));
        assert_eq!(BoardRevision(0x0e).model(), None);
        assert_eq!(
            Throttled(0x5_0001).to_string(),
            "under-voltage now, under-voltage before, throttled before"
        );
        assert_eq!(Throttled(0).to_string(), "none");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 100 }))]

        /// Whatever the firmware writes and says, the driver ends with an answer or a refusal.
        #[test]
        fn any_answer_is_survived(raw in prop::collection::vec(any::<u8>(), 48), words in prop::collection::vec(any::<u32>(), 0..20)) {
            let (model, mut driver, _) = bench();
            model.raw.replace(Some(raw));
            words.iter().for_each(|word| model.put(*word));
            let _ = answer(&model, &mut driver, Ask::MacAddress).map(Answer::mac_address);
        }
    }
}
