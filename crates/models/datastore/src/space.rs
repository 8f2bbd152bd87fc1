//! Free space: the group table in memory, and one group's bitmap that is being allocated from.
//!
//! Called by: writes and the checkpoint. Invariants: a block is handed out only if it is free in the committed space
//! map *and* in the one before it (the older root stays usable), and no generation in memory knows it; what is free
//! by that rule is exactly [`Space::available`]. Allocation walks a group from end to end, then the next group with
//! much room: long sequential runs, kind to SD cards.

use crate::format::{GROUP_BLOCKS, Geometry, Group, HEADER_BYTES, fresh_bitmap, is_used, mark};
use crate::wire::{BLOCK_BYTES, PageBytes, get_u64, index};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A group's bitmap in memory.
pub struct OpenGroup {
    /// Which.
    pub group: u32,
    bits: Box<PageBytes>,
    next: u32,
}

/// Free space of a mounted store.
pub struct Space {
    /// Where things are.
    pub geometry: Geometry,
    /// As of the committed root.
    pub groups: Vec<Group>,
    /// Free blocks as of the committed root.
    pub free: u64,
    /// Of those, free only since the last checkpoint.
    pub freed: u64,
    /// Handed out since the committed root, by whomever.
    pub taken: u64,
    open: Option<OpenGroup>,
    cursor: u32,
    tried: u32,
}

impl Space {
    /// Free space as the group table says.
    pub fn new(geometry: Geometry, groups: Vec<Group>, freed: u64) -> Self {
        let free = groups.iter().map(|g| u64::from(g.free)).sum();
        Self { geometry, groups, free, freed, taken: 0, open: None, cursor: 0, tried: 0 }
    }

    /// Blocks that can be allocated now.
    pub fn available(&self) -> u64 {
        self.free.saturating_sub(self.freed).saturating_sub(self.taken)
    }

    /// Blocks of a new group: all but the reserved.
    pub fn fresh_free(geometry: Geometry, group: u32) -> u16 {
        let reserved: u32 = geometry.reserved(group).iter().map(|(_, len)| *len).sum();
        u16::try_from(geometry.group_len(group).saturating_sub(reserved)).unwrap_or(0)
    }

    /// A run of 1 to `want` blocks from the open group, or `None`: open another.
    pub fn allocate(&mut self, want: u32) -> Option<(u32, u32)> {
        let open = self.open.as_mut()?;
        let len = self.geometry.group_len(open.group);
        let Some(first) = next_free(&open.bits, open.next, len) else {
            self.open = None;
            return None;
        };
        let mut n = 1;
        while n < want && first.saturating_add(n) < len && !is_used(&open.bits, first.saturating_add(n)) {
            n = n.saturating_add(1);
        }
        mark(&mut open.bits, first, n, true);
        open.next = first.saturating_add(n);
        self.tried = 0;
        self.taken = self.taken.saturating_add(u64::from(n));
        Some((self.geometry.group_start(open.group).saturating_add(first), n))
    }

    /// Every group was tried in vain since the last success.
    pub fn is_exhausted(&self) -> bool {
        self.open.is_none() && self.tried >= self.geometry.groups().saturating_mul(2)
    }

    /// The next group to open; `None` when each was tried in vain.
    pub fn next_group(&mut self) -> Option<u32> {
        let count = self.geometry.groups();
        while self.tried < count.saturating_mul(2) {
            let group = self.cursor;
            self.cursor = if group.saturating_add(1) < count { group.saturating_add(1) } else { 0 };
            // A first round takes groups with much room only.
            let least = if self.tried < count { GROUP_BLOCKS / 8 } else { 1 };
            self.tried = self.tried.saturating_add(1);
            let free = self.groups.get(index(u64::from(group))).map_or(0, |g| u32::from(g.free));
            if free >= least {
                return Some(group);
            }
        }
        None
    }

    /// A checkpoint made blocks free, or the store grew: every group is worth a try again.
    pub fn retry(&mut self) {
        self.tried = 0;
    }

    /// Opens a group with its bitmap and, if blocks freed last are to be spared, the bitmap before it.
    pub fn open(&mut self, group: u32, current: Option<&PageBytes>, before: Option<&PageBytes>) {
        let mut bits = Box::new([0u8; BLOCK_BYTES]);
        match current {
            Some(page) => bits.copy_from_slice(page),
            None => fresh_bitmap(self.geometry, group, &mut bits),
        }
        if let Some(before) = before {
            let pairs = bits.iter_mut().zip(before).skip(HEADER_BYTES);
            pairs.for_each(|(bit, old)| *bit |= old);
        }
        self.open = Some(OpenGroup { group, bits, next: 0 });
    }

    /// The range of the open group.
    pub fn open_range(&self) -> Option<(u32, u32)> {
        let group = self.open.as_ref()?.group;
        Some((self.geometry.group_start(group), self.geometry.group_len(group)))
    }

    /// Keeps a run of the open group from being handed out.
    pub fn mask(&mut self, first: u32, len: u32) {
        let Some(open) = self.open.as_mut() else { return };
        let start = self.geometry.group_start(open.group);
        let end = start.saturating_add(GROUP_BLOCKS);
        let from = first.max(start);
        let to = first.saturating_add(len).min(end);
        if from < to {
            mark(&mut open.bits, from.saturating_sub(start), to.saturating_sub(from), true);
        }
    }

    /// A group whose bitmap is unreadable has no room.
    pub fn lose(&mut self, group: u32) {
        if let Some(entry) = self.groups.get_mut(index(u64::from(group))) {
            self.free = self.free.saturating_sub(u64::from(entry.free));
            entry.free = 0;
        }
    }
}

/// The first free block at or behind `from`; looks at 64 blocks at a time.
fn next_free(bits: &PageBytes, from: u32, len: u32) -> Option<u32> {
    let mut at = from;
    while at < len {
        let word_at = HEADER_BYTES.saturating_add(index(u64::from(at / 64)).saturating_mul(8));
        let word = get_u64(bits, word_at);
        let candidates = !word & (u64::MAX << (at % 64));
        if candidates != 0 {
            let found = (at / 64).saturating_mul(64).saturating_add(candidates.trailing_zeros());
            return (found < len).then_some(found);
        }
        at = (at / 64).saturating_add(1).saturating_mul(64);
    }
    None
}
