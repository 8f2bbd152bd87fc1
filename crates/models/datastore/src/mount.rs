//! Making a store, and mounting one: superblock, root, group table, catalog, log.
//!
//! Called by: the owner, who polls the future by hand. It has the device to itself: one request at a time. Every size
//! that comes from the device is checked before anything is allocated by it. Mounting writes nothing.

use crate::cache::Cache;
use crate::catalog::{Catalog, Entry, MAX_ENTRIES};
use crate::error::{Event, ReadOnly};
use crate::format::{
    Geometry, Group, Pointer, ROOT_BLOCKS, Root, SUPER_BLOCKS, Superblock, SuperblockError, decode_group,
    encode_groups,
};
use crate::log::{LogWriter, MAX_TRANSACTION};
use crate::overlay::Generation;
use crate::port::{BlockPort, Io, IoDone, IoOp};
use crate::space::Space;
use crate::store::{Options, Store, has_defect};
use crate::tree::{
    CATALOG, Key, MAX_LEVEL, is_stamped, magic_of, node_key, node_len, node_pointer, record_bytes,
};
use crate::wire::{PageBytes, index};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Why a device could not be mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MountError {
    /// No datastore is there.
    Foreign,
    /// Made by a newer version.
    Newer(u32),
    /// It uses features that this version does not know.
    Features(u64),
    /// Both superblocks are damaged.
    Superblock,
    /// No root can be used.
    NoRoot,
    /// The device is smaller than the store.
    Truncated {
        /// Blocks of the store.
        needed: u64,
        /// Blocks of the device.
        found: u64,
    },
    /// The device can't be read.
    Io,
    /// No memory for the pages that the options ask for.
    NoMemory,
    /// A device of this size cannot hold a store.
    TooSmall,
    /// The log holds more changes than the options have memory for.
    Log,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("this is not a Bramble datastore"),
            Self::Newer(v) => write!(f, "the datastore has format version {v}; this program knows version 1"),
            Self::Features(bits) => {
                write!(f, "the datastore uses features unknown to this program ({bits:#x})")
            }
            Self::Superblock => f.write_str("both copies of the superblock are damaged"),
            Self::NoRoot => f.write_str("neither root leads to a readable catalog"),
            Self::Truncated { needed, found } => {
                write!(f, "the datastore has {needed} blocks of 4 KiB, but the device only {found}")
            }
            Self::Io => f.write_str("the device can't be read"),
            Self::NoMemory => f.write_str("there is not enough memory for the page cache"),
            Self::TooSmall => f.write_str("the device is too small for a datastore"),
            Self::Log => f.write_str(
                "its log holds more changes than there is memory for here; `bramblectl datastore grow` on a PC writes \
                 them to their place",
            ),
        }
    }
}

impl core::error::Error for MountError {}

/// Polls a future until it is ready. For owners that have nothing else to do (a PC tool, tests).
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// Lets the owner do something else before it goes on.
struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// One request to a device that nobody else uses.
pub(crate) struct Transfer<'a, P: BlockPort> {
    port: &'a mut P,
    io: Option<Io<P::Page>>,
}

impl<P: BlockPort> Unpin for Transfer<'_, P> {}

impl<P: BlockPort> Future for Transfer<'_, P> {
    type Output = IoDone<P::Page>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(io) = this.io.take()
            && let Err(io) = this.port.submit(io)
        {
            this.io = Some(io);
        }
        this.port.complete().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The device while it is read and written block by block.
pub(crate) struct Device<'a, P: BlockPort> {
    pub port: &'a mut P,
    pub page: Option<P::Page>,
}

impl<P: BlockPort> Device<'_, P> {
    async fn transfer(&mut self, op: IoOp, block: u32) -> bool {
        let pages = if op == IoOp::Flush { Vec::new() } else { self.page.take().into_iter().collect() };
        let io = Io { token: 0, op, block, pages };
        let mut done = Transfer { port: self.port, io: Some(io) }.await;
        if op != IoOp::Flush {
            self.page = done.pages.pop();
        }
        done.result.is_ok()
    }

    /// Reads a block that carries its own checksum; tells whether that is right.
    pub(crate) async fn read(&mut self, block: u32) -> Option<(&PageBytes, bool)> {
        let ok = self.transfer(IoOp::Read, block).await;
        let page = self.page.as_ref().filter(|_| ok)?;
        Some((page.as_ref(), self.port.is_sealed(page)))
    }

    /// Reads a block, and shows it only when its own checksum is right.
    pub(crate) async fn read_sealed(&mut self, block: u32) -> Option<&PageBytes> {
        self.read(block).await.filter(|(_, sealed)| *sealed).map(|(page, _)| page)
    }

    /// Reads a block into the page; false when it is not what the checksum says.
    pub(crate) async fn read_checked(&mut self, block: u32, crc: u32) -> bool {
        let ok = self.transfer(IoOp::Read, block).await;
        ok && self.page.as_ref().is_some_and(|page| self.port.page_checksum(page) == crc)
    }

    /// Writes a block.
    pub(crate) async fn write(&mut self, block: u32, bytes: &PageBytes) -> bool {
        if let Some(page) = self.page.as_mut() {
            page.as_mut().copy_from_slice(bytes);
        }
        self.transfer(IoOp::Write, block).await
    }

    /// Reads a page that a pointer names, or its copy.
    async fn pointed(&mut self, pointer: Pointer, blocks: u32) -> Option<Box<PageBytes>> {
        for block in [pointer.block, pointer.copy] {
            if block < 2 || block >= blocks {
                continue;
            }
            if self.read_checked(block, pointer.crc).await {
                return self.page.as_ref().map(|page| Box::new(*page.as_ref()));
            }
        }
        None
    }
}

/// Makes an empty store that fills the device.
pub async fn format<P: BlockPort>(port: &mut P, uuid: [u8; 16]) -> Result<(), MountError> {
    let blocks = u32::try_from(port.blocks()).unwrap_or(u32::MAX - 1);
    let geometry = Geometry::of(blocks);
    if !geometry.is_valid() {
        return Err(MountError::TooSmall);
    }
    let page = port.allocate();
    let mut device = Device { port, page };
    let mut bytes: Box<PageBytes> = Box::new([0; crate::wire::BLOCK_BYTES]);
    let mut ok = true;
    // What was there stops being a store before the new one begins to be.
    for at in SUPER_BLOCKS {
        ok &= device.write(at, &bytes).await;
    }
    ok &= device.transfer(IoOp::Flush, 0).await;
    let log_tag = crate::log::first_tag(&uuid);
    for (slot, at) in (0u32..).zip(ROOT_BLOCKS) {
        let generation = u64::from(slot);
        // Each root has a group table of its own: one bad block never costs both.
        let mut tables = Vec::new();
        for table in 0..geometry.tables() {
            let first = table.saturating_mul(crate::format::GROUPS_PER_TABLE);
            let last = first.saturating_add(crate::format::GROUPS_PER_TABLE).min(geometry.groups());
            let groups: Vec<Group> = (first..last).map(|g| fresh_group(geometry, g)).collect();
            encode_groups(table, generation, &groups, &mut bytes);
            tables.push((device.port.checksum(&bytes), slot));
            ok &= device.write(geometry.table_block(table, slot), &bytes).await;
        }
        let root = Root { generation, log_tag, next_id: 1, blocks, tables, ..Root::default() };
        root.encode(&uuid, &mut bytes);
        ok &= device.write(at, &bytes).await;
    }
    ok &= device.transfer(IoOp::Flush, 0).await;
    Superblock { uuid, geometry, incompatible: 0, read_only_compatible: 0 }.encode(&mut bytes);
    for at in SUPER_BLOCKS {
        ok &= device.write(at, &bytes).await;
    }
    ok &= device.transfer(IoOp::Flush, 0).await;
    if ok { Ok(()) } else { Err(MountError::Io) }
}

/// A group that was never used.
pub(crate) fn fresh_group(geometry: Geometry, group: u32) -> Group {
    Group { crc: 0, free: Space::fresh_free(geometry, group), slot: 0, fresh: true }
}

async fn read_superblock<P: BlockPort>(
    device: &mut Device<'_, P>,
    events: &mut VecDeque<Event>,
) -> Result<Superblock, MountError> {
    let mut first = MountError::Io;
    for (i, at) in SUPER_BLOCKS.into_iter().enumerate() {
        let read = device.read(at).await.map(|(page, sealed)| Superblock::decode(page, sealed));
        let error = match read {
            Some(Ok(superblock)) => {
                if i > 0 {
                    events.push_back(Event::SuperblockCopy);
                }
                return Ok(superblock);
            }
            Some(Err(SuperblockError::Newer(version))) => return Err(MountError::Newer(version)),
            Some(Err(SuperblockError::Features(bits))) => return Err(MountError::Features(bits)),
            Some(Err(SuperblockError::Foreign)) => MountError::Foreign,
            Some(Err(SuperblockError::Corrupt)) => MountError::Superblock,
            None => MountError::Io,
        };
        if i == 0 {
            first = error;
        }
    }
    Err(first)
}

/// What a root leads to.
struct Loaded {
    root: Root,
    groups: Vec<Group>,
    catalog: Catalog,
    /// First group of each block of the group table that can't be read.
    lost: Vec<u32>,
}

async fn load<P: BlockPort>(
    device: &mut Device<'_, P>,
    superblock: &Superblock,
    root: Root,
) -> Option<Loaded> {
    let geometry = Geometry { blocks: root.blocks, ..superblock.geometry };
    let (mut groups, mut lost) = (Vec::new(), Vec::new());
    for (table, (crc, slot)) in (0u32..).zip(&root.tables) {
        let pointer = Pointer { block: geometry.table_block(table, *slot), copy: 0, crc: *crc };
        let first = table.saturating_mul(crate::format::GROUPS_PER_TABLE);
        let left = geometry.groups().saturating_sub(first).min(crate::format::GROUPS_PER_TABLE);
        match device.pointed(pointer, root.blocks).await {
            Some(page) => groups.extend((0..index(u64::from(left))).map(|i| decode_group(&page, i))),
            None => {
                lost.push(first);
                // Nothing is known to be free there.
                groups.extend((0..left).map(|_| Group::default()));
            }
        }
    }
    let catalog = load_catalog(device, &root).await?;
    Some(Loaded { root, groups, catalog, lost })
}

async fn load_catalog<P: BlockPort>(device: &mut Device<'_, P>, root: &Root) -> Option<Catalog> {
    let mut catalog = Catalog::default();
    let mut stack = Vec::new();
    if root.tree.block != 0 {
        if root.level > MAX_LEVEL {
            return None;
        }
        stack.push((root.tree, root.level));
    }
    let mut nodes: usize = 0;
    while let Some((pointer, level)) = stack.pop() {
        nodes = nodes.saturating_add(1);
        if nodes > MAX_ENTRIES {
            return None;
        }
        let page = device.pointed(pointer, root.blocks).await?;
        let count = node_len(&page, level)?;
        for i in 0..count {
            let key = node_key(&page, i);
            if key.owner != CATALOG {
                // Interior keys are lower bounds: the first entry may hold catalog pages in any case.
                if level > 0 && i == 0 {
                    stack.push((node_pointer(&page, i), level.saturating_sub(1)));
                }
                break;
            }
            if level > 0 {
                stack.push((node_pointer(&page, i), level.saturating_sub(1)));
                continue;
            }
            let entry = load_entry(device, key, node_pointer(&page, i), root.blocks).await?;
            catalog.set(key.index, Some(entry));
            if catalog.len() > MAX_ENTRIES {
                return None;
            }
        }
    }
    Some(catalog)
}

async fn load_entry<P: BlockPort>(
    device: &mut Device<'_, P>,
    key: Key,
    pointer: Pointer,
    blocks: u32,
) -> Option<Entry> {
    let page = device.pointed(pointer, blocks).await?;
    if !is_stamped(magic_of(key), key, &page) {
        return None;
    }
    Entry::decode(record_bytes(&page)?)
}

/// Mounts a store. On failure the device is given back.
pub async fn mount<P: BlockPort>(mut port: P, options: Options) -> Result<Store<P>, (P, MountError)> {
    let mut events = VecDeque::new();
    match open(&mut port, &mut events).await {
        Err(error) => Err((port, error)),
        Ok((superblock, loaded, log_kept)) => {
            let Some(pool) = take_pages(&mut port, options).await else {
                return Err((port, MountError::NoMemory));
            };
            let mut store = assemble(port, pool, options, superblock, loaded, log_kept, events);
            if let Err(error) = store.replay().await {
                return Err((store.port, error));
            }
            if store.superblock.read_only_compatible != 0 {
                store.become_read_only(ReadOnly::NewerFeatures);
            }
            if store.options.read_only {
                store.read_only = Some(ReadOnly::Asked);
            }
            Ok(store)
        }
    }
}

async fn open<P: BlockPort>(
    port: &mut P,
    events: &mut VecDeque<Event>,
) -> Result<(Superblock, Loaded, u64), MountError> {
    let found = port.blocks();
    let page = Some(port.allocate().ok_or(MountError::NoMemory)?);
    let mut device = Device { port, page };
    let superblock = read_superblock(&mut device, events).await?;
    let mut roots = Vec::new();
    for at in ROOT_BLOCKS {
        if let Some(page) = device.read_sealed(at).await {
            roots.extend(Root::decode(page, &superblock, found));
        }
    }
    roots.sort_by_key(|root| core::cmp::Reverse(root.generation));
    let log_kept = roots.iter().map(|root| root.log_seq).min().unwrap_or(0);
    let mut older = roots.len() < ROOT_BLOCKS.len();
    let any = !roots.is_empty();
    let mut second_choice = None;
    for root in roots {
        let generation = root.generation;
        let loaded = load(&mut device, &superblock, root).await;
        match loaded {
            Some(loaded) if loaded.lost.is_empty() => {
                if older {
                    events.push_back(Event::OlderRoot { generation });
                }
                return Ok((superblock, loaded, log_kept));
            }
            Some(loaded) => second_choice = second_choice.or(Some(loaded)),
            None => {}
        }
        older = true;
    }
    // Everything can be read, and written where it is known what is free.
    if let Some(loaded) = second_choice {
        events.extend(loaded.lost.iter().map(|group| Event::GroupLost { group: *group }));
        return Ok((superblock, loaded, log_kept));
    }
    let needed = u64::from(superblock.geometry.blocks);
    if !any && found < needed {
        Err(MountError::Truncated { needed, found })
    } else {
        Err(MountError::NoRoot)
    }
}

/// The pages that the options ask for, half of them at a time.
async fn take_pages<P: BlockPort>(port: &mut P, options: Options) -> Option<Vec<P::Page>> {
    let pages = options.io_pages.max(64).saturating_add(options.cache_pages.max(64));
    let mut pool = Vec::with_capacity(pages);
    while pool.len() < pages {
        if pool.len() == pages / 2 {
            Pause(false).await;
        }
        pool.push(port.allocate()?);
    }
    Pause(false).await;
    Some(pool)
}

fn assemble<P: BlockPort>(
    port: P,
    pool: Vec<P::Page>,
    options: Options,
    superblock: Superblock,
    loaded: Loaded,
    log_kept: u64,
    events: VecDeque<Event>,
) -> Store<P> {
    let cache_pages = options.cache_pages.max(64);
    let Loaded { root, groups, catalog, .. } = loaded;
    let geometry = Geometry { blocks: root.blocks, ..superblock.geometry };
    let active = Generation { log_start: root.log_seq, ..Generation::default() };
    Store {
        port,
        options,
        superblock,
        pool,
        backlog: VecDeque::new(),
        refused: VecDeque::new(),
        cache: Cache::new(cache_pages),
        fetches: BTreeMap::new(),
        failed: BTreeMap::new(),
        trails: crate::lookup::Trails::default(),
        space: Space::new(geometry, groups, root.freed),
        opening: None,
        group_wanted: false,
        catalog,
        next_id: root.next_id.max(1),
        active,
        frozen: None,
        checkpoint: None,
        checkpoint_wanted: false,
        checkpoint_failures: 0,
        checkpoint_forced: false,
        log: LogWriter::new(superblock.uuid, root.log_seq, root.log_tag),
        log_in_flight: 0,
        log_kept,
        flusher: crate::store::Flusher::default(),
        slots: (0..options.slots.clamp(1, 1024)).map(|_| None).collect(),
        ready: VecDeque::new(),
        completions: VecDeque::new(),
        transactions: BTreeMap::new(),
        writing: BTreeMap::new(),
        collector: crate::gc::Collector::looking(),
        scrub: None,
        scrubbed: crate::scrub::ScrubReport::default(),
        read_only: None,
        write_errors: 0,
        events,
        stats: crate::store::Stats::default(),
        request_count: 0,
        frozen_tag: root.log_tag,
        commit_root: false,
        grown_from: None,
        root,
    }
}

impl<P: BlockPort> Store<P> {
    /// Reads the log twice: to find its end and what was durable, then to apply it.
    async fn replay(&mut self) -> Result<(), MountError> {
        let (uuid, blocks) = (self.superblock.uuid, self.root.blocks);
        let geometry = self.space.geometry;
        let page = self.pool.pop();
        let mut device = Device { port: &mut self.port, page };
        let (mut seq, mut tag, mut durable) = (self.root.log_seq, self.root.log_tag, self.root.log_seq);
        let limit = seq.saturating_add(u64::from(geometry.log_blocks));
        let mut run = 0;
        while seq < limit
            && let Some(page) = device.read_sealed(geometry.log_block(seq)).await
            && let (number, Some(block)) =
                (crate::log::run_of(page), crate::log::decode(page, &uuid, seq, tag))
        {
            (tag, durable) = (block.tag, block.durable.max(durable));
            run = run.max(number);
            seq = seq.saturating_add(1);
        }
        let chain_end = seq;
        (seq, tag) = (self.root.log_seq, self.root.log_tag);
        let (mut end, mut end_tag) = (seq, tag);
        let mut group = Vec::new();
        let mut blocks_of_group: usize = 0;
        let believed = has_defect!(self, LogBelieved);
        let torn = has_defect!(self, TornTransaction);
        while seq < chain_end {
            let Some(block) = device
                .read_sealed(geometry.log_block(seq))
                .await
                .and_then(|page| crate::log::decode(page, &uuid, seq, tag))
            else {
                break;
            };
            if !crate::replay::is_sound(&mut device, &block.records, blocks, seq >= durable && !believed)
                .await
            {
                break;
            }
            blocks_of_group = blocks_of_group.saturating_add(1);
            if blocks_of_group > MAX_TRANSACTION {
                break;
            }
            group.extend(block.records);
            tag = block.tag;
            seq = seq.saturating_add(1);
            if !block.continues || torn {
                // Applied below, when the device is free again: a transaction is bounded.
                let Device { port, page } = device;
                let _ = port;
                self.pool.extend(page);
                blocks_of_group = 0;
                for record in group.drain(..) {
                    self.apply_replayed(&record);
                    if self.active.bytes() > self.options.log_bytes {
                        return Err(MountError::Log);
                    }
                }
                (end, end_tag) = (seq, tag);
                let page = self.pool.pop();
                device = Device { port: &mut self.port, page };
            }
        }
        let behind = crate::replay::leftovers(&mut device, geometry, &uuid, end).await;
        run = run.max(behind.run);
        let page = device.page.take();
        self.pool.extend(page);
        self.log = LogWriter::new(uuid, end, end_tag);
        self.log.run = run.wrapping_add(1);
        self.log.durable = durable.min(end);
        self.frozen_tag = end_tag;
        if behind.hole && !self.options.accept_log_loss {
            self.become_read_only(ReadOnly::LogDamaged);
        }
        Ok(())
    }

    fn apply_replayed(&mut self, record: &crate::log::Record) {
        if let crate::log::Record::Map { crcs, .. } = record {
            self.space.taken = self.space.taken.saturating_add(crcs.len() as u64);
        }
        self.apply(record);
    }
}
