//! The virtio drivers against QEMU's virtio devices on `virt`.

use super::{Memory, Qemu};
use drivers::hardware::Registers;
use drivers::virtio_blk::VirtioBlk;
use drivers::virtio_mmio::{Transport, VirtioError};
use drivers::virtio_net::VirtioNet;
use drivers::virtio_rng::{REQUEST_BYTES, VirtioRng};
use ports::fake::FakeMemory;
use ports::{
    BadAddress, BlockBackend, BlockCompletion, BlockError, BlockOp, BlockRequest, Delivered, Frame,
    FrameSink, GuestMemory, Offload, Sector, Span, Submitted, Token,
};
use specs::{Ipa, IpaRange, Pa};
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Slots of `virt`: hw/arm/virt.c, VIRT_MMIO.
const SLOTS: u64 = 0x0a00_0000;
const RAM: u64 = 0x4000_0000;
/// Test data; the drivers' buffers lie below.
const DATA: u64 = RAM + (32 << 20);

#[derive(Clone)]
struct Slot {
    qemu: Rc<Qemu>,
    base: u64,
}

impl Registers for Slot {
    fn read32(&self, offset: usize) -> u32 {
        self.qemu.load(self.base + offset as u64)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.qemu.store(self.base + offset as u64, value);
    }
    fn read8(&self, offset: usize) -> u8 {
        let answer = self.qemu.ask(&format!("readb {:#x}", self.base + offset as u64));
        u8::from_str_radix(answer.trim_start_matches("0x").trim_start_matches('0'), 16).unwrap_or(0)
    }
    fn write8(&self, _offset: usize, _value: u8) {}
}

fn start(modern: bool, devices: &[&str]) -> Rc<Qemu> {
    let legacy = if modern { "virtio-mmio.force-legacy=false" } else { "virtio-mmio.force-legacy=true" };
    let machine = ["-M", "virt", "-m", "64", "-nodefaults", "-global", legacy];
    Qemu::start(&[&machine[..], devices].concat(), RAM + (1 << 20))
}

/// The slot of the first device of a kind.
fn slot(qemu: &Rc<Qemu>, device_id: u32) -> Slot {
    let slots = (0..32).map(|n| Slot { qemu: qemu.clone(), base: SLOTS + n * 0x200 });
    let holds = |slot: &Slot| Transport::open(slot.clone()).is_ok_and(|it| it.device_id() == device_id);
    slots.into_iter().find(holds).expect("the device is in a slot")
}

fn within<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if let Some(found) = poll() {
            return found;
        }
    }
    panic!("no answer");
}

fn run(
    disk: &mut VirtioBlk<Slot, Memory>,
    op: BlockOp,
    sector: u64,
    data: &[Span],
) -> Result<(), BlockError> {
    let memory = FakeMemory::new(Ipa(0), 0);
    let request = BlockRequest { token: Token(9), op, sector: Sector(sector), data, memory: &memory };
    match disk.submit(&request) {
        Submitted::Done(result) => result,
        Submitted::Full => panic!("full"),
        Submitted::InFlight => within(|| {
            disk.acknowledge();
            disk.complete().map(|BlockCompletion { token, result }| {
                assert_eq!(token, Token(9));
                result
            })
        }),
    }
}

#[test]
fn a_disk_of_qemu_keeps_what_is_written() {
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join("virtio-disk.img");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let drive = format!("if=none,id=d,format=raw,discard=unmap,file={}", image.display());
    let qemu = start(true, &["-drive", &drive, "-device", "virtio-blk-device,drive=d,serial=bramble-42"]);
    let mut disk = VirtioBlk::new(slot(&qemu, 2), Memory(qemu.clone())).unwrap();
    let geometry = disk.geometry();
    assert_eq!((geometry.sectors, geometry.read_only, geometry.discard), (16384, false, true));

    let bytes: Vec<u8> = (0..8192_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    qemu.write(DATA, &bytes);
    let runs = [Span { start: Pa(DATA), bytes: 1000 }, Span { start: Pa(DATA + 1000), bytes: 7192 }];
    assert_eq!(run(&mut disk, BlockOp::Write, 100, &runs), Ok(()));
    assert_eq!(run(&mut disk, BlockOp::Flush, 0, &[]), Ok(()));
    assert_eq!(run(&mut disk, BlockOp::WriteZeroes { sectors: 1 }, 101, &[]), Ok(()));
    assert_eq!(run(&mut disk, BlockOp::Discard { sectors: 8 }, 1000, &[]), Ok(()));

    // 200 runs apart from each other: more than one chain takes.
    let into: Vec<Span> =
        (0..200).map(|n| Span { start: Pa(DATA + 0x10_0000 + n * 1024), bytes: 512 }).collect();
    assert_eq!(run(&mut disk, BlockOp::Read, 100, &into), Ok(()));
    for (n, span) in into.iter().enumerate().take(16) {
        let mut seen = [0; 512];
        qemu.read(span.start.0, &mut seen);
        let expected = if n == 1 { &[0; 512][..] } else { &bytes[n * 512..][..512] };
        assert_eq!(seen, expected, "sector {n}");
    }
    assert_eq!(run(&mut disk, BlockOp::Read, 16384, &into[..1]), Err(BlockError::OutOfRange));
    assert_eq!(&disk.serial().expect("the first answer")[..10], b"bramble-42");
    let on_host = std::fs::read(&image).unwrap();
    assert_eq!(on_host[100 * 512..101 * 512], bytes[..512]);
}

#[test]
fn a_read_only_disk_says_so() {
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join("virtio-read-only.img");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let drive = format!("if=none,id=d,format=raw,readonly=on,file={}", image.display());
    let qemu = start(true, &["-drive", &drive, "-device", "virtio-blk-device,drive=d"]);
    let mut disk = VirtioBlk::new(slot(&qemu, 2), Memory(qemu.clone())).unwrap();
    assert!(disk.geometry().read_only);
    let data = [Span { start: Pa(DATA), bytes: 512 }];
    assert_eq!(run(&mut disk, BlockOp::Write, 0, &data), Err(BlockError::ReadOnly));
    assert_eq!(run(&mut disk, BlockOp::Read, 0, &data), Ok(()));
}

#[test]
fn a_legacy_device_and_an_empty_slot_are_told_apart() {
    let qemu = start(false, &["-device", "virtio-rng-device"]);
    let found: Vec<_> = (0..32)
        .map(|n| Transport::open(Slot { qemu: qemu.clone(), base: SLOTS + n * 0x200 }).err())
        .collect();
    assert_eq!(found.iter().filter(|found| **found == Some(VirtioError::Legacy)).count(), 1);
    assert_eq!(found.iter().filter(|found| **found == Some(VirtioError::Empty)).count(), 31);
}

#[test]
fn qemu_gives_a_seed() {
    let qemu = start(true, &["-device", "virtio-rng-device"]);
    let mut source = VirtioRng::new(slot(&qemu, 4), &Memory(qemu.clone())).unwrap();
    let mut seeds = [[0; REQUEST_BYTES]; 2];
    for seed in &mut seeds {
        source.request();
        assert!(within(|| source.take(seed)) > 0);
    }
    assert_ne!(seeds[0], seeds[1]);
}

/// Host memory as the card's frames name it.
struct Spans(Rc<Qemu>);

impl GuestMemory for Spans {
    fn read(&self, at: Ipa, _into: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }
    fn write(&self, at: Ipa, _from: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }
    fn load_acquire(&self, at: Ipa) -> Result<u16, BadAddress> {
        Err(BadAddress(at))
    }
    fn store_release(&self, at: Ipa, _value: u16) -> Result<(), BadAddress> {
        Err(BadAddress(at))
    }
    fn full_fence(&self) {}
    fn resolve(&self, range: IpaRange) -> Result<Span, BadAddress> {
        Err(BadAddress(range.start()))
    }
    fn copy_span(&self, into: Span, from: Span) {
        let mut bytes = vec![0; into.bytes.min(from.bytes) as usize];
        self.read_span(from, &mut bytes);
        self.write_span(into, &bytes);
    }
    fn read_span(&self, from: Span, into: &mut [u8]) {
        self.0.read(from.start.0, into);
    }
    fn write_span(&self, into: Span, from: &[u8]) {
        self.0.write(into.start.0, from);
    }
}

#[test]
fn the_gateway_of_qemu_answers_arp() {
    let devices =
        ["-netdev", "user,id=n,restrict=on", "-device", "virtio-net-device,netdev=n,mac=02:00:00:00:00:07"];
    let qemu = start(true, &devices);
    let mut card = VirtioNet::new(slot(&qemu, 1), &Memory(qemu.clone())).unwrap();
    let mac = [2, 0, 0, 0, 0, 7];
    assert_eq!((card.mac(), card.is_link_up()), (mac, true));
    // RFC 826: who has 10.0.2.2, asks 10.0.2.15.
    let mut request = vec![0xff; 6];
    request.extend(mac);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac);
    request.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    request.resize(60, 0);
    let memory = Spans(qemu.clone());
    for _ in 0..3 {
        qemu.write(DATA, &request);
        let data = [Span { start: Pa(DATA), bytes: 60 }];
        let frame = Frame { data: &data, bytes: 60, offload: Offload::default(), memory: &memory };
        assert_eq!(card.deliver(&frame), Delivered::Yes);
        let reply = within(|| {
            let mut reply = None;
            card.acknowledge();
            card.receive(&memory, 4, |frame| {
                let mut bytes = vec![0; frame.bytes as usize];
                frame.memory.read_span(frame.data[0], &mut bytes);
                // An ARP reply: other frames may come, too.
                if bytes.get(12..14) == Some(&[8, 6]) && bytes.get(20..22) == Some(&[0, 2]) {
                    reply = Some(bytes);
                }
            });
            reply
        });
        assert_eq!((&reply[..6], &reply[28..32]), (&mac[..], &[10, 0, 2, 2][..]));
    }
}
