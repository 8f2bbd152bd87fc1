//! Runs operations on a [`Stage2`] and on a list of intervals, and panics where the two differ.
//!
//! Called by the property test and the fuzz target.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a violation must panic"
)]

use crate::fake::{FakeTables, Leaf};
use crate::{Access, Attributes, Memory, Stage2, Stage2Error};
use specs::{Ipa, IpaRange, Pa};
use std::collections::BTreeMap;
use std::vec::Vec;

const IPA_END: u64 = 1 << 40;

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Map { ipa: u64, pa: u64, bytes: u64, attributes: Attributes },
    Unmap { ipa: u64, bytes: u64 },
    Protect { ipa: u64, bytes: u64, access: Access },
    Frames(u32),
}

/// Picks by a byte.
fn pick(from: &[u64], byte: u8) -> u64 {
    from[byte as usize % from.len()]
}

impl Op {
    /// Addresses and lengths are drawn from few values near the borders of pages, blocks and tables, so that operations
    /// meet.
    fn decode(raw: [u8; 6]) -> Self {
        let [kind, gib, block, page, length, flags] = raw;
        let ipa = pick(&[1, 2, 3, 511, 512, 1023], gib) << 30
            | pick(&[0, 0, 1, 2, 511], block) << 21
            | pick(&[0, 0, 0, 1, 2, 511], page) << 12;
        let delta = pick(&[0x10_0000_0000, 0x10_0020_0000, 0x10_0000_1000], flags >> 4);
        let unit = pick(&[4 << 10, 4 << 10, 2 << 20, 1 << 30], length >> 4);
        let count = pick(&[1, 1, 2, 3, 511, 512, 513, 1024], length & 15);
        // Where only pages fit, a few MiB are enough.
        let most = if delta & 0x1000 != 0 { 5 << 20 } else { 3 << 30 };
        let bytes = (unit * count).min(most);
        let access = Access { write: flags & 1 != 0, execute: flags & 2 != 0 };
        let memory = if flags & 4 != 0 { Memory::Device } else { Memory::Normal };
        let pa = ipa + delta;
        match kind % 8 {
            0..3 => Self::Map { ipa, pa, bytes, attributes: Attributes { memory, access } },
            3..5 => Self::Unmap { ipa, bytes },
            5..7 => Self::Protect { ipa, bytes, access },
            _ => Self::Frames(if flags & 8 != 0 { u32::MAX } else { u32::from(flags & 3) }),
        }
    }
}

/// Intervals that do not overlap, by first IPA.
#[derive(Clone, Default)]
struct Intervals(BTreeMap<u64, (u64, u64, Attributes)>);

impl Intervals {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.0.range(..end).next_back().is_some_and(|(_, (last, _, _))| *last > start)
    }

    /// Makes `at` a border.
    fn cut(&mut self, at: u64) {
        let Some((start, (end, pa, attributes))) = self.0.range(..at).next_back().map(|(k, v)| (*k, *v))
        else {
            return;
        };
        if end > at {
            self.0.insert(start, (at, pa, attributes));
            self.0.insert(at, (end, pa + (at - start), attributes));
        }
    }

    fn inside(&mut self, start: u64, end: u64) -> Vec<u64> {
        self.cut(start);
        self.cut(end);
        self.0.range(start..end).map(|(key, _)| *key).collect()
    }

    fn apply(&mut self, op: Op) -> Result<(), Stage2Error> {
        match op {
            Op::Map { ipa, bytes, .. } | Op::Unmap { ipa, bytes } | Op::Protect { ipa, bytes, .. }
                if ipa + bytes > IPA_END =>
            {
                return Err(Stage2Error::OutOfSpace);
            }
            Op::Map { ipa, pa, bytes, attributes } => {
                if self.overlaps(ipa, ipa + bytes) {
                    return Err(Stage2Error::AlreadyMapped(Ipa(0)));
                }
                self.0.insert(ipa, (ipa + bytes, pa, attributes));
            }
            Op::Unmap { ipa, bytes } => {
                for key in self.inside(ipa, ipa + bytes) {
                    self.0.remove(&key);
                }
            }
            Op::Protect { ipa, bytes, access } => {
                for key in self.inside(ipa, ipa + bytes) {
                    self.0.get_mut(&key).unwrap().2.access = access;
                }
            }
            Op::Frames(_) => {}
        }
        Ok(())
    }

    /// With neighbours joined that continue each other.
    fn merged(&self) -> Vec<(u64, u64, u64, u64)> {
        merge(self.0.iter().map(|(start, (end, pa, attributes))| (*start, *end, *pa, bits(*attributes))))
    }
}

/// Attribute bits by the manual's table, apart from the crate's own encoder.
fn bits(attributes: Attributes) -> u64 {
    let memory = if attributes.memory == Memory::Normal { 0x3c } else { 0x04 };
    let write = if attributes.access.write { 0xc0 } else { 0x40 };
    let never = if attributes.access.execute { 0 } else { 1 << 54 };
    0x700 | memory | write | never
}

fn merge(from: impl Iterator<Item = (u64, u64, u64, u64)>) -> Vec<(u64, u64, u64, u64)> {
    let mut merged: Vec<(u64, u64, u64, u64)> = Vec::new();
    for (start, end, pa, attributes) in from {
        match merged.last_mut() {
            Some(last) if last.1 == start && last.2 + (start - last.0) == pa && last.3 == attributes => {
                last.1 = end
            }
            _ => merged.push((start, end, pa, attributes)),
        }
    }
    merged
}

fn apply(stage2: &mut Stage2<FakeTables>, op: Op) -> Result<(), Stage2Error> {
    let range = |ipa, bytes| IpaRange::new(Ipa(ipa), bytes).unwrap();
    match op {
        Op::Map { ipa, pa, bytes, attributes } => stage2.map(Ipa(ipa), Pa(pa), bytes, attributes),
        Op::Unmap { ipa, bytes } => stage2.unmap(range(ipa, bytes)),
        Op::Protect { ipa, bytes, access } => stage2.protect(range(ipa, bytes), access),
        Op::Frames(left) => {
            stage2.tables().frames_left.set(left);
            Ok(())
        }
    }
}

fn compare(stage2: &Stage2<FakeTables>, intervals: &Intervals) {
    let leaves = stage2.tables().leaves();
    let seen = leaves.iter().map(|leaf: &Leaf| (leaf.ipa, leaf.ipa + leaf.bytes, leaf.pa, leaf.attributes));
    assert_eq!(merge(seen), intervals.merged());
    for (start, (end, pa, attributes)) in &intervals.0 {
        let last = stage2.lookup(Ipa(end - 1)).expect("mapped");
        assert_eq!((last.pa.0 - last.ipa.0, last.attributes), (pa.wrapping_sub(*start), *attributes));
    }
}

/// Reads `script` as operations of six bytes each, and runs them.
pub fn run(script: &[u8]) {
    let tables = FakeTables::default();
    let mut stage2 = Stage2::new(tables.clone()).unwrap();
    let mut intervals = Intervals::default();
    for raw in script.as_chunks::<6>().0 {
        let op = Op::decode(*raw);
        let mut after = intervals.clone();
        let expected = after.apply(op);
        match (apply(&mut stage2, op), expected) {
            (Ok(()), Ok(())) => intervals = after,
            (Err(Stage2Error::NoTable), _) => assert!(tables.frames_left.get() < 4, "{op:?}"),
            (Err(Stage2Error::AlreadyMapped(at)), Err(Stage2Error::AlreadyMapped(_))) => {
                assert!(at.0 < IPA_END);
            }
            (Err(got), Err(expected)) => assert_eq!(got, expected, "{op:?}"),
            (got, expected) => panic!("{op:?}: {got:?}, expected {expected:?}"),
        }
        tables.check_at_rest();
        compare(&stage2, &intervals);
    }
    stage2.destroy();
    assert_eq!(tables.frames(), 0, "frames are lost");
}
