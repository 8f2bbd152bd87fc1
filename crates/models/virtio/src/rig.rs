//! A guest for tests and fuzz targets: fake RAM, a driver that negotiates, and [`DriverQueue`] in that RAM.

pub mod disk;
pub mod script;
pub mod wire;

use crate::driver_queue::{Access, DriverQueue, Head, QueueMemory, Segment};
use crate::transport::{Device, Progress, VirtioMmio};
use core::cell::Cell;
use ports::fake::{FakeLine, FakeMemory};
use ports::{GuestMemory, Width};
use specs::Ipa;
use specs::virtio::{feature, mmio, status};
use std::{vec, vec::Vec};

/// Start of the RAM.
pub const RAM: Ipa = Ipa(0x4000_0000);

/// The device's own memory and line in a rig.
pub type Slot<'a, D> = VirtioMmio<D, &'a FakeMemory, &'a FakeLine>;

/// A queue's rings in fake RAM. No caches there: the transfers do nothing.
pub struct Rings<'a> {
    pub memory: &'a FakeMemory,
    pub start: Ipa,
}

impl Rings<'_> {
    fn at(&self, offset: usize) -> Ipa {
        self.start.checked_add(offset as u64).unwrap()
    }
}

impl QueueMemory for Rings<'_> {
    fn address(&self) -> u64 {
        self.start.0
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.memory.write(self.at(offset), from).unwrap();
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.memory.read(self.at(offset), into).unwrap();
    }
    fn to_device(&self, _offset: usize, _bytes: usize) {}
    fn from_device(&self, _offset: usize, _bytes: usize) {}
}

/// The most descriptors of a rig's queue.
pub const QUEUE_MAX: usize = 256;
/// The driver's side of a queue in a rig.
pub type Queue<'a> = DriverQueue<Rings<'a>, QUEUE_MAX>;

/// A guest: RAM and its interrupt line.
pub struct Guest {
    pub memory: FakeMemory,
    pub line: FakeLine,
    next: Cell<u64>,
}

impl Guest {
    pub fn new(ram_bytes: usize) -> Self {
        Self { memory: FakeMemory::new(RAM, ram_bytes), line: FakeLine::default(), next: Cell::new(RAM.0) }
    }

    pub fn allocate(&self, bytes: usize) -> Ipa {
        let start = self.next.get().next_multiple_of(64);
        self.next.set(start + bytes as u64);
        Ipa(start)
    }

    /// Forgets all that was allocated since `mark`, which an earlier [`Self::allocate`] gave.
    pub fn free_from(&self, mark: Ipa) {
        self.next.set(mark.0);
    }

    pub fn bytes(&self, at: Ipa, len: usize) -> Vec<u8> {
        let mut into = vec![0; len];
        self.memory.read(at, &mut into).unwrap();
        into
    }

    /// Lays `bytes` down somewhere, as a segment for the device to read.
    pub fn readable(&self, bytes: &[u8]) -> Segment {
        let at = self.allocate(bytes.len());
        self.memory.write(at, bytes).unwrap();
        Segment { address: at.0, bytes: u32::try_from(bytes.len()).unwrap(), access: Access::Read }
    }

    /// `len` bytes of 0xee for the device to write.
    pub fn writable(&self, len: usize) -> Segment {
        let at = self.allocate(len);
        self.memory.write(at, &vec![0xee; len]).unwrap();
        Segment { address: at.0, bytes: u32::try_from(len).unwrap(), access: Access::Write }
    }

    /// What lies in a segment.
    pub fn contents(&self, segment: Segment) -> Vec<u8> {
        self.bytes(Ipa(segment.address), segment.bytes as usize)
    }

    /// The driver's side of queue `index`, known to the device and live.
    pub fn queue<'a, D: Dev<'a>>(
        &'a self,
        device: &Slot<'a, D>,
        index: u16,
        size: u16,
        features: u64,
    ) -> Queue<'a> {
        let start = self.allocate(Queue::bytes(size));
        self.memory.write(start, &vec![0; Queue::bytes(size)]).unwrap();
        let rings = Rings { memory: &self.memory, start };
        let queue = Queue::new(rings, size, features & feature::EVENT_IDX != 0).unwrap();
        place(device, index, &queue);
        queue
    }
}

/// Short for a device in a rig.
pub trait Dev<'a>: Device<&'a FakeMemory, &'a FakeLine> {}
impl<'a, D: Device<&'a FakeMemory, &'a FakeLine>> Dev<'a> for D {}

/// `len` bytes that differ from place to place and from seed to seed (by blocks, for Miri's sake).
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let unit: Vec<u8> = (0..=250).map(|at: u8| at.wrapping_mul(7).wrapping_add(seed)).collect();
    let mut bytes = unit.repeat(len / unit.len() + 1);
    bytes.truncate(len);
    bytes
}

/// A size for each of the device's queues.
fn queue_sizes<'a, D: Dev<'a>>() -> impl Iterator<Item = u16> {
    (0..D::QUEUES).map(|_| 16.min(D::QUEUE_SIZE_MAX))
}

pub fn read<'a, D: Dev<'a>>(device: &Slot<'a, D>, offset: u64) -> u32 {
    u32::try_from(device.read(offset, Width::W32)).unwrap()
}

pub fn write<'a, D: Dev<'a>>(device: &Slot<'a, D>, offset: u64, value: u32) {
    let mut progress = device.write(offset, Width::W32, value.into());
    while progress == Progress::More {
        progress = device.poll();
    }
}

/// Resets, then agrees on `features` (and VERSION_1); whether the device agreed.
pub fn negotiate<'a, D: Dev<'a>>(device: &Slot<'a, D>, features: u64) -> bool {
    write(device, mmio::STATUS, 0);
    write(device, mmio::STATUS, status::ACKNOWLEDGE);
    write(device, mmio::STATUS, status::ACKNOWLEDGE | status::DRIVER);
    let features = features | feature::VERSION_1;
    for (select, half) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
        write(device, mmio::DRIVER_FEATURES_SEL, select);
        write(device, mmio::DRIVER_FEATURES, u32::try_from(half).unwrap());
    }
    write(device, mmio::STATUS, read(device, mmio::STATUS) | status::FEATURES_OK);
    read(device, mmio::STATUS) & status::FEATURES_OK != 0
}

/// All features that the device offers.
pub fn offered<'a, D: Dev<'a>>(device: &Slot<'a, D>) -> u64 {
    write(device, mmio::DEVICE_FEATURES_SEL, 1);
    let high = u64::from(read(device, mmio::DEVICE_FEATURES));
    write(device, mmio::DEVICE_FEATURES_SEL, 0);
    high << 32 | u64::from(read(device, mmio::DEVICE_FEATURES))
}

/// Tells the device where a queue lies, and makes it live.
pub fn place<'a, D: Dev<'a>>(device: &Slot<'a, D>, index: u16, queue: &Queue<'_>) {
    write(device, mmio::QUEUE_SEL, index.into());
    write(device, mmio::QUEUE_NUM, queue.size().into());
    let parts = [
        (mmio::QUEUE_DESC_LOW, queue.descriptor_address()),
        (mmio::QUEUE_DRIVER_LOW, queue.driver_address()),
        (mmio::QUEUE_DEVICE_LOW, queue.device_address()),
    ];
    for (low, address) in parts {
        write(device, low, u32::try_from(address & 0xffff_ffff).unwrap());
        write(device, low + 4, u32::try_from(address >> 32).unwrap());
    }
    write(device, mmio::QUEUE_READY, 1);
}

pub fn driver_ok<'a, D: Dev<'a>>(device: &Slot<'a, D>) {
    write(device, mmio::STATUS, read(device, mmio::STATUS) | status::DRIVER_OK);
}

pub fn notify<'a, D: Dev<'a>>(device: &Slot<'a, D>, index: u16) {
    write(device, mmio::QUEUE_NOTIFY, index.into());
}

/// Submits one request, publishes it and notifies where the device wants it.
pub fn send<'a, D: Dev<'a>>(
    device: &Slot<'a, D>,
    index: u16,
    queue: &mut Queue<'_>,
    segments: &[Segment],
) -> Head {
    let head = queue.submit(segments).expect("a free descriptor");
    if queue.publish() {
        notify(device, index);
    }
    head
}

/// An indirect descriptor needs a table in guest memory: `segments` as one. The result goes to
/// [`submit_indirect`].
pub fn indirect_table(guest: &Guest, segments: &[Segment]) -> Segment {
    use specs::virtio::{Descriptor, queue};
    let mut raw = Vec::new();
    for (segment, next) in segments.iter().zip(1..) {
        let mut flags = if usize::from(next) < segments.len() { queue::NEXT } else { 0 };
        if segment.access == Access::Write {
            flags |= queue::WRITE;
        }
        let descriptor = Descriptor { addr: segment.address, len: segment.bytes, flags, next };
        raw.extend_from_slice(&descriptor.to_bytes());
    }
    guest.readable(&raw)
}

/// Submits a chain that ends in an indirect table: the plain segments of `before`, then `table`.
pub fn submit_indirect(guest: &Guest, queue: &mut Queue<'_>, before: &[Segment], table: Segment) -> Head {
    let mut segments = before.to_vec();
    segments.push(table);
    let head = queue.submit(&segments).expect("a free descriptor");
    let last = last_of(guest, queue, head);
    patch_flags(guest, queue, last, |_| specs::virtio::queue::INDIRECT);
    head
}

/// The last descriptor of the chain at `head`.
pub fn last_of(guest: &Guest, queue: &Queue<'_>, head: Head) -> u16 {
    let mut at = head.0;
    loop {
        let descriptor = descriptor(guest, queue, at);
        if descriptor.flags & specs::virtio::queue::NEXT == 0 {
            return at;
        }
        at = descriptor.next;
    }
}

/// A descriptor as it lies in guest memory.
pub fn descriptor(guest: &Guest, queue: &Queue<'_>, index: u16) -> specs::virtio::Descriptor {
    let raw = guest.bytes(Ipa(queue.descriptor_address() + u64::from(index) * 16), 16);
    specs::virtio::Descriptor::from_bytes(raw.try_into().unwrap())
}

/// Changes a descriptor's flags behind the driver's back.
pub fn patch_flags(guest: &Guest, queue: &Queue<'_>, index: u16, change: impl Fn(u16) -> u16) {
    let mut descriptor = descriptor(guest, queue, index);
    descriptor.flags = change(descriptor.flags);
    patch(guest, queue, index, descriptor);
}

/// Writes a descriptor behind the driver's back.
pub fn patch(guest: &Guest, queue: &Queue<'_>, index: u16, descriptor: specs::virtio::Descriptor) {
    let at = Ipa(queue.descriptor_address() + u64::from(index) * 16);
    guest.memory.write(at, &descriptor.to_bytes()).unwrap();
}
