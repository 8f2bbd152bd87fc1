//! The small ports: time, randomness, bytes of a console.

/// Time as the guests' counter sees it.
pub trait Clock {
    /// Ticks of the generic timer since some moment in the past. Never goes back.
    fn now_ticks(&self) -> u64;

    /// Ticks in a second.
    fn ticks_per_second(&self) -> u64;

    /// Seconds since 1970-01-01T00:00:00Z as far as the host knows.
    fn unix_seconds(&self) -> u64;
}

/// The host's random generator has no seed yet: nothing is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unseeded;

/// The host's one random generator (design §9).
pub trait Entropy {
    /// Fills `into` whole, or leaves it as it was.
    fn fill(&self, into: &mut [u8]) -> Result<(), Unseeded>;
}

/// Where a console's output goes: a ring.
pub trait ByteSink {
    /// Takes all bytes; the oldest are forgotten when the ring is full.
    fn put(&self, bytes: &[u8]);
}

impl<T: ByteSink + ?Sized> ByteSink for alloc::sync::Arc<T> {
    #[inline]
    fn put(&self, bytes: &[u8]) {
        (**self).put(bytes);
    }
}
