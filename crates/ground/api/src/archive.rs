//! The boot archive: a newc cpio (the initrd that a boot loader hands over) with `host.toml`, kernels and images.
//!
//! Read in place by the vmkernel at start, before any VM; nothing is copied. The whole archive is validated once, by
//! [`BootArchive::new`]. Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. As Linux does, we
//! take several archives one after another, zeros between and behind them, and let a later file replace an earlier one
//! of the same name.
//!
//! Why not a crate: cpio_reader ends silently at the first bad header and at the first trailer, so that a damaged
//! archive looks like a short one; the others need std or allocate.

use crate::host::HostDocument;
use crate::parse::Parsed;
use crate::problem::Problem;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// The file of the archive that describes the host.
pub const HOST_DOCUMENT: &str = "host.toml";

const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// The type bits of `c_mode`, and a regular file.
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// A valid archive.
#[derive(Clone, Copy, Debug)]
pub struct BootArchive<'a> {
    bytes: &'a [u8],
}

/// A regular file of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File<'a> {
    /// Its path, without `./` or `/` before it.
    pub name: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// Why an archive is refused, and at which byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveError {
    /// No byte of it is other than zero.
    Empty,
    /// It is compressed.
    Compressed {
        /// With what.
        with: &'static str,
    },
    /// A cpio of another format than newc.
    OtherFormat,
    /// Something else than the header of a file or zeros.
    NoHeader {
        /// Where.
        at: usize,
    },
    /// It ends within a file, or before its trailer.
    Truncated {
        /// Where the file that is cut starts.
        at: usize,
    },
    /// A field of a header is no hexadecimal number, or a name is no text.
    BadHeader {
        /// Where the header starts.
        at: usize,
    },
    /// The contents do not have the checksum that the header states.
    BadChecksum {
        /// Where the header starts.
        at: usize,
    },
    /// A file without contents of its own.
    HardLink {
        /// Where the header starts.
        at: usize,
    },
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the boot archive is empty: make it with cpio -o -H newc"),
            Self::Compressed { with } => {
                write!(f, "the boot archive is compressed with {with}: leave it uncompressed")
            }
            Self::OtherFormat => write!(f, "the boot archive has another cpio format: use cpio -o -H newc"),
            Self::NoHeader { at } => {
                write!(
                    f,
                    "the boot archive has no file header at byte {at}: make it again with cpio -o -H newc"
                )
            }
            Self::Truncated { at } => {
                write!(f, "the boot archive ends within what starts at byte {at}: it was not copied whole")
            }
            Self::BadHeader { at } => write!(f, "the boot archive is damaged at byte {at}: copy it again"),
            Self::BadChecksum { at } => {
                write!(f, "the file at byte {at} of the boot archive is damaged: copy it again")
            }
            Self::HardLink { at } => {
                write!(
                    f,
                    "the file at byte {at} of the boot archive is a hard link: put a copy there instead"
                )
            }
        }
    }
}

impl core::error::Error for ArchiveError {}

impl<'a> BootArchive<'a> {
    /// The archive in `bytes`, every header and name of it checked.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        if let Some(with) = compression(bytes) {
            return Err(ArchiveError::Compressed { with });
        }
        let other_formats: [&[u8]; 3] = [b"070707", b"\xc7\x71", b"\x71\xc7"];
        if other_formats.iter().any(|magic| bytes.starts_with(magic)) {
            return Err(ArchiveError::OtherFormat);
        }
        let mut entries = Entries { bytes, at: 0, open: false, sums: true };
        let mut found = false;
        while let Some(entry) = entries.advance()? {
            found = true;
            if entry.mode & TYPE_MASK == REGULAR && entry.links > 1 && entry.data.is_empty() {
                return Err(ArchiveError::HardLink { at: entry.at });
            }
        }
        if found { Ok(Self { bytes }) } else { Err(ArchiveError::Empty) }
    }

    /// Its regular files, in order; of two with one name both are given.
    pub fn files(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        let mut entries = Entries { bytes: self.bytes, at: 0, open: false, sums: false };
        // `new` saw the same bytes without an error, so an error does not come here.
        core::iter::from_fn(move || entries.advance().ok().flatten())
            .filter(|entry| entry.mode & TYPE_MASK == REGULAR)
            .map(|entry| File { name: plain(entry.name), bytes: entry.data })
    }

    /// The contents of a file; of the last where several have the name.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.files().filter(|file| file.name == plain(name)).last().map(|file| file.bytes)
    }

    /// Its `host.toml`, with the files that it names looked for in the archive.
    pub fn host_document(&self) -> Parsed {
        let refused = |what: String, remedy: &str| Parsed {
            document: HostDocument::default(),
            problems: alloc::vec![Problem { line: 0, field: String::new(), what, remedy: remedy.into() }],
        };
        let Some(bytes) = self.find(HOST_DOCUMENT) else {
            return refused(String::from("the boot archive has no host.toml"), "add one at its top");
        };
        match core::str::from_utf8(bytes) {
            Ok(text) => HostDocument::parse_with_files(text, &|name| self.find(name).is_some()),
            Err(error) => refused(format!("{error}"), "save the file as UTF-8"),
        }
    }
}

/// A name without what cpio or a user may put before it.
fn plain(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name).trim_start_matches('/')
}

fn compression(bytes: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x02\x21\x4c\x18", "lz4"),
        (b"BZh", "bzip2"),
        (b"\x5d\x00\x00", "lzma"),
        (b"\x89LZO", "lzo"),
    ];
    magics.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

/// Steps from header to header.
struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Between the first file of an archive and its trailer.
    open: bool,
    /// Whether checksums are verified: once is enough, it reads every byte.
    sums: bool,
}

struct Entry<'a> {
    at: usize,
    name: &'a str,
    mode: u32,
    links: u32,
    data: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The next entry that is no trailer, or `None` at the end.
    fn advance(&mut self) -> Result<Option<Entry<'a>>, ArchiveError> {
        loop {
            if !self.open {
                self.skip_zeros();
            }
            if self.at == self.bytes.len() {
                let at = self.at;
                return if self.open { Err(ArchiveError::Truncated { at }) } else { Ok(None) };
            }
            let entry = self.entry()?;
            self.open = entry.name != TRAILER;
            if self.open {
                return Ok(Some(entry));
            }
        }
    }

    /// To the next byte that is not zero: where the next archive starts.
    fn skip_zeros(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = match rest.iter().position(|byte| *byte != 0) {
            Some(zeros) => self.at.saturating_add(zeros),
            None => self.bytes.len(),
        };
    }

    fn entry(&mut self) -> Result<Entry<'a>, ArchiveError> {
        let at = self.at;
        let truncated = ArchiveError::Truncated { at };
        let rest = self.bytes.get(at..).ok_or(truncated)?;
        let magic = rest.get(..6).unwrap_or(rest);
        let checked = match magic {
            b"070701" => false,
            b"070702" => true,
            _ if b"07070".starts_with(magic) => return Err(truncated),
            _ => return Err(ArchiveError::NoHeader { at }),
        };
        let header = rest.get(..HEADER_BYTES).ok_or(truncated)?;
        let field = |index: usize| hexadecimal(header, index).ok_or(ArchiveError::BadHeader { at });
        for index in 0..13 {
            field(index)?;
        }
        let (mode, links, sum) = (field(1)?, field(4)?, field(12)?);
        let name_start = at.checked_add(HEADER_BYTES).ok_or(truncated)?;
        let (name, name_end) = self.cut(name_start, field(11)?).ok_or(truncated)?;
        let name = name.strip_suffix(&[0]).and_then(|name| core::str::from_utf8(name).ok());
        let name = name.filter(|name| !name.contains('\0')).ok_or(ArchiveError::BadHeader { at })?;
        let (data, data_end) = self.cut(name_end, field(6)?).ok_or(truncated)?;
        if self.sums
            && checked
            && data.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte))) != sum
        {
            return Err(ArchiveError::BadChecksum { at });
        }
        self.at = data_end;
        Ok(Entry { at, name, mode, links, data })
    }

    /// `bytes` bytes from `start`, and where what follows starts: the next multiple of 4, or the end.
    fn cut(&self, start: usize, bytes: u32) -> Option<(&'a [u8], usize)> {
        let end = start.checked_add(usize::try_from(bytes).ok()?)?;
        let cut = self.bytes.get(start..end)?;
        Some((cut, end.checked_next_multiple_of(4)?.min(self.bytes.len())))
    }
}

/// Field `index` of a header: 8 hexadecimal digits.
fn hexadecimal(header: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(8)?.checked_add(6)?;
    let digits = header.get(start..start.checked_add(8)?)?;
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | digit)
    })
}
