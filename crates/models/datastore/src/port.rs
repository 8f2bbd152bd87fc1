//! The lower side: an asynchronous block device with owned pages.
//!
//! Called by: `Store`. Implemented by host drivers at EL2 (pages are DMA memory), by a file on a PC, by the
//! fault-injecting disk of the simulator. Pages move in with a request and come back with its completion, so that no
//! reference is held across I/O. One owner; nothing here blocks.

use crate::crc::crc32c;
use crate::format::is_sealed;
use crate::wire::PageBytes;
use alloc::vec::Vec;

/// What is asked of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoOp {
    /// Fill the pages from `block` on.
    Read,
    /// Write the pages from `block` on.
    Write,
    /// Every write completed before is on stable storage when this completes.
    Flush,
}

/// One request to the device.
#[derive(Debug)]
pub struct Io<Page> {
    /// Given back.
    pub token: u64,
    /// What is asked.
    pub op: IoOp,
    /// First 4 KiB block.
    pub block: u32,
    /// One page per block; empty for Flush.
    pub pages: Vec<Page>,
}

/// The device failed a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoFailed;

/// A finished request.
#[derive(Debug)]
pub struct IoDone<Page> {
    /// The request's token.
    pub token: u64,
    /// The request's pages.
    pub pages: Vec<Page>,
    /// How it ended.
    pub result: Result<(), IoFailed>,
}

/// The device below a store.
pub trait BlockPort {
    /// 4 KiB of memory that the device can reach.
    type Page: AsRef<PageBytes> + AsMut<PageBytes>;

    /// Capacity in 4 KiB blocks.
    fn blocks(&self) -> u64;

    /// A page, or `None` when there is no memory. Called at mount only.
    fn allocate(&mut self) -> Option<Self::Page>;

    /// Starts a request, or gives it back when the device's queue is full.
    fn submit(&mut self, io: Io<Self::Page>) -> Result<(), Io<Self::Page>>;

    /// The next finished request.
    fn complete(&mut self) -> Option<IoDone<Self::Page>>;

    /// CRC32C of 4 KiB. A port whose PE has the instruction uses it.
    fn checksum(&self, page: &PageBytes) -> u32 {
        crc32c(page)
    }

    /// CRC32C of a page of this port. One that knows it need not work it out again.
    fn page_checksum(&self, page: &Self::Page) -> u32 {
        self.checksum(page.as_ref())
    }

    /// Fills a page with zeroes.
    fn zero(&self, page: &mut Self::Page) {
        page.as_mut().fill(0);
    }

    /// A page that carries a checksum of its own has the right one.
    fn is_sealed(&self, page: &Self::Page) -> bool {
        is_sealed(page.as_ref(), self.page_checksum(page))
    }
}
