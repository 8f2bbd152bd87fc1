//! What a chain asks of a disk.
//!
//! Called by: [`super::requests`]. Source: virtio 1.2, 5.2.6 "Device Operation".

use super::RANGE_SECTORS_MAX;
use crate::chain::{Chain, scatter};
use ports::{BlockError, BlockGeometry, BlockOp, GuestMemory, Sector};
use specs::virtio::blk;

/// What the driver agreed to.
#[derive(Clone, Copy, Default)]
pub(super) struct Agreed {
    pub discard: bool,
    pub write_zeroes: bool,
    pub flush: bool,
}

/// A legal request.
pub(super) struct Parsed {
    /// For the backend; `None`: it is done already.
    pub ask: Option<(BlockOp, Sector)>,
    /// Bytes of data that the device writes if all goes well.
    pub data: u32,
    /// Sectors that move.
    pub sectors: u32,
    /// The disk changes.
    pub is_write: bool,
}

/// Parses the chain, from which the status byte was taken; its data is what is left in it.
pub(super) fn parse<M: GuestMemory, const N: usize>(
    memory: &M,
    chain: &mut Chain<N>,
    geometry: BlockGeometry,
    agreed: Agreed,
    serial: &[u8],
) -> Result<Parsed, BlockError> {
    let mut header = [0; blk::HEADER_BYTES];
    if !chain.is_whole() || !chain.take_readable(memory, &mut header) {
        return Err(BlockError::Io);
    }
    let [t0, t1, t2, t3, _, _, _, _, s @ ..] = header;
    let sector = Sector(u64::from_le_bytes(s));
    let plain = Parsed { ask: None, data: 0, sectors: 0, is_write: false };
    match u32::from_le_bytes([t0, t1, t2, t3]) {
        blk::T_IN => {
            let data = chain.writable_bytes();
            let sectors = whole_sectors(data)?;
            within(geometry, sector, sectors)?;
            let ask = Some((BlockOp::Read, sector)).filter(|_| sectors != 0);
            Ok(Parsed { ask, data, sectors, is_write: false })
        }
        blk::T_OUT => {
            writable(geometry)?;
            let sectors = whole_sectors(chain.readable_bytes())?;
            within(geometry, sector, sectors)?;
            let ask = Some((BlockOp::Write, sector)).filter(|_| sectors != 0);
            Ok(Parsed { ask, data: 0, sectors, is_write: true })
        }
        blk::T_FLUSH => Ok(Parsed { ask: Some((BlockOp::Flush, Sector(0))), ..plain }),
        blk::T_GET_ID => Ok(Parsed { data: scatter(memory, chain.writable(), serial), ..plain }),
        blk::T_DISCARD if agreed.discard => {
            let (sector, sectors) = range(memory, chain, geometry, 0)?;
            Ok(Parsed { ask: Some((BlockOp::Discard { sectors }, sector)), ..plain })
        }
        blk::T_WRITE_ZEROES if agreed.write_zeroes => {
            let (sector, sectors) = range(memory, chain, geometry, blk::RANGE_UNMAP)?;
            Ok(Parsed { ask: Some((BlockOp::WriteZeroes { sectors }, sector)), is_write: true, ..plain })
        }
        _ => Err(BlockError::Unsupported),
    }
}

/// The one range of a discard or write-zeroes.
fn range<M: GuestMemory, const N: usize>(
    memory: &M,
    chain: &mut Chain<N>,
    geometry: BlockGeometry,
    flags_allowed: u32,
) -> Result<(Sector, u32), BlockError> {
    writable(geometry)?;
    let mut raw = [0; blk::RANGE_BYTES];
    if !chain.take_readable(memory, &mut raw) || chain.readable_bytes() != 0 {
        return Err(BlockError::Io);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = raw;
    if u32::from_le_bytes(flags) & !flags_allowed != 0 {
        return Err(BlockError::Unsupported);
    }
    let sector = Sector(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
    let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
    if sectors > RANGE_SECTORS_MAX {
        return Err(BlockError::OutOfRange);
    }
    within(geometry, sector, sectors)?;
    Ok((sector, sectors))
}

fn whole_sectors(bytes: u32) -> Result<u32, BlockError> {
    if bytes.is_multiple_of(512) { Ok(bytes / 512) } else { Err(BlockError::Io) }
}

fn writable(geometry: BlockGeometry) -> Result<(), BlockError> {
    if geometry.read_only { Err(BlockError::ReadOnly) } else { Ok(()) }
}

fn within(geometry: BlockGeometry, sector: Sector, sectors: u32) -> Result<(), BlockError> {
    match sector.0.checked_add(sectors.into()) {
        Some(end) if end <= geometry.sectors => Ok(()),
        _ => Err(BlockError::OutOfRange),
    }
}
