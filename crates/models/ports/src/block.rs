//! The block port: between a virtio-blk front end and what holds the data (an image in RAM, a host disk, a volume).
//!
//! Submit and complete are joined by a token. The data is named by spans and moves without a bounce copy.

use crate::{GuestMemory, Span};

/// Index of a 512-byte sector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Sector(pub u64);

impl Sector {
    /// Bytes in a sector.
    pub const BYTES: u64 = 512;
}

/// Joins a completion to its request; chosen by the submitter, unique among its requests in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u32);

/// What a disk offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockGeometry {
    /// Capacity in sectors.
    pub sectors: u64,
    /// Writes are refused with [`BlockError::ReadOnly`].
    pub read_only: bool,
    /// Preferred request size in bytes, a power of two, at least 512.
    pub block_bytes: u32,
    /// Whether Discard and WriteZeroes do anything useful.
    pub discard: bool,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockOp {
    /// Fill the spans from `sector` on.
    Read,
    /// Write the spans from `sector` on.
    Write,
    /// Everything acknowledged before is on stable storage when this completes.
    Flush,
    /// The contents of `sectors` sectors may be forgotten.
    Discard {
        /// How many.
        sectors: u32,
    },
    /// `sectors` sectors read as zero afterwards.
    WriteZeroes {
        /// How many.
        sectors: u32,
    },
}

/// One request. The total length of `data` is a multiple of 512 for Read and Write, and 0 for the others.
pub struct BlockRequest<'a> {
    /// Given back in the completion.
    pub token: Token,
    /// What is asked.
    pub op: BlockOp,
    /// First sector.
    pub sector: Sector,
    /// Where the data goes to or comes from, in order. A backend that keeps the request copies this list.
    pub data: &'a [Span],
    /// Reaches the bytes of `data`.
    pub memory: &'a dyn GuestMemory,
}

/// Why a request failed. All are host faults but OutOfRange and ReadOnly, which are the guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// Beyond the end of the disk.
    OutOfRange,
    /// A write to a read-only disk.
    ReadOnly,
    /// The medium failed.
    Io,
    /// The store below has no space left.
    NoSpace,
    /// Not offered by this backend.
    Unsupported,
}

/// What became of a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submitted {
    /// Finished already; no completion will follow.
    Done(Result<(), BlockError>),
    /// Will be answered by [`BlockBackend::complete`].
    InFlight,
    /// No slot is free: submit again after the next completion (back-pressure).
    Full,
}

/// The end of a request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCompletion {
    /// The request's token.
    pub token: Token,
    /// How it ended.
    pub result: Result<(), BlockError>,
}

/// What holds a disk's data. One owner; never blocks.
pub trait BlockBackend {
    /// What the disk offers now.
    fn geometry(&self) -> BlockGeometry;

    /// Starts a request.
    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted;

    /// The next finished request, if any.
    fn complete(&mut self) -> Option<BlockCompletion>;
}
