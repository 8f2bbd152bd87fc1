//! `MachineSpec → MachinePlan → device tree`: the guest machine of design §4, and nothing but arithmetic.
//!
//! One place decides an address of the guest machine (rule `one-owner`): memory map, INTIDs, devices, stage-2 map and
//! device tree all come from the plan. Adding a device moves no other.
//!
//! Called by the vmkernel before it allocates anything (phase `plan`), and by the tools to check a configuration.
//! The device tree lies at the base of RAM in every VM, and x0 names it at a kernel's entry. A kernel goes where QEMU's
//! `virt` puts it: `text_offset` past the base of RAM, or past the next 2 MiB where the device tree is in the way.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod layout;
mod plan;
mod tree;

pub use plan::PlanError;
pub use tree::{Chosen, TreeError};

use alloc::vec::Vec;
use specs::{Intid, Ipa, IpaRange};

/// The GIC that the guest sees; the host's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicVersion {
    /// GICv2, through the hardware's GICV.
    V2,
    /// GICv3.
    V3,
}

/// What a VM is asked to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSpec {
    /// The GIC that the host can show.
    pub gic: GicVersion,
    /// 1 to 8.
    pub vcpus: u8,
    /// RAM in bytes, a multiple of 2 MiB.
    pub ram_bytes: u64,
    /// What it starts with.
    pub boot: BootSpec,
    /// Disks, in order.
    pub disks: u8,
    /// Network cards, in order.
    pub nics: u8,
    /// It is a world: it has a call queue.
    pub world: bool,
}

/// What is loaded before the first instruction, in sizes only. [`BootSpec::kernel`] reads them from an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BootSpec {
    /// A flat image in RAM.
    Kernel {
        /// `text_offset` of the image's header; 0x8_0000 for code without a header, as QEMU's `virt` has it.
        text_offset: u64,
        /// Bytes that the image occupies in RAM, BSS included (`image_size`).
        image_bytes: u64,
        /// Bytes of the initrd, 0 for none.
        initrd_bytes: u64,
    },
    /// Code in flash bank 0, entered at its start. Only such a VM has flash banks.
    Firmware {
        /// Bytes of the code.
        bytes: u64,
    },
}

/// Everything that is where, of one VM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachinePlan {
    /// The specification that it was made from.
    pub spec: MachineSpec,
    /// RAM.
    pub ram: IpaRange,
    /// Room for the device tree.
    pub device_tree: IpaRange,
    /// Where the kernel goes, if any.
    pub kernel: Option<IpaRange>,
    /// Where the initrd goes, if any.
    pub initrd: Option<IpaRange>,
    /// First instruction.
    pub entry: Ipa,
    /// Every device that traps or is mapped, sorted by address, none overlapping.
    pub devices: Vec<DevicePlan>,
}

impl MachinePlan {
    /// The device of a kind, if this machine has it.
    pub fn device(&self, kind: DeviceKind) -> Option<DevicePlan> {
        self.devices.iter().copied().find(|device| device.kind == kind)
    }
}

/// One device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePlan {
    /// What it is.
    pub kind: DeviceKind,
    /// Where its registers are.
    pub range: IpaRange,
    /// Its interrupt, if it has one.
    pub intid: Option<Intid>,
}

/// The devices of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// Flash bank 0, read-only code.
    FlashCode,
    /// Flash bank 1, variables.
    FlashVariables,
    /// The Distributor.
    Gicd,
    /// GICv2: the CPU interface, mapped to the hardware's GICV.
    Gicc,
    /// GICv3: the Redistributors of all vCPUs.
    Gicr,
    /// PL011 UART.
    Uart,
    /// PL031 real-time clock.
    Rtc,
    /// PL061 GPIO with the power button.
    Gpio,
    /// virtio-mmio transport with a block device: disk number.
    Block(u8),
    /// virtio-mmio transport with a network card: card number.
    Net(u8),
    /// virtio-mmio transport with a console.
    Console,
    /// virtio-mmio transport with an entropy source.
    Entropy,
    /// virtio-mmio transport with the call queue of a world (`abi::request`).
    Calls,
}
