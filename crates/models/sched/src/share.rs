//! What the policy keeps for each vCPU.
//!
//! Lives in the vCPU; changed by [`crate::RunQueue`] only.

/// A vCPU's part of its PE against the others': twice the weight, twice the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Weight(u32);

impl Weight {
    /// What a vCPU has unless told otherwise.
    pub const DEFAULT: Self = Self(1024);
    /// Below this virtual runtime would run away from real time by more than 16.
    pub const MIN: Self = Self(64);
    /// Above this the clock of a vCPU would hardly move at all.
    pub const MAX: Self = Self(16_384);

    /// The weight, cut to [`Weight::MIN`] and [`Weight::MAX`].
    pub const fn new(weight: u32) -> Self {
        if weight < Self::MIN.0 {
            Self::MIN
        } else if weight > Self::MAX.0 {
            Self::MAX
        } else {
            Self(weight)
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Fraction bits of [`Share::inverse`].
const SHIFT: u32 = 16;

/// A vCPU's account.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Ticks run, scaled by weight. While the vCPU is on no PE: relative to the floor of the PE that it left.
    pub(crate) vruntime: u64,
    /// [`Weight::DEFAULT`] / weight, so that charging takes a multiplication and no division.
    inverse: u32,
    /// Which arrival on its PE this vCPU was.
    pub(crate) arrival: u32,
}

impl Share {
    /// The account of a new vCPU; it then comes to a PE by [`crate::RunQueue::arrive`].
    pub const fn new(weight: Weight) -> Self {
        Self { vruntime: 0, inverse: (Weight::DEFAULT.0 << SHIFT) / weight.0, arrival: 0 }
    }

    /// `ticks` on the PE as this vCPU's clock counts them. More than 2^32 ticks (4 s at 1 GHz) in one go count as 2^32:
    /// only a vCPU that was alone runs so long, and then nobody is owed.
    #[inline]
    pub(crate) fn scale(&self, ticks: u64) -> u64 {
        (ticks.min(u64::from(u32::MAX)) * u64::from(self.inverse)) >> SHIFT
    }
}
