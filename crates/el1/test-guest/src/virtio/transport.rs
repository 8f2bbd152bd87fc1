//! One virtio-mmio transport. VIRTIO 1.2, 4.2.2 "MMIO Device Register Layout".

use super::queue::Queue;
use el1::boot::Device;
use el1::window::Window;

/// Device ids (5).
pub const NETWORK: u32 = 1;
pub const BLOCK: u32 = 2;
pub const CONSOLE: u32 = 3;
pub const ENTROPY: u32 = 4;

/// Status bits (2.1).
pub mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
}

/// The registers of one device.
pub struct Transport {
    registers: Window,
    /// Its interrupt.
    pub intid: Option<u32>,
}

impl Transport {
    /// The transport at this place of the device tree.
    pub fn new(device: Device) -> Self {
        Self { registers: device.registers, intid: device.intid }
    }

    /// All of its registers.
    pub fn registers(&self) -> Window {
        self.registers
    }

    /// MagicValue.
    pub fn magic(&self) -> u32 {
        self.registers.read32(0x000)
    }

    /// Version.
    pub fn version(&self) -> u32 {
        self.registers.read32(0x004)
    }

    /// DeviceID; 0: nothing in this slot.
    pub fn device_id(&self) -> u32 {
        self.registers.read32(0x008)
    }

    /// A word for the names of tests.
    pub fn kind(&self) -> &'static str {
        match self.device_id() {
            NETWORK => "net",
            BLOCK => "blk",
            CONSOLE => "console",
            ENTROPY => "rng",
            _ => "other",
        }
    }

    /// DeviceFeatures, both halves.
    pub fn features(&self) -> u64 {
        let half = |select| {
            self.registers.write32(0x014, select);
            u64::from(self.registers.read32(0x010))
        };
        half(0) | half(1) << 32
    }

    /// DriverFeatures, both halves.
    pub fn accept(&self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.registers.write32(0x024, select);
            self.registers.write32(0x020, half);
        }
    }

    /// QueueNumMax.
    pub fn queue_max(&self, queue: u32) -> u32 {
        self.registers.write32(0x030, queue);
        self.registers.read32(0x034)
    }

    /// QueueReady.
    pub fn queue_ready(&self, queue: u32) -> u32 {
        self.registers.write32(0x030, queue);
        self.registers.read32(0x044)
    }

    /// Gives the device a queue of `size` descriptors and turns it on.
    pub fn set_queue(&self, queue: u32, size: u32, descriptors: u64, driver: u64, device: u64) {
        self.registers.write32(0x030, queue);
        self.registers.write32(0x038, size);
        for (offset, address) in [(0x080, descriptors), (0x090, driver), (0x0a0, device)] {
            self.registers.write32(offset, address as u32);
            self.registers.write32(offset + 4, (address >> 32) as u32);
        }
        self.registers.write32(0x044, 1);
    }

    /// QueueNotify.
    pub fn notify(&self, queue: u32) {
        self.registers.write32(0x050, queue);
    }

    /// InterruptStatus.
    pub fn interrupt_status(&self) -> u32 {
        self.registers.read32(0x060)
    }

    /// InterruptACK.
    pub fn acknowledge(&self, bits: u32) {
        self.registers.write32(0x064, bits);
    }

    /// Status.
    pub fn status(&self) -> u32 {
        self.registers.read32(0x070)
    }

    /// Sets bits of Status.
    pub fn add_status(&self, bits: u32) {
        self.registers.write32(0x070, self.status() | bits);
    }

    /// Resets the device.
    pub fn reset(&self) {
        self.registers.write32(0x070, 0);
    }

    /// Configuration space.
    pub fn configuration(&self) -> Window {
        self.registers.part(0x100, 0x100)
    }

    /// From reset to DRIVER_OK with queue `number`, VERSION_1 and the wanted features that are offered (3.1.1).
    /// False where the device refuses the features.
    pub fn start(&self, queue: &mut Queue, number: u32, wanted: u64) -> bool {
        self.reset();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        self.accept(self.features() & (wanted | 1 << 32));
        self.add_status(status::FEATURES_OK);
        if self.status() & status::FEATURES_OK == 0 {
            return false;
        }
        queue.attach(self, number);
        self.add_status(status::DRIVER_OK);
        true
    }
}
