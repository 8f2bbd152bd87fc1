//! Ids as new types.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A VM of this host. Never used again while the host is up.
    VmId(u32)
}
id! {
    /// A vCPU's place in its VM, from 0; also its Aff0 in MPIDR_EL1 (at most 8 vCPUs).
    VcpuIndex(u8)
}
id! {
    /// A PE of the host, in the order of the device tree, from 0.
    PeId(u16)
}
id! {
    /// Interrupt id. 0–15 SGI, 16–31 PPI, 32–1019 SPI.
    ///
    /// Source: Arm GIC architecture (IHI 0069), 2.2 "INTIDs".
    Intid(u32)
}

impl Intid {
    /// First SPI.
    pub const FIRST_SPI: Self = Self(32);

    /// The INTID of SPI number `n`, as device trees count them (SPI 1 is INTID 33).
    pub const fn spi(n: u16) -> Self {
        Self(32 + n as u32)
    }

    /// The INTID of PPI number `n`, as device trees count them (PPI 11 is INTID 27).
    pub const fn ppi(n: u8) -> Self {
        Self(16 + n as u32)
    }

    /// Whether it is private to a PE: an SGI or a PPI.
    pub const fn is_private(self) -> bool {
        self.0 < Self::FIRST_SPI.0
    }
}
