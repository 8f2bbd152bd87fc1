//! Writes cpio archives of the "new ASCII" format (magic 070701), as the Linux kernel's documentation
//! "initramfs buffer format" describes it: boot archives and the initramfs of the small guest.
//!
//! Data starts at multiples of 4 bytes; owner is 0:0 and the time is 0, so that equal input gives equal bytes.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040755;
const SYMLINK: u32 = 0o120777;
const DEVICE: u32 = 0o020600;
const FILE: u32 = 0o100000;

/// An archive under way.
pub struct CpioWriter<W: Write> {
    out: W,
    inode: u32,
    written: u64,
}

/// What the header of one entry needs.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl<W: Write> CpioWriter<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0, written: 0 }
    }

    /// Adds a regular file with permission bits `mode`.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.entry(&Entry { name, mode: FILE | (mode & 0o7777), device: (0, 0), data })
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(&Entry { name, mode: DIRECTORY, device: (0, 0), data: &[] })
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.entry(&Entry { name, mode: SYMLINK, device: (0, 0), data: to.as_bytes() })
    }

    /// Adds a character device.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(&Entry { name, mode: DEVICE, device: (major, minor), data: &[] })
    }

    /// Writes the trailer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry(&Entry { name: "TRAILER!!!", mode: 0, device: (0, 0), data: &[] })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let size = u32::try_from(entry.data.len()).map_err(|_| {
            io::Error::other(format!("{}: 4 GiB or more do not fit in a cpio archive", entry.name))
        })?;
        let name_size = u32::try_from(entry.name.len() + 1).map_err(io::Error::other)?;
        self.inode += 1;
        let links = if entry.mode == DIRECTORY { 2 } else { 1 };
        let (major, minor) = entry.device;
        let fields = [self.inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(entry.name.as_bytes())?;
        self.put(&[0])?;
        self.align()?;
        self.put(entry.data)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        while !self.written.is_multiple_of(4) {
            self.put(&[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::CpioWriter;

    #[test]
    fn layout_of_one_file() {
        let mut archive = CpioWriter::new(Vec::new());
        archive.file("ab", 0o644, b"xyz").unwrap();
        let bytes = archive.finish().unwrap();
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&bytes[range]).unwrap();
        assert_eq!(text(0..6), "070701");
        assert_eq!(text(14..22), "000081A4", "mode");
        assert_eq!(text(54..62), "00000003", "file size");
        assert_eq!(text(94..102), "00000003", "name size with its zero");
        assert_eq!(&bytes[110..113], b"ab\0");
        assert_eq!(&bytes[116..119], b"xyz");
        assert_eq!(text(120..126), "070701", "the trailer starts aligned");
        assert_eq!(text(230..240), "TRAILER!!!");
        assert_eq!(bytes.len() % 4, 0);
    }
}
