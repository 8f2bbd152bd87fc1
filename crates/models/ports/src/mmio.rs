//! A device as a register machine.

/// Width of an access in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    W8 = 1,
    /// 16 bits.
    W16 = 2,
    /// 32 bits.
    W32 = 4,
    /// 64 bits.
    W64 = 8,
}

impl Width {
    /// Bytes of the access.
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// The value cut to this width.
    pub const fn truncate(self, value: u64) -> u64 {
        match self {
            Self::W8 => value & 0xff,
            Self::W16 => value & 0xffff,
            Self::W32 => value & 0xffff_ffff,
            Self::W64 => value,
        }
    }
}

/// A device that a guest reaches by memory accesses. `offset` is from the start of the device's region and may be any
/// number below its size, aligned or not: a device survives every access, and answers nonsense with zero.
pub trait MmioDevice {
    /// A guest's load.
    fn read(&mut self, offset: u64, width: Width) -> u64;

    /// A guest's store. `value` is cut to `width`.
    fn write(&mut self, offset: u64, width: Width, value: u64);
}
