//! A virtio-mmio transport and the memory of its queues. Virtio 1.2, 3.1.1 "Driver Requirements: Device Initialization",
//! 4.2.2 "MMIO Device Register Layout".
//!
//! Called by: [`crate::card`], [`crate::queue`]. Everything that the device reads or writes lies in spare RAM, in windows.

use el1::registers::dsb;
use el1::window::Window;
use specs::virtio::{feature, mmio, status};
use virtio::driver_queue::{DriverQueue, QueueMemory};

/// The memory of one queue.
pub struct Rings(pub Window);

impl QueueMemory for Rings {
    fn address(&self) -> u64 {
        self.0.base() as u64
    }
    fn write(&mut self, offset: usize, from: &[u8]) {
        match *from {
            [low, high] => self.0.write16(offset, u16::from_le_bytes([low, high])),
            _ => self.0.fill(offset, from),
        }
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        match into {
            [low, high] => [*low, *high] = self.0.read16(offset).to_le_bytes(),
            _ => self.0.copy_to(offset, into),
        }
    }
    // The vmkernel sees the same memory through the same caches: order is all that is needed.
    fn to_device(&self, _: usize, _: usize) {
        dsb();
    }
    fn from_device(&self, _: usize, _: usize) {
        dsb();
    }
}

/// The registers of one device.
#[derive(Clone, Copy)]
pub struct Transport(Window);

impl Transport {
    /// The device whose registers these are, reset, if it has this id.
    pub fn new(registers: Window, device_id: u32) -> Option<Self> {
        let this = Self(registers);
        if this.read(mmio::MAGIC_VALUE) != mmio::MAGIC || this.read(mmio::DEVICE_ID) != device_id {
            return None;
        }
        this.write(mmio::STATUS, 0);
        this.write(mmio::STATUS, status::ACKNOWLEDGE);
        this.write(mmio::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        Some(this)
    }

    /// Agrees on VERSION_1 and those of `wanted` that the device has; these.
    pub fn negotiate(&self, wanted: u64) -> u64 {
        let half = |select| {
            self.write(mmio::DEVICE_FEATURES_SEL, select);
            u64::from(self.read(mmio::DEVICE_FEATURES))
        };
        let agreed = (half(0) | half(1) << 32) & (wanted | feature::VERSION_1);
        for (select, half) in [(0, agreed as u32), (1, (agreed >> 32) as u32)] {
            self.write(mmio::DRIVER_FEATURES_SEL, select);
            self.write(mmio::DRIVER_FEATURES, half);
        }
        self.write(mmio::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        agreed
    }

    /// Shows the device its queue `index`.
    pub fn attach<const N: usize>(&self, index: u32, queue: &DriverQueue<Rings, N>) {
        self.write(mmio::QUEUE_SEL, index);
        self.write(mmio::QUEUE_NUM, queue.size().into());
        for (register, address) in [
            (mmio::QUEUE_DESC_LOW, queue.descriptor_address()),
            (mmio::QUEUE_DRIVER_LOW, queue.driver_address()),
            (mmio::QUEUE_DEVICE_LOW, queue.device_address()),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(mmio::QUEUE_READY, 1);
    }

    /// The device may begin.
    pub fn start(&self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.write(mmio::STATUS, all);
    }

    /// Queue `index` has something new.
    pub fn notify(&self, index: u32) {
        self.write(mmio::QUEUE_NOTIFY, index);
    }

    /// Takes the interrupt back: why it came.
    pub fn acknowledge(&self) -> u32 {
        let pending = self.read(mmio::INTERRUPT_STATUS);
        if pending != 0 {
            self.write(mmio::INTERRUPT_ACK, pending);
        }
        pending
    }

    /// A byte of the device's configuration space.
    pub fn config(&self, offset: usize) -> u8 {
        self.0.read8(mmio::CONFIG as usize + offset)
    }

    fn read(&self, register: u64) -> u32 {
        self.0.read32(register as usize)
    }

    fn write(&self, register: u64, value: u32) {
        self.0.write32(register as usize, value);
    }
}
