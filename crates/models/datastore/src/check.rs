//! The offline check: walks everything that a root names and compares it with the space map, bit by bit.
//!
//! Called by: `bramblectl datastore check`, the simulator after each power cut. It shares no state with `Store`, so
//! that what it finds is what is on the device. Memory: one bit per block of the store.

use crate::catalog::Entry;
use crate::format::{
    Geometry, HEADER_BYTES, Pointer, ROOT_BLOCKS, Root, SUPER_BLOCKS, Superblock, count_used, decode_group,
    fresh_bitmap, is_used,
};
use crate::mount::{Device, MountError};
use crate::port::BlockPort;
use crate::tree::{
    CATALOG, CHUNK_BLOCKS, Key, MAX_LEVEL, is_stamped, magic_of, map_entry, node_key, node_len, node_pointer,
    record_bytes,
};
use crate::wire::{BLOCK_BYTES, PageBytes, index};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// One thing that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// One of the two superblocks is damaged.
    Superblock(u32),
    /// One of the two roots is damaged; the other is used.
    Root(u32),
    /// The group table can't be read.
    GroupTable(u32),
    /// A group's space map can't be read.
    Bitmap(u32),
    /// One copy of a metadata page is damaged; the other is good.
    Copy(u32),
    /// A metadata page is lost: what it held, as (owner, index).
    Page(u32, u64, u64),
    /// A node of the tree is lost.
    Node(u32),
    /// A node's keys do not rise.
    Order(u32),
    /// A block of data is corrupt: block, layer, block within the layer.
    Data(u32, u64, u64),
    /// A block is used twice.
    Twice(u32),
    /// A block is in use, but the space map says that it is free.
    InUseButFree(u32),
    /// A block is free, but the space map says that it is used.
    Leaked(u32),
    /// A page belongs to a layer that the catalog does not have.
    Orphan(u64),
    /// An entry refers to one that is not there.
    Dangling(u64),
    /// A group's count of free blocks is wrong.
    FreeCount(u32),
}

/// What the check saw.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Generation of the root that was checked.
    pub generation: u64,
    /// Metadata blocks, copies included.
    pub metadata: u64,
    /// Data blocks.
    pub data: u64,
    /// Free blocks.
    pub free: u64,
    /// Things that are wrong.
    pub findings: u64,
    /// Of those, damaged blocks that were written anew.
    pub repaired: u64,
}

/// How thorough a check is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CheckOptions {
    /// Reads every data block, too.
    pub data: bool,
    /// Writes good copies over damaged ones, and the space map anew where it is lost.
    pub repair: bool,
}

pub(crate) struct Check<'a, 'f, P: BlockPort> {
    pub device: Device<'a, P>,
    blocks: u32,
    seen: Vec<u8>,
    layers: Vec<u64>,
    entries: Vec<(u64, Entry)>,
    pub options: CheckOptions,
    pub summary: Summary,
    /// The tree was read to its last page, and says nothing twice.
    pub whole: bool,
    tell: &'f mut dyn FnMut(Finding),
}

/// Checks the newest root of a store that nobody has mounted; `options` says how thoroughly.
pub async fn check<P: BlockPort>(
    port: &mut P,
    options: CheckOptions,
    tell: &mut dyn FnMut(Finding),
) -> Result<Summary, MountError> {
    let found = port.blocks();
    let page = Some(port.allocate().ok_or(MountError::NoMemory)?);
    let mut device = Device { port, page };
    let (mut superblock, mut damaged) = (None, Vec::new());
    for at in SUPER_BLOCKS {
        match device.read(at).await.map(|(page, sealed)| Superblock::decode(page, sealed)) {
            Some(Ok(good)) => superblock = superblock.or(Some(good)),
            _ => damaged.push(Finding::Superblock(at)),
        }
    }
    let superblock = superblock.ok_or(MountError::Foreign)?;
    let mut roots = Vec::new();
    for at in ROOT_BLOCKS {
        match device.read_sealed(at).await.and_then(|page| Root::decode(page, &superblock, found)) {
            Some(root) => roots.push(root),
            None => damaged.push(Finding::Root(at)),
        }
    }
    let root = roots.into_iter().max_by_key(|root| root.generation).ok_or(MountError::NoRoot)?;
    let seen = alloc::vec![0; index(u64::from(root.blocks / 8)).saturating_add(1)];
    let summary = Summary { generation: root.generation, ..Summary::default() };
    let mut check = Check {
        device,
        blocks: root.blocks,
        seen,
        layers: Vec::new(),
        entries: Vec::new(),
        options,
        summary,
        whole: true,
        tell,
    };
    for finding in damaged {
        check.tell(finding);
        if let (Finding::Superblock(at), true) = (finding, options.repair) {
            let mut bytes: Box<PageBytes> = Box::new([0; BLOCK_BYTES]);
            superblock.encode(&mut bytes);
            let written = check.device.write(at, &bytes).await;
            check.summary.repaired = check.summary.repaired.saturating_add(u64::from(written));
        }
    }
    let geometry = Geometry { blocks: root.blocks, ..superblock.geometry };
    for group in 0..geometry.groups() {
        for (first, len) in geometry.reserved(group) {
            (first..first.saturating_add(len)).for_each(|block| check.see(block));
        }
    }
    check.walk(&root).await;
    check.judge_catalog();
    check.compare(geometry, &root).await;
    Ok(check.summary)
}

impl<P: BlockPort> Check<'_, '_, P> {
    fn tell(&mut self, finding: Finding) {
        self.summary.findings = self.summary.findings.saturating_add(1);
        let hole = matches!(
            finding,
            Finding::Page(..) | Finding::Node(_) | Finding::Order(_) | Finding::Twice(_) | Finding::Orphan(_)
        );
        self.whole &= !hole;
        (self.tell)(finding);
    }

    fn see(&mut self, block: u32) {
        let mask = 1u8 << (block % 8);
        let Some(byte) = self.seen.get_mut(index(u64::from(block / 8))) else { return };
        let twice = *byte & mask != 0;
        *byte |= mask;
        if twice {
            self.tell(Finding::Twice(block));
        }
    }

    /// Reads a page and its copy, if any; the first good one.
    async fn pointed(&mut self, pointer: Pointer) -> Option<Box<PageBytes>> {
        let (mut good, mut bad) = (None, None);
        for block in [pointer.block, pointer.copy] {
            if block == 0 {
                continue;
            }
            if block >= self.blocks {
                bad = Some(block);
                continue;
            }
            self.see(block);
            self.summary.metadata = self.summary.metadata.saturating_add(1);
            if self.device.read_checked(block, pointer.crc).await {
                good = self.device.page.as_ref().map(|page| Box::new(*page.as_ref()));
            } else {
                bad = Some(block);
            }
        }
        if let (Some(page), Some(block)) = (&good, bad) {
            self.tell(Finding::Copy(block));
            if self.options.repair && block < self.blocks && self.device.write(block, page).await {
                self.summary.repaired = self.summary.repaired.saturating_add(1);
            }
        }
        good
    }

    async fn walk(&mut self, root: &Root) {
        let mut stack = Vec::new();
        if root.tree.block != 0 && root.level <= MAX_LEVEL {
            stack.push((root.tree, root.level));
        }
        while let Some((pointer, level)) = stack.pop() {
            let page = self.pointed(pointer).await;
            let node = page.and_then(|page| node_len(&page, level).map(|count| (page, count)));
            let Some((page, count)) = node else {
                self.tell(Finding::Node(pointer.block));
                continue;
            };
            let mut before = None;
            for i in 0..count {
                let key = node_key(&page, i);
                if before.is_some_and(|b| b >= key) {
                    self.tell(Finding::Order(pointer.block));
                }
                before = Some(key);
                let below = node_pointer(&page, i);
                match level.checked_sub(1) {
                    // A forged tree can't make this grow: a block seen twice is not walked again.
                    Some(level) if !self.was_seen(below.block) => stack.push((below, level)),
                    Some(_) => self.tell(Finding::Twice(below.block)),
                    None => self.leaf(key, below).await,
                }
            }
        }
    }

    pub(crate) fn was_seen(&self, block: u32) -> bool {
        let byte = self.seen.get(index(u64::from(block / 8))).copied().unwrap_or(0);
        byte & (1 << (block % 8)) != 0
    }

    async fn leaf(&mut self, key: Key, pointer: Pointer) {
        let page = self.pointed(pointer).await.filter(|page| is_stamped(magic_of(key), key, page));
        let Some(page) = page else { return self.tell(Finding::Page(pointer.block, key.owner, key.index)) };
        if key.owner == CATALOG {
            match record_bytes(&page).and_then(Entry::decode) {
                Some(entry) => self.entries.push((key.index, entry)),
                None => self.tell(Finding::Page(pointer.block, key.owner, key.index)),
            }
            return;
        }
        if self.layers.last() != Some(&key.owner) {
            self.layers.push(key.owner);
        }
        for (i, at) in (0u16..).zip(0..CHUNK_BLOCKS) {
            let mapping = map_entry(&page, i);
            if !mapping.is_data() {
                continue;
            }
            let place = key.index.saturating_mul(CHUNK_BLOCKS).saturating_add(at);
            self.summary.data = self.summary.data.saturating_add(1);
            if mapping.block >= self.blocks {
                self.tell(Finding::Data(mapping.block, key.owner, place));
                continue;
            }
            self.see(mapping.block);
            let good = !self.options.data || self.device.read_checked(mapping.block, mapping.crc).await;
            if !good {
                self.tell(Finding::Data(mapping.block, key.owner, place));
            }
        }
    }

    fn judge_catalog(&mut self) {
        let entries = core::mem::take(&mut self.entries);
        let is_layer = |id: u64| entries.iter().any(|(i, e)| *i == id && matches!(e, Entry::Layer { .. }));
        for (id, entry) in &entries {
            let refers = match entry {
                Entry::Layer { parent } => *parent,
                named => named.named_layer().unwrap_or(0),
            };
            let circular = matches!(entry, Entry::Layer { parent } if parent >= id);
            if (refers != 0 && !is_layer(refers)) || circular {
                self.tell(Finding::Dangling(*id));
            }
        }
        let mut layers = core::mem::take(&mut self.layers);
        layers.sort_unstable();
        layers.dedup();
        for layer in layers {
            if !is_layer(layer) {
                self.tell(Finding::Orphan(layer));
            }
        }
    }

    async fn compare(&mut self, geometry: Geometry, root: &Root) {
        for (table, (crc, slot)) in (0u32..).zip(&root.tables) {
            let at = geometry.table_block(table, *slot);
            let mut page = None;
            if self.device.read_checked(at, *crc).await {
                page = self.device.page.as_ref().map(|page| Box::new(*page.as_ref()));
            } else {
                self.tell(Finding::GroupTable(table));
            }
            if page.is_none() {
                page = self.rebuild_table(geometry, table, (*crc, *slot)).await;
            }
            let Some(page) = page else { continue };
            let first = table.saturating_mul(crate::format::GROUPS_PER_TABLE);
            let last = first.saturating_add(crate::format::GROUPS_PER_TABLE).min(geometry.groups());
            for group in first..last {
                let entry = decode_group(&page, index(u64::from(group.saturating_sub(first))));
                self.compare_group(geometry, group, entry).await;
            }
        }
    }

    async fn compare_group(&mut self, geometry: Geometry, group: u32, entry: crate::format::Group) {
        let mut bits: Box<PageBytes> = Box::new([0; BLOCK_BYTES]);
        if entry.fresh {
            fresh_bitmap(geometry, group, &mut bits);
        } else {
            let at = geometry.bitmap_block(group, u32::from(entry.slot));
            let good = self.device.read_checked(at, entry.crc).await;
            match self.device.page.as_ref().filter(|_| good) {
                Some(page) => bits.copy_from_slice(page.as_ref()),
                None => {
                    self.tell(Finding::Bitmap(group));
                    let Some(made) = self.rebuild_bitmap(geometry, group, entry).await else { return };
                    bits = made;
                }
            }
        }
        let start = geometry.group_start(group);
        let len = geometry.group_len(group);
        let free = len.saturating_sub(count_used(&bits, len));
        // A group begins at a multiple of eight: byte by byte, and bit by bit where they differ.
        let seen = self.seen.get(index(u64::from(start / 8))..).unwrap_or_default();
        let pairs = (0u32..).zip(bits.iter().skip(HEADER_BYTES).zip(seen));
        let unequal: Vec<u32> = pairs.filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
        for bit in unequal.into_iter().flat_map(|at| (0..8).map(move |bit| at.saturating_mul(8) | bit)) {
            if bit >= len {
                break;
            }
            let block = start.saturating_add(bit);
            match (is_used(&bits, bit), self.was_seen(block)) {
                (true, false) => self.tell(Finding::Leaked(block)),
                (false, true) => self.tell(Finding::InUseButFree(block)),
                _ => {}
            }
        }
        if free != u32::from(entry.free) {
            self.tell(Finding::FreeCount(group));
        }
        self.summary.free = self.summary.free.saturating_add(u64::from(free));
    }
}
