//! Metadata pages in memory: a fixed number of slots with second-chance replacement.
//!
//! Called by: lookups, checkpoint, scrub. A page is found by block *and* checksum, so that a block that was freed and
//! holds something else now is a miss, never a wrong page.

use crate::wire::PageBytes;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

struct Slot<Page> {
    block: u32,
    crc: u32,
    used: bool,
    page: Page,
}

/// The cache.
pub struct Cache<Page> {
    slots: Vec<Slot<Page>>,
    index: BTreeMap<u32, usize>,
    hand: usize,
    capacity: usize,
}

impl<Page: AsRef<PageBytes>> Cache<Page> {
    /// Room for `capacity` pages.
    pub fn new(capacity: usize) -> Self {
        Self { slots: Vec::with_capacity(capacity), index: BTreeMap::new(), hand: 0, capacity }
    }

    /// Pages that it will still take and not give back.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.slots.len())
    }

    /// The page of `block`, if it is here with that checksum.
    pub fn get(&mut self, block: u32, crc: u32) -> Option<&PageBytes> {
        let slot = self.slots.get_mut(*self.index.get(&block)?)?;
        slot.used = true;
        (slot.crc == crc).then(|| slot.page.as_ref())
    }

    /// Puts a page in; gives back the page that had to go.
    pub fn insert(&mut self, block: u32, crc: u32, page: Page) -> Option<Page> {
        if let Some(slot) = self.index.get(&block).and_then(|i| self.slots.get_mut(*i)) {
            slot.crc = crc;
            slot.used = true;
            return Some(core::mem::replace(&mut slot.page, page));
        }
        let new = Slot { block, crc, used: true, page };
        if self.slots.len() < self.capacity {
            self.index.insert(block, self.slots.len());
            self.slots.push(new);
            return None;
        }
        let at = self.victim();
        let Some(slot) = self.slots.get_mut(at) else { return Some(new.page) };
        self.index.remove(&slot.block);
        self.index.insert(block, at);
        Some(core::mem::replace(slot, new).page)
    }

    fn victim(&mut self) -> usize {
        // Two rounds at most: the first clears every mark.
        for _ in 0..self.slots.len().saturating_mul(2) {
            self.hand = self.hand.saturating_add(1);
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get_mut(self.hand) {
                Some(slot) if slot.used => slot.used = false,
                _ => break,
            }
        }
        self.hand
    }
}
