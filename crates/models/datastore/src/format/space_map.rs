//! The space map: what the group table says of each group, and the groups' bitmaps.
//!
//! Called by: mount, checkpoint, space, the check. docs/datastore-format.md, "Space map".

use super::{
    Checksum, ENTRY_BYTES, GROUP_BLOCKS, Geometry, HEADER_BYTES, MAGIC_BITMAP, MAGIC_GROUPS, seal, seal_by,
};
use crate::wire::{PageBytes, get_u16, get_u32, get_u64, index, put, put_u16, put_u32, put_u64};

/// What the group table says of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// CRC32C of its bitmap.
    pub crc: u32,
    /// Free blocks.
    pub free: u16,
    /// Slot of its bitmap.
    pub slot: u8,
    /// Its bitmap was never written: all but the reserved blocks are free.
    pub fresh: bool,
}

/// Writes a block of the group table.
pub fn encode_groups(table: u32, generation: u64, groups: &[Group], page: &mut PageBytes) {
    page.fill(0);
    put_u32(page, 0, MAGIC_GROUPS);
    put_u64(page, 8, generation);
    put_u32(page, 16, table);
    for (i, group) in groups.iter().enumerate() {
        let at = HEADER_BYTES.saturating_add(i.saturating_mul(ENTRY_BYTES));
        put_u32(page, at, group.crc);
        put_u16(page, at.saturating_add(4), group.free);
        put(page, at.saturating_add(6), &[group.slot, u8::from(group.fresh)]);
    }
    seal(page);
}

/// Reads entry `i` of a block of the group table.
pub fn decode_group(page: &PageBytes, i: usize) -> Group {
    let at = HEADER_BYTES.saturating_add(i.saturating_mul(ENTRY_BYTES));
    let slot = page.get(at.saturating_add(6)).copied().unwrap_or(0);
    let flags = page.get(at.saturating_add(7)).copied().unwrap_or(0);
    Group {
        crc: get_u32(page, at),
        free: get_u16(page, at.saturating_add(4)),
        slot: slot % 3,
        fresh: flags & 1 == 1,
    }
}

/// Writes the header of a bitmap block over bits that are set already, and seals it.
pub fn seal_bitmap(group: u32, generation: u64, page: &mut PageBytes, checksum: Checksum<'_>) {
    put_u32(page, 0, MAGIC_BITMAP);
    put_u64(page, 8, generation);
    put_u32(page, 16, group);
    seal_by(page, checksum);
}

/// The generation of a block whose checksum was found right, if it is a bitmap of `group`.
pub fn bitmap_generation(group: u32, page: &PageBytes) -> Option<u64> {
    let ours = get_u32(page, 0) == MAGIC_BITMAP && get_u32(page, 16) == group;
    ours.then(|| get_u64(page, 8))
}

/// Marks a run of a bitmap, `first` counted from the group's first block. Set means used.
pub fn mark(page: &mut PageBytes, first: u32, len: u32, used: bool) {
    for bit in first..first.saturating_add(len).min(GROUP_BLOCKS) {
        let at = HEADER_BYTES.saturating_add(index(u64::from(bit / 8)));
        if let Some(byte) = page.get_mut(at) {
            let mask = 1u8 << (bit % 8);
            if used { *byte |= mask } else { *byte &= !mask }
        }
    }
}

/// Whether a block of a group is used.
pub fn is_used(page: &PageBytes, bit: u32) -> bool {
    let at = HEADER_BYTES.saturating_add(index(u64::from(bit / 8)));
    page.get(at).is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
}

/// Used blocks of a group of `len` blocks.
pub fn count_used(page: &PageBytes, len: u32) -> u32 {
    let whole = index(u64::from(len / 8));
    let bits = page.get(HEADER_BYTES..).unwrap_or_default();
    let mut used: u32 = bits.iter().take(whole).map(|b| b.count_ones()).sum();
    for bit in (len / 8).saturating_mul(8)..len {
        used = used.saturating_add(u32::from(is_used(page, bit)));
    }
    used
}

/// The bits of a group that has nothing but its reserved blocks.
pub fn fresh_bitmap(geometry: Geometry, group: u32, page: &mut PageBytes) {
    page.fill(0);
    let start = geometry.group_start(group);
    for (first, len) in geometry.reserved(group) {
        mark(page, first.saturating_sub(start), len, true);
    }
    let len = geometry.group_len(group);
    mark(page, len, GROUP_BLOCKS.saturating_sub(len), true);
}
