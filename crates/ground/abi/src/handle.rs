//! Names that carry a generation: what was made anew at the same place is another thing.

/// Which life of a world: 1 is the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WorldGeneration(pub u32);

/// A VM that the vmkernel knows, running or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmHandle {
    /// Its place in the vmkernel's list.
    pub place: u32,
    /// Which VM at that place; 1 is the first.
    pub generation: u32,
}

impl VmHandle {
    /// As it travels in a register.
    pub const fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    /// From a register.
    pub const fn from_raw(raw: u64) -> Self {
        Self { place: (raw & 0xffff_ffff) as u32, generation: (raw >> 32) as u32 }
    }
}
