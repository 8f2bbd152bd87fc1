//! A file, a partition or a card as the datastore's block port. A request is done when its completion is asked for, so
//! that the store looks at a read's bytes while they are in the processor's cache.

use datastore::{BLOCK_BYTES, BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;

/// A window of a file.
pub struct FilePort {
    file: File,
    start: u64,
    blocks: u64,
    queue: VecDeque<Io<Box<PageBytes>>>,
}

impl FilePort {
    /// `bytes` bytes of `file` from `start` on.
    pub fn new(file: File, start: u64, bytes: u64) -> Self {
        let blocks = bytes / BLOCK_BYTES as u64;
        Self { file, start, blocks, queue: VecDeque::new() }
    }

    /// Where it begins in the file.
    pub fn start(&self) -> u64 {
        self.start
    }

    fn perform(&mut self, io: &mut Io<Box<PageBytes>>) -> std::io::Result<()> {
        let at = self.start + u64::from(io.block) * BLOCK_BYTES as u64;
        if u64::from(io.block) + io.pages.len() as u64 > self.blocks {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        match io.op {
            IoOp::Flush => self.file.sync_data(),
            IoOp::Read => {
                let mut parts: Vec<_> =
                    io.pages.iter_mut().map(|page| IoSliceMut::new(page.as_mut_slice())).collect();
                let n = rustix::io::preadv(&self.file, &mut parts, at)?;
                // A signal or a file's end may cut a transfer short.
                each_behind(n, io.pages.len(), |i, offset| {
                    let page = io.pages.get_mut(i).map(|p| p.as_mut_slice());
                    let rest = page.and_then(|p| p.get_mut(offset % BLOCK_BYTES..)).unwrap_or_default();
                    self.file.read_exact_at(rest, at + offset as u64)
                })
            }
            IoOp::Write => {
                let parts: Vec<_> = io.pages.iter().map(|page| IoSlice::new(page.as_slice())).collect();
                let n = rustix::io::pwritev(&self.file, &parts, at)?;
                each_behind(n, io.pages.len(), |i, offset| {
                    let page = io.pages.get(i).map(|p| p.as_slice());
                    let rest = page.and_then(|p| p.get(offset % BLOCK_BYTES..)).unwrap_or_default();
                    self.file.write_all_at(rest, at + offset as u64)
                })
            }
        }
    }
}

/// Calls with each page that a transfer of `n` bytes left, or began, and the offset where it has to go on.
fn each_behind(
    n: usize,
    pages: usize,
    mut go_on: impl FnMut(usize, usize) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut offset = n;
    while offset < pages * BLOCK_BYTES {
        go_on(offset / BLOCK_BYTES, offset)?;
        offset = (offset / BLOCK_BYTES + 1) * BLOCK_BYTES;
    }
    Ok(())
}

impl BlockPort for FilePort {
    type Page = Box<PageBytes>;

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn allocate(&mut self) -> Option<Self::Page> {
        Some(Box::new([0; BLOCK_BYTES]))
    }

    fn submit(&mut self, io: Io<Self::Page>) -> Result<(), Io<Self::Page>> {
        self.queue.push_back(io);
        Ok(())
    }

    fn complete(&mut self) -> Option<IoDone<Self::Page>> {
        let mut io = self.queue.pop_front()?;
        let result = self.perform(&mut io);
        if let Err(error) = &result {
            eprintln!("bramblectl: {:?} of block {} failed: {error}", io.op, io.block);
        }
        Some(IoDone { token: io.token, pages: io.pages, result: result.map_err(|_| IoFailed) })
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        crc32c::crc32c(page)
    }
}
