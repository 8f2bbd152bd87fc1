//! What can go wrong, and what is told about it.

use core::fmt;

/// Why the store takes no more writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadOnly {
    /// Mounted so.
    Asked,
    /// It uses features that a writer has to know.
    NewerFeatures,
    /// The device failed to flush: what it holds is unknown from then on.
    FlushFailed,
    /// The device failed too many writes.
    WritesFailed,
    /// A checkpoint found no room.
    NoRoom,
    /// The log has a hole: something acknowledged may be missing.
    LogDamaged,
    /// The tree or the space map could not be read while it was to be changed.
    MetadataDamaged,
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "mounted read-only",
            Self::NewerFeatures => "it uses features of a newer version, which may only be read here",
            Self::FlushFailed => "the device failed a flush; what it holds since then is unknown",
            Self::WritesFailed => "the device failed repeated writes",
            Self::NoRoom => "there is no room for the metadata of what was changed; grow it",
            Self::LogDamaged => "a block of the log is missing; what was written last may be lost",
            Self::MetadataDamaged => "metadata that was to be changed can't be read",
        })
    }
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Beyond the end.
    OutOfRange,
    /// Not aligned to 512 bytes, or longer than one request may be.
    BadRequest,
    /// The target or the store takes no writes; with the store's reason, if it is the store.
    ReadOnly(Option<ReadOnly>),
    /// The store is full.
    NoSpace,
    /// The device failed this block.
    Io {
        /// Block of the store.
        block: u32,
    },
    /// A block's contents are not what was written.
    Corrupt {
        /// Block of the store.
        block: u32,
        /// CRC32C that was written.
        expected: u32,
        /// CRC32C that was read.
        found: u32,
    },
    /// No such volume, snapshot or object.
    NotFound,
    /// The name is taken.
    Exists,
    /// The name is empty, too long, or has a character that may not be in it.
    BadName,
    /// The catalog or a transaction is at its limit.
    Limit,
    /// Not now: in use, or the log has no room; poll and try again.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("beyond the end of the volume"),
            Self::BadRequest => f.write_str("not aligned to 512 bytes, or too long"),
            Self::ReadOnly(None) => f.write_str("read-only"),
            Self::ReadOnly(Some(why)) => write!(f, "the datastore is read-only: {why}"),
            Self::NoSpace => f.write_str("the datastore is full; delete something or grow it"),
            Self::Io { block } => write!(f, "the device failed at block {block}"),
            Self::Corrupt { block, expected, found } => {
                write!(f, "block {block} is corrupt: checksum {found:08x}, written was {expected:08x}")
            }
            Self::NotFound => f.write_str("there is no such volume, snapshot or object"),
            Self::Exists => f.write_str("the name is taken"),
            Self::BadName => f.write_str("a name has 1 to 128 bytes, no '/' and no control characters"),
            Self::Limit => f.write_str("the datastore's limit of entries, or of one transaction, is reached"),
            Self::Busy => f.write_str("busy; try again"),
        }
    }
}

impl core::error::Error for Error {}

/// Something that management should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The newer root was unreadable; the older one and the log behind it were used.
    OlderRoot {
        /// Its generation.
        generation: u64,
    },
    /// The superblock was unreadable; its copy was used.
    SuperblockCopy,
    /// A metadata page was unreadable; its copy was used (and it is rewritten at the next change, or by scrub).
    MetadataCopy {
        /// The bad block.
        block: u32,
    },
    /// A block is corrupt and has no copy.
    Corrupt(Error),
    /// The store takes no more writes.
    BecameReadOnly(ReadOnly),
    /// A scrub has come to its end.
    Scrubbed(crate::scrub::ScrubReport),
    /// A group's space map is unreadable: nothing is allocated there.
    GroupLost {
        /// The group.
        group: u32,
    },
}
