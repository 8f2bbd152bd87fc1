//! Which RAM may be mapped, and which is free. Arithmetic on ranges, with the MMU off: fixed capacities.

use super::Board;
use heapless::Vec;
use specs::Pa;

const PAGE: u64 = 4096;

/// Ranges of RAM.
pub type Ranges = Vec<PaRange, 80>;

/// A range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaRange {
    /// First byte.
    pub start: Pa,
    /// Length.
    pub bytes: u64,
}

impl PaRange {
    /// First address past the range.
    pub const fn end(self) -> Pa {
        Pa(self.start.0.saturating_add(self.bytes))
    }
}

impl Board {
    /// RAM from `end` on is out of the PE's reach: it is as if it were not there.
    pub fn limit_memory(&mut self, end: Pa) {
        for range in &mut self.memory {
            range.bytes = range.bytes.min(end.0.saturating_sub(range.start.0));
        }
    }

    /// RAM, each byte once: what a tree names twice must not be given to two.
    fn ram(&self) -> Ranges {
        let mut ram = Ranges::new();
        for range in &self.memory {
            let mut one = Ranges::new();
            let _ = one.push(*range);
            for piece in without(one, ram.clone().into_iter()) {
                let _ = ram.push(piece);
            }
        }
        ram
    }

    /// RAM that EL2 may map: all but what is the firmware's own. A PE may read ahead wherever memory is mapped as Normal
    /// (Arm ARM, DDI 0487, "Memory types and attributes"), so it must not be.
    pub fn mappable(&self) -> Ranges {
        without(self.ram(), self.unmapped.iter().copied())
    }

    /// RAM that is nobody's: what may be mapped, less what is reserved, the boot archive, the first page and `taken`.
    pub fn free(&self, taken: &[PaRange]) -> Ranges {
        // Zero is no address for the lists that blocks are kept in; on a Pi the page holds what PEs spin on.
        let first_page = PaRange { start: Pa(0), bytes: PAGE };
        let taken = taken.iter().copied().chain([first_page]).chain(self.initrd);
        without(self.mappable(), self.reserved.iter().copied().chain(taken))
    }

    /// The bytes of `/chosen/rng-seed` in the tree that this board was read from; none if it has none.
    pub fn seed_in<'a>(&self, tree: &'a [u8]) -> &'a [u8] {
        self.seed.clone().and_then(|range| tree.get(range)).unwrap_or(&[])
    }

    /// Forgets them: who has the seed knows what the generator gives.
    pub fn erase_seed(&self, tree: &mut [u8]) {
        if let Some(seed) = self.seed.clone().and_then(|range| tree.get_mut(range)) {
            seed.fill(0);
        }
    }
}

/// Ranges minus holes, which grow to whole pages. A piece that there is no room for is left out.
fn without(mut ranges: Ranges, holes: impl Iterator<Item = PaRange>) -> Ranges {
    for hole in holes.filter(|hole| hole.bytes > 0) {
        let start = hole.start.0 & !(PAGE - 1);
        let end = hole.end().0.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let mut rest = Ranges::new();
        for range in &ranges {
            let (from, to) = (range.start.0, range.end().0);
            for (a, b) in [(from, to.min(start)), (from.max(end), to)] {
                if let Some(bytes) = b.checked_sub(a).filter(|bytes| *bytes > 0) {
                    let _ = rest.push(PaRange { start: Pa(a), bytes });
                }
            }
        }
        ranges = rest;
    }
    ranges
}
