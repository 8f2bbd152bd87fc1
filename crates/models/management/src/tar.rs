//! Writes tar archives: headers, and what stands between files.
//!
//! Called by: `streams::bundle`. Source: POSIX.1-2017, "pax", "ustar Interchange Format".

/// Bytes of a block: a header is one, and contents fill whole ones.
pub const BLOCK: usize = 512;
/// What an archive ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A regular file that its owner alone may read. Of a name that is longer than 100 bytes the rest is cut; times and sizes
/// beyond 33 bits are the largest that there is.
pub fn header(name: &str, bytes: u64, unix_seconds: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    // Field by field: name, mode, uid, gid, size, mtime, chksum, typeflag; then magic and version.
    put(&mut header, 0, name.as_bytes().get(..100).unwrap_or(name.as_bytes()));
    for (at, number) in [(100, 0o600), (108, 0), (116, 0)] {
        put(&mut header, at, &octal::<7>(number));
    }
    put(&mut header, 124, &octal::<11>(bytes));
    put(&mut header, 136, &octal::<11>(unix_seconds));
    // The sum is taken with spaces in its own place.
    put(&mut header, 148, b"        0");
    put(&mut header, 257, b"ustar");
    put(&mut header, 263, b"00");
    let sum = header.iter().fold(0, |sum, byte| sum + u64::from(*byte));
    put(&mut header, 148, &octal::<6>(sum));
    put(&mut header, 154, b"\0 ");
    header
}

/// What fills the last block of a file of so many bytes.
pub fn padding(bytes: usize) -> &'static [u8] {
    let rest = bytes % BLOCK;
    END.get(..if rest == 0 { 0 } else { BLOCK - rest }).unwrap_or_default()
}

/// So many octal digits.
fn octal<const N: usize>(number: u64) -> [u8; N] {
    let largest = (1 << (3 * N)) - 1;
    let mut left = number.min(largest);
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' | (left & 7).to_le_bytes()[0];
        left >>= 3;
    }
    digits
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    header.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use std::io::Read;

    extern crate std;

    #[test]
    fn another_program_reads_what_is_written() {
        let long = "n".repeat(100);
        let files: [(&str, Vec<u8>); 4] = [
            ("empty", Vec::new()),
            ("vms/a.json", alloc::vec![1; 511]),
            (&long, alloc::vec![2; 512]),
            ("b", alloc::vec![3; 9000]),
        ];
        let mut archive = Vec::new();
        for (name, content) in &files {
            archive.extend_from_slice(&header(name, content.len() as u64, 1_800_000_000));
            archive.extend_from_slice(content);
            archive.extend_from_slice(padding(content.len()));
        }
        archive.extend_from_slice(&END);
        let mut read = ::tar::Archive::new(&archive[..]);
        let mut found = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(
                (entry.header().mtime().unwrap(), entry.header().mode().unwrap()),
                (1_800_000_000, 0o600)
            );
            let name: String = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((name, content));
        }
        let wanted: Vec<(String, Vec<u8>)> = files.map(|(name, content)| (name.into(), content)).into();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_too_large_is_the_largest() {
        assert_eq!(&octal::<3>(0o17), b"017");
        assert_eq!(&octal::<11>(u64::MAX), b"77777777777");
    }
}
