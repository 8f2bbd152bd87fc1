//! A file, a partition or a card as the datastore's block port. Requests are done at once; nothing is in flight.

use datastore::{BLOCK_BYTES, BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A window of a file.
pub struct FilePort {
    file: File,
    start: u64,
    blocks: u64,
    done: VecDeque<IoDone<Box<PageBytes>>>,
    buffer: Vec<u8>,
}

impl FilePort {
    /// `bytes` bytes of `file` from `start` on.
    pub fn new(file: File, start: u64, bytes: u64) -> Self {
        let blocks = bytes / BLOCK_BYTES as u64;
        Self { file, start, blocks, done: VecDeque::new(), buffer: Vec::new() }
    }

    fn perform(&mut self, io: &mut Io<Box<PageBytes>>) -> std::io::Result<()> {
        let at = self.start + u64::from(io.block) * BLOCK_BYTES as u64;
        if u64::from(io.block) + io.pages.len() as u64 > self.blocks {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        match io.op {
            IoOp::Flush => self.file.sync_data(),
            IoOp::Read => {
                // A file may end before the store does, when it was never written to its end.
                self.buffer.clear();
                self.buffer.resize(io.pages.len() * BLOCK_BYTES, 0);
                self.file.read_exact_at(&mut self.buffer, at)?;
                for (page, bytes) in io.pages.iter_mut().zip(self.buffer.chunks_exact(BLOCK_BYTES)) {
                    page.copy_from_slice(bytes);
                }
                Ok(())
            }
            IoOp::Write => match io.pages.as_slice() {
                [one] => self.file.write_all_at(one.as_slice(), at),
                pages => {
                    self.buffer.clear();
                    pages.iter().for_each(|page| self.buffer.extend_from_slice(page.as_slice()));
                    self.file.write_all_at(&self.buffer, at)
                }
            },
        }
    }
}

impl BlockPort for FilePort {
    type Page = Box<PageBytes>;

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn allocate(&mut self) -> Option<Self::Page> {
        Some(Box::new([0; BLOCK_BYTES]))
    }

    fn submit(&mut self, mut io: Io<Self::Page>) -> Result<(), Io<Self::Page>> {
        let result = self.perform(&mut io);
        if let Err(error) = &result {
            eprintln!("bramblectl: {:?} of block {} failed: {error}", io.op, io.block);
        }
        let result = result.map_err(|_| IoFailed);
        self.done.push_back(IoDone { token: io.token, pages: io.pages, result });
        Ok(())
    }

    fn complete(&mut self) -> Option<IoDone<Self::Page>> {
        self.done.pop_front()
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        crc32c::crc32c(page)
    }
}
