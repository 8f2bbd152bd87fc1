//! Guards: device registers.

use drivers::board::PaRange;
use drivers::hardware::Registers;
use specs::Pa;

/// Loads the 32-bit register `OFFSET` bytes behind `at`; the offset is a part of the instruction, below 16 KiB.
///
/// # Safety
/// `at + OFFSET` lies in mapped device memory, 4-byte aligned.
#[inline(always)]
pub(crate) unsafe fn load32<const OFFSET: u64>(at: u64) -> u32 {
    let value: u32;
    // SAFETY: the caller's promise. An explicit LDR: no other form gives a hypervisor below us a syndrome.
    unsafe {
        core::arch::asm!("ldr {v:w}, [{at}, #{offset}]", v = out(reg) value, at = in(reg) at, offset = const OFFSET,
            options(nostack, preserves_flags))
    };
    value
}

/// Stores to the 32-bit register `OFFSET` bytes behind `at`.
///
/// # Safety
/// As for [`load32`].
#[inline(always)]
pub(crate) unsafe fn store32<const OFFSET: u64>(at: u64, value: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("str {v:w}, [{at}, #{offset}]", v = in(reg) value, at = in(reg) at, offset = const OFFSET,
            options(nostack, preserves_flags))
    };
}

/// The registers of one device, mapped.
#[derive(Debug)]
pub struct DeviceRegisters {
    base: Pa,
    bytes: usize,
}

impl DeviceRegisters {
    /// Maps a device; none for a range that wraps or touches RAM.
    pub fn map(range: PaRange) -> Option<Self> {
        if crate::boot::is_ram(range) || !range.start.is_aligned(4) || !crate::mmu::map_device(range) {
            return None;
        }
        Some(Self { base: range.start, bytes: usize::try_from(range.bytes).ok()? })
    }

    /// As [`Self::map`], for the panic path: never waits.
    pub fn map_at_the_end(range: PaRange) -> Option<Self> {
        let free = !crate::boot::is_ram(range) && range.start.is_aligned(4);
        let bytes = usize::try_from(range.bytes).ok()?;
        (free && crate::mmu::try_map_device(range)).then_some(Self { base: range.start, bytes })
    }

    fn at(&self, offset: usize, width: usize) -> Option<u64> {
        let end = offset.checked_add(width)?;
        (end <= self.bytes && offset.is_multiple_of(width)).then(|| self.base.0 + offset as u64)
    }
}

impl Registers for DeviceRegisters {
    #[inline]
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: `at` keeps the access inside the mapped range and aligned.
        self.at(offset, 4).map_or(0, |at| unsafe { load32::<0>(at) })
    }

    #[inline]
    fn write32(&self, offset: usize, value: u32) {
        if let Some(at) = self.at(offset, 4) {
            // SAFETY: as above.
            unsafe { store32::<0>(at, value) };
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        // SAFETY: as above; a volatile byte load of device memory.
        self.at(offset, 1).map_or(0, |at| unsafe { (at as *const u8).read_volatile() })
    }

    fn write8(&self, offset: usize, value: u8) {
        if let Some(at) = self.at(offset, 1) {
            // SAFETY: as above.
            unsafe { (at as *mut u8).write_volatile(value) };
        }
    }
}
