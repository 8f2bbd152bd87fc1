//! The drivers of the Pi, unchanged, against QEMU's own device models: registers and memory are reached by QEMU's qtest
//! protocol, no guest code runs. `cargo test -p drivers --features qemu`.
//!
//! Source: QEMU `docs/devel/testing/qtest.rst`, "QTest Protocol".
#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "qemu/virtio.rs"]
mod virtio;

use drivers::hardware::{DeviceAddress, Dma, DmaBuffer, Registers};
use drivers::mailbox::{Answer, Ask, BoardRevision, Clock, Line, Mailbox, Refusal};
use drivers::pm::PowerManagement;
use drivers::sdhci::controller::Quirks;
use drivers::sdhci::{Config, Sdhci, Trouble};
use ports::fake::FakeMemory;
use ports::{BlockBackend, BlockError, BlockOp, BlockRequest, Sector, Span, Submitted, Token};
use specs::{Ipa, Pa};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

/// A QEMU, reached by qtest.
struct Qemu {
    child: RefCell<Child>,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    free: Cell<u64>,
    started: Instant,
}

impl Qemu {
    fn start(arguments: &[&str], ram: u64) -> Rc<Self> {
        let mut child = Command::new("qemu-system-aarch64")
            .args(["-accel", "tcg", "-display", "none", "-qtest", "stdio", "-qtest-log", "/dev/null"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu-system-aarch64 starts");
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let child = RefCell::new(child);
        Rc::new(Self { child, pipes: RefCell::new(pipes), free: Cell::new(ram), started: Instant::now() })
    }

    fn ask(&self, command: &str) -> String {
        let (input, output) = &mut *self.pipes.borrow_mut();
        writeln!(input, "{command}").expect("QEMU listens");
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "QEMU ended at {command}");
            if let Some(answer) = line.strip_prefix("OK") {
                return answer.trim().to_string();
            }
            assert!(!line.starts_with("FAIL"), "{command}: {line}");
        }
    }

    fn load(&self, at: u64) -> u32 {
        let answer = self.ask(&format!("readl {at:#x}"));
        u32::from_str_radix(answer.trim_start_matches("0x").trim_start_matches('0'), 16).unwrap_or(0)
    }

    fn store(&self, at: u64, value: u32) {
        self.ask(&format!("writel {at:#x} {value:#x}"));
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        let answer = self.ask(&format!("read {at:#x} {:#x}", into.len()));
        let hex = answer.trim_start_matches("0x").as_bytes();
        for (byte, pair) in into.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }

    fn write(&self, at: u64, from: &[u8]) {
        if from.is_empty() {
            return; // QEMU would wait for a first digit.
        }
        let mut command = format!("write {at:#x} {:#x} 0x", from.len());
        from.iter().for_each(|byte| write!(command, "{byte:02x}").unwrap());
        self.ask(&command);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.borrow_mut().kill();
        let _ = self.child.borrow_mut().wait();
    }
}

struct Device {
    qemu: Rc<Qemu>,
    base: u64,
}

impl Registers for Device {
    fn read32(&self, offset: usize) -> u32 {
        self.qemu.load(self.base + offset as u64)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.qemu.store(self.base + offset as u64, value);
    }
    fn read8(&self, _offset: usize) -> u8 {
        panic!("no byte accesses")
    }
    fn write8(&self, _offset: usize, _value: u8) {
        panic!("no byte accesses")
    }
}

#[derive(Clone)]
struct Memory(Rc<Qemu>);

struct Buffer {
    qemu: Rc<Qemu>,
    at: u64,
    bytes: usize,
}

impl DmaBuffer for Buffer {
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn address(&self) -> DeviceAddress {
        DeviceAddress(self.at)
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.qemu.write(self.at + offset as u64, from);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.qemu.read(self.at + offset as u64, into);
    }
    fn to_device(&self, _offset: usize, _bytes: usize) {}
    fn from_device(&self, _offset: usize, _bytes: usize) {}
    fn span(&self, offset: usize, bytes: u32) -> Option<Span> {
        Some(Span { start: Pa(self.at + offset as u64), bytes })
    }
}

impl Dma for Memory {
    type Buffer = Buffer;
    fn allocate(&self, bytes: usize) -> Option<Buffer> {
        let at = self.0.free.get();
        self.0.free.set(at + bytes.next_multiple_of(4096) as u64);
        Some(Buffer { qemu: self.0.clone(), at, bytes })
    }
    fn span_to_device(&self, span: Span) -> Option<DeviceAddress> {
        Some(DeviceAddress(span.start.0))
    }
    fn span_for_device_write(&self, span: Span) -> Option<DeviceAddress> {
        Some(DeviceAddress(span.start.0))
    }
    fn span_from_device(&self, _span: Span) {}
    fn copy_span(&self, into: Span, from: Span) {
        let mut bytes = vec![0; into.bytes.min(from.bytes) as usize];
        self.0.read(from.start.0, &mut bytes);
        self.0.write(into.start.0, &bytes);
    }
}

struct Card {
    image: PathBuf,
}

impl Card {
    /// A sparse image of `mib` MiB.
    fn new(name: &str, mib: u64) -> Self {
        let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.img"));
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        Self { image }
    }

    fn drive(&self, interface: &str, more: &str) -> String {
        format!("if={interface},format=raw,file={}{more}", self.image.display())
    }
}

fn firmware(qemu: &Rc<Qemu>, ask: Ask) -> Result<Answer, Refusal> {
    let device = Device { qemu: qemu.clone(), base: RASPI_MAILBOX };
    let mut mailbox = Mailbox::new(device, &Memory(qemu.clone()), 1_000_000).unwrap();
    mailbox.ask(ask)?;
    loop {
        mailbox.poll(qemu.now());
        if let Some(answer) = mailbox.take(ask) {
            return answer;
        }
    }
}

#[test]
fn raspi4b_firmware_answers() {
    let card = Card::new("raspi-mailbox", 64);
    let qemu = raspi4b(&card.drive("sd", ""));
    let revision = BoardRevision(firmware(&qemu, Ask::BoardRevision).unwrap().low);
    assert_eq!((revision.model(), revision.mebibytes()), (Some("4B"), 2048));
    assert!(firmware(&qemu, Ask::MacAddress).unwrap().mac_address().is_some());
    assert_eq!(firmware(&qemu, Ask::Temperature).unwrap().low, 25_000);
    for ask in [
        Ask::FirmwareRevision,
        Ask::BoardSerial,
        Ask::Throttled,
        Ask::ClockRate(Clock::Emmc2),
        Ask::SetLine(Line::SdSignals1V8, true),
        Ask::Line(Line::SdPower),
    ] {
        println!("{ask:?}: {:x?}", firmware(&qemu, ask));
    }
}

#[test]
fn raspi4b_is_switched_off() {
    let card = Card::new("raspi-off", 64);
    let qemu = raspi4b(&card.drive("sd", ""));
    let mut pm = PowerManagement::new(Device { qemu: qemu.clone(), base: RASPI_PM });
    println!("{:?}", pm.reset_reason());
    pm.pet(15);
    pm.stop();
    assert!(!pm.is_running());
    assert!(qemu.child.borrow_mut().try_wait().unwrap().is_none());
    // QEMU ends when the register is written; the answer to the write may be lost.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pm.power_off()));
    drop(ended);
    assert!(qemu.child.borrow_mut().wait().unwrap().success());
}

type Driver = Sdhci<Device, Memory>;

fn driver(qemu: &Rc<Qemu>, base: u64, quirks: Quirks) -> Driver {
    let config = Config { quirks, ticks_per_second: 1_000_000 };
    Sdhci::new(Device { qemu: qemu.clone(), base }, Memory(qemu.clone()), config).unwrap()
}

fn settle(qemu: &Qemu, driver: &mut Driver) {
    while !driver.is_settled() {
        driver.poll(qemu.now());
        assert!(qemu.now() < 30_000_000, "the card never settled");
    }
}

fn run(qemu: &Qemu, driver: &mut Driver, op: BlockOp, sector: u64, data: &[Span]) -> Result<(), BlockError> {
    let memory = FakeMemory::new(Ipa(0), 16);
    let request = BlockRequest { token: Token(3), op, sector: Sector(sector), data, memory: &memory };
    match driver.submit(&request) {
        Submitted::Done(result) => return result,
        Submitted::InFlight => {}
        Submitted::Full => panic!("full"),
    }
    let begun = qemu.now();
    loop {
        driver.poll(qemu.now());
        if let Some(end) = driver.complete() {
            return end.result;
        }
        assert!(
            qemu.now() - begun < 30_000_000,
            "a request never ended: {:?} {:x} {:x}",
            driver.statistics(),
            qemu.load(0xfe300024),
            qemu.load(0xfe300030)
        );
    }
}

/// Writes, reads back and compares, with the image file as a witness; zeroes and discards.
fn exercise(qemu: &Rc<Qemu>, driver: &mut Driver, card: &Card, bytes: usize, sector: u64) {
    let (first, second) =
        (Memory(qemu.clone()).allocate(bytes).unwrap(), Memory(qemu.clone()).allocate(bytes).unwrap());
    let data: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 256) as u8).collect();
    qemu.write(first.at, &data);
    let span = |buffer: &Buffer| [buffer.span(0, u32::try_from(bytes).unwrap()).unwrap()];
    run(qemu, driver, BlockOp::Write, sector, &span(&first)).unwrap();
    run(qemu, driver, BlockOp::Flush, 0, &[]).unwrap();
    run(qemu, driver, BlockOp::Read, sector, &span(&second)).unwrap();
    let mut back = vec![0; bytes];
    qemu.read(second.at, &mut back);
    assert!(back == data, "read back something else");
    let mut file = File::open(&card.image).unwrap();
    file.seek(SeekFrom::Start(sector * 512)).unwrap();
    file.read_exact(&mut back).unwrap();
    assert!(back == data, "the image holds something else");
    run(qemu, driver, BlockOp::WriteZeroes { sectors: 5 }, sector, &[]).unwrap();
    run(qemu, driver, BlockOp::Read, sector, &span(&second)).unwrap();
    qemu.read(second.at, &mut back);
    assert!(back[..5 * 512].iter().all(|byte| *byte == 0) && back[5 * 512..] == data[5 * 512..]);
    if driver.geometry().discard {
        run(qemu, driver, BlockOp::Discard { sectors: 5 }, sector, &[]).unwrap();
    }
    let statistics = driver.statistics();
    assert_eq!((statistics.faults, statistics.lost_requests), (0, 0), "{statistics:?}");
}

const RASPI_EMMC: u64 = 0xfe30_0000;
const RASPI_EMMC2: u64 = 0xfe34_0000;
const RASPI_MAILBOX: u64 = 0xfe00_b880;
const RASPI_PM: u64 = 0xfe10_0000;
const RASPI_RAM: u64 = 0x1000_0000;
const ARASAN: Quirks =
    Quirks { no_card_detect: true, no_capabilities: true, no_high_speed_bit: true, board_power: false };

fn raspi4b(drive: &str) -> Rc<Qemu> {
    Qemu::start(&["-M", "raspi4b", "-S", "-drive", drive], RASPI_RAM)
}

#[test]
fn raspi4b_reads_and_writes_its_card_through_the_port() {
    let card = Card::new("raspi", 64);
    let qemu = raspi4b(&card.drive("sd", ""));
    let mut driver = driver(&qemu, RASPI_EMMC, ARASAN);
    settle(&qemu, &mut driver);
    assert_eq!(driver.trouble(), None);
    assert_eq!(driver.geometry().sectors, 131_072);
    println!("{:?}", driver.card());
    exercise(&qemu, &mut driver, &card, 4096, 2048);
    exercise(&qemu, &mut driver, &card, 40 * 512, 131_000);
}

#[test]
fn raspi4b_takes_a_card_of_64_gib() {
    let card = Card::new("raspi-64g", 65_536);
    let qemu = raspi4b(&card.drive("sd", ""));
    let mut driver = driver(&qemu, RASPI_EMMC, ARASAN);
    settle(&qemu, &mut driver);
    assert_eq!(driver.geometry().sectors, 65_536 * 2048);
    let last = 65_536 * 2048 - 8;
    let buffer = Memory(qemu.clone()).allocate(4096).unwrap();
    qemu.write(buffer.at, &[0xa5; 4096]);
    run(&qemu, &mut driver, BlockOp::Write, last, &[buffer.span(0, 4096).unwrap()]).unwrap();
    qemu.write(buffer.at, &[0; 4096]);
    run(&qemu, &mut driver, BlockOp::Read, last, &[buffer.span(0, 4096).unwrap()]).unwrap();
    let mut back = [0; 4096];
    qemu.read(buffer.at, &mut back);
    assert_eq!(back, [0xa5; 4096]);
}

#[test]
fn raspi4b_has_no_card_in_emmc2() {
    let card = Card::new("raspi-none", 64);
    let qemu = raspi4b(&card.drive("sd", ""));
    let quirks = Quirks { board_power: true, no_card_detect: true, ..Quirks::default() };
    let mut driver = driver(&qemu, RASPI_EMMC2, quirks);
    while !driver.is_settled() {
        driver.poll(qemu.now());
        if driver.wants().is_some() {
            driver.answer(false);
        }
        assert!(qemu.now() < 30_000_000, "no end");
    }
    assert_eq!(driver.trouble(), Some(Trouble::NoCard));
}

/// ECAM of `virt` with highmem; BAR 0 of slot 1 put at 0x1000_0000, memory and bus mastering on.
fn virt_sdhci(card: &Card) -> (Rc<Qemu>, u64) {
    const ECAM: u64 = 0x40_1000_0000;
    const BAR: u32 = 0x1000_0000;
    let drive = card.drive("none", ",id=card");
    let machine = ["-M", "virt", "-m", "1024", "-drive", &drive];
    let devices = ["-device", "sdhci-pci,addr=3", "-device", "sd-card,drive=card"];
    let qemu = Qemu::start(&[&machine[..], &devices[..]].concat(), 0x5000_0000);
    let slot = ECAM + (3 << 15);
    assert_eq!(qemu.load(slot), 0x0007_1b36, "sdhci-pci is in slot 3");
    qemu.store(slot + 0x10, BAR);
    qemu.store(slot + 4, 6);
    (qemu, BAR.into())
}

#[test]
fn virt_reads_and_writes_a_card_by_adma2() {
    let card = Card::new("virt", 4096);
    let (qemu, base) = virt_sdhci(&card);
    let mut driver = driver(&qemu, base, Quirks::default());
    settle(&qemu, &mut driver);
    assert_eq!(driver.trouble(), None);
    assert!(driver.uses_dma());
    assert_eq!(driver.geometry().sectors, 4096 * 2048);
    println!("{:?}", driver.card());
    exercise(&qemu, &mut driver, &card, 65_536, 77);
    exercise(&qemu, &mut driver, &card, 300 * 1024, 100_000);
}
