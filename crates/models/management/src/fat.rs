//! Writes a small FAT12 file system with some files in its root.
//!
//! Called by: `operations::seeds`. Source: Microsoft, "FAT32 File System Specification" (FATGEN 1.03): "Boot Sector and
//! BPB Structure", "FAT Data Structure", "FAT Long Directory Entries".
//!
//! | sectors | what |
//! |---|---|
//! | 0 | boot sector |
//! | 1–6 | two file allocation tables |
//! | 7–10 | root directory: 64 entries |
//! | 11–511 | clusters of one sector, from number 2 on |

use alloc::vec;
use alloc::vec::Vec;

const SECTOR: usize = 512;
const SECTORS: u16 = 512;
const FAT_SECTORS: usize = 3;
const ROOT_ENTRIES: usize = 64;
const ENTRY: usize = 32;
const ROOT: usize = (1 + 2 * FAT_SECTORS) * SECTOR;
const DATA: usize = ROOT + ROOT_ENTRIES * ENTRY;
/// Ends a chain of clusters.
const END: u16 = 0xFFF;
/// 1 January 1980, the first day that there is.
const DAY: [u8; 2] = 0x21_u16.to_le_bytes();
const LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;
const LONG_NAME: u8 = 0x0F;

/// An image of all files, under their names of at most 64 characters; `None`: they don't fit.
pub fn image(label: &str, files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let mut image = vec![0; usize::from(SECTORS) * SECTOR];
    put(&mut image, 0, &boot_sector(label))?;
    let mut table: Vec<u16> = vec![0xFF8, END];
    let mut root = Vec::new();
    root.extend_from_slice(&entry(&padded(label), LABEL, 0, 0));
    for (number, (name, bytes)) in files.iter().enumerate() {
        let first = if bytes.is_empty() { 0 } else { table.len() };
        put(&mut image, DATA + table.len().saturating_sub(2) * SECTOR, bytes)?;
        let clusters = bytes.len().div_ceil(SECTOR);
        for left in (0..clusters).rev() {
            let next = u16::try_from(table.len() + 1).ok()?;
            table.push(if left == 0 { END } else { next });
        }
        let short = short_name(number)?;
        root.extend_from_slice(&long_name(name, &short)?);
        let (first, size) = (u16::try_from(first).ok()?, u32::try_from(bytes.len()).ok()?);
        root.extend_from_slice(&entry(&short, ARCHIVE, first, size));
    }
    if root.len() > ROOT_ENTRIES * ENTRY {
        return None;
    }
    put(&mut image, ROOT, &root)?;
    let packed: Vec<u8> = table.chunks(2).flat_map(pack).collect();
    for copy in 0..2 {
        put(&mut image, (1 + copy * FAT_SECTORS) * SECTOR, &packed)?;
    }
    Some(image)
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    image.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}

fn boot_sector(label: &str) -> Vec<u8> {
    let mut sector = Vec::with_capacity(SECTOR);
    // Bytes 0–10: a jump, and who made it.
    sector.extend_from_slice(b"\xEB\x3C\x90BRAMBLE ");
    // BytsPerSec, SecPerClus, RsvdSecCnt, NumFATs, RootEntCnt, TotSec16, Media, FATSz16.
    sector.extend_from_slice(&[0, 2, 1, 1, 0, 2, 64, 0]);
    sector.extend_from_slice(&SECTORS.to_le_bytes());
    sector.extend_from_slice(&[0xF8, 3, 0]);
    // SecPerTrk, NumHeads, HiddSec, TotSec32: nothing that means anything today.
    sector.extend_from_slice(&[32, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // DrvNum, Reserved1, BootSig, VolID.
    sector.extend_from_slice(&[0x80, 0, 0x29, b'b', b'r', b'a', b'm']);
    sector.extend_from_slice(&padded(label));
    sector.extend_from_slice(b"FAT12   ");
    sector.resize(SECTOR - 2, 0);
    sector.extend_from_slice(&[0x55, 0xAA]);
    sector
}

/// Two entries of a FAT12 are three bytes.
fn pack(pair: &[u16]) -> [u8; 3] {
    let (one, two) = (pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0));
    let [a, b, c, _] = (u32::from(one) | u32::from(two) << 12).to_le_bytes();
    [a, b, c]
}

fn padded(text: &str) -> [u8; 11] {
    let mut name = [b' '; 11];
    name.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from.to_ascii_uppercase());
    name
}

/// A name of 8.3 characters that no other file has.
fn short_name(number: usize) -> Option<[u8; 11]> {
    let digit = b"0123456789".get(number)?;
    let mut name = padded("FILE~");
    *name.get_mut(5)? = *digit;
    Some(name)
}

/// A directory entry: name, attributes, first cluster, size.
fn entry(name: &[u8; 11], attributes: u8, first: u16, size: u32) -> [u8; ENTRY] {
    let mut entry = Vec::with_capacity(ENTRY);
    entry.extend_from_slice(name);
    entry.extend_from_slice(&[attributes, 0, 0, 0, 0]);
    // Created, read, and the high half of a cluster's number, of FAT32.
    entry.extend_from_slice(&[DAY[0], DAY[1], DAY[0], DAY[1], 0, 0, 0, 0, DAY[0], DAY[1]]);
    entry.extend_from_slice(&first.to_le_bytes());
    entry.extend_from_slice(&size.to_le_bytes());
    entry.try_into().unwrap_or([0; ENTRY])
}

/// The entries before a file's own that have its long name, the end of it first.
fn long_name(name: &str, short: &[u8; 11]) -> Option<Vec<u8>> {
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if units.is_empty() || units.len() > 64 {
        return None;
    }
    let count = units.len().div_ceil(13);
    if units.len() < count * 13 {
        units.push(0);
        units.resize(count * 13, 0xFFFF);
    }
    let mut entries = Vec::new();
    for (index, part) in units.chunks(13).enumerate().rev() {
        let order = u8::try_from(index + 1).ok()? | if index + 1 == count { 0x40 } else { 0 };
        let bytes: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let (one, rest) = bytes.split_at_checked(10)?;
        let (two, three) = rest.split_at_checked(12)?;
        entries.push(order);
        entries.extend_from_slice(one);
        entries.extend_from_slice(&[LONG_NAME, 0, sum]);
        entries.extend_from_slice(two);
        entries.extend_from_slice(&[0, 0]);
        entries.extend_from_slice(three);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use alloc::string::String;
    use std::io::{Cursor, Read};

    #[test]
    fn another_reader_finds_label_names_and_bytes() {
        let long: Vec<u8> = (0..40_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let files: [(&str, &[u8]); 4] = [
            ("user-data", b"#cloud-config\n"),
            ("meta-data", &long),
            ("network-config", &long[..512]),
            ("empty", b""),
        ];
        let image = image("CIDATA", &files).unwrap();
        let disk = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        assert_eq!(disk.fat_type(), fatfs::FatType::Fat12);
        assert_eq!(
            (disk.volume_label(), disk.read_volume_label_from_root_dir().unwrap()),
            (String::from("CIDATA"), Some(String::from("CIDATA")))
        );
        let names: Vec<String> = disk.root_dir().iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, files.map(|(name, _)| String::from(name)));
        for (name, bytes) in files {
            let mut read = Vec::new();
            disk.root_dir().open_file(name).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes, "{name}");
        }
        let free = disk.stats().unwrap().free_clusters();
        assert_eq!(free, 501 - 1 - 79 - 1);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let most = vec![7; 501 * SECTOR];
        assert!(image("CIDATA", &[("user-data", &most)]).is_some());
        let over = vec![7; 501 * SECTOR + 1];
        assert!(image("CIDATA", &[("user-data", &over)]).is_none());
        assert!(image("CIDATA", &[("a", &most), ("b", b"x")]).is_none());
        assert!(image("CIDATA", &[("", b"x")]).is_none());
        assert!(image("CIDATA", &[("x", b"".as_slice()); 11]).is_none());
    }
}
