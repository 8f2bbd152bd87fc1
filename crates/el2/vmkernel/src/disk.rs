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

#[cfg(test)]
mod tests {
    use super::*;
    use ports::GuestMemory;
    use ports::fake::FakeMemory;
    use specs::{Ipa, IpaRange};

    /// The image is 4 sectors and a rest at 0x1000 of a guest's memory, which is at 0.
    fn disk(memory: &FakeMemory, read_only: bool) -> RamDisk {
        RamDisk::new(memory.resolve(IpaRange::new(Ipa(0x1000), 4 * 512 + 100).unwrap()).ok(), read_only)
    }

    fn submit(disk: &mut RamDisk, memory: &FakeMemory, op: BlockOp, sector: u64, bytes: u64) -> Submitted {
        let data = memory.resolve(IpaRange::new(Ipa(0), bytes.max(1)).unwrap()).unwrap();
        let data = [data];
        let data = if bytes == 0 { &[][..] } else { &data[..] };
        disk.submit(&BlockRequest { op, sector: Sector(sector), data, memory, token: ports::Token(1) })
    }

    #[test]
    fn whole_sectors_are_read_and_written_and_nothing_beyond() {
        let memory = FakeMemory::new(Ipa(0), 0x2000);
        let mut disk = disk(&memory, false);
        assert_eq!(disk.geometry().sectors, 4);
        memory.write(Ipa(0), &[7; 1024]).unwrap();
        let done = submit(&mut disk, &memory, BlockOp::Write, 2, 1024);
        assert!(matches!(done, Submitted::Done(Ok(()))));
        let mut image = [0; 2148];
        memory.read(Ipa(0x1000), &mut image).unwrap();
        assert!(image[..1024] == [0; 1024] && image[1024..2048] == [7; 1024] && image[2048..] == [0; 100]);
        for (op, sector, bytes) in [
            (BlockOp::Write, 3, 1024),
            (BlockOp::Read, 4, 512),
            (BlockOp::Read, u64::MAX, 512),
            (BlockOp::Discard { sectors: 2 }, 3, 0),
        ] {
            let done = submit(&mut disk, &memory, op, sector, bytes);
            assert!(matches!(done, Submitted::Done(Err(BlockError::OutOfRange))), "{op:?} at {sector}");
        }
        submit(&mut disk, &memory, BlockOp::WriteZeroes { sectors: 1 }, 2, 0);
        memory.read(Ipa(0x1000), &mut image).unwrap();
        assert!(image[1024..1536] == [0; 512] && image[1536..2048] == [7; 512]);
    }

    #[test]
    fn a_read_only_image_is_not_written() {
        let memory = FakeMemory::new(Ipa(0), 0x2000);
        let mut disk = disk(&memory, true);
        for op in [BlockOp::Write, BlockOp::Discard { sectors: 1 }, BlockOp::WriteZeroes { sectors: 1 }] {
            let done = submit(&mut disk, &memory, op, 0, 512);
            assert!(matches!(done, Submitted::Done(Err(BlockError::ReadOnly))), "{op:?}");
        }
        assert!(matches!(submit(&mut disk, &memory, BlockOp::Read, 0, 512), Submitted::Done(Ok(()))));
        assert_eq!(RamDisk::new(None, false).geometry().sectors, 0);
    }
}
