//! Judging log blocks at mount: whether their data is there, and whether the log ends where it should.
//!
//! Called by: mount.

use crate::format::Geometry;
use crate::log::{Record, peek};
use crate::mount::Device;
use crate::port::BlockPort;
use crate::tree::CHUNK_BLOCKS;
use crate::wire::count32;

/// How far behind the end leftovers are looked for.
const LOOK_AHEAD: u64 = 64;
/// Layers have at most 2^64 / 508 chunks; no volume comes near.
const MAX_BLOCK: u64 = 1 << 40;

/// Records that may be applied: in bounds, and, where the log is not known to be durable, with their data in place.
pub(crate) async fn is_sound<P: BlockPort>(
    device: &mut Device<'_, P>,
    records: &[Record],
    blocks: u32,
    verify: bool,
) -> bool {
    for record in records {
        let in_bounds = match record {
            Record::Map { block, first, crcs, .. } => {
                let end = u64::from(*first).saturating_add(crcs.len() as u64);
                *block < MAX_BLOCK && end <= u64::from(blocks)
            }
            Record::Blank { block, .. } => *block < MAX_BLOCK,
            Record::Clear { chunk, .. } => *chunk < MAX_BLOCK / CHUNK_BLOCKS,
            Record::Absorb { parent, child, chunk } => *chunk < MAX_BLOCK / CHUNK_BLOCKS && *parent < *child,
            Record::Entry { bytes, .. } => {
                bytes.as_deref().is_none_or(|b| crate::catalog::Entry::decode(b).is_some())
            }
        };
        if !in_bounds {
            return false;
        }
        let Record::Map { first, crcs, .. } = record else { continue };
        for (at, crc) in (*first..first.saturating_add(count32(crcs.len()))).zip(crcs) {
            let there = !verify || device.read_checked(at, *crc).await;
            if !there {
                return false;
            }
        }
    }
    true
}

/// What lies at and behind the log's end.
pub(crate) struct Leftovers {
    /// A later log block says that the log was durable beyond the end: a block in between was lost.
    pub hole: bool,
    /// The largest number of a run.
    pub run: u64,
}

/// Looks at the blocks that follow the log's end.
pub(crate) async fn leftovers<P: BlockPort>(
    device: &mut Device<'_, P>,
    geometry: Geometry,
    uuid: &[u8; 16],
    end: u64,
) -> Leftovers {
    let mut found = Leftovers { hole: false, run: 0 };
    for seq in end..end.saturating_add(LOOK_AHEAD.min(u64::from(geometry.log_blocks))) {
        let Some(page) = device.read_sealed(geometry.log_block(seq)).await else { continue };
        if let Some((_, durable)) = peek(page, uuid).filter(|(number, _)| *number == seq) {
            found.run = found.run.max(crate::log::run_of(page));
            found.hole |= seq > end && durable > end;
        }
    }
    found
}
