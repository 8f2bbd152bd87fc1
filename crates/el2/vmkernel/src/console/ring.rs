//! The last 64 KiB of a stream.

use alloc::vec::Vec;

const BYTES: usize = 64 * 1024;

/// Bytes with sequence numbers: the n-th byte ever is at n modulo the size.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    next: usize,
    mark: usize,
}

impl Ring {
    /// Empty. The memory is taken as it fills.
    pub fn new() -> Self {
        Self { bytes: Vec::new(), next: 0, mark: 0 }
    }

    /// One more byte; the oldest is forgotten when it is full.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        let at = self.next % BYTES;
        match self.bytes.get_mut(at) {
            Some(slot) => *slot = byte,
            None => self.bytes.push(byte),
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Position after the last byte ever.
    pub fn end(&self) -> u64 {
        self.next as u64
    }

    /// Copies what follows position `from`, or what is left of it: the position of the first byte given, and how many.
    pub fn read(&self, from: u64, into: &mut [u8]) -> (u64, usize) {
        let oldest = self.next.saturating_sub(self.bytes.len());
        let first = usize::try_from(from).unwrap_or(usize::MAX).clamp(oldest, self.next);
        let at = first % BYTES;
        let count = self.next.saturating_sub(first).min(into.len());
        let (head, rest) = into.split_at_mut_checked(count.min(BYTES.saturating_sub(at))).unwrap_or_default();
        head.copy_from_slice(self.bytes.get(at..at.saturating_add(head.len())).unwrap_or_default());
        let wrapped = count.saturating_sub(head.len());
        if let (Some(rest), Some(bytes)) = (rest.get_mut(..wrapped), self.bytes.get(..wrapped)) {
            rest.copy_from_slice(bytes);
        }
        (first as u64, count)
    }

    /// Everything that is kept, oldest first, in at most two parts.
    pub fn all(&self, mut take: impl FnMut(&[u8])) {
        let at = if self.bytes.len() < BYTES { 0 } else { self.next % BYTES };
        let (new, old) = self.bytes.split_at_checked(at).unwrap_or((&[], &self.bytes));
        take(old);
        take(new);
    }

    /// What came since the last mark; then marks.
    pub fn since_mark(&mut self, mut take: impl FnMut(u8)) {
        let oldest = self.next.saturating_sub(self.bytes.len());
        for number in self.mark.max(oldest)..self.next {
            take(self.bytes.get(number % BYTES).copied().unwrap_or(0));
        }
        self.mark();
    }

    /// Marks the place of the next byte.
    pub fn mark(&mut self) {
        self.mark = self.next;
    }
}
