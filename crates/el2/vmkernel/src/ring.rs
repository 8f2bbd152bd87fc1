//! The last 64 KiB of a stream.

use alloc::vec::Vec;

const BYTES: usize = 64 * 1024;

/// Bytes with sequence numbers: the n-th byte ever is at n modulo the size. The memory is taken as it fills.
#[derive(Debug, Default)]
pub struct Ring {
    bytes: Vec<u8>,
    next: usize,
    mark: usize,
}

impl Ring {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What was written, byte by byte, and where the mark is.
    #[derive(Default)]
    struct Whole {
        bytes: Vec<u8>,
        mark: usize,
    }

    impl Whole {
        fn kept(&self) -> &[u8] {
            &self.bytes[self.bytes.len().saturating_sub(BYTES)..]
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize),
        Read(u64, usize),
        SinceMark,
        Mark,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..BYTES / 2).prop_map(Step::Write),
            (0..200_000u64, 0..2000usize).prop_map(|(from, bytes)| Step::Read(from, bytes)),
            (Just(u64::MAX), 0..9usize).prop_map(|(from, bytes)| Step::Read(from, bytes)),
            Just(Step::SinceMark),
            Just(Step::Mark),
        ]
    }

    fn run(ring: &mut Ring, whole: &mut Whole, step: &Step) {
        match *step {
            Step::Write(bytes) => {
                for n in 0..bytes {
                    let byte = (whole.bytes.len().wrapping_mul(31) ^ n >> 8) as u8;
                    ring.push(byte);
                    whole.bytes.push(byte);
                }
            }
            Step::Read(from, bytes) => {
                let mut into = std::vec![0; bytes];
                let (first, count) = ring.read(from, &mut into);
                let end = whole.bytes.len();
                let expected = (from.min(end as u64) as usize).max(end - whole.kept().len());
                assert_eq!((first as usize, count), (expected, bytes.min(end - expected)));
                assert_eq!(into[..count], whole.bytes[expected..expected + count]);
            }
            Step::SinceMark => {
                let mut told = Vec::new();
                ring.since_mark(|byte| told.push(byte));
                let from = whole.mark.max(whole.bytes.len() - whole.kept().len());
                assert_eq!(told, whole.bytes[from..]);
                whole.mark = whole.bytes.len();
            }
            Step::Mark => {
                ring.mark();
                whole.mark = whole.bytes.len();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_last_64_kib_are_kept_and_no_byte_is_told_twice(steps in prop::collection::vec(step(), 1..20)) {
            let (mut ring, mut whole) = (Ring::default(), Whole::default());
            for step in &steps {
                run(&mut ring, &mut whole, step);
                let mut all = Vec::new();
                ring.all(|part| all.extend_from_slice(part));
                assert_eq!(all, whole.kept());
                assert_eq!(ring.end(), whole.bytes.len() as u64);
            }
        }
    }
}
