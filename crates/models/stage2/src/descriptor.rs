//! Stage-2 descriptors.
//!
//! Called by `tree` and `change`. Source: Arm ARM (DDI 0487), D8.3 "Translation table descriptor formats"; stage 2
//! attribute fields:
//!
//! | bits | field | here |
//! |---|---|---|
//! | 0 | valid | cleared to break an entry; the rest stays, ignored by walks |
//! | 1 | table or page | 0: block |
//! | 5:2 | MemAttr | 0b1111 normal write-back inner and outer, 0b0001 Device-nGnRE |
//! | 7:6 | S2AP | 0b01 read-only, 0b11 read and write |
//! | 9:8 | SH | 0b11 inner shareable |
//! | 10 | AF | always 1: no access faults |
//! | 47:12 | output address | |
//! | 54:53 | XN | 0b10: no execution (without FEAT_XNX bit 54 alone is XN, and means the same) |

use specs::Pa;

/// Where in the walk an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Entries of 1 GiB.
    One,
    /// Entries of 2 MiB.
    Two,
    /// Entries of 4 KiB.
    Three,
}

impl Level {
    const fn shift(self) -> u32 {
        match self {
            Self::One => 30,
            Self::Two => 21,
            Self::Three => 12,
        }
    }

    /// Bytes that one entry translates.
    #[inline]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// The next level of the walk.
    pub(crate) const fn below(self) -> Option<Self> {
        match self {
            Self::One => Some(Self::Two),
            Self::Two => Some(Self::Three),
            Self::Three => None,
        }
    }

    /// Where the entry for `ipa` lies in `table`. The root has 1024 entries.
    #[inline]
    pub(crate) const fn entry_address(self, table: Pa, ipa: u64) -> Pa {
        let index_mask = match self {
            Self::One => 0x3ff,
            Self::Two | Self::Three => 0x1ff,
        };
        Pa(table.0 | ((ipa >> self.shift()) & index_mask) << 3)
    }
}

/// What a guest may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Stores; loads are always allowed.
    pub write: bool,
    /// Instruction fetch.
    pub execute: bool,
}

impl Access {
    /// Load and store.
    pub const READ_WRITE: Self = Self { write: true, execute: false };
    /// Load only.
    pub const READ_ONLY: Self = Self { write: false, execute: false };
    /// Load, store and fetch.
    pub const READ_WRITE_EXECUTE: Self = Self { write: true, execute: true };
    /// Load and fetch.
    pub const READ_EXECUTE: Self = Self { write: false, execute: true };
}

/// The memory type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Normal, inner and outer write-back, inner shareable. The guest's stage 1 can only make it weaker.
    Normal,
    /// Device-nGnRE: the hardware's GICV pages.
    Device,
}

/// All that a leaf says besides the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The memory type.
    pub memory: Memory,
    /// What the guest may do.
    pub access: Access,
}

impl Attributes {
    /// A guest's RAM.
    pub const RAM: Self = Self { memory: Memory::Normal, access: Access::READ_WRITE_EXECUTE };
    /// Flash in array mode: a store traps.
    pub const ROM: Self = Self { memory: Memory::Normal, access: Access::READ_EXECUTE };
    /// Registers of the host's hardware.
    pub const DEVICE: Self = Self { memory: Memory::Device, access: Access::READ_WRITE };
}

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMATTR_NORMAL_WB: u64 = 0b1111 << 2;
const MEMATTR_DEVICE_NGNRE: u64 = 0b0001 << 2;
const MEMATTR: u64 = 0b1111 << 2;
const S2AP_READ: u64 = 0b01 << 6;
const S2AP_WRITE: u64 = 0b10 << 6;
const SH_INNER: u64 = 0b11 << 8;
const AF: u64 = 1 << 10;
const XN: u64 = 0b10 << 53;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// An entry of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn table(next: Pa) -> Self {
        Self(next.0 | TABLE_OR_PAGE | VALID)
    }

    #[inline]
    pub(crate) const fn leaf(level: Level, pa: u64, attributes: Attributes) -> Self {
        let page = if matches!(level, Level::Three) { TABLE_OR_PAGE } else { 0 };
        let memattr = match attributes.memory {
            Memory::Normal => MEMATTR_NORMAL_WB,
            Memory::Device => MEMATTR_DEVICE_NGNRE,
        };
        Self(pa | memattr | SH_INNER | AF | page | VALID).with_access(attributes.access)
    }

    #[inline]
    pub(crate) const fn with_access(self, access: Access) -> Self {
        let write = if access.write { S2AP_WRITE } else { 0 };
        let never = if access.execute { 0 } else { XN };
        Self(self.0 & !(S2AP_WRITE | XN) | S2AP_READ | write | never)
    }

    pub(crate) const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// As walks must see it before something else comes here; [`Entry::mended`] undoes it.
    pub(crate) const fn broken(self) -> Self {
        Self(self.0 & !VALID)
    }

    pub(crate) const fn mended(self) -> Self {
        Self(self.0 | VALID)
    }

    /// The table that this entry of `level` links, if it is a valid table entry.
    #[inline]
    pub(crate) const fn next_table(self, level: Level) -> Option<Pa> {
        let links = self.0 & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE;
        if links && !matches!(level, Level::Three) { Some(Pa(self.0 & ADDRESS)) } else { None }
    }

    /// First address that a leaf of `level` translates to.
    pub(crate) const fn output(self, level: Level) -> u64 {
        self.0 & ADDRESS & !(level.bytes() - 1)
    }

    pub(crate) const fn attributes(self) -> Attributes {
        let memory = if self.0 & MEMATTR == MEMATTR_NORMAL_WB { Memory::Normal } else { Memory::Device };
        let access = Access { write: self.0 & S2AP_WRITE != 0, execute: self.0 & XN == 0 };
        Attributes { memory, access }
    }

    /// The leaf one level below, `offset` bytes into this one.
    pub(crate) const fn part(self, level: Level, below: Level, offset: u64) -> Self {
        Self::leaf(below, self.output(level) + offset, self.attributes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_encoded_as_the_manual_says() {
        // By hand from the table above.
        assert_eq!(Entry::leaf(Level::Two, 0x8020_0000, Attributes::RAM).0, 0x8020_07fd);
        assert_eq!(Entry::leaf(Level::Three, 0x8020_1000, Attributes::ROM).0, 0x8020_177f);
        assert_eq!(Entry::leaf(Level::Three, 0xff84_6000, Attributes::DEVICE).0, 0x0040_0000_ff84_67c7);
        assert_eq!(Entry::table(Pa(0x4000_3000)).0, 0x4000_3003);
    }

    #[test]
    fn a_page_is_no_table() {
        let page = Entry::leaf(Level::Three, 0x1000, Attributes::RAM);
        assert_eq!(page.next_table(Level::Three), None);
        assert_eq!(Entry::table(Pa(0x1000)).next_table(Level::Two), Some(Pa(0x1000)));
        assert_eq!(Entry::table(Pa(0x1000)).broken().next_table(Level::Two), None);
    }
}
