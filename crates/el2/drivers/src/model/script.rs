//! Devices that answer anything at all: each register read takes the next bytes of a script. What drivers must survive
//! without a panic, without an endless step, and without telling the device of memory that is not theirs.
//!
//! Called by the fuzz targets `drivers_*` and by the tests below.

use super::memory::{BUS_OFFSET, FakeDma, TwoViews, span};
use crate::genet::{self, Genet};
use crate::hardware::Registers;
use crate::mailbox::{Ask, Clock, Line, Mailbox};
use crate::partition::scan_image;
use crate::sdhci::controller::Quirks;
use crate::sdhci::{self, Sdhci};
use ports::{BlockBackend, BlockOp, BlockRequest, Frame, FrameSink, Offload, Sector, Submitted, Token};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec::Vec;

/// Registers that answer from a script, and zeros after its end.
#[derive(Default)]
pub struct Script {
    bytes: RefCell<Vec<u8>>,
    /// Reads since the last call of [`Script::step`].
    reads: Cell<u32>,
}

impl Script {
    fn new(bytes: &[u8]) -> Rc<Self> {
        Rc::new(Self { bytes: RefCell::new(bytes.iter().rev().copied().collect()), reads: Cell::new(0) })
    }

    fn ended(&self) -> bool {
        self.bytes.borrow().is_empty()
    }

    /// A step ended: it must not have read without measure.
    fn step(&self, most: u32) {
        assert!(self.reads.replace(0) <= most, "a step that asks the device more than {most} times");
    }
}

impl Registers for Rc<Script> {
    fn read32(&self, _offset: usize) -> u32 {
        self.reads.set(self.reads.get() + 1);
        let mut bytes = self.bytes.borrow_mut();
        (0..4).fold(0, |word, n| word | u32::from(bytes.pop().unwrap_or(0)) << (8 * n))
    }
    fn write32(&self, _offset: usize, _value: u32) {}
    fn read8(&self, _offset: usize) -> u8 {
        self.bytes.borrow_mut().pop().unwrap_or(0)
    }
    fn write8(&self, _offset: usize, _value: u8) {}
}

/// The SDHCI driver over a script; every request that it took is answered once, unless the script ends first.
pub fn sdhci(bytes: &[u8]) {
    let Some(([flags, seed], script)) = bytes.split_first_chunk() else { return };
    let memory = TwoViews::new(0x8_0000, 0x4_0000);
    let dma = FakeDma(memory.clone());
    let registers = Script::new(script);
    let quirks = Quirks {
        no_card_detect: flags & 1 != 0,
        no_capabilities: flags & 2 != 0,
        no_high_speed_bit: flags & 4 != 0,
        board_power: flags & 8 != 0,
    };
    let config = sdhci::Config { quirks, ticks_per_second: 1_000_000 };
    let mut driver = Sdhci::new(registers.clone(), dma.clone(), config).unwrap();
    let (mut now, mut taken, mut answered) = (0u64, 0u32, 0u32);
    while !registers.ended() {
        let deadline = driver.poll(now);
        // Eight blocks through the port are 1,024 words, and twelve steps.
        registers.step(13_000);
        if driver.wants().is_some() {
            driver.answer(seed & 1 == 0);
        }
        let data = [span(0x3_0000, 0x2000), span(0x6_0000, 0x1000)];
        let op = match now as u8 ^ seed {
            0..100 => BlockOp::Read,
            100..200 => BlockOp::Write,
            200..230 => BlockOp::WriteZeroes { sectors: 24 },
            230..250 => BlockOp::Discard { sectors: 24 },
            _ => BlockOp::Flush,
        };
        let data = if matches!(op, BlockOp::Read | BlockOp::Write) { &data[..] } else { &[] };
        let request = BlockRequest { token: Token(taken), op, sector: Sector(now % 64), data, memory: &dma };
        taken += u32::from(driver.submit(&request) == Submitted::InFlight);
        registers.step(13_000);
        while let Some(end) = driver.complete() {
            assert!(end.token.0 < taken);
            answered += 1;
        }
        assert!(answered <= taken && taken - answered <= 32);
        now = deadline.unwrap_or(now + 1000).max(now + 1).min(now + 100_000_000);
    }
    assert_eq!(memory.stray.get(), 0);
}

/// The GENET driver over a script.
pub fn genet(bytes: &[u8]) {
    // One byte in four: a revision of v5, so that the rest is reached.
    let (mut script, mut now) = (std::vec![0, 0, 0, 6], 0u64);
    script.extend_from_slice(bytes);
    let memory = TwoViews::new(0x12_0000, 0x11_0000);
    let dma = FakeDma(memory.clone());
    let registers = Script::new(&script);
    let config = genet::Config { mac: [2, 0, 0, 0, 0, 1], phy_address: 1, ticks_per_second: 1_000_000 };
    let mut driver = Genet::new(registers.clone(), &dma, config).unwrap();
    // What a device may have written into the receive buffers.
    for (n, chunk) in bytes.chunks(64).take(256).enumerate() {
        memory.device_write(crate::hardware::DeviceAddress(0x8_0000 + n as u64 * 2048 + BUS_OFFSET), chunk);
    }
    while !registers.ended() {
        let Some(deadline) = driver.poll(now) else { break };
        registers.step(64);
        let data = [span(0x11_8000, 700), span(0x11_9000, 100)];
        let offload =
            Offload { flags: now as u8 & 1, checksum_start: now as u16 & 0xff, ..Offload::default() };
        driver.deliver(&Frame { data: &data, bytes: 800, offload, memory: &dma });
        driver.receive(&dma, 32, |frame| {
            let [span] = frame.data else { panic!("one span") };
            assert!(
                span.bytes >= 14
                    && span.start.0 >= 0x8_0000
                    && span.start.0 + u64::from(span.bytes) <= 0x10_0000
            );
        });
        registers.step(8);
        now = deadline.max(now + 1);
    }
    assert_eq!(memory.stray.get(), 0);
}

/// The mailbox driver over a script; what the firmware may have written into the message comes from it too.
pub fn mailbox(bytes: &[u8]) {
    let memory = TwoViews::new(0x4000, 0x4000);
    let dma = FakeDma(memory.clone());
    let registers = Script::new(bytes);
    let mut driver = Mailbox::new(registers.clone(), &dma, 1_000_000).unwrap();
    let asks =
        [Ask::MacAddress, Ask::Temperature, Ask::ClockRate(Clock::Emmc2), Ask::SetLine(Line::SdPower, true)];
    let mut now = 0;
    while !registers.ended() {
        for ask in asks {
            let _ = driver.ask(ask);
        }
        let deadline = driver.poll(now);
        registers.step(64);
        let at = crate::hardware::DeviceAddress(BUS_OFFSET + now % 40);
        memory.device_write(at, bytes.get(..24).unwrap_or(bytes));
        for ask in asks {
            let _ = driver.take(ask).map(|answer| answer.map(|answer| answer.mac_address()));
        }
        now = deadline.unwrap_or(now).max(now + 1);
    }
}

/// A partition scan of any image: nothing outside the disk, nothing twice.
pub fn partition(bytes: &[u8]) {
    let table = scan_image(bytes);
    let sectors = bytes.len() as u64 / 512;
    for (index, partition) in table.partitions.iter().enumerate() {
        let end = partition.first.0 + partition.sectors;
        assert!(partition.first.0 > 0 && partition.sectors > 0 && end <= sectors);
        for other in &table.partitions[..index] {
            assert!(end <= other.first.0 || other.first.0 + other.sectors <= partition.first.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Mostly bits that mean something: a word is all zeros, all ones, or anything.
    fn script(words: usize) -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![Just(0u32), Just(u32::MAX), Just(0x00ff_0003), any::<u32>()];
        prop::collection::vec(word, 1..words)
            .prop_map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 60 }))]

        #[test]
        fn drivers_survive_any_device(bytes in script(if cfg!(miri) { 40 } else { 2000 })) {
            super::sdhci(&bytes);
            super::genet(&bytes);
            super::mailbox(&bytes);
            super::partition(&bytes);
        }
    }
}
