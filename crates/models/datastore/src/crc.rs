//! CRC32C (Castagnoli), the software twin of what a host port may do with the PE's instructions.
//!
//! Called by: [`crate::BlockPort::checksum`] unless the port overrides it. Standard: RFC 3720, appendix B.4 (the
//! polynomial 0x1EDC6F41, reflected). Sixteen tables take sixteen bytes per round.

use crate::wire::BLOCK_BYTES;

const POLYNOMIAL: u32 = 0x82f6_3b78;

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated at compile time")]
const TABLES: [[u32; 256]; 16] = {
    let mut tables = [[0u32; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut level = 1;
    while level < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[level - 1][byte];
            tables[level][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        level += 1;
    }
    tables
};

fn table(level: usize, byte: u8) -> u32 {
    TABLES.get(level).and_then(|t| t.get(usize::from(byte))).copied().unwrap_or(0)
}

/// CRC32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let (rounds, tail) = bytes.as_chunks::<16>();
    let mut crc = u32::MAX;
    for round in rounds {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *round;
        let [w, x, y, z] = (crc ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        crc = table(15, w) ^ table(14, x) ^ table(13, y) ^ table(12, z);
        crc ^= table(11, e) ^ table(10, f) ^ table(9, g) ^ table(8, h);
        crc ^= table(7, i) ^ table(6, j) ^ table(5, k) ^ table(4, l);
        crc ^= table(3, m) ^ table(2, n) ^ table(1, o) ^ table(0, p);
    }
    for byte in tail {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        crc = (crc >> 8) ^ table(0, low);
    }
    !crc
}

/// Bytes of a block behind its own checksum's field.
const BEHIND_FIELD: usize = BLOCK_BYTES - 8;

/// What each bit of a block's own checksum field (offset 4) adds to the CRC of the block: a CRC is linear.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const FIELD_BITS: [u32; 32] = {
    let mut bits = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        let mut crc = 1u32 << bit;
        let mut byte = 0;
        while byte < BEHIND_FIELD + 4 {
            crc = (crc >> 8) ^ TABLES[0][(crc & 0xff) as usize];
            byte += 1;
        }
        bits[bit] = crc;
        bit += 1;
    }
    bits
};

/// The CRC32C that a block would have with its own checksum field zero, from its CRC32C and what the field holds.
pub fn without_field(crc: u32, field: u32) -> u32 {
    let set = FIELD_BITS.iter().enumerate().filter(|(bit, _)| field & (1 << bit) != 0);
    set.fold(crc, |crc, (_, part)| crc ^ part)
}

#[cfg(test)]
mod tests {
    use super::{crc32c, without_field};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_block_without_its_field(seed in any::<u64>(), field in any::<u32>()) {
            let mut random = crate::sim::Random(seed);
            let mut page: [u8; 4096] = core::array::from_fn(|_| random.next().to_le_bytes()[0]);
            page[4..8].copy_from_slice(&[0; 4]);
            let expected = crc32c(&page);
            page[4..8].copy_from_slice(&field.to_le_bytes());
            prop_assert_eq!(without_field(crc32c(&page), field), expected);
        }
    }

    #[test]
    fn vectors_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: std::vec::Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }
}
