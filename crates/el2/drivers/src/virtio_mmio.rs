//! The driver's side of virtio's memory-mapped transport: what all virtio host drivers share.
//!
//! Called by `virtio_blk`, `virtio_net`, `virtio_rng`, and by the vmkernel to see what a slot holds. Calls [`Registers`],
//! and hands queues to `virtio::driver_queue`.
//! Source: virtio 1.2, 4.2 "Virtio Over MMIO", 3.1 "Device Initialization".
//! Concurrency: one owner per device.

use crate::hardware::{DmaBuffer, Registers};
use core::fmt;
use specs::virtio::{feature, mmio, status};
use virtio::driver_queue::{DriverQueue, QueueMemory};

/// Descriptors that a host driver's queue has at most.
pub const QUEUE_MAX: usize = 256;

/// Why a slot gives no device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VirtioError {
    /// No virtio transport, or a slot without a device.
    Empty,
    /// A transport of version 1.
    Legacy,
    /// The device is of another kind.
    WrongDevice,
    /// The device does not agree to features that it offered, or lacks one that is needed.
    Refused,
    /// The device has not the queue that its kind must have.
    NoQueue,
    /// No memory for queues or buffers.
    NoMemory,
}

impl fmt::Display for VirtioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no virtio device here",
            Self::Legacy => {
                "legacy virtio device: version 2 is needed (QEMU: -global virtio-mmio.force-legacy=false)"
            }
            Self::WrongDevice => "a virtio device of another kind",
            Self::Refused => "the virtio device does not agree on features",
            Self::NoQueue => "the virtio device lacks a queue",
            Self::NoMemory => "no memory for the virtio device's queues",
        })
    }
}

/// A queue's rings in DMA memory.
pub struct Rings<B>(pub B);

impl<B: DmaBuffer> QueueMemory for Rings<B> {
    fn address(&self) -> u64 {
        self.0.address().0
    }

    #[inline]
    fn write(&mut self, offset: usize, from: &[u8]) {
        self.0.write(offset, from);
    }

    #[inline]
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.0.read(offset, into);
    }

    #[inline]
    fn to_device(&self, offset: usize, bytes: usize) {
        self.0.to_device(offset, bytes);
    }

    #[inline]
    fn from_device(&self, offset: usize, bytes: usize) {
        self.0.from_device(offset, bytes);
    }
}

/// A host driver's queue.
pub type HostQueue<B> = DriverQueue<Rings<B>, QUEUE_MAX>;

/// What an interrupt said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// A used ring moved.
    pub used: bool,
    /// The configuration changed.
    pub config: bool,
    /// The device needs a reset.
    pub broken: bool,
}

/// The registers of a slot that holds a device.
pub struct Transport<R> {
    registers: R,
}

/// Register offsets of `specs` are those of a guest's bus; a driver's are `usize`.
#[allow(clippy::cast_possible_truncation, reason = "offsets below 0x200")]
const fn at(offset: u64) -> usize {
    offset as usize
}

fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

impl<R: Registers> Transport<R> {
    /// The transport of a slot, whatever its device is.
    pub fn open(registers: R) -> Result<Self, VirtioError> {
        let transport = Self { registers };
        if transport.load(mmio::MAGIC_VALUE) != mmio::MAGIC {
            return Err(VirtioError::Empty);
        }
        match (transport.load(mmio::VERSION), transport.device_id()) {
            (_, 0) => Err(VirtioError::Empty),
            (mmio::VERSION_2, _) => Ok(transport),
            _ => Err(VirtioError::Legacy),
        }
    }

    /// What device it is: `specs::virtio::device_id`.
    pub fn device_id(&self) -> u32 {
        self.load(mmio::DEVICE_ID)
    }

    /// Resets the device and agrees on those of `wanted` that it offers, and VERSION_1. Gives what was agreed.
    pub fn negotiate(&self, wanted: u64) -> Result<u64, VirtioError> {
        self.reset();
        self.store(mmio::STATUS, status::ACKNOWLEDGE);
        self.store(mmio::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        self.store(mmio::DEVICE_FEATURES_SEL, 1);
        let high = u64::from(self.load(mmio::DEVICE_FEATURES));
        self.store(mmio::DEVICE_FEATURES_SEL, 0);
        let offered = high << 32 | u64::from(self.load(mmio::DEVICE_FEATURES));
        let agreed = offered & (wanted | feature::VERSION_1);
        let (low, high) = halves(agreed);
        for (select, half) in [(0, low), (1, high)] {
            self.store(mmio::DRIVER_FEATURES_SEL, select);
            self.store(mmio::DRIVER_FEATURES, half);
        }
        let with_features = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.store(mmio::STATUS, with_features);
        if agreed & feature::VERSION_1 == 0 || self.load(mmio::STATUS) & status::FEATURES_OK == 0 {
            self.store(mmio::STATUS, status::FAILED);
            return Err(VirtioError::Refused);
        }
        Ok(agreed)
    }

    /// Makes a queue and shows it to the device. `allocate` gives memory of the driver's DMA.
    pub fn attach<B: DmaBuffer>(
        &self,
        index: u16,
        features: u64,
        allocate: impl Fn(usize) -> Option<B>,
    ) -> Result<HostQueue<B>, VirtioError> {
        self.store(mmio::QUEUE_SEL, index.into());
        let most = self.load(mmio::QUEUE_NUM_MAX).min(256);
        let size = u16::try_from(most).ok().filter(|most| *most != 0).ok_or(VirtioError::NoQueue)?;
        let size = 1_u16 << size.ilog2();
        let memory = allocate(HostQueue::<B>::bytes(size)).ok_or(VirtioError::NoMemory)?;
        // The device's view must be zero, too, before it looks.
        memory.to_device(0, memory.bytes());
        let event_index = features & feature::EVENT_IDX != 0;
        let queue = HostQueue::new(Rings(memory), size, event_index).ok_or(VirtioError::NoQueue)?;
        self.store(mmio::QUEUE_NUM, size.into());
        self.store_address(mmio::QUEUE_DESC_LOW, mmio::QUEUE_DESC_HIGH, queue.descriptor_address());
        self.store_address(mmio::QUEUE_DRIVER_LOW, mmio::QUEUE_DRIVER_HIGH, queue.driver_address());
        self.store_address(mmio::QUEUE_DEVICE_LOW, mmio::QUEUE_DEVICE_HIGH, queue.device_address());
        self.store(mmio::QUEUE_READY, 1);
        Ok(queue)
    }

    /// The driver is ready.
    pub fn start(&self) {
        self.store(mmio::STATUS, self.load(mmio::STATUS) | status::DRIVER_OK);
    }

    /// Ends whatever the device does with memory.
    pub fn reset(&self) {
        self.store(mmio::STATUS, 0);
    }

    /// Tells the device to look at a queue.
    #[inline]
    pub fn notify(&self, index: u16) {
        self.store(mmio::QUEUE_NOTIFY, index.into());
    }

    /// Takes and acknowledges what the interrupt says. Call before looking at the queues.
    pub fn acknowledge(&self) -> Interrupt {
        let bits = self.load(mmio::INTERRUPT_STATUS);
        if bits != 0 {
            self.store(mmio::INTERRUPT_ACK, bits);
        }
        let config = bits & mmio::INTERRUPT_CONFIG != 0;
        let broken = config && self.load(mmio::STATUS) & status::DEVICE_NEEDS_RESET != 0;
        Interrupt { used: bits & mmio::INTERRUPT_USED != 0, config, broken }
    }

    /// Copies the configuration space from `offset` on, unchanged by the device while it is copied.
    pub fn config(&self, offset: usize, into: &mut [u8]) {
        // A device that changes its configuration all the time gets what is read last.
        for _ in 0..8 {
            let generation = self.load(mmio::CONFIG_GENERATION);
            for (byte, place) in into.iter_mut().zip(at(mmio::CONFIG).saturating_add(offset)..) {
                *byte = self.registers.read8(place);
            }
            if self.load(mmio::CONFIG_GENERATION) == generation {
                break;
            }
        }
    }

    /// A little-endian number of `N` bytes in the configuration space.
    pub fn config_number<const N: usize>(&self, offset: usize) -> u64 {
        let mut raw = [0; N];
        self.config(offset, &mut raw);
        raw.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn load(&self, offset: u64) -> u32 {
        self.registers.read32(at(offset))
    }

    fn store(&self, offset: u64, value: u32) {
        self.registers.write32(at(offset), value);
    }

    fn store_address(&self, low: u64, high: u64, address: u64) {
        let (lower, upper) = halves(address);
        self.store(low, lower);
        self.store(high, upper);
    }
}
