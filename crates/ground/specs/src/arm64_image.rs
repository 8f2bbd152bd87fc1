//! The header of an arm64 Linux Image.
//!
//! Source: Linux, Documentation/arch/arm64/booting.rst, 3 "Decompress the kernel image" (little-endian fields):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0x00 | 4 + 4 | code0, code1 |
//! | 0x08 | 8 | text_offset |
//! | 0x10 | 8 | image_size |
//! | 0x18 | 8 | flags |
//! | 0x20 | 24 | res2, res3, res4 |
//! | 0x38 | 4 | magic |
//! | 0x3c | 4 | res5 (offset of a PE header) |

/// Bytes of the header.
pub const BYTES: usize = 64;

/// `magic`: "ARM\x64".
pub const MAGIC: [u8; 4] = *b"ARM\x64";

/// Where `magic` is.
pub const MAGIC_OFFSET: usize = 0x38;

/// What `text_offset` means where `image_size` is 0 (Linux before 3.17), and where QEMU's `virt` puts code that has no
/// header at all.
pub const LEGACY_TEXT_OFFSET: u64 = 0x8_0000;

/// Both the alignment that `text_offset` counts from, and the unit of a VM's RAM.
pub const ALIGNMENT: u64 = 0x20_0000;

/// The fields that a loader needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where the image wants to be, from a 2 MiB boundary.
    pub text_offset: u64,
    /// Bytes that it occupies, BSS included; 0 where it does not say.
    pub image_size: u64,
    /// Bit 0: big-endian kernel; bits 1–2: page size; bit 3: may be anywhere in memory.
    pub flags: u64,
}

impl Header {
    /// The header of `image`, or `None` where it has none.
    pub fn read(image: &[u8]) -> Option<Self> {
        if image.get(MAGIC_OFFSET..MAGIC_OFFSET + 4)? != MAGIC {
            return None;
        }
        Some(Self {
            text_offset: word(image, 0x08)?,
            image_size: word(image, 0x10)?,
            flags: word(image, 0x18)?,
        })
    }
}

fn word(image: &[u8], offset: usize) -> Option<u64> {
    let bytes = image.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> [u8; BYTES] {
        let mut image = [0; BYTES];
        image[0x08..0x10].copy_from_slice(&0x8_0000_u64.to_le_bytes());
        image[0x10..0x18].copy_from_slice(&0x1234_5000_u64.to_le_bytes());
        image[0x18..0x20].copy_from_slice(&0xa_u64.to_le_bytes());
        image[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(&MAGIC);
        image
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let header = Header { text_offset: 0x8_0000, image_size: 0x1234_5000, flags: 0xa };
        assert_eq!(Header::read(&image()), Some(header));
    }

    #[test]
    fn a_short_or_foreign_image_has_no_header() {
        assert_eq!(Header::read(&image()[..MAGIC_OFFSET + 3]), None);
        assert_eq!(Header::read(&[0; BYTES]), None);
        assert_eq!(Header::read(&[]), None);
    }
}
