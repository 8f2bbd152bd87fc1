//! The driver against the block device of crate `virtio`, over memory with two views.

use super::*;
use crate::model::memory::{FakeDma, TwoViews, span};
use crate::model::virtio::{Line, SlotRegisters};
use ports::{GuestMemory, InterruptLine};
use proptest::prelude::*;
use std::rc::Rc;
use std::vec;
use virtio::Block;
use virtio::rig::disk::Disk;

const SECTORS: usize = 512;
/// Tests' data lie from here on; the driver's buffers below.
const DATA: usize = 0x8_0000;
const MEMORY: usize = 0x10_0000;

type Registers = SlotRegisters<Block<Disk>>;

struct Rig {
    memory: Rc<TwoViews>,
    dma: FakeDma,
    device: Registers,
    disk: Disk,
    driver: VirtioBlk<Registers, FakeDma>,
}

fn rig(disk: Disk) -> Rig {
    let memory = TwoViews::new(MEMORY, MEMORY);
    let dma = FakeDma(memory.clone());
    let device = SlotRegisters::new(Block::new(disk.clone(), "bramble-7"), &memory, &Line::default());
    let driver = VirtioBlk::new(device.clone(), dma.clone()).unwrap();
    Rig { memory, dma, device, disk, driver }
}

impl Rig {
    fn submit(&mut self, token: u32, op: BlockOp, sector: u64, data: &[Span]) -> Submitted {
        let (token, sector) = (Token(token), Sector(sector));
        self.driver.submit(&BlockRequest { token, op, sector, data, memory: &self.dma })
    }

    /// Submits and waits.
    fn run(&mut self, op: BlockOp, sector: u64, data: &[Span]) -> Result<(), BlockError> {
        match self.submit(1, op, sector, data) {
            Submitted::Done(result) => result,
            Submitted::Full => panic!("full"),
            Submitted::InFlight => {
                for _ in 0..10 {
                    self.device.run();
                    self.driver.acknowledge();
                    if let Some(completion) = self.driver.complete() {
                        assert_eq!(completion.token, Token(1));
                        return completion.result;
                    }
                }
                panic!("no completion");
            }
        }
    }

    fn pe_bytes(&self, at: usize, bytes: usize) -> std::vec::Vec<u8> {
        let mut into = vec![0; bytes];
        self.dma.read(specs::Ipa(at as u64), &mut into).unwrap();
        into
    }
}

#[test]
fn written_data_come_back() {
    let mut rig = rig(Disk::new(SECTORS));
    let bytes: std::vec::Vec<u8> = (0..4096_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    rig.dma.write(specs::Ipa(DATA as u64), &bytes).unwrap();
    // In runs that are no sectors.
    let from = [span(DATA, 100), span(DATA + 100, 1900), span(DATA + 2000, 2096)];
    assert_eq!(rig.run(BlockOp::Write, 3, &from), Ok(()));
    assert_eq!(rig.disk.0.borrow().cached[3 * 512..11 * 512], bytes[..]);
    assert_eq!(rig.run(BlockOp::Read, 3, &[span(DATA + 0x4000, 512), span(DATA + 0x6000, 3584)]), Ok(()));
    assert_eq!(rig.pe_bytes(DATA + 0x4000, 512), bytes[..512]);
    assert_eq!(rig.pe_bytes(DATA + 0x6000, 3584), bytes[512..]);
    assert_eq!((rig.memory.stray.get(), rig.memory.lost.get()), (0, 0));
}

#[test]
fn flush_discard_and_zeroes_reach_the_disk() {
    let mut rig = rig(Disk::new(SECTORS));
    rig.disk.0.borrow_mut().cached.fill(7);
    assert_eq!(rig.run(BlockOp::Flush, 0, &[]), Ok(()));
    assert_eq!(rig.disk.0.borrow().flushes, 1);
    assert_eq!(rig.run(BlockOp::WriteZeroes { sectors: 4 }, 8, &[]), Ok(()));
    assert_eq!(rig.disk.0.borrow().cached[8 * 512..12 * 512], [0; 2048]);
    assert_eq!(rig.disk.0.borrow().cached[12 * 512], 7);
    assert_eq!(rig.run(BlockOp::Discard { sectors: 8 }, 16, &[]), Ok(()));
    assert!(rig.driver.geometry().discard);
}

#[test]
fn the_serial_number_arrives() {
    let mut rig = rig(Disk::new(SECTORS));
    assert!(rig.driver.complete().is_none());
    assert_eq!(&rig.driver.serial().unwrap()[..9], b"bramble-7");
    let geometry = rig.driver.geometry();
    assert_eq!((geometry.sectors, geometry.read_only), (SECTORS as u64, false));
}

#[test]
fn what_can_not_be_is_refused() {
    let mut disk = rig(Disk::new(SECTORS));
    let one = [span(DATA, 512)];
    assert_eq!(disk.run(BlockOp::Read, SECTORS as u64, &one), Err(BlockError::OutOfRange));
    assert_eq!(disk.run(BlockOp::Write, u64::MAX, &one), Err(BlockError::OutOfRange));
    assert_eq!(disk.run(BlockOp::Read, 0, &[span(DATA, 511)]), Err(BlockError::Io));
    assert_eq!(
        disk.run(BlockOp::Read, 0, &[span(MEMORY, 512)]),
        Err(BlockError::Io),
        "out of the device's reach"
    );
    disk.disk.0.borrow_mut().fail_with = Some(BlockError::Io);
    assert_eq!(disk.run(BlockOp::Read, 0, &one), Err(BlockError::Io));
    let mut read_only = rig(Disk::new(SECTORS).with(|platters| platters.read_only = true));
    assert_eq!(read_only.run(BlockOp::Write, 0, &one), Err(BlockError::ReadOnly));
    assert_eq!(read_only.run(BlockOp::Read, 0, &one), Ok(()));
}

#[test]
fn many_are_in_flight_and_end_in_any_order() {
    let mut rig = rig(Disk::new(SECTORS).with(|platters| platters.slots = Some(64)));
    let mut token = 0;
    while rig.submit(token, BlockOp::Write, token.into(), &[span(DATA + 512 * token as usize, 512)])
        == Submitted::InFlight
    {
        token += 1;
    }
    // The serial number's slot may be free again or not.
    assert!(token as usize >= SLOTS - 1, "{token}");
    let mut seen = std::vec::Vec::new();
    while seen.len() < token as usize {
        let place = 7 * seen.len();
        rig.disk.finish(place);
        rig.device.run();
        rig.driver.acknowledge();
        let completion = rig.driver.complete().unwrap();
        assert_eq!(completion.result, Ok(()));
        assert!(rig.driver.complete().is_none());
        seen.push(completion.token.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..token).collect::<std::vec::Vec<_>>());
}

#[test]
fn an_interrupt_follows_after_complete_gave_nothing() {
    let memory = TwoViews::new(MEMORY, MEMORY);
    let line = Line::default();
    let disk = Disk::new(SECTORS).with(|platters| platters.slots = Some(4));
    let device = SlotRegisters::new(Block::new(disk.clone(), ""), &memory, &line);
    let dma = FakeDma(memory);
    let mut driver = VirtioBlk::new(device.clone(), dma.clone()).unwrap();
    for token in 0..20 {
        driver.acknowledge();
        assert!(driver.complete().is_none());
        assert!(!line.0.high.get());
        let (op, data) = (BlockOp::Read, &[span(DATA, 512)][..]);
        let request = BlockRequest { token: Token(token), op, sector: Sector(0), data, memory: &dma };
        assert_eq!(driver.submit(&request), Submitted::InFlight);
        disk.finish(0);
        device.run();
        assert!(line.0.high.get(), "round {token}");
        driver.acknowledge();
        assert!(driver.complete().is_some());
    }
    line.lower();
}

#[test]
fn more_runs_than_a_chain_holds_go_in_pieces() {
    let mut rig = rig(Disk::new(SECTORS));
    let runs: std::vec::Vec<Span> = (0..SPANS_MAX).map(|n| span(DATA + n * 1024, 512)).collect();
    for (n, run) in runs.iter().enumerate() {
        rig.dma.write_span(*run, &[n.to_le_bytes()[0]; 512]);
    }
    assert_eq!(rig.run(BlockOp::Write, 0, &runs), Ok(()));
    for n in 0..SPANS_MAX {
        assert_eq!(rig.disk.0.borrow().cached[n * 512 + 511], n.to_le_bytes()[0]);
    }
    rig.disk.0.borrow_mut().cached[..SPANS_MAX * 512].reverse();
    assert_eq!(rig.run(BlockOp::Read, 0, &runs), Ok(()));
    for n in 0..SPANS_MAX {
        assert_eq!(rig.pe_bytes(DATA + n * 1024, 1)[0], (SPANS_MAX - 1 - n).to_le_bytes()[0]);
    }
}

/// Registers of a device that answers what the script says.
struct Liar(core::cell::RefCell<std::vec::Vec<u8>>);

impl crate::hardware::Registers for &Liar {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            0x000 => 0x7472_6976,
            0x004 => 2,
            0x008 => 2,
            0x010 => u32::MAX,
            0x070 => 11,
            _ => u32::from(self.read8(0)) << 24 | u32::from(self.read8(0)),
        }
    }
    fn write32(&self, _offset: usize, _value: u32) {}
    fn read8(&self, _offset: usize) -> u8 {
        self.0.borrow_mut().pop().unwrap_or(0x5a)
    }
    fn write8(&self, _offset: usize, _value: u8) {}
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever registers and rings say: no panic, and every request in flight ends at most once, with an error or not.
    #[test]
    fn a_liar_is_survived(
        script in prop::collection::vec(any::<u8>(), 0..200),
        pokes in prop::collection::vec((0..0x4000_usize, any::<u8>()), 0..60),
    ) {
        let memory = TwoViews::new(MEMORY, MEMORY);
        let dma = FakeDma(memory.clone());
        let liar = Liar(core::cell::RefCell::new(script));
        let Ok(mut driver) = VirtioBlk::new(&liar, dma.clone()) else { return Ok(()) };
        let mut in_flight = 0;
        for (token, (at, value)) in (0..).zip(pokes) {
            let (op, data) = (BlockOp::Read, &[span(DATA, 512)][..]);
            let request = BlockRequest { token: Token(token), op, sector: Sector(0), data, memory: &dma };
            in_flight += u32::from(driver.submit(&request) == Submitted::InFlight);
            let address = crate::hardware::DeviceAddress(crate::model::memory::BUS_OFFSET + at as u64);
            memory.device_write(address, &[value]);
            driver.acknowledge();
            while driver.complete().is_some() {
                prop_assert!(in_flight > 0);
                in_flight -= 1;
            }
        }
        driver.give_up();
        while driver.complete().is_some() {
            in_flight -= 1;
        }
        prop_assert_eq!(in_flight, 0);
    }
}
