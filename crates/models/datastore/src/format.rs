//! The on-disk format: geometry, superblock, root, space map. docs/datastore-format.md is the same, byte by byte.
//!
//! Called by: mount, checkpoint, space, the check. Invariants: a block's own checksum (superblock, root, bitmaps' own
//! copy, log) is at offset 4 and covers the block with that field zero; everything else is checksummed by its pointer.

mod space_map;

pub use space_map::{
    Group, bitmap_generation, count_used, decode_group, encode_groups, fresh_bitmap, is_used, mark,
    seal_bitmap,
};

use crate::crc::{crc32c, without_field};
use crate::wire::{
    BLOCK_BYTES, PageBytes, get_u16, get_u32, get_u64, index, low32, put, put_u16, put_u32, put_u64,
};
use alloc::vec::Vec;

/// GPT partition type of a Bramble datastore: 6272616D-626C-4565-A473-746F72650001.
pub const PARTITION_TYPE: &str = "6272616D-626C-4565-A473-746F72650001";
/// "BrDs"
pub const MAGIC_SUPER: u32 = u32::from_le_bytes(*b"BrDs");
/// "BrRt"
pub const MAGIC_ROOT: u32 = u32::from_le_bytes(*b"BrRt");
/// "BrBm"
pub const MAGIC_BITMAP: u32 = u32::from_le_bytes(*b"BrBm");
/// "BrGt"
pub const MAGIC_GROUPS: u32 = u32::from_le_bytes(*b"BrGt");
/// "BrNd"
pub const MAGIC_NODE: u32 = u32::from_le_bytes(*b"BrNd");
/// "BrMp"
pub const MAGIC_MAP: u32 = u32::from_le_bytes(*b"BrMp");
/// "BrRc"
pub const MAGIC_RECORD: u32 = u32::from_le_bytes(*b"BrRc");
/// "BrLg"
pub const MAGIC_LOG: u32 = u32::from_le_bytes(*b"BrLg");

/// Version of the format.
pub const VERSION: u32 = 1;
/// Incompatible features that this code knows: none.
pub const KNOWN_INCOMPATIBLE: u64 = 0;

/// The superblock and, further on, its copy.
pub const SUPER_BLOCKS: [u32; 2] = [0, 2047];
/// The two root slots; generation g is in slot g mod 2.
pub const ROOT_BLOCKS: [u32; 2] = [1, 2046];
/// First block of the log.
pub const LOG_START: u32 = 2048;
/// Smallest store that the format allows.
pub const MIN_BLOCKS: u32 = 4096;
/// Blocks of one group: the bits of a bitmap block after its header.
pub const GROUP_BLOCKS: u32 = 32512;
/// Groups listed in one block of the group table.
pub const GROUPS_PER_TABLE: u32 = 508;
/// Slots in which a space map block rotates.
pub const SLOTS: u32 = 3;
/// Bytes before a bitmap's bits, a group table's entries, a node's entries, a map's entries.
pub const HEADER_BYTES: usize = 32;
/// Bytes of a group table entry, a root's reference to a table, a map entry.
pub const ENTRY_BYTES: usize = 8;
const ROOT_TABLES_AT: usize = 256;

/// Sets the checksum of a block that carries its own.
pub fn seal(page: &mut PageBytes) {
    seal_by(page, &|page| crc32c(page));
}

/// How the port works a checksum out.
pub type Checksum<'a> = &'a dyn Fn(&PageBytes) -> u32;

/// The same, the checksum worked out by `checksum`.
pub fn seal_by(page: &mut PageBytes, checksum: Checksum<'_>) {
    put_u32(page, 4, 0);
    let crc = checksum(page);
    put_u32(page, 4, crc);
}

/// A block carries the right checksum of its own; `crc` is that of the whole block as it is.
pub fn is_sealed(page: &PageBytes, crc: u32) -> bool {
    let field = get_u32(page, 4);
    without_field(crc, field) == field
}

/// Where things are in a store of `blocks` blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Size of the store.
    pub blocks: u32,
    /// Length of the log ring; fixed when the store is made, so that growing moves nothing.
    pub log_blocks: u32,
}

impl Geometry {
    /// The geometry of a new store.
    pub fn of(blocks: u32) -> Self {
        Self { blocks, log_blocks: (blocks / 64).clamp(64, 16384) }
    }

    /// A log and a size that this format allows.
    pub fn is_valid(self) -> bool {
        self.blocks >= MIN_BLOCKS
            && (64..=16384).contains(&self.log_blocks)
            && self.log_blocks <= self.blocks / 4
    }

    /// Number of groups. A last group too short for its own space map is not used.
    pub fn groups(self) -> u32 {
        let full = self.blocks / GROUP_BLOCKS;
        let rest = self.blocks % GROUP_BLOCKS;
        if rest >= 64 { full.saturating_add(1) } else { full }
    }

    /// Number of group table blocks.
    pub fn tables(self) -> u32 {
        self.groups().div_ceil(GROUPS_PER_TABLE)
    }

    /// First block of a group.
    pub fn group_start(self, group: u32) -> u32 {
        group.saturating_mul(GROUP_BLOCKS)
    }

    /// Blocks in a group.
    pub fn group_len(self, group: u32) -> u32 {
        self.blocks.saturating_sub(self.group_start(group)).min(GROUP_BLOCKS)
    }

    /// Where slot `slot` of a group's bitmap is.
    pub fn bitmap_block(self, group: u32, slot: u32) -> u32 {
        let first = if group == 0 { 2 } else { 0 };
        self.group_start(group).saturating_add(first).saturating_add(slot % SLOTS)
    }

    /// Where slot `slot` of a group table block is: behind the bitmaps of the first group that it lists.
    pub fn table_block(self, table: u32, slot: u32) -> u32 {
        self.bitmap_block(table.saturating_mul(GROUPS_PER_TABLE), 0)
            .saturating_add(SLOTS)
            .saturating_add(slot % SLOTS)
    }

    /// The block of log sequence number `seq`.
    pub fn log_block(self, seq: u64) -> u32 {
        LOG_START.saturating_add(low32(seq % u64::from(self.log_blocks.max(1))))
    }

    /// Runs of a group that are never allocated: (first block, length).
    pub fn reserved(self, group: u32) -> Vec<(u32, u32)> {
        let mut runs = Vec::new();
        if group == 0 {
            runs.push((0, 2));
            runs.push((2046, 2));
            runs.push((LOG_START, self.log_blocks));
        }
        runs.push((self.bitmap_block(group, 0), SLOTS));
        if group.is_multiple_of(GROUPS_PER_TABLE) {
            runs.push((self.table_block(group / GROUPS_PER_TABLE, 0), SLOTS));
        }
        runs
    }
}

/// The store's identity; written when it is made and when it grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Random, unique.
    pub uuid: [u8; 16],
    /// Size when it was made; the root has the size now.
    pub geometry: Geometry,
    /// Features without which a reader must refuse.
    pub incompatible: u64,
    /// Features that a reader need not know, but a writer must.
    pub read_only_compatible: u64,
}

/// Why a superblock is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuperblockError {
    /// Not a datastore.
    Foreign,
    /// A newer format's version.
    Newer(u32),
    /// Unknown features.
    Features(u64),
    /// The checksum is wrong, or a field is impossible.
    Corrupt,
}

impl Superblock {
    /// The block.
    pub fn encode(&self, page: &mut PageBytes) {
        page.fill(0);
        put_u32(page, 0, MAGIC_SUPER);
        put_u32(page, 8, VERSION);
        put_u32(page, 12, low32(BLOCK_BYTES as u64));
        put_u64(page, 16, self.incompatible);
        put_u64(page, 24, self.read_only_compatible);
        put(page, 32, &self.uuid);
        put_u32(page, 48, self.geometry.blocks);
        put_u32(page, 52, self.geometry.log_blocks);
        put_u32(page, 56, GROUP_BLOCKS);
        seal(page);
    }

    /// Reads and judges the block; `sealed`: its own checksum is right.
    pub fn decode(page: &PageBytes, sealed: bool) -> Result<Self, SuperblockError> {
        if get_u32(page, 0) != MAGIC_SUPER {
            return Err(SuperblockError::Foreign);
        }
        if !sealed {
            return Err(SuperblockError::Corrupt);
        }
        if get_u32(page, 8) != VERSION {
            return Err(SuperblockError::Newer(get_u32(page, 8)));
        }
        let incompatible = get_u64(page, 16);
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            return Err(SuperblockError::Features(incompatible));
        }
        let geometry = Geometry { blocks: get_u32(page, 48), log_blocks: get_u32(page, 52) };
        let sizes = get_u32(page, 12) == low32(BLOCK_BYTES as u64) && get_u32(page, 56) == GROUP_BLOCKS;
        if !geometry.is_valid() || !sizes {
            return Err(SuperblockError::Corrupt);
        }
        let uuid = page.get(32..48).and_then(|b| b.first_chunk::<16>()).copied().unwrap_or_default();
        Ok(Self { uuid, geometry, incompatible, read_only_compatible: get_u64(page, 24) })
    }
}

/// Names a metadata page: where it is, where its copy is (0: none), and its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pointer {
    /// First copy; 0 is "nothing".
    pub block: u32,
    /// Second copy, or 0.
    pub copy: u32,
    /// CRC32C of the page.
    pub crc: u32,
}

/// One committed state of the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Root {
    /// Rises by one with each checkpoint.
    pub generation: u64,
    /// The tree, or nothing.
    pub tree: Pointer,
    /// Level of the tree's top node; leaves are level 0.
    pub level: u16,
    /// First log block that is not contained in this state.
    pub log_seq: u64,
    /// The chain value of the log block before it.
    pub log_tag: u64,
    /// Blocks that are free here but were not in the generation before: not yet to be reused.
    pub freed: u64,
    /// Next layer or entry id.
    pub next_id: u64,
    /// Size now.
    pub blocks: u32,
    /// Group table blocks: checksum and slot.
    pub tables: Vec<(u32, u32)>,
}

impl Root {
    /// The block.
    pub fn encode(&self, uuid: &[u8; 16], page: &mut PageBytes) {
        page.fill(0);
        put_u32(page, 0, MAGIC_ROOT);
        put_u64(page, 8, self.generation);
        put(page, 16, uuid);
        put_u32(page, 32, self.tree.block);
        put_u32(page, 36, self.tree.copy);
        put_u32(page, 40, self.tree.crc);
        put_u16(page, 44, self.level);
        put_u64(page, 48, self.log_seq);
        put_u64(page, 56, self.log_tag);
        put_u64(page, 64, self.freed);
        put_u64(page, 72, self.next_id);
        put_u32(page, 80, self.blocks);
        put_u32(page, 84, low32(self.tables.len() as u64));
        for (i, (crc, slot)) in self.tables.iter().enumerate() {
            let at = ROOT_TABLES_AT.saturating_add(i.saturating_mul(ENTRY_BYTES));
            put_u32(page, at, *crc);
            put_u32(page, at.saturating_add(4), *slot);
        }
        seal(page);
    }

    /// Reads a root, whose checksum was found right, of the store of that superblock, whose device has `device` blocks.
    pub fn decode(page: &PageBytes, superblock: &Superblock, device: u64) -> Option<Self> {
        let ours = page.get(16..32) == Some(superblock.uuid.as_slice());
        if get_u32(page, 0) != MAGIC_ROOT || !ours {
            return None;
        }
        let geometry = Geometry { blocks: get_u32(page, 80), ..superblock.geometry };
        let tables = get_u32(page, 84);
        if !geometry.is_valid() || u64::from(geometry.blocks) > device || tables != geometry.tables() {
            return None;
        }
        let table = |i: u32| {
            let at = ROOT_TABLES_AT.saturating_add(index(u64::from(i)).saturating_mul(ENTRY_BYTES));
            (get_u32(page, at), get_u32(page, at.saturating_add(4)) % SLOTS)
        };
        Some(Self {
            generation: get_u64(page, 8),
            tree: Pointer { block: get_u32(page, 32), copy: get_u32(page, 36), crc: get_u32(page, 40) },
            level: get_u16(page, 44),
            log_seq: get_u64(page, 48),
            log_tag: get_u64(page, 56),
            freed: get_u64(page, 64),
            next_id: get_u64(page, 72),
            blocks: geometry.blocks,
            tables: (0..tables).map(table).collect(),
        })
    }
}
