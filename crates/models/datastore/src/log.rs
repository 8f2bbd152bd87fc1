//! The intent log: a ring of 4 KiB blocks that a FLUSH writes instead of the tree.
//!
//! Called by: `apply` (append), the flusher, mount (replay). A block names its place in the sequence, the chain value
//! of the block before it (so that a leftover of an earlier run never continues a newer one), and up to where the log
//! was durable when it was written. What is not known to be durable is believed only if the data that it names is
//! there: so data and log go to the device together, with one device flush behind them.

use crate::format::{Checksum, MAGIC_LOG, seal_by};
use crate::overlay::Base;
use crate::tree::{CHUNK_BLOCKS, Mapping, RECORD_BYTES};
use crate::wire::{
    BLOCK_BYTES, PageBytes, Reader, count16, get_u16, get_u32, get_u64, index, low32, put, put_u16, put_u32,
    put_u64,
};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Bytes before a log block's records.
pub const LOG_HEADER: usize = 64;
const ROOM: usize = BLOCK_BYTES - LOG_HEADER;
/// More blocks follow that belong to the same transaction.
const CONTINUES: u16 = 1;
/// Most blocks of one transaction.
pub const MAX_TRANSACTION: usize = 8;
/// Most blocks of one Map record.
pub const MAX_RUN: usize = 64;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Blocks `block..` of a layer lie at `first..`, with these checksums.
    Map {
        /// The layer.
        layer: u64,
        /// First block within the layer.
        block: u64,
        /// First block of the store.
        first: u32,
        /// CRC32C of each block.
        crcs: Vec<u32>,
    },
    /// Blocks read as zero, or the layer says nothing about them.
    Blank {
        /// The layer.
        layer: u64,
        /// First block within the layer.
        block: u64,
        /// How many.
        count: u16,
        /// What they become.
        mapping: Mapping,
    },
    /// A whole page is replaced.
    Clear {
        /// The layer.
        layer: u64,
        /// The chunk.
        chunk: u64,
        /// By what.
        base: Base,
    },
    /// A child's page takes over its parent's.
    Absorb {
        /// The layer that goes away.
        parent: u64,
        /// Its only child.
        child: u64,
        /// The chunk.
        chunk: u64,
    },
    /// A catalog entry's new contents, or its end.
    Entry {
        /// Its id.
        id: u64,
        /// Its bytes.
        bytes: Option<Vec<u8>>,
    },
}

impl Record {
    /// Where it says that a block of its layer lies.
    pub fn mapping(&self, wanted: u64) -> Option<Mapping> {
        let Self::Map { block, first, crcs, .. } = self else { return None };
        let at = wanted.checked_sub(*block)?;
        let crc = *crcs.get(index(at))?;
        Some(Mapping { block: first.saturating_add(low32(at)), crc })
    }

    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Map { layer, block, first, crcs } => {
                out.push(1);
                out.extend_from_slice(&layer.to_le_bytes());
                out.extend_from_slice(&block.to_le_bytes());
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&count16(crcs.len()).to_le_bytes());
                for crc in crcs {
                    out.extend_from_slice(&crc.to_le_bytes());
                }
            }
            Self::Blank { layer, block, count, mapping } => {
                out.push(2);
                out.extend_from_slice(&layer.to_le_bytes());
                out.extend_from_slice(&block.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.push(u8::from(*mapping == Mapping::ZERO));
            }
            Self::Clear { layer, chunk, base } => {
                out.push(3);
                out.extend_from_slice(&layer.to_le_bytes());
                out.extend_from_slice(&chunk.to_le_bytes());
                out.push(u8::from(*base == Base::Zero));
            }
            Self::Absorb { parent, child, chunk } => {
                out.push(4);
                for field in [parent, child, chunk] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
            }
            Self::Entry { id, bytes } => {
                out.push(if bytes.is_some() { 5 } else { 6 });
                out.extend_from_slice(&id.to_le_bytes());
                if let Some(bytes) = bytes {
                    out.extend_from_slice(&count16(bytes.len()).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        match from.u8()? {
            1 => {
                let (layer, block, first, count) = (from.u64()?, from.u64()?, from.u32()?, from.u16()?);
                let crcs: Option<Vec<u32>> = (0..count).map(|_| from.u32()).collect();
                let crcs = crcs?;
                let sane = crcs.len() <= MAX_RUN && first > 1;
                sane.then_some(Self::Map { layer, block, first, crcs })
            }
            2 => {
                let (layer, block, count) = (from.u64()?, from.u64()?, from.u16()?);
                let mapping = if from.u8()? == 1 { Mapping::ZERO } else { Mapping::ABSENT };
                (u64::from(count) <= CHUNK_BLOCKS).then_some(Self::Blank { layer, block, count, mapping })
            }
            3 => {
                let (layer, chunk) = (from.u64()?, from.u64()?);
                let base = if from.u8()? == 1 { Base::Zero } else { Base::Absent };
                Some(Self::Clear { layer, chunk, base })
            }
            4 => Some(Self::Absorb { parent: from.u64()?, child: from.u64()?, chunk: from.u64()? }),
            5 => {
                let (id, len) = (from.u64()?, usize::from(from.u16()?));
                let bytes = from.bytes(len)?.to_vec();
                (len <= RECORD_BYTES).then_some(Self::Entry { id, bytes: Some(bytes) })
            }
            6 => Some(Self::Entry { id: from.u64()?, bytes: None }),
            _ => None,
        }
    }
}

/// The chain value behind a block.
pub fn chain(before: u64, crc: u32) -> u64 {
    before.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(crc)
}

/// The chain value of a store's first log block.
pub fn first_tag(uuid: &[u8; 16]) -> u64 {
    get_u64(uuid, 0) ^ get_u64(uuid, 8).rotate_left(1)
}

/// A log block that was read.
pub struct LogBlock {
    /// Everything below was on stable storage when this was written.
    pub durable: u64,
    /// Its transaction goes on in the next block.
    pub continues: bool,
    /// Its changes.
    pub records: Vec<Record>,
    /// The chain value behind it.
    pub tag: u64,
}

/// The sequence number and durable mark of a log block of this store, whose checksum was found right, whatever its place
/// in a chain.
pub fn peek(page: &PageBytes, uuid: &[u8; 16]) -> Option<(u64, u64)> {
    let ours = get_u32(page, 0) == MAGIC_LOG && page.get(40..56) == Some(uuid.as_slice());
    ours.then(|| (get_u64(page, 8), get_u64(page, 16)))
}

/// The number of the run that wrote a block.
pub fn run_of(page: &PageBytes) -> u64 {
    get_u64(page, 56)
}

/// Reads a block, whose checksum was found right, that continues a chain; `None` when this is not it.
pub fn decode(page: &PageBytes, uuid: &[u8; 16], seq: u64, tag: u64) -> Option<LogBlock> {
    let (found, durable) = peek(page, uuid)?;
    if found != seq || get_u64(page, 24) != tag || durable > seq {
        return None;
    }
    let len = usize::from(get_u16(page, 32));
    let mut reader = Reader::new(page.get(LOG_HEADER..LOG_HEADER.checked_add(len)?)?);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(Record::decode(&mut reader)?);
    }
    let continues = get_u16(page, 34) & CONTINUES != 0;
    Some(LogBlock { durable, continues, records, tag: chain(tag, get_u32(page, 4)) })
}

/// A block ready to be written.
pub struct Sealed {
    /// Its sequence number.
    pub seq: u64,
    /// Its bytes.
    pub page: Box<PageBytes>,
}

/// Gathers records into blocks.
pub struct LogWriter {
    uuid: [u8; 16],
    /// Sequence number of the block being filled.
    pub next_seq: u64,
    /// Chain value before it.
    pub tag: u64,
    /// Every block below is on stable storage.
    pub durable: u64,
    /// Number of the run: no block of a new run equals one of an old run, so that no leftover continues its chain.
    pub run: u64,
    buffer: Box<PageBytes>,
    fill: usize,
    spare: Vec<Box<PageBytes>>,
    sealed: alloc::collections::VecDeque<Sealed>,
}

impl LogWriter {
    /// Goes on behind the block before `next_seq`.
    pub fn new(uuid: [u8; 16], next_seq: u64, tag: u64) -> Self {
        Self {
            uuid,
            next_seq,
            tag,
            durable: next_seq,
            run: 0,
            buffer: Box::new([0; BLOCK_BYTES]),
            fill: 0,
            spare: (0..MAX_TRANSACTION.saturating_mul(2)).map(|_| Box::new([0; BLOCK_BYTES])).collect(),
            sealed: alloc::collections::VecDeque::new(),
        }
    }

    /// A transaction of `bytes` bytes can be appended now.
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= ROOM.saturating_sub(self.fill)
            || bytes / (ROOM - RECORD_BYTES - 16) < self.spare.len().saturating_sub(1)
    }

    /// Records are waiting in a block that is not full.
    pub fn has_partial(&self) -> bool {
        self.fill > 0
    }

    /// Appends encoded records that belong together. The caller has asked [`Self::has_room`].
    pub fn append(&mut self, records: &[Vec<u8>], checksum: Checksum<'_>) {
        let total: usize = records.iter().map(Vec::len).sum();
        if total > ROOM.saturating_sub(self.fill) {
            self.seal(false, checksum);
        }
        for record in records {
            if record.len() > ROOM.saturating_sub(self.fill) {
                self.seal(true, checksum);
            }
            put(self.buffer.as_mut_slice(), LOG_HEADER.saturating_add(self.fill), record);
            self.fill = self.fill.saturating_add(record.len());
        }
    }

    /// Closes the block being filled, if it has records.
    pub fn seal(&mut self, continues: bool, checksum: Checksum<'_>) {
        if self.fill > 0 {
            self.close(continues, checksum);
        }
    }

    /// Closes the block being filled, even an empty one: it tells a later mount what was durable by now.
    pub fn mark(&mut self, checksum: Checksum<'_>) {
        self.close(false, checksum);
    }

    fn close(&mut self, continues: bool, checksum: Checksum<'_>) {
        let page = self.buffer.as_mut_slice();
        put_u32(page, 0, MAGIC_LOG);
        put_u64(page, 8, self.next_seq);
        put_u64(page, 16, self.durable);
        put_u64(page, 24, self.tag);
        put_u16(page, 32, count16(self.fill));
        put_u16(page, 34, if continues { CONTINUES } else { 0 });
        put(page, 40, &self.uuid);
        put_u64(page, 56, self.run);
        seal_by(&mut self.buffer, checksum);
        self.tag = chain(self.tag, get_u32(self.buffer.as_slice(), 4));
        let empty = self.spare.pop().unwrap_or_else(|| Box::new([0; BLOCK_BYTES]));
        let page = core::mem::replace(&mut self.buffer, empty);
        self.buffer.fill(0);
        self.sealed.push_back(Sealed { seq: self.next_seq, page });
        self.next_seq = self.next_seq.saturating_add(1);
        self.fill = 0;
    }

    /// The next block to be written.
    pub fn take(&mut self) -> Option<Sealed> {
        self.sealed.pop_front()
    }

    /// Puts a block back that the device's queue had no room for.
    pub fn put_back(&mut self, sealed: Sealed) {
        self.sealed.push_front(sealed);
    }

    /// Gives a written block's memory back.
    pub fn recycle(&mut self, page: Box<PageBytes>) {
        self.spare.push(page);
    }
}
