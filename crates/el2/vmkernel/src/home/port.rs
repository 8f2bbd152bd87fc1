//! The datastore's block port: a window of a host disk, with pages that devices reach.
//!
//! Called by: the store. Calls: [`Window`]. Pages are lent to the device while a request is in flight (rule `two-views`): the
//! drivers move their bytes without a bounce copy where the device reaches them. Concurrency: one owner, the home.

use crate::host_disk::Window;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use datastore::{BlockPort, Io, IoDone, IoFailed, IoOp, PageBytes};
use drivers::virtio_blk::SLOTS;
use el2::page::{Lent, Page};
use el2::ram::HostMemory;
use ports::{BlockBackend, BlockOp, BlockRequest, Sector, Span, Submitted, Token};
use specs::Pa;

/// Sectors of a block.
const SECTORS: u64 = 8;
/// Runs of memory in one request: as many as the store's largest transfer has pages.
const SPANS: usize = 64;

struct InFlight {
    token: u64,
    pages: Vec<Lent>,
}

/// The port.
pub struct Port {
    window: Window,
    free: Vec<Page>,
    blocks: u64,
    in_flight: Vec<Option<InFlight>>,
    /// Finished when they were submitted.
    done: VecDeque<IoDone<Page>>,
    refused: bool,
    by_instruction: bool,
}

impl Port {
    /// Over a window of `sectors` sectors of a disk, with pages that it reaches.
    pub fn new(window: Window, free: Vec<Page>, sectors: u64) -> Self {
        Self {
            window,
            free,
            blocks: sectors / SECTORS,
            in_flight: (0..SLOTS).map(|_| None).collect(),
            done: VecDeque::new(),
            refused: false,
            by_instruction: instruction_is_right(),
        }
    }

    /// The disk had no place for a request, and none of this port's is in flight whose end would be heard of.
    pub fn must_ask_again(&mut self) -> bool {
        core::mem::take(&mut self.refused) && self.in_flight.iter().all(Option::is_none)
    }
}

/// Whether the PE has the instruction, and it gives what the software does.
fn instruction_is_right() -> bool {
    let page: PageBytes = core::array::from_fn(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]);
    el2::checksum::crc32c(&page) == Some(datastore::crc32c(&page))
}

/// The pages' spans, those that lie one after another as one.
fn spans(pages: &[Lent]) -> heapless::Vec<Span, SPANS> {
    let mut spans: heapless::Vec<Span, SPANS> = heapless::Vec::new();
    for page in pages {
        let span = page.span();
        match spans.last_mut() {
            Some(last)
                if last.start.checked_add(last.bytes.into()) == Some(span.start) && joins(span.start) =>
            {
                last.bytes = last.bytes.saturating_add(span.bytes);
            }
            // A transfer has no more pages than there is room for: the store's largest has 64.
            _ => drop(spans.push(span)),
        }
    }
    spans
}

/// Spans do not reach from one chunk of pages into the next.
const fn joins(next: Pa) -> bool {
    !next.0.is_multiple_of(el2::page::CHUNK_BYTES)
}

fn take_back(pages: Vec<Lent>) -> Vec<Page> {
    pages.into_iter().map(Lent::take_back).collect()
}

impl BlockPort for Port {
    type Page = Page;

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn allocate(&mut self) -> Option<Page> {
        self.free.pop()
    }

    fn submit(&mut self, io: Io<Page>) -> Result<(), Io<Page>> {
        let Io { token, op, block, pages } = io;
        let Some((index, place)) = self.in_flight.iter_mut().enumerate().find(|(_, place)| place.is_none())
        else {
            return Err(Io { token, op, block, pages });
        };
        let pages: Vec<Lent> = pages.into_iter().map(Page::lend).collect();
        let block_op = match op {
            IoOp::Read => BlockOp::Read,
            IoOp::Write => BlockOp::Write,
            IoOp::Flush => BlockOp::Flush,
        };
        let submitted = self.window.submit(&BlockRequest {
            token: Token(u32::try_from(index).unwrap_or(0)),
            op: block_op,
            sector: Sector(u64::from(block).saturating_mul(SECTORS)),
            data: &spans(&pages),
            memory: &HostMemory,
        });
        match submitted {
            Submitted::InFlight => *place = Some(InFlight { token, pages }),
            Submitted::Done(result) => {
                let result = result.map_err(|_| IoFailed);
                self.done.push_back(IoDone { token, pages: take_back(pages), result });
            }
            Submitted::Full => {
                self.refused = true;
                return Err(Io { token, op, block, pages: take_back(pages) });
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Option<IoDone<Page>> {
        if let Some(done) = self.done.pop_front() {
            return Some(done);
        }
        let completion = self.window.complete()?;
        let place =
            usize::try_from(completion.token.0).ok().and_then(|index| self.in_flight.get_mut(index))?;
        let InFlight { token, pages } = place.take()?;
        let result = completion.result.map_err(|_| IoFailed);
        Some(IoDone { token, pages: take_back(pages), result })
    }

    fn checksum(&self, page: &PageBytes) -> u32 {
        let by_instruction = if self.by_instruction { el2::checksum::crc32c(page) } else { None };
        by_instruction.unwrap_or_else(|| datastore::crc32c(page))
    }
}
