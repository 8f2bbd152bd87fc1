//! Reads qcow2 images: where each cluster of the disk lies in the file, and what it holds.
//!
//! Called by: [`crate::jobs`]. Source: QEMU, docs/interop/qcow2.rst, "Header", "Cluster mapping". Images that refer to
//! other files, or that are encrypted or marked as corrupt, are refused with what to do about it. Memory: two pieces of
//! tables, and a cluster with its compressed form while one is being read; no size from the file is believed unchecked.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// What an image starts with.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

const HEADER_BYTES: usize = 112;
/// Bytes of a table that are read at a time.
const PIECE: usize = 4096;
/// Largest cluster that is compressed: it has to be in memory as a whole.
const COMPRESSED_MAX: u64 = 256 * 1024;
/// Largest disk: what a volume can have.
const DISK_BYTES_MAX: u64 = 64 << 40;
/// Bits of a table's entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// Incompatible features of version 3.
mod feature {
    pub const CORRUPT: u64 = 1 << 1;
    pub const EXTERNAL_DATA: u64 = 1 << 2;
    pub const COMPRESSION: u64 = 1 << 3;
    pub const EXTENDED_L2: u64 = 1 << 4;
    /// It was not closed, which its tables do not suffer from; those above, which are looked at one by one.
    pub const KNOWN: u64 = 0x1f;
}

/// Why an image is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused<E> {
    /// The file could not be read.
    Source(E),
    /// It is damaged; what is wrong.
    Damaged(&'static str),
    /// It is of a kind that is not read here; what kind.
    Kind(&'static str),
}

impl<E> fmt::Display for Refused<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(_) => f.write_str("the image can't be read"),
            Self::Damaged(what) => write!(f, "the image is damaged: {what}"),
            Self::Kind(what) => write!(f, "the image {what}"),
        }
    }
}

/// The file.
pub trait Source {
    /// How reading fails.
    type Error;

    /// Its size.
    fn size(&self) -> u64;

    /// Reads bytes that all lie in the file.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> impl Future<Output = Result<(), Self::Error>>;
}

/// What a part of the disk is, up to the end of its cluster or further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Zeros.
    Zero {
        /// How many bytes.
        bytes: u64,
    },
    /// As it is in the file.
    Plain {
        /// Where.
        offset: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// A whole cluster, compressed: [`Image::inflate`] gives its bytes.
    Compressed {
        /// Where.
        offset: u64,
        /// How many bytes of the file.
        packed: u64,
        /// How many bytes of the disk, before its end.
        bytes: u64,
    },
}

impl Extent {
    /// Bytes of the disk.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Zero { bytes } | Self::Plain { bytes, .. } | Self::Compressed { bytes, .. } => bytes,
        }
    }
}

/// A piece of a table.
struct Piece {
    offset: u64,
    bytes: Box<[u8; PIECE]>,
}

/// An image that was opened.
pub struct Image<S> {
    source: S,
    size: u64,
    cluster_bits: u32,
    has_zero_flag: bool,
    l1: u64,
    pieces: [Option<Piece>; 2],
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_be_bytes(*eight))
}

impl<S: Source> Image<S> {
    /// Reads the header.
    pub async fn open(mut source: S) -> Result<Self, Refused<S::Error>> {
        let mut header = [0; HEADER_BYTES];
        let bytes = usize::try_from(source.size()).unwrap_or(usize::MAX).min(HEADER_BYTES);
        source.read(0, header.get_mut(..bytes).unwrap_or_default()).await.map_err(Refused::Source)?;
        if !header.starts_with(&MAGIC) {
            return Err(Refused::Kind("is no qcow2 image"));
        }
        let version = u32_at(&header, 4);
        let (cluster_bits, size) = (u32_at(&header, 20), u64_at(&header, 24));
        let (l1_entries, l1) = (u64::from(u32_at(&header, 36)), u64_at(&header, 40));
        check_kind(&header, version)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(Refused::Damaged("its clusters have no size that there is"));
        }
        if size == 0 || size > DISK_BYTES_MAX {
            return Err(Refused::Kind("is of an empty disk, or of one over 64 TiB"));
        }
        let span_bits = cluster_bits.saturating_mul(2).saturating_sub(3);
        let needed = size.div_ceil(1 << span_bits);
        let end = l1.saturating_add(needed.saturating_mul(8));
        if l1_entries < needed || l1 == 0 || !l1.is_multiple_of(8) || end > source.size() {
            return Err(Refused::Damaged("its first table is too short, or not in the file"));
        }
        Ok(Self { source, size, cluster_bits, has_zero_flag: version >= 3, l1, pieces: [None, None] })
    }

    /// Size of the disk in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file.
    pub const fn source(&mut self) -> &mut S {
        &mut self.source
    }

    const fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What lies at byte `at` of the disk, a place before its end. Of a compressed cluster, `at` has to be the start.
    pub async fn extent(&mut self, at: u64) -> Result<Extent, Refused<S::Error>> {
        let entries_bits = self.cluster_bits.saturating_sub(3);
        let span_bits = self.cluster_bits.saturating_add(entries_bits);
        let left = self.size.saturating_sub(at);
        let l2 = self.entry(0, self.l1.saturating_add((at >> span_bits).saturating_mul(8))).await? & OFFSET;
        if l2 == 0 {
            let bytes = (1_u64 << span_bits).saturating_sub(at % (1 << span_bits));
            return Ok(Extent::Zero { bytes: bytes.min(left) });
        }
        let within = (at >> self.cluster_bits) % (1 << entries_bits);
        let entry = self.entry(1, l2.saturating_add(within.saturating_mul(8))).await?;
        let skip = at % self.cluster();
        let bytes = self.cluster().saturating_sub(skip).min(left);
        if entry & COMPRESSED != 0 {
            return self.compressed(entry, bytes);
        }
        let offset = entry & OFFSET;
        if offset == 0 || (self.has_zero_flag && entry & ZERO != 0) {
            return Ok(Extent::Zero { bytes });
        }
        let offset = offset.saturating_add(skip);
        // The last cluster may end where the file ends, and be short by what is not the disk's.
        if offset.saturating_add(bytes) > self.source.size() {
            return Err(Refused::Damaged("a cluster lies behind the end of the file"));
        }
        Ok(Extent::Plain { offset, bytes })
    }

    fn compressed(&self, entry: u64, bytes: u64) -> Result<Extent, Refused<S::Error>> {
        if self.cluster() > COMPRESSED_MAX {
            return Err(Refused::Kind(
                "has compressed clusters over 256 KiB; qemu-img convert makes one without",
            ));
        }
        let extra_bits = self.cluster_bits.saturating_sub(8);
        let offset_bits = 62_u32.saturating_sub(extra_bits);
        let offset = entry & ((1 << offset_bits) - 1);
        let extra = (entry >> offset_bits) & ((1 << extra_bits) - 1);
        let packed = extra.saturating_add(1).saturating_mul(512).saturating_sub(offset % 512);
        let left = self.source.size().saturating_sub(offset);
        if left == 0 {
            return Err(Refused::Damaged("a compressed cluster lies behind the end of the file"));
        }
        Ok(Extent::Compressed { offset, packed: packed.min(left), bytes })
    }

    /// The bytes of a compressed cluster.
    pub async fn inflate(&mut self, offset: u64, packed: u64) -> Result<Vec<u8>, Refused<S::Error>> {
        let cluster = self.cluster().min(COMPRESSED_MAX);
        let mut from = zeros(packed.min(COMPRESSED_MAX.saturating_mul(2)))?;
        let mut into = zeros(cluster)?;
        self.source.read(offset, &mut from).await.map_err(Refused::Source)?;
        let mut state = Box::<DecompressorOxide>::default();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, _, bytes) = decompress(&mut state, &from, &mut into, 0, flags);
        let is_whole =
            matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput) && bytes == into.len();
        if is_whole { Ok(into) } else { Err(Refused::Damaged("a compressed cluster can't be unpacked")) }
    }

    /// An entry of a table; each level keeps the piece that it read last.
    async fn entry(&mut self, level: usize, offset: u64) -> Result<u64, Refused<S::Error>> {
        let start = offset - offset % PIECE as u64;
        let within = usize::try_from(offset - start).unwrap_or(0);
        let left = self.source.size().saturating_sub(start);
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        if within.saturating_add(8) > bytes {
            return Err(Refused::Damaged("a table lies behind the end of the file"));
        }
        let Some(slot) = self.pieces.get_mut(level) else { return Err(Refused::Damaged("no such table")) };
        let piece = slot.get_or_insert_with(|| Piece { offset: u64::MAX, bytes: Box::new([0; PIECE]) });
        if piece.offset != start {
            piece.offset = u64::MAX;
            let into = piece.bytes.get_mut(..bytes).unwrap_or_default();
            self.source.read(start, into).await.map_err(Refused::Source)?;
            piece.offset = start;
        }
        Ok(u64_at(&*piece.bytes, within))
    }
}

/// Refuses what can't be read from one file alone.
fn check_kind<E>(header: &[u8], version: u32) -> Result<(), Refused<E>> {
    if !(2..=3).contains(&version) {
        return Err(Refused::Kind("is of a version of qcow2 that is not known"));
    }
    if u64_at(header, 8) != 0 {
        return Err(Refused::Kind("needs a backing file; qemu-img convert makes one that stands alone"));
    }
    if u32_at(header, 32) != 0 {
        return Err(Refused::Kind("is encrypted; qemu-img convert makes one that is not"));
    }
    let features = if version == 3 { u64_at(header, 72) } else { 0 };
    if features & feature::CORRUPT != 0 {
        return Err(Refused::Damaged("it is marked as corrupt; qemu-img check -r all may mend it"));
    }
    if features & feature::EXTERNAL_DATA != 0 {
        return Err(Refused::Kind(
            "has its data in another file; qemu-img convert makes one that stands alone",
        ));
    }
    let compression = if features & feature::COMPRESSION != 0 { header.get(104).copied() } else { Some(0) };
    if compression != Some(0) {
        return Err(Refused::Kind("is compressed by zstd; qemu-img convert makes one that is not"));
    }
    if features & feature::EXTENDED_L2 != 0 || features & !feature::KNOWN != 0 {
        return Err(Refused::Kind(
            "has features that are not known here; qemu-img convert makes a plain one",
        ));
    }
    Ok(())
}

fn zeros<E>(bytes: u64) -> Result<Vec<u8>, Refused<E>> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| Refused::Kind("needs more memory than there is"))?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// For tests and the fuzz target: a file in memory.
#[cfg(any(test, feature = "fake"))]
impl Source for &[u8] {
    type Error = core::convert::Infallible;

    fn size(&self) -> u64 {
        self.len() as u64
    }

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .and_then(|rest| rest.get(..into.len()));
        match from {
            Some(from) => into.copy_from_slice(from),
            None => into.fill(0),
        }
        Ok(())
    }
}

/// For tests and the fuzz target: at most `most` bytes of the disk of an image in memory.
#[cfg(any(test, feature = "fake"))]
pub fn read_all(file: &[u8], most: u64) -> Result<Vec<u8>, Refused<core::convert::Infallible>> {
    embassy_futures::block_on(async {
        let mut image = Image::open(file).await?;
        let end = image.size().min(most);
        let mut disk = zeros(end)?;
        let mut at = 0;
        while at < end {
            let extent = image.extent(at).await?;
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            let into = disk.get_mut(start..).unwrap_or_default();
            let bytes = usize::try_from(extent.bytes()).unwrap_or(usize::MAX).min(into.len());
            let into = into.get_mut(..bytes).unwrap_or_default();
            match extent {
                Extent::Zero { .. } => {}
                Extent::Plain { offset, .. } => {
                    image.source().read(offset, into).await.map_err(Refused::Source)?
                }
                Extent::Compressed { offset, packed, .. } => {
                    let cluster = image.inflate(offset, packed).await?;
                    into.iter_mut().zip(cluster).for_each(|(to, from)| *to = from);
                }
            }
            at = at.saturating_add(extent.bytes().max(1));
        }
        Ok(disk)
    })
}
