//! Sets as bit masks: vCPUs, interrupts of one word, SPIs.

use specs::VcpuIndex;

/// A set of vCPUs of one VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct VcpuSet(pub u8);

impl VcpuSet {
    /// No vCPU.
    pub const NONE: Self = Self(0);

    /// Just `vcpu`.
    #[inline]
    pub const fn one(vcpu: VcpuIndex) -> Self {
        Self(1 << (vcpu.0 & 7))
    }

    /// The first `count` vCPUs.
    #[inline]
    pub const fn first(count: u8) -> Self {
        if count >= 8 { Self(0xff) } else { Self((1 << count) - 1) }
    }

    /// Whether it is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `vcpu` is in it.
    #[inline]
    pub const fn contains(self, vcpu: VcpuIndex) -> bool {
        self.0 & Self::one(vcpu).0 != 0
    }

    /// Those in either.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// All but `vcpu`.
    #[inline]
    #[must_use]
    pub const fn without(self, vcpu: VcpuIndex) -> Self {
        Self(self.0 & !Self::one(vcpu).0)
    }
}

impl Iterator for VcpuSet {
    type Item = VcpuIndex;

    /// Takes out the lowest.
    #[inline]
    fn next(&mut self) -> Option<VcpuIndex> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        u8::try_from(lowest).ok().map(VcpuIndex)
    }
}

/// The positions of the bits set in a word, lowest first.
#[derive(Clone, Copy)]
pub(crate) struct Ones(pub u32);

impl Iterator for Ones {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        Some(lowest)
    }
}

/// Words of SPIs: 32 × 4 = 128, INTIDs 32–159.
pub(crate) const SPI_WORDS: usize = 4;
/// Words of all interrupts: the private ones, then the SPIs.
pub(crate) const WORDS: usize = 1 + SPI_WORDS;
/// One past the last INTID.
pub(crate) const INTIDS: u32 = 32 * 5;

/// An SPI's place among the SPIs: INTID − 32, below 128.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spi(u8);

impl Spi {
    /// Of an INTID, or `None` where there is no such SPI.
    #[inline]
    pub(crate) fn of(intid: u32) -> Option<Self> {
        if intid >= INTIDS {
            return None;
        }
        u8::try_from(intid.checked_sub(32)?).ok().map(Self)
    }

    /// The `bit`th of word `word`.
    #[inline]
    pub(crate) fn at(word: usize, bit: u32) -> Option<Self> {
        Self::of(u32::try_from(word).ok()?.checked_mul(32)?.checked_add(bit)?.checked_add(32)?)
    }

    /// Which word.
    #[inline]
    pub(crate) fn word(self) -> usize {
        usize::from(self.0 >> 5)
    }

    /// Its bit in that word.
    #[inline]
    pub(crate) fn mask(self) -> u32 {
        1 << (self.0 & 31)
    }

    /// As an array index below 128.
    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0 & 127)
    }
}

/// A bit for each SPI.
#[derive(Clone, Copy, Default)]
pub(crate) struct SpiBits([u32; SPI_WORDS]);

impl SpiBits {
    pub(crate) const ALL: Self = Self([u32::MAX; SPI_WORDS]);
    pub(crate) const NONE: Self = Self([0; SPI_WORDS]);

    #[inline]
    pub(crate) fn word(&self, word: usize) -> u32 {
        self.0.get(word).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn put_word(&mut self, word: usize, value: u32) {
        if let Some(place) = self.0.get_mut(word) {
            *place = value;
        }
    }

    #[inline]
    pub(crate) fn contains(&self, spi: Spi) -> bool {
        self.word(spi.word()) & spi.mask() != 0
    }

    #[inline]
    pub(crate) fn put(&mut self, spi: Spi, on: bool) {
        let word = self.word(spi.word());
        self.put_word(spi.word(), if on { word | spi.mask() } else { word & !spi.mask() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_end_where_the_words_end() {
        assert!(Spi::of(31).is_none());
        assert_eq!(Spi::of(32).unwrap().word(), 0);
        assert_eq!(Spi::of(159).unwrap().word(), SPI_WORDS - 1);
        assert!(Spi::of(160).is_none());
        assert!(Spi::at(4, 0).is_none());
    }

    #[test]
    fn a_set_gives_its_members_in_order() {
        let members: std::vec::Vec<u8> = VcpuSet(0b1010_0001).map(|v| v.0).collect();
        assert_eq!(members, [0, 5, 7]);
        assert_eq!(VcpuSet::first(3), VcpuSet(7));
        assert_eq!(VcpuSet::first(8), VcpuSet(255));
    }
}
