//! Requests of any size over a store: guests' disks, and whoever loads or writes more than one request's worth.
//!
//! Called by: the store's owner, who gives each a [`Wanted`] and calls [`Front::step`] between polls. Calls: the store.
//! A request is cut into pieces of at most [`PIECE_SECTORS`], so that no step copies or checks more than 128 KiB; requests
//! take turns piece by piece, so that a large one does not hold up a small one. What the store has no slot or page for now
//! waits here; when all places are taken the caller keeps its request, which is the back-pressure on its queue.

use crate::error::Error;
use crate::port::BlockPort;
use crate::request::{Completion, Op, SECTORS, Target};
use crate::store::Store;
use crate::wire::{PageBytes, index, low32};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Most sectors of a piece.
pub const PIECE_SECTORS: u64 = 256;
/// Marks this module's tokens among those of a store's owner.
const TOKEN: u64 = 1 << 62;

/// Where a request's bytes come from or go to.
pub trait Buffers {
    /// Bytes to write, from `offset` in the request on.
    fn fetch(&mut self, offset: u64, into: &mut [u8]);
    /// Bytes that were read.
    fn deliver(&mut self, offset: u64, from: &[u8]);
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Everything completed before is on stable storage.
    Flush,
    /// Whole blocks may be forgotten.
    Discard,
    /// All of it reads as zero afterwards.
    Zero,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<B> {
    /// Of what.
    pub target: Target,
    /// What.
    pub ask: Ask,
    /// First sector.
    pub sector: u64,
    /// How many; 0 for Flush.
    pub sectors: u64,
    /// Its bytes; comes back with its end.
    pub buffers: B,
}

struct Job<B> {
    wanted: Wanted<B>,
    /// Sectors that were submitted.
    next: u64,
    outstanding: u32,
    error: Option<Error>,
}

impl<B> Job<B> {
    /// The next piece: what, and how many sectors.
    fn piece(&self) -> (Op, u64) {
        let sector = self.wanted.sector.saturating_add(self.next);
        let left = self.wanted.sectors.saturating_sub(self.next);
        // From the second piece on they begin at whole blocks.
        let fit = PIECE_SECTORS.saturating_sub(sector % SECTORS).min(left);
        let write = |count: u64| (Op::Write { sector, sectors: low32(count), durable: false }, count);
        match self.wanted.ask {
            Ask::Read => (Op::Read { sector, sectors: low32(fit) }, fit),
            Ask::Write => write(fit),
            Ask::Flush => (Op::Flush, 0),
            Ask::Discard => (Op::Discard { sector, sectors: left }, left),
            Ask::Zero if !sector.is_multiple_of(SECTORS) || left < SECTORS => {
                write(SECTORS.saturating_sub(sector % SECTORS).min(left))
            }
            Ask::Zero => {
                let whole = left.saturating_sub(left % SECTORS);
                (Op::Discard { sector, sectors: whole }, whole)
            }
        }
    }
}

/// Requests on their way: a fixed number of places.
pub struct Front<B> {
    jobs: Vec<Option<Job<B>>>,
    turns: VecDeque<usize>,
    done: VecDeque<(B, Result<(), Error>)>,
}

impl<B: Buffers> Front<B> {
    /// With so many places.
    pub fn new(places: usize) -> Self {
        let jobs = core::iter::repeat_with(|| None).take(places).collect();
        Self { jobs, turns: VecDeque::with_capacity(places), done: VecDeque::with_capacity(places) }
    }

    /// How many requests may be given.
    pub fn room(&self) -> usize {
        self.jobs.iter().filter(|job| job.is_none()).count()
    }

    /// Requests that have not come to their end.
    pub fn in_flight(&self) -> usize {
        self.jobs.iter().flatten().count()
    }

    /// Takes a request, or gives it back when every place is taken.
    pub fn submit(&mut self, wanted: Wanted<B>) -> Result<(), Wanted<B>> {
        let Some((place, job)) = self.jobs.iter_mut().enumerate().find(|(_, job)| job.is_none()) else {
            return Err(wanted);
        };
        *job = Some(Job { wanted, next: 0, outstanding: 0, error: None });
        self.turns.push_back(place);
        Ok(())
    }

    /// Gives the store one piece; whether it took one. When it did not, a completion has to come first.
    pub fn step<P: BlockPort>(&mut self, store: &mut Store<P>) -> bool {
        while let Some(place) = self.turns.pop_front() {
            let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) else { continue };
            if job.error.is_some() {
                self.settle(place);
                continue;
            }
            let (op, sectors) = job.piece();
            let offset = job.next.saturating_mul(512);
            let Wanted { target, ask, buffers, .. } = &mut job.wanted;
            let mut fill = |at: usize, into: &mut [u8]| match ask {
                Ask::Write => buffers.fetch(offset.saturating_add(at as u64), into),
                _ => into.fill(0),
            };
            match store.submit(TOKEN | place as u64, *target, op, &mut fill) {
                Ok(()) => {
                    job.next = job.next.saturating_add(sectors);
                    job.outstanding = job.outstanding.saturating_add(1);
                    if job.next < job.wanted.sectors {
                        self.turns.push_back(place);
                    }
                    return true;
                }
                Err(Error::Busy) => {
                    self.turns.push_front(place);
                    return false;
                }
                Err(error) => {
                    job.error = Some(error);
                    self.settle(place);
                }
            }
        }
        false
    }

    /// Takes one of the store's completions, or gives it back when it is of another's request.
    pub fn take<P: BlockPort>(
        &mut self,
        store: &mut Store<P>,
        completion: Completion<P::Page>,
    ) -> Option<Completion<P::Page>>
    where
        P::Page: AsRef<PageBytes>,
    {
        if completion.token & TOKEN == 0 {
            return Some(completion);
        }
        let place = index(completion.token & !TOKEN);
        if let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) {
            job.outstanding = job.outstanding.saturating_sub(1);
            match (completion.result, completion.op) {
                (Err(error), _) => {
                    job.error.get_or_insert(error);
                }
                (Ok(()), Op::Read { sector, .. }) => {
                    let at = sector.saturating_sub(job.wanted.sector).saturating_mul(512);
                    let buffers = &mut job.wanted.buffers;
                    completion
                        .for_each(|offset, bytes| buffers.deliver(at.saturating_add(offset as u64), bytes));
                }
                _ => {}
            }
            self.settle(place);
        }
        store.recycle(completion.pages);
        None
    }

    /// The next request that came to its end.
    pub fn complete(&mut self) -> Option<(B, Result<(), Error>)> {
        self.done.pop_front()
    }

    /// Ends a request of which nothing is under way.
    fn settle(&mut self, place: usize) {
        let ended = |job: &mut Job<B>| {
            job.outstanding == 0 && (job.error.is_some() || job.next >= job.wanted.sectors)
        };
        if let Some(job) = self.jobs.get_mut(place).and_then(|job| job.take_if(ended)) {
            self.done.push_back((job.wanted.buffers, job.error.map_or(Ok(()), Err)));
        }
    }
}
