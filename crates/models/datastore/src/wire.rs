//! Little-endian fields of on-disk structures, and the few number conversions that the crate needs.
//!
//! Called by: every module that reads or writes a block. A field outside the slice reads as zero and is not written:
//! offsets are constants of the format, and every counted loop is bounded by the count's own check.

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 4096;

/// One block.
pub type PageBytes = [u8; BLOCK_BYTES];

/// Reads a u16 at `at`.
pub fn get_u16(from: &[u8], at: usize) -> u16 {
    take(from, at).map_or(0, u16::from_le_bytes)
}

/// Reads a u32 at `at`.
pub fn get_u32(from: &[u8], at: usize) -> u32 {
    take(from, at).map_or(0, u32::from_le_bytes)
}

/// Reads a u64 at `at`.
pub fn get_u64(from: &[u8], at: usize) -> u64 {
    take(from, at).map_or(0, u64::from_le_bytes)
}

fn take<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk::<N>().copied()
}

/// Writes bytes at `at`.
pub fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = into.get_mut(at..at.saturating_add(bytes.len())) {
        field.copy_from_slice(bytes);
    }
}

/// Writes a u16 at `at`.
pub fn put_u16(into: &mut [u8], at: usize, value: u16) {
    put(into, at, &value.to_le_bytes());
}

/// Writes a u32 at `at`.
pub fn put_u32(into: &mut [u8], at: usize, value: u32) {
    put(into, at, &value.to_le_bytes());
}

/// Writes a u64 at `at`.
pub fn put_u64(into: &mut [u8], at: usize, value: u64) {
    put(into, at, &value.to_le_bytes());
}

/// A u64 as an index; saturates, so that a wrong one is out of every bound.
pub fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A length as u32; saturates.
pub fn count32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A small length as u16; saturates.
pub fn count16(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// A u64 that is known to be below 2^32; saturates.
pub fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Reads fields one after another; once it runs out, everything is `None`.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.first_chunk::<N>().copied()
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    /// The next u16.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next u32.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next u64.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
