//! The stream between two snapshots: header, records of blocks, end.
//!
//! Called by: send and receive (`bramblectl`; later hosts among themselves). Pure: who moves the bytes is the caller.
//! Every part has its CRC32C, and the end counts the records, so that a cut stream is never taken for a whole one.

use crate::crc::crc32c;
use crate::wire::{get_u32, get_u64, put, put_u32, put_u64};

/// Bytes of the header and of a record's head.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a record's head.
pub const RECORD_BYTES: usize = 32;
/// Most blocks of one record.
pub const MAX_BLOCKS: u32 = 32;
const MAGIC: &[u8; 8] = b"BrStream";

/// What a stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Size of the volume.
    pub sectors: u64,
    /// The snapshot that the receiver must have; zeroes: none.
    pub base: [u8; 16],
    /// The snapshot that the receiver will have.
    pub to: [u8; 16],
}

/// The head of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// `count` blocks from `block` on; their bytes follow.
    Data {
        /// First block.
        block: u64,
        /// How many.
        count: u32,
        /// CRC32C of the bytes.
        crc: u32,
    },
    /// `count` blocks that read as zero.
    Zero {
        /// First block.
        block: u64,
        /// How many.
        count: u32,
    },
    /// The end.
    End {
        /// Records before this one.
        records: u64,
    },
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, MAGIC);
        put_u32(&mut out, 8, 1);
        put_u64(&mut out, 16, self.sectors);
        put(&mut out, 24, &self.base);
        put(&mut out, 40, &self.to);
        let crc = crc32c(&out);
        put_u32(&mut out, 60, crc);
        out
    }

    /// Reads a header; `None` when it is none, or damaged, or of another version.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut copy = *bytes;
        put_u32(&mut copy, 60, 0);
        let good = bytes.starts_with(MAGIC) && get_u32(bytes, 8) == 1 && crc32c(&copy) == get_u32(bytes, 60);
        let guid = |at: usize| bytes.get(at..)?.first_chunk::<16>().copied();
        if !good {
            return None;
        }
        Some(Self { sectors: get_u64(bytes, 16), base: guid(24)?, to: guid(40)? })
    }
}

impl Record {
    /// The head's bytes.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let (kind, block, count, crc) = match self {
            Self::Data { block, count, crc } => (1, *block, *count, *crc),
            Self::Zero { block, count } => (2, *block, *count, 0),
            Self::End { records } => (3, *records, 0, 0),
        };
        put_u32(&mut out, 0, kind);
        put_u32(&mut out, 4, count);
        put_u64(&mut out, 8, block);
        put_u32(&mut out, 16, crc);
        let own = crc32c(&out);
        put_u32(&mut out, 28, own);
        out
    }

    /// Reads a head; `None` when it is damaged.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let mut copy = *bytes;
        put_u32(&mut copy, 28, 0);
        let (count, block) = (get_u32(bytes, 4), get_u64(bytes, 8));
        if crc32c(&copy) != get_u32(bytes, 28) || count > MAX_BLOCKS {
            return None;
        }
        match get_u32(bytes, 0) {
            1 => Some(Self::Data { block, count, crc: get_u32(bytes, 16) }),
            2 => Some(Self::Zero { block, count }),
            3 => Some(Self::End { records: block }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, Record};

    #[test]
    fn every_flipped_bit_of_a_head_is_noticed() {
        let record = Record::Data { block: 77, count: 5, crc: 0x1234 };
        let header = Header { sectors: 800, base: [1; 16], to: [2; 16] };
        assert_eq!(Record::decode(&record.encode()), Some(record));
        assert_eq!(Header::decode(&header.encode()), Some(header));
        for bit in 0..32 * 8 {
            let mut bytes = record.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bytes), None, "bit {bit}");
        }
        for bit in 0..64 * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), None, "bit {bit}");
        }
    }
}
