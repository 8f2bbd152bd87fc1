//! `MachineSpec → MachinePlan`: limits and placement. Called when a VM is powered on, before anything is allocated.

use crate::layout;
use crate::{BootSpec, DeviceKind, DevicePlan, GicVersion, MachinePlan, MachineSpec};
use alloc::vec::Vec;
use core::fmt;
use specs::{Intid, Ipa, IpaRange, arm64_image};

/// Why a machine can't be planned. Each names the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// vCPUs outside 1 to [`layout::MAX_VCPUS`].
    Vcpus {
        /// What was asked for.
        asked: u8,
    },
    /// RAM is 0 or no multiple of [`layout::RAM_UNIT`].
    RamUnit {
        /// What was asked for.
        bytes: u64,
    },
    /// More RAM than [`layout::MAX_RAM_BYTES`].
    TooMuchRam {
        /// What was asked for.
        bytes: u64,
    },
    /// Kernel, initrd and device tree do not fit.
    TooLittleRam {
        /// What was asked for.
        bytes: u64,
        /// What they need.
        needed: u64,
    },
    /// More disks than [`layout::MAX_DISKS`].
    TooManyDisks {
        /// What was asked for.
        asked: u8,
    },
    /// More network cards than [`layout::MAX_NICS`].
    TooManyNics {
        /// What was asked for.
        asked: u8,
    },
    /// The kernel's or firmware's file is empty.
    NothingToBoot,
    /// The header's `text_offset` is no multiple of 4 KiB.
    TextOffset {
        /// What the header says.
        text_offset: u64,
    },
    /// The firmware is larger than a flash bank.
    FirmwareTooLarge {
        /// Its size.
        bytes: u64,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match *self {
            Self::Vcpus { asked } => {
                write!(f, "{asked} vCPUs: a VM has 1 to {}", layout::MAX_VCPUS)
            }
            Self::RamUnit { bytes } => {
                write!(f, "{bytes} bytes of RAM: it must be a multiple of 2 MiB, and not 0")
            }
            Self::TooMuchRam { bytes } => {
                let (asked, limit) = (bytes / MIB, layout::MAX_RAM_BYTES / MIB);
                write!(f, "{asked} MiB of RAM: a VM has at most {limit} MiB")
            }
            Self::TooLittleRam { bytes, needed } => {
                let (has, needed) = (bytes / MIB, needed.div_ceil(layout::RAM_UNIT).saturating_mul(2));
                write!(f, "{has} MiB of RAM: device tree, kernel and initrd alone need {needed} MiB")
            }
            Self::TooManyDisks { asked } => {
                write!(f, "{asked} disks: a VM has at most {}", layout::MAX_DISKS)
            }
            Self::TooManyNics { asked } => {
                write!(f, "{asked} network cards: a VM has at most {}", layout::MAX_NICS)
            }
            Self::NothingToBoot => write!(f, "the kernel or firmware is empty"),
            Self::TextOffset { text_offset } => {
                write!(f, "the kernel's header has text_offset {text_offset:#x}, no multiple of 4 KiB")
            }
            Self::FirmwareTooLarge { bytes } => {
                let limit = layout::FLASH_BANK_BYTES / MIB;
                write!(f, "the firmware has {bytes} bytes: flash bank 0 holds {limit} MiB")
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl BootSpec {
    /// How `image` is to be loaded: by its arm64 Image header, or as QEMU's `virt` loads code without one.
    pub fn kernel(image: &[u8], initrd_bytes: u64) -> Self {
        Self::kernel_of(image, image.len() as u64, initrd_bytes)
    }

    /// A kernel of `file_bytes` bytes, by its first ones: 64 are enough.
    pub fn kernel_of(head: &[u8], file_bytes: u64, initrd_bytes: u64) -> Self {
        let (text_offset, image_bytes) = match arm64_image::Header::read(head) {
            Some(header) if header.image_size != 0 => (header.text_offset, header.image_size.max(file_bytes)),
            _ => (arm64_image::LEGACY_TEXT_OFFSET, file_bytes),
        };
        Self::Kernel { text_offset, image_bytes, initrd_bytes }
    }
}

impl MachineSpec {
    /// Decides where everything is. Pure: the same specification gives the same plan, and one device more or less
    /// moves no other.
    pub fn plan(&self) -> Result<MachinePlan, PlanError> {
        self.check_limits()?;
        let too_much = PlanError::TooMuchRam { bytes: self.ram_bytes };
        let ram = IpaRange::new(layout::RAM, self.ram_bytes).ok_or(too_much)?;
        let device_tree = IpaRange::new(layout::RAM, layout::DEVICE_TREE_BYTES).ok_or(too_much)?;
        let (kernel, initrd, entry) = match self.boot {
            BootSpec::Firmware { .. } => (None, None, layout::FLASH_CODE),
            BootSpec::Kernel { text_offset, image_bytes, initrd_bytes } => {
                let needed = Placement::of(text_offset, image_bytes, initrd_bytes)
                    .ok_or(PlanError::TooLittleRam { bytes: self.ram_bytes, needed: u64::MAX })?;
                if needed.end > self.ram_bytes {
                    return Err(PlanError::TooLittleRam { bytes: self.ram_bytes, needed: needed.end });
                }
                (Some(needed.kernel), needed.initrd, needed.kernel.start())
            }
        };
        Ok(MachinePlan {
            spec: self.clone(),
            ram,
            device_tree,
            kernel,
            initrd,
            entry,
            devices: self.devices(),
        })
    }

    fn check_limits(&self) -> Result<(), PlanError> {
        if !(1..=layout::MAX_VCPUS).contains(&self.vcpus) {
            return Err(PlanError::Vcpus { asked: self.vcpus });
        }
        if self.ram_bytes == 0 || !self.ram_bytes.is_multiple_of(layout::RAM_UNIT) {
            return Err(PlanError::RamUnit { bytes: self.ram_bytes });
        }
        if self.ram_bytes > layout::MAX_RAM_BYTES {
            return Err(PlanError::TooMuchRam { bytes: self.ram_bytes });
        }
        if self.disks > layout::MAX_DISKS {
            return Err(PlanError::TooManyDisks { asked: self.disks });
        }
        if self.nics > layout::MAX_NICS {
            return Err(PlanError::TooManyNics { asked: self.nics });
        }
        match self.boot {
            BootSpec::Kernel { image_bytes: 0, .. } | BootSpec::Firmware { bytes: 0 } => {
                Err(PlanError::NothingToBoot)
            }
            BootSpec::Kernel { text_offset, .. } if !text_offset.is_multiple_of(0x1000) => {
                Err(PlanError::TextOffset { text_offset })
            }
            BootSpec::Firmware { bytes } if bytes > layout::FLASH_BANK_BYTES => {
                Err(PlanError::FirmwareTooLarge { bytes })
            }
            _ => Ok(()),
        }
    }

    /// Every device, in order of address.
    fn devices(&self) -> Vec<DevicePlan> {
        use layout::PRIMECELL_BYTES;
        let mut devices = Vec::new();
        let mut add = |kind, start: Ipa, bytes: u64, intid: Option<Intid>| {
            // The addresses are constants far below the end of the address space: no range wraps.
            devices.extend(IpaRange::new(start, bytes).map(|range| DevicePlan { kind, range, intid }));
        };
        if matches!(self.boot, BootSpec::Firmware { .. }) {
            add(DeviceKind::FlashCode, layout::FLASH_CODE, layout::FLASH_BANK_BYTES, None);
            add(DeviceKind::FlashVariables, layout::FLASH_VARIABLES, layout::FLASH_BANK_BYTES, None);
        }
        add(DeviceKind::Gicd, layout::GICD, layout::GICD_BYTES, None);
        match self.gic {
            GicVersion::V2 => add(DeviceKind::Gicc, layout::GICC, layout::GICC_BYTES, None),
            GicVersion::V3 => {
                add(DeviceKind::Gicr, layout::GICR, layout::GICR_BYTES * u64::from(self.vcpus), None);
            }
        }
        add(DeviceKind::Uart, layout::UART, PRIMECELL_BYTES, Some(layout::UART_INTID));
        add(DeviceKind::Rtc, layout::RTC, PRIMECELL_BYTES, Some(layout::RTC_INTID));
        add(DeviceKind::Gpio, layout::GPIO, PRIMECELL_BYTES, Some(layout::GPIO_INTID));
        let mut add_slot = |kind, slot: u8| {
            let start = Ipa(layout::VIRTIO.0 + u64::from(slot) * layout::VIRTIO_BYTES);
            let intid = Intid::spi(layout::VIRTIO_SPI + u16::from(slot));
            add(kind, start, layout::VIRTIO_BYTES, Some(intid));
        };
        for disk in 0..self.disks.min(layout::MAX_DISKS) {
            add_slot(DeviceKind::Block(disk), layout::FIRST_DISK_SLOT + disk);
        }
        for nic in 0..self.nics.min(layout::MAX_NICS) {
            add_slot(DeviceKind::Net(nic), layout::FIRST_NIC_SLOT + nic);
        }
        add_slot(DeviceKind::Console, layout::CONSOLE_SLOT);
        add_slot(DeviceKind::Entropy, layout::ENTROPY_SLOT);
        if self.world {
            add(DeviceKind::Calls, layout::CALLS, layout::VIRTIO_BYTES, Some(layout::CALLS_INTID));
        }
        devices
    }
}

/// Where kernel and initrd go, above the device tree.
struct Placement {
    kernel: IpaRange,
    initrd: Option<IpaRange>,
    /// Bytes of RAM up to the end of the last of them.
    end: u64,
}

impl Placement {
    /// As QEMU's `virt` does: `text_offset` counts from the base of RAM, or, where that is taken, from the next
    /// multiple of 2 MiB. `None` where the numbers pass the end of the address space.
    fn of(text_offset: u64, image_bytes: u64, initrd_bytes: u64) -> Option<Self> {
        let taken = text_offset < layout::DEVICE_TREE_BYTES;
        let base = if taken { arm64_image::ALIGNMENT } else { 0 };
        let kernel_offset = base.checked_add(text_offset)?;
        let kernel = IpaRange::new(layout::RAM.checked_add(kernel_offset)?, image_bytes)?;
        let kernel_end = kernel_offset.checked_add(image_bytes)?;
        if initrd_bytes == 0 {
            return Some(Self { kernel, initrd: None, end: kernel_end });
        }
        let initrd_offset = kernel_end.checked_next_multiple_of(layout::INITRD_ALIGNMENT)?;
        let initrd = IpaRange::new(layout::RAM.checked_add(initrd_offset)?, initrd_bytes)?;
        Some(Self { kernel, initrd: Some(initrd), end: initrd_offset.checked_add(initrd_bytes)? })
    }
}
