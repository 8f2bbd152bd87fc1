//! What a virtio disk says that it can do.
//!
//! Called by `virtio_blk` when the device is brought up. Source: virtio 1.2, 5.2.4 "Device configuration layout".

use super::piece::PIECE_SPANS;
use crate::hardware::Registers;
use crate::virtio_mmio::{Transport, VirtioError};
use specs::virtio::blk;

/// What the device says that it can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Data descriptors in a chain, at most [`PIECE_SPANS`].
    pub(super) segments: usize,
    /// Bytes in a descriptor.
    pub(super) segment_bytes: u32,
    pub(super) block_bytes: u32,
    pub(super) discard_sectors: u32,
    pub(super) zero_sectors: u32,
    pub(super) zeroes_may_unmap: bool,
}

impl Limits {
    /// Reads the configuration space, for a queue of `queue_size` descriptors. What makes no sense is not believed.
    pub(super) fn read<R: Registers>(
        transport: &Transport<R>,
        features: u64,
        queue_size: u16,
    ) -> Result<Self, VirtioError> {
        // A chain holds header, range and status, too.
        let fit =
            usize::from(queue_size).checked_sub(3).filter(|fit| *fit > 0).ok_or(VirtioError::NoQueue)?;
        let number = |feature: u64, offset: usize, other: u32| {
            let read = || u32::try_from(transport.config_number::<4>(offset)).unwrap_or(other);
            if features & feature != 0 { read() } else { other }
        };
        let segments = number(blk::F_SEG_MAX, blk::config::SEG_MAX, u32::MAX);
        let block = number(blk::F_BLK_SIZE, blk::config::BLK_SIZE, 512);
        let exponent = if features & blk::F_TOPOLOGY == 0 {
            0
        } else {
            u32::try_from(transport.config_number::<1>(blk::config::PHYSICAL_BLOCK_EXP)).unwrap_or(0)
        };
        let physical = block.checked_shl(exponent).unwrap_or(block);
        let sound = |bytes: &u32| bytes.is_power_of_two() && (512..=1 << 20).contains(bytes);
        Ok(Self {
            segments: usize::try_from(segments).unwrap_or(fit).clamp(1, fit.min(PIECE_SPANS)),
            segment_bytes: number(blk::F_SIZE_MAX, blk::config::SIZE_MAX, u32::MAX).max(512),
            block_bytes: Some(physical).filter(sound).unwrap_or(512),
            discard_sectors: number(blk::F_DISCARD, blk::config::MAX_DISCARD_SECTORS, 0),
            zero_sectors: number(blk::F_WRITE_ZEROES, blk::config::MAX_WRITE_ZEROES_SECTORS, 0),
            zeroes_may_unmap: features & blk::F_WRITE_ZEROES != 0
                && transport.config_number::<1>(blk::config::WRITE_ZEROES_MAY_UNMAP) != 0,
        })
    }
}
