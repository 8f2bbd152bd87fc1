//! A disk that is an image in RAM: a file of the boot archive. Writes last until the host restarts.

use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Span, Submitted,
};
use specs::Pa;

/// The image.
#[derive(Debug)]
pub struct RamDisk {
    image: Option<Span>,
    read_only: bool,
}

impl RamDisk {
    /// A disk of the whole sectors of `image`; an empty one without it.
    pub fn new(image: Option<Span>, read_only: bool) -> Self {
        Self { image, read_only }
    }

    fn sectors(&self) -> u64 {
        self.image.map_or(0, |image| u64::from(image.bytes) / Sector::BYTES)
    }

    /// The image's bytes from `sector` on, `bytes` of them.
    fn span(&self, sector: Sector, bytes: u64) -> Option<Span> {
        let image = self.image?;
        let offset = sector.0.checked_mul(Sector::BYTES)?;
        let end = offset.checked_add(bytes)?;
        if end > self.sectors().checked_mul(Sector::BYTES)? {
            return None;
        }
        let start = Pa(image.start.0.checked_add(offset)?);
        Some(Span { start, bytes: u32::try_from(bytes).ok()? })
    }

    fn transfer(&self, request: &BlockRequest<'_>, writes: bool) -> Result<(), BlockError> {
        let total = request.data.iter().map(|span| u64::from(span.bytes)).sum();
        let image = self.span(request.sector, total).ok_or(BlockError::OutOfRange)?;
        let mut done = 0;
        for span in request.data {
            let part = Span { start: Pa(image.start.0.wrapping_add(done)), bytes: span.bytes };
            if writes {
                request.memory.copy_span(part, *span);
            } else {
                request.memory.copy_span(*span, part);
            }
            done = done.wrapping_add(u64::from(span.bytes));
        }
        Ok(())
    }

    fn zero(&self, request: &BlockRequest<'_>, sectors: u32) -> Result<(), BlockError> {
        let bytes = u64::from(sectors).checked_mul(Sector::BYTES).ok_or(BlockError::OutOfRange)?;
        let image = self.span(request.sector, bytes).ok_or(BlockError::OutOfRange)?;
        let zeroes = [0; 512];
        let mut done = 0;
        while done < bytes {
            let part = Span { start: Pa(image.start.0.wrapping_add(done)), bytes: 512 };
            request.memory.write_span(part, &zeroes);
            done = done.wrapping_add(Sector::BYTES);
        }
        Ok(())
    }
}

impl BlockBackend for RamDisk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry { sectors: self.sectors(), read_only: self.read_only, block_bytes: 4096, discard: true }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let writes = !matches!(request.op, BlockOp::Read | BlockOp::Flush);
        if writes && self.read_only {
            return Submitted::Done(Err(BlockError::ReadOnly));
        }
        Submitted::Done(match request.op {
            BlockOp::Read => self.transfer(request, false),
            BlockOp::Write => self.transfer(request, true),
            BlockOp::Flush => Ok(()),
            BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } => self.zero(request, sectors),
        })
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        None
    }
}
