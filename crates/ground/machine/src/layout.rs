//! The address table of the guest machine `bramble-virt-1` (design §4): what is where, and on which interrupt.
//!
//! Equal to QEMU's `virt` board (hw/arm/virt.c, `base_memmap` and `a15irqmap`), so that firmware and kernels with
//! built-in addresses run unmodified. Read by `plan` and `tree` only; everybody else asks the plan (rule `one-owner`).

use specs::{Intid, Ipa};

/// Bytes of each flash bank.
pub const FLASH_BANK_BYTES: u64 = 0x0400_0000;
/// Flash bank 0: firmware.
pub const FLASH_CODE: Ipa = Ipa(0x0000_0000);
/// Flash bank 1: variables.
pub const FLASH_VARIABLES: Ipa = Ipa(0x0400_0000);

/// The Distributor.
pub const GICD: Ipa = Ipa(0x0800_0000);
/// Bytes of the Distributor.
pub const GICD_BYTES: u64 = 0x1_0000;
/// GICv2: the CPU interface.
pub const GICC: Ipa = Ipa(0x0801_0000);
/// Bytes of the CPU interface: GICC_DIR is in the second page.
pub const GICC_BYTES: u64 = 0x2000;
/// GICv3: the first Redistributor.
pub const GICR: Ipa = Ipa(0x080A_0000);
/// Bytes of one Redistributor: RD_base and SGI_base.
pub const GICR_BYTES: u64 = 0x2_0000;

/// Bytes of each Arm PrimeCell.
pub const PRIMECELL_BYTES: u64 = 0x1000;
/// PL011.
pub const UART: Ipa = Ipa(0x0900_0000);
/// PL011's interrupt.
pub const UART_INTID: Intid = Intid::spi(1);
/// PL031.
pub const RTC: Ipa = Ipa(0x0901_0000);
/// PL031's interrupt.
pub const RTC_INTID: Intid = Intid::spi(2);
/// PL061.
pub const GPIO: Ipa = Ipa(0x0903_0000);
/// PL061's interrupt.
pub const GPIO_INTID: Intid = Intid::spi(7);
/// The line of PL061 that the power button pulls.
pub const POWER_BUTTON_LINE: u8 = 3;

/// virtio-mmio slot 0.
pub const VIRTIO: Ipa = Ipa(0x0A00_0000);
/// Bytes from a slot to the next.
pub const VIRTIO_BYTES: u64 = 0x200;
/// SPI number of slot 0.
pub const VIRTIO_SPI: u16 = 16;
/// Slot of disk 0; the others follow.
pub const FIRST_DISK_SLOT: u8 = 0;
/// Slot of network card 0; the others follow.
pub const FIRST_NIC_SLOT: u8 = 16;
/// Slot of the console.
pub const CONSOLE_SLOT: u8 = 30;
/// Slot of the entropy source.
pub const ENTROPY_SLOT: u8 = 31;
/// Disks that fit below the network cards.
pub const MAX_DISKS: u8 = FIRST_NIC_SLOT - FIRST_DISK_SLOT;
/// Network cards that fit below the console.
pub const MAX_NICS: u8 = CONSOLE_SLOT - FIRST_NIC_SLOT;

/// The call queue of a world: behind the 32 slots, where QEMU's `virt` has nothing.
pub const CALLS: Ipa = Ipa(0x0A00_4000);
/// Its interrupt, which QEMU's `virt` gives to nothing.
pub const CALLS_INTID: Intid = Intid::spi(10);

/// RAM.
pub const RAM: Ipa = Ipa(0x4000_0000);
/// What RAM is counted in: one block of stage 2.
pub const RAM_UNIT: u64 = 0x20_0000;
/// The most RAM that a VM may have: above it lies QEMU's second PCIe window.
pub const MAX_RAM_BYTES: u64 = 255 << 30;
/// The most vCPUs that a VM may have: Aff0 alone tells them apart, and GICv2 can address no more.
pub const MAX_VCPUS: u8 = 8;

/// Room for the device tree at the base of RAM. EDK2 puts its first stack at 0x4007_C000.
pub const DEVICE_TREE_BYTES: u64 = 0x1_0000;
/// What the start of the initrd is aligned to: the largest page of any kernel.
pub const INITRD_ALIGNMENT: u64 = 0x1_0000;

/// Secure physical timer: named for completeness of the binding, never raised.
pub const SECURE_TIMER_INTID: Intid = Intid::ppi(13);
/// EL1 physical timer.
pub const PHYSICAL_TIMER_INTID: Intid = Intid::ppi(14);
/// EL1 virtual timer.
pub const VIRTUAL_TIMER_INTID: Intid = Intid::ppi(11);
/// EL2 physical timer: named for completeness of the binding, never raised.
pub const HYPERVISOR_TIMER_INTID: Intid = Intid::ppi(10);
