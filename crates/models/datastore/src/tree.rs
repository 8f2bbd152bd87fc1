//! Nodes of the B+tree, and the two kinds of page that its leaves name: maps and records.
//!
//! Called by: lookups (`read.rs`), the checkpoint (`merge.rs`), mount, the check. The tree's key is (owner, index):
//! owner 0 is the catalog and index an entry's id; any other owner is a layer and index a chunk of 508 blocks.
//! Invariants: entries rise strictly; an interior entry's key is at most its child's smallest key, except that the
//! first entry of a node stands for everything below it as well.

use crate::format::{ENTRY_BYTES, HEADER_BYTES, MAGIC_MAP, MAGIC_NODE, MAGIC_RECORD, Pointer};
use crate::wire::{PageBytes, count16, get_u16, get_u32, get_u64, put, put_u16, put_u32, put_u64};
use alloc::vec::Vec;

/// Entries of a map page: blocks of one chunk.
pub const CHUNK_BLOCKS: u64 = 508;
/// Entries of a node.
pub const NODE_ENTRIES: usize = 145;
/// More levels than 2^32 blocks can need; a tree that claims more is corrupt.
pub const MAX_LEVEL: u16 = 8;
/// The owner of catalog pages.
pub const CATALOG: u64 = 0;
/// Most bytes of a record.
pub const RECORD_BYTES: usize = 512;
const NODE_ENTRY_BYTES: usize = 28;

/// Names a page of the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Key {
    /// [`CATALOG`], or a layer.
    pub owner: u64,
    /// An entry's id, or a chunk.
    pub index: u64,
}

/// What one 4 KiB block of a layer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mapping {
    /// 0: this layer says nothing; 1: zeroes, whatever the parent has; else where the data is.
    pub block: u32,
    /// CRC32C of the data.
    pub crc: u32,
}

impl Mapping {
    /// The layer says nothing.
    pub const ABSENT: Self = Self { block: 0, crc: 0 };
    /// Zeroes.
    pub const ZERO: Self = Self { block: 1, crc: 0 };

    /// The layer owns a block here.
    pub fn is_data(self) -> bool {
        self.block > 1
    }
}

/// Reads entry `i` of a map page.
pub fn map_entry(page: &PageBytes, i: u16) -> Mapping {
    let at = HEADER_BYTES.saturating_add(usize::from(i).saturating_mul(ENTRY_BYTES));
    Mapping { block: get_u32(page, at), crc: get_u32(page, at.saturating_add(4)) }
}

/// Writes entry `i` of a map page.
pub fn set_map_entry(page: &mut PageBytes, i: u16, mapping: Mapping) {
    let at = HEADER_BYTES.saturating_add(usize::from(i).saturating_mul(ENTRY_BYTES));
    put_u32(page, at, mapping.block);
    put_u32(page, at.saturating_add(4), mapping.crc);
}

/// Writes a map page's header.
pub fn stamp(magic: u32, key: Key, page: &mut PageBytes) {
    put_u32(page, 0, magic);
    put_u64(page, 8, key.owner);
    put_u64(page, 16, key.index);
}

/// A page's header names it as `key`'s.
pub fn is_stamped(magic: u32, key: Key, page: &PageBytes) -> bool {
    get_u32(page, 0) == magic && get_u64(page, 8) == key.owner && get_u64(page, 16) == key.index
}

/// The magic that a key's page carries.
pub fn magic_of(key: Key) -> u32 {
    if key.owner == CATALOG { MAGIC_RECORD } else { MAGIC_MAP }
}

/// Writes a record page.
pub fn encode_record(id: u64, bytes: &[u8], page: &mut PageBytes) {
    page.fill(0);
    stamp(MAGIC_RECORD, Key { owner: CATALOG, index: id }, page);
    put_u16(page, 24, count16(bytes.len()));
    put(page, HEADER_BYTES, bytes);
}

/// The bytes of a record page.
pub fn record_bytes(page: &PageBytes) -> Option<&[u8]> {
    let len = usize::from(get_u16(page, 24));
    page.get(HEADER_BYTES..HEADER_BYTES.saturating_add(len.min(RECORD_BYTES)))
}

/// Number of entries of a node, if the page is a node of that level.
pub fn node_len(page: &PageBytes, level: u16) -> Option<usize> {
    let count = usize::from(get_u16(page, 10));
    let ours = get_u32(page, 0) == MAGIC_NODE && get_u16(page, 8) == level && count <= NODE_ENTRIES;
    (ours && count > 0).then_some(count)
}

fn entry_at(i: usize) -> usize {
    HEADER_BYTES.saturating_add(i.saturating_mul(NODE_ENTRY_BYTES))
}

/// Key of entry `i`.
pub fn node_key(page: &PageBytes, i: usize) -> Key {
    let at = entry_at(i);
    Key { owner: get_u64(page, at), index: get_u64(page, at.saturating_add(8)) }
}

/// Pointer of entry `i`.
pub fn node_pointer(page: &PageBytes, i: usize) -> Pointer {
    let at = entry_at(i).saturating_add(16);
    Pointer {
        block: get_u32(page, at),
        copy: get_u32(page, at.saturating_add(4)),
        crc: get_u32(page, at.saturating_add(8)),
    }
}

/// Number of entries whose key is at most `key`.
pub fn upper_bound(page: &PageBytes, count: usize, key: Key) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if node_key(page, middle) <= key { low = middle.saturating_add(1) } else { high = middle }
    }
    low
}

/// All entries of a node.
pub fn node_entries(page: &PageBytes, count: usize) -> Vec<(Key, Pointer)> {
    (0..count).map(|i| (node_key(page, i), node_pointer(page, i))).collect()
}

/// Writes a node.
pub fn encode_node(level: u16, entries: &[(Key, Pointer)], page: &mut PageBytes) {
    page.fill(0);
    put_u32(page, 0, MAGIC_NODE);
    put_u16(page, 8, level);
    put_u16(page, 10, count16(entries.len()));
    for (i, (key, pointer)) in entries.iter().enumerate() {
        let at = entry_at(i);
        put_u64(page, at, key.owner);
        put_u64(page, at.saturating_add(8), key.index);
        put_u32(page, at.saturating_add(16), pointer.block);
        put_u32(page, at.saturating_add(20), pointer.copy);
        put_u32(page, at.saturating_add(24), pointer.crc);
    }
}
