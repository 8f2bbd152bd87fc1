//! Addresses as new types: an IPA is never taken for a PA, and arithmetic on either is checked.
//!
//! Source: Arm ARM (DDI 0487), D8.1 "About the Virtual Memory System Architecture".

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// This address plus `bytes`, or `None` where that passes the end of the address space.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Bytes from `base` to this address, or `None` where this address is below `base`.
            #[inline]
            pub const fn offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// Whether this address is a multiple of `alignment`, a power of two.
            #[inline]
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.wrapping_sub(1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// Intermediate physical address: what a guest calls physical.
    Ipa
}
address! {
    /// Physical address of the host machine.
    Pa
}

/// A range of IPAs that does not pass the end of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IpaRange {
    start: Ipa,
    bytes: u64,
}

impl IpaRange {
    /// The range of `bytes` bytes from `start`, or `None` where it would wrap.
    #[inline]
    pub const fn new(start: Ipa, bytes: u64) -> Option<Self> {
        match start.0.checked_add(bytes) {
            Some(_) => Some(Self { start, bytes }),
            None => None,
        }
    }

    /// First address.
    #[inline]
    pub const fn start(self) -> Ipa {
        self.start
    }

    /// Length in bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// First address past the range.
    #[inline]
    pub const fn end(self) -> Ipa {
        Ipa(self.start.0.saturating_add(self.bytes))
    }

    /// Offset of `at` in the range, or `None` where it lies outside.
    #[inline]
    pub const fn offset_of(self, at: Ipa) -> Option<u64> {
        let offset = at.0.wrapping_sub(self.start.0);
        if offset < self.bytes { Some(offset) } else { None }
    }

    /// Whether the whole of `other` lies in this range.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        other.start.0 >= self.start.0 && other.end().0 <= self.end().0
    }

    /// Whether the two ranges share a byte.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.bytes != 0 && other.bytes != 0 && self.start.0 < other.end().0 && other.start.0 < self.end().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_is_refused() {
        assert!(IpaRange::new(Ipa(u64::MAX), 2).is_none());
        assert!(IpaRange::new(Ipa(u64::MAX), 0).is_some());
    }

    #[test]
    fn offsets_are_inside_only() {
        let range = IpaRange::new(Ipa(0x1000), 0x10).unwrap();
        assert_eq!(range.offset_of(Ipa(0x100f)), Some(0xf));
        assert_eq!(range.offset_of(Ipa(0x1010)), None);
        assert_eq!(range.offset_of(Ipa(0xfff)), None);
        assert!(!range.overlaps(IpaRange::new(Ipa(0x1010), 1).unwrap()));
        assert!(range.overlaps(IpaRange::new(Ipa(0x100f), 1).unwrap()));
    }
}
