//! Blocks of the space map that can't be read, made again from what the check saw.
//!
//! Called by: the check with `repair`. Nothing is guessed: what is written back has the very checksum that the block
//! above it names. Only the generation in its header is not known; it is the one that gives this checksum.

use crate::check::Check;
use crate::crc::{crc32c, without_field};
use crate::format::{
    GROUPS_PER_TABLE, Geometry, Group, SLOTS, bitmap_generation, count_used, encode_groups, fresh_bitmap,
    mark, seal, seal_bitmap,
};
use crate::mount::fresh_group;
use crate::port::BlockPort;
use crate::wire::{BLOCK_BYTES, PageBytes, put_u32, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// So many generations are tried, the newest first.
const DEPTH: u64 = 1 << 18;
/// Where a block of the space map has its generation.
const GENERATION_AT: usize = 8;

/// Gives a block the generation with which its own checksum makes that of the whole block `crc`.
fn fit(page: &mut PageBytes, newest: u64, crc: u32) -> bool {
    put_u32(page, 4, 0);
    put_u64(page, GENERATION_AT, 0);
    let base = crc32c(page);
    // A CRC is linear: each bit of the generation adds its own part.
    let mut blank = [0; BLOCK_BYTES];
    let nothing = crc32c(&blank);
    let mut parts = [0; 64];
    for (bit, part) in parts.iter_mut().enumerate() {
        put_u64(&mut blank, GENERATION_AT, 1 << bit);
        *part = crc32c(&blank) ^ nothing;
    }
    let own = |generation: u64| {
        let set = parts.iter().enumerate().filter(|(bit, _)| generation & (1 << bit) != 0);
        set.fold(base, |crc, (_, part)| crc ^ part)
    };
    let mut generations = (newest.saturating_sub(DEPTH)..=newest).rev();
    let found = generations.find(|generation| without_field(own(*generation), own(*generation)) == crc);
    put_u64(page, GENERATION_AT, found.unwrap_or(0));
    seal(page);
    found.is_some()
}

impl<P: BlockPort> Check<'_, '_, P> {
    /// A group's bitmap as the tree has it, written where the lost one was.
    pub(crate) async fn rebuild_bitmap(
        &mut self,
        geometry: Geometry,
        group: u32,
        entry: Group,
    ) -> Option<Box<PageBytes>> {
        let (start, len) = (geometry.group_start(group), geometry.group_len(group));
        let mut bits: Box<PageBytes> = Box::new([0; BLOCK_BYTES]);
        fresh_bitmap(geometry, group, &mut bits);
        for bit in (0..len).filter(|bit| self.was_seen(start.saturating_add(*bit))) {
            mark(&mut bits, bit, 1, true);
        }
        seal_bitmap(group, 0, &mut bits, &|page| crate::crc32c(page));
        self.put_back(geometry.bitmap_block(group, u32::from(entry.slot)), bits, entry.crc).await
    }

    /// A block of the group table as the bitmaps have it, written where the lost one was.
    pub(crate) async fn rebuild_table(
        &mut self,
        geometry: Geometry,
        table: u32,
        (crc, slot): (u32, u32),
    ) -> Option<Box<PageBytes>> {
        let first = table.saturating_mul(GROUPS_PER_TABLE);
        let last = first.saturating_add(GROUPS_PER_TABLE).min(geometry.groups());
        let mut groups = Vec::new();
        for group in first..last {
            groups.push(self.newest_bitmap(geometry, group).await);
        }
        let mut page: Box<PageBytes> = Box::new([0; BLOCK_BYTES]);
        encode_groups(table, 0, &groups, &mut page);
        self.put_back(geometry.table_block(table, slot), page, crc).await
    }

    async fn newest_bitmap(&mut self, geometry: Geometry, group: u32) -> Group {
        let (mut newest, mut entry) = (None, fresh_group(geometry, group));
        for slot in 0..SLOTS {
            let read = self.device.read_sealed(geometry.bitmap_block(group, slot)).await;
            let Some(page) = read.copied() else { continue };
            let committed = bitmap_generation(group, &page).filter(|g| *g <= self.summary.generation);
            if committed.is_some() && committed > newest {
                newest = committed;
                let len = geometry.group_len(group);
                let free = u16::try_from(len.saturating_sub(count_used(&page, len))).unwrap_or(0);
                let (crc, slot) = (self.device.port.checksum(&page), u8::try_from(slot).unwrap_or(0));
                entry = Group { crc, free, slot, fresh: false };
            }
        }
        entry
    }

    /// Writes a block that is what was lost; `None` when it is not, or when the tree itself has holes.
    async fn put_back(&mut self, at: u32, mut page: Box<PageBytes>, crc: u32) -> Option<Box<PageBytes>> {
        let wanted = self.options.repair && self.whole;
        if !wanted || !fit(&mut page, self.summary.generation, crc) || !self.device.write(at, &page).await {
            return None;
        }
        self.summary.repaired = self.summary.repaired.saturating_add(1);
        Some(page)
    }
}
