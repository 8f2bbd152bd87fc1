//! An SD host controller with a card behind it.
//!
//! | offset | register | access | reset | source |
//! |---|---|---|---|---|
//! | 0x00 | Argument 2 | RW | 0 | SDHC 3.00, 2.2.1 |
//! | 0x04 | Block Size, Block Count | RW | 0 | 2.2.2, 2.2.3 |
//! | 0x08 | Argument 1 | RW | 0 | 2.2.4 |
//! | 0x0c | Transfer Mode, Command | RW, starts a command | 0 | 2.2.5, 2.2.6 |
//! | 0x10 | Response 0–3 | RO | 0 | 2.2.7 |
//! | 0x20 | Buffer Data Port | RW | none | 2.2.8 |
//! | 0x24 | Present State | RO | by the card | 2.2.9 |
//! | 0x28 | Host Control 1, Power, Gap, Wakeup | RW | 0 | 2.2.10–2.2.13 |
//! | 0x2c | Clock, Timeout, Software Reset | RW; resets clear themselves | 0 | 2.2.14–2.2.16 |
//! | 0x30 | Interrupt Status | RW1C | 0 | 2.2.17, 2.2.18 |
//! | 0x34 | Status Enable | RW | 0 | 2.2.19, 2.2.20 |
//! | 0x38 | Signal Enable | RW | 0 | 2.2.21, 2.2.22 |
//! | 0x3c | Auto CMD Error, Host Control 2 | RO, RW | 0 | 2.2.23, 2.2.25 |
//! | 0x40 | Capabilities | RO | field `capabilities` | 2.2.26 |
//! | 0x58 | ADMA System Address | RW | 0 | 2.2.31 |
//! | 0xfc | Slot Interrupt Status, Version | RO | field `version` | 2.2.34, 2.2.35 |
//!
//! Words only: other widths stop the test (Linux `sdhci-iproc.c`). With `loses_writes`, a second write to a register
//! within 5 µs at ≤ 400 kHz is lost, as the Pi's Arasan does (same source). Time is the field `now`, in µs.

use super::memory::TwoViews;
use super::sd_card::{Answer, SdCard, State};
use crate::hardware::{DeviceAddress, Registers};
use crate::sdhci::registers::{self as reg, clock, control, control_2, mode, present, status};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

/// Capabilities of a controller with everything: 100 MHz, ADMA2, high speed, 3.3 V and 1.8 V.
pub const FULL: u32 = 1 << 26 | 1 << 24 | 1 << 21 | 1 << 19 | 100 << 8 | 0xb2;
/// What QEMU's raspi4b shows: 52 MHz, high speed, no DMA of any kind.
pub const QEMU_ARASAN: u32 = 0x0521_34b4;

/// Switched-on faults; a counter is the number of commands that are hit.
#[derive(Default)]
pub struct Faults {
    /// Data commands whose data is damaged.
    pub data_crc: Cell<u32>,
    /// Data commands whose data never comes.
    pub data_timeout: Cell<u32>,
    /// Commands whose answer is damaged (after this many unharmed ones).
    pub command_crc: Cell<u32>,
    /// Commands that the card does not hear.
    pub unheard: Cell<u32>,
    /// Commands after which the controller says nothing at all.
    pub silent: Cell<u32>,
    /// Data commands that end in an ADMA error.
    pub adma: Cell<u32>,
    /// Data above this clock is damaged.
    pub good_hertz: Cell<Option<u32>>,
    /// Tuning never finds a moment.
    pub never_tunes: Cell<bool>,
    /// Resets never end.
    pub stuck_reset: Cell<bool>,
    /// The lines stay inhibited until reset.
    pub inhibited: Cell<bool>,
    /// The clock never gets stable.
    pub unstable: Cell<bool>,
}

fn take(counter: &Cell<u32>) -> bool {
    let n = counter.get();
    counter.set(n.saturating_sub(1));
    n > 0
}

struct Port {
    bytes: Vec<u8>,
    at: usize,
}

pub struct SdhciModel {
    memory: Rc<TwoViews>,
    pub card: RefCell<Option<SdCard>>,
    pub faults: Faults,
    pub now: Cell<u64>,
    pub capabilities: Cell<u32>,
    pub capabilities_high: Cell<u32>,
    pub version: Cell<u32>,
    pub write_enabled: Cell<bool>,
    pub loses_writes: Cell<bool>,
    /// The board's switch: does the regulator give 1.8 V now.
    pub board_1v8: Cell<bool>,
    words: RefCell<BTreeMap<usize, u32>>,
    response: Cell<[u32; 4]>,
    status: Cell<u32>,
    /// Tuning blocks that were read.
    pub tuned: Cell<u32>,
    /// Status bits that become visible later, and when.
    coming: Cell<(u32, u64)>,
    port: RefCell<Option<Port>>,
    port_left: Cell<u32>,
    written: RefCell<BTreeMap<usize, u64>>,
    /// Register accesses, for the count per request.
    pub accesses: Cell<u32>,
}

impl SdhciModel {
    pub fn new(memory: Rc<TwoViews>, card: Option<SdCard>) -> Rc<Self> {
        Rc::new(Self {
            memory,
            card: RefCell::new(card),
            faults: Faults::default(),
            now: Cell::new(0),
            capabilities: Cell::new(FULL),
            capabilities_high: Cell::new(0),
            version: Cell::new(2),
            write_enabled: Cell::new(true),
            loses_writes: Cell::new(true),
            board_1v8: Cell::new(false),
            words: RefCell::default(),
            response: Cell::default(),
            status: Cell::new(0),
            tuned: Cell::new(0),
            coming: Cell::new((0, 0)),
            port: RefCell::new(None),
            port_left: Cell::new(0),
            written: RefCell::default(),
            accesses: Cell::new(0),
        })
    }

    fn word(&self, offset: usize) -> u32 {
        self.words.borrow().get(&offset).copied().unwrap_or(0)
    }

    fn set(&self, offset: usize, value: u32) {
        self.words.borrow_mut().insert(offset, value);
    }

    /// The card is put in or taken out.
    pub fn put_card(&self, card: Option<SdCard>) -> Option<SdCard> {
        let bit = if card.is_some() { status::INSERTED } else { status::REMOVED };
        self.raise_now(bit);
        self.card.replace(card)
    }

    /// Level of the interrupt line.
    pub fn interrupts(&self) -> bool {
        self.visible() & self.word(reg::SIGNAL_ENABLE) != 0
    }

    pub fn hertz(&self) -> u32 {
        let word = self.word(reg::CLOCK);
        if word & (clock::CARD | clock::INTERNAL) != clock::CARD | clock::INTERNAL {
            return 0;
        }
        let n = word >> 8 & 0xff | (word >> 6 & 3) << 8;
        let base = (self.capabilities.get() >> 8 & 0xff) * 1_000_000;
        if n == 0 { base } else { base / (2 * n) }
    }

    fn visible(&self) -> u32 {
        let (bits, at) = self.coming.get();
        if bits != 0 && at <= self.now.get() {
            self.coming.set((0, 0));
            self.raise_now(bits);
        }
        self.status.get()
    }

    pub fn raise_now(&self, bits: u32) {
        let mut seen = self.status.get() | bits & self.word(reg::STATUS_ENABLE);
        if seen & status::ERRORS != 0 {
            seen |= status::ERROR;
        }
        self.status.set(seen);
    }

    fn present(&self) -> u32 {
        let mut state = present::STABLE;
        let card = self.card.borrow();
        if card.is_some() {
            state |= present::INSERTED;
        }
        if self.write_enabled.get() {
            state |= present::WRITE_ENABLED;
        }
        // A card that switches to 1.8 V holds DAT low until the clock runs again at 1.8 V.
        let low = card.as_ref().is_some_and(|card| card.switching_to_1v8 && !card.low_voltage);
        if !low {
            state |= present::DAT;
        }
        let (coming, _) = self.coming.get();
        if coming & (status::COMMAND | status::ERRORS) != 0 || self.faults.inhibited.get() {
            state |= present::COMMAND_INHIBIT;
        }
        if coming & status::TRANSFER != 0 || self.port.borrow().is_some() || self.faults.inhibited.get() {
            state |= present::DATA_INHIBIT;
        }
        state
    }

    fn is_lost(&self, offset: usize) -> bool {
        let paced =
            matches!(offset, reg::BLOCK | reg::ARGUMENT | reg::COMMAND | reg::HOST_CONTROL | reg::CLOCK);
        let last = self.written.borrow_mut().insert(offset, self.now.get());
        let slow = self.hertz() != 0 && self.hertz() <= 400_000;
        let close = last.is_some_and(|last| self.now.get() - last < 5);
        self.loses_writes.get() && paced && slow && close
    }

    fn write_clock(&self, value: u32) {
        if value & clock::RESET_ALL != 0 {
            self.words.borrow_mut().clear();
            self.status.set(0);
            self.coming.set((0, 0));
            self.port.replace(None);
            self.faults.inhibited.set(false);
            self.set(reg::CLOCK, if self.faults.stuck_reset.get() { clock::RESET_ALL } else { 0 });
            return;
        }
        if value & clock::RESET_LINES != 0 {
            self.coming.set((0, 0));
            self.port.replace(None);
            self.faults.inhibited.set(false);
            if self.faults.stuck_reset.get() {
                return self.set(reg::CLOCK, value);
            }
        }
        let mut value = value & !(clock::RESET_LINES | clock::STABLE);
        if value & clock::INTERNAL != 0 && !self.faults.unstable.get() {
            value |= clock::STABLE;
        }
        let was_stopped = self.hertz() == 0;
        self.set(reg::CLOCK, value);
        if was_stopped && self.hertz() != 0 && self.word(reg::HOST_CONTROL_2) & control_2::V1_8 != 0 {
            let mut card = self.card.borrow_mut();
            if let Some(card) = card.as_mut().filter(|card| card.switching_to_1v8) {
                card.low_voltage = self.board_1v8.get();
            }
        }
    }

    fn write_control(&self, value: u32) {
        let was_on = self.word(reg::HOST_CONTROL) & 1 << 8 != 0;
        self.set(reg::HOST_CONTROL, value);
        if was_on
            && value & 1 << 8 == 0
            && let Some(card) = self.card.borrow_mut().as_mut()
        {
            card.power_cycle();
        }
    }

    fn start(&self, word: u32) {
        assert_eq!(self.present() & present::COMMAND_INHIBIT, 0, "a command while one is in flight");
        let microseconds = if self.hertz() <= 400_000 { 300 } else { 5 };
        let at = self.now.get() + microseconds;
        let later = |bits| self.coming.set((bits, at));
        if self.hertz() == 0 || self.word(reg::HOST_CONTROL) & 1 << 8 == 0 || take(&self.faults.silent) {
            return;
        }
        let answers = word >> 16 & 3 != 0;
        if answers && take(&self.faults.command_crc) {
            return later(status::COMMAND_CRC);
        }
        let mut slot = self.card.borrow_mut();
        let card = slot.as_mut().filter(|_| !take(&self.faults.unheard));
        let Some(card) = card else {
            return later(if answers { status::COMMAND_TIMEOUT } else { status::COMMAND });
        };
        let index = (word >> 24 & 0x3f) as u8;
        let count = word & 0xc == mode::AUTO_23;
        if word & 1 << 21 != 0 && count {
            assert!(card.command(23, self.word(reg::ARGUMENT_2)).is_some(), "CMD23 to a card that has none");
        }
        let argument = self.word(reg::ARGUMENT);
        match (card.command(index, argument), word >> 16 & 3) {
            (_, 0) => return later(status::COMMAND),
            (None, _) => return later(status::COMMAND_TIMEOUT),
            (Some(Answer::Short(answer)), 2 | 3) => self.response.set([answer, 0, 0, 0]),
            (Some(Answer::Long(answer)), 1) => {
                let raw = answer >> 8;
                self.response.set([raw as u32, (raw >> 32) as u32, (raw >> 64) as u32, (raw >> 96) as u32]);
            }
            (answer, form) => panic!("CMD{index}: {answer:?} to a response of type {form}"),
        }
        if word & 1 << 21 == 0 {
            let busy = if word >> 16 & 3 == 3 { status::TRANSFER } else { 0 };
            return later(status::COMMAND | busy);
        }
        let bits = self.move_data(word, card);
        later(status::COMMAND | bits);
    }

    /// Moves a command's data; the status bits that follow.
    fn move_data(&self, word: u32, card: &mut SdCard) -> u32 {
        if word >> 24 & 0x3f == 19 {
            return self.tune(card);
        }
        // SDR104 without a tuned clock is noise; the answer to CMD6 still comes in the old mode.
        let fast = card.function == 3 && word >> 24 & 0x3f != 6;
        let sampled = !fast || self.word(reg::HOST_CONTROL_2) & control_2::SAMPLING_CLOCK != 0;
        let good = sampled && self.faults.good_hertz.get().is_none_or(|good| self.hertz() <= good);
        if take(&self.faults.data_timeout) || !matches!(card.state, State::Data | State::Receive) {
            return status::DATA_TIMEOUT;
        }
        if take(&self.faults.data_crc) || !good {
            return status::DATA_CRC;
        }
        if take(&self.faults.adma) {
            return status::ADMA;
        }
        let block = self.word(reg::BLOCK);
        let blocks = if word & mode::COUNT != 0 { block >> 16 } else { 1 };
        let wide = self.word(reg::HOST_CONTROL) & control::FOUR_BIT != 0;
        assert_eq!(wide, card.wide, "bus width differs between controller and card");
        if word & mode::DMA == 0 {
            self.port_left.set(blocks);
            return self.start_port(word, card);
        }
        assert_eq!(self.word(reg::HOST_CONTROL) & 0x18, control::ADMA2, "DMA Select");
        let bytes = (block & 0xfff) as usize * blocks as usize;
        let Some(runs) = self.descriptors(bytes) else { return status::ADMA };
        if word & mode::READ != 0 {
            self.dma_read(card, block & 0xfff, blocks, &runs)
        } else {
            self.dma_write(card, blocks, &runs)
        }
        .map_or(status::DATA_TIMEOUT, |()| self.stop(word, card))
    }

    /// A tuning block: the controller looks at it itself, and has found its moment after eleven.
    fn tune(&self, card: &mut SdCard) -> u32 {
        let control = self.word(reg::HOST_CONTROL_2);
        assert_ne!(control & control_2::EXECUTE_TUNING, 0, "CMD19 outside of a tuning");
        assert!(card.send(64).is_some(), "a tuning block");
        self.tuned.set(self.tuned.get() + 1);
        if self.tuned.get().is_multiple_of(11) && !self.faults.never_tunes.get() {
            let done = control & !control_2::EXECUTE_TUNING | control_2::SAMPLING_CLOCK;
            self.set(reg::HOST_CONTROL_2, done);
        }
        status::READ_READY
    }

    fn stop(&self, word: u32, card: &mut SdCard) -> u32 {
        match word & 0xc {
            mode::AUTO_12 => {
                assert!(card.command(12, 0).is_some(), "CMD12 in no transfer");
            }
            mode::AUTO_23 => {
                assert_eq!(card.count, Some(self.word(reg::BLOCK) >> 16), "CMD23 for another count");
                card.end_of_count();
            }
            _ => card.end_of_count(),
        }
        status::TRANSFER
    }

    /// The runs that the descriptors name, exactly `bytes` in all.
    fn descriptors(&self, bytes: usize) -> Option<Vec<(u64, usize)>> {
        let mut runs = Vec::new();
        let mut at = u64::from(self.word(reg::ADMA_ADDRESS));
        let mut sum = 0;
        loop {
            let mut raw = [0; 8];
            self.memory.device_read(DeviceAddress(at), &mut raw);
            let word = u64::from_le_bytes(raw);
            let length = match (word >> 16 & 0xffff) as usize {
                0 => 65_536,
                n => n,
            };
            if word & 1 == 0 || word >> 4 & 3 != 2 || length % 4 != 0 || word >> 32 & 3 != 0 {
                return None;
            }
            runs.push((word >> 32, length));
            sum += length;
            at += 8;
            if word & 2 != 0 {
                return (sum == bytes).then_some(runs);
            }
        }
    }

    fn dma_read(&self, card: &mut SdCard, block: u32, blocks: u32, runs: &[(u64, usize)]) -> Option<()> {
        let mut data = Vec::new();
        for _ in 0..blocks {
            data.extend(card.send(block as usize)?);
        }
        for (at, length) in runs {
            self.memory.device_write(DeviceAddress(*at), &data[..*length]);
            data.drain(..*length);
        }
        Some(())
    }

    fn dma_write(&self, card: &mut SdCard, blocks: u32, runs: &[(u64, usize)]) -> Option<()> {
        let mut data = Vec::new();
        for (at, length) in runs {
            let mut part = std::vec![0; *length];
            self.memory.device_read(DeviceAddress(*at), &mut part);
            data.extend(part);
        }
        data.chunks(512).take(blocks as usize).all(|block| card.receive(block)).then_some(())
    }

    /// Readies a block's worth of the port; the status bits that say so.
    fn start_port(&self, word: u32, card: &mut SdCard) -> u32 {
        let bytes = (self.word(reg::BLOCK) & 0xfff) as usize;
        let read = word & mode::READ != 0;
        let block = if read { card.send(bytes) } else { Some(std::vec![0; bytes]) };
        let Some(bytes) = block else { return status::DATA_TIMEOUT };
        self.port.replace(Some(Port { bytes, at: 0 }));
        if read { status::READ_READY } else { status::WRITE_READY }
    }

    fn access_port(&self, value: Option<u32>) -> u32 {
        let mut port = self.port.borrow_mut();
        let state = port.as_mut().expect("the data port without data");
        let slot = &mut state.bytes[state.at..state.at + 4];
        let read = u32::from_le_bytes(slot.try_into().unwrap());
        if let Some(value) = value {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        state.at += 4;
        if state.at == state.bytes.len() {
            let done = port.take().unwrap();
            drop(port);
            self.end_port_block(&done.bytes);
        }
        read
    }

    fn end_port_block(&self, bytes: &[u8]) {
        let word = self.word(reg::COMMAND);
        let mut slot = self.card.borrow_mut();
        let Some(card) = slot.as_mut() else { return self.raise_now(status::DATA_TIMEOUT) };
        if word & mode::READ == 0 && !card.receive(bytes) {
            return self.raise_now(status::DATA_TIMEOUT);
        }
        self.port_left.set(self.port_left.get() - 1);
        let left = self.port_left.get() > 0;
        let bits = if left { self.start_port(word, card) } else { self.stop(word, card) };
        self.raise_now(bits);
    }
}

impl Registers for Rc<SdhciModel> {
    fn read32(&self, offset: usize) -> u32 {
        self.accesses.set(self.accesses.get() + 1);
        match offset {
            reg::RESPONSE..0x20 => self.response.get()[(offset - reg::RESPONSE) / 4],
            reg::BUFFER => self.access_port(None),
            reg::PRESENT => self.present(),
            reg::STATUS => self.visible(),
            reg::CAPABILITIES => self.capabilities.get(),
            reg::CAPABILITIES_HIGH => self.capabilities_high.get(),
            reg::VERSION => self.version.get() << 16,
            _ => self.word(offset),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        self.accesses.set(self.accesses.get() + 1);
        if self.is_lost(offset) {
            return;
        }
        match offset {
            reg::BUFFER => {
                self.access_port(Some(value));
            }
            reg::STATUS => {
                let left = self.visible() & !value;
                self.status.set(if left & status::ERRORS == 0 { left & !status::ERROR } else { left });
            }
            reg::CLOCK => self.write_clock(value),
            reg::HOST_CONTROL => self.write_control(value),
            reg::COMMAND => {
                self.set(offset, value);
                self.start(value);
            }
            reg::HOST_CONTROL_2 => self.set(offset, value & 0xffff_0000),
            reg::PRESENT | reg::CAPABILITIES | reg::CAPABILITIES_HIGH | reg::VERSION => {
                panic!("a write to the read-only register {offset:#x}")
            }
            _ => self.set(offset, value),
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte read at {offset:#x}: the Pi's controllers take words only")
    }

    fn write8(&self, offset: usize, _value: u8) {
        panic!("a byte write at {offset:#x}: the Pi's controllers take words only")
    }
}
