//! A disk in a vector, with a volatile cache, slots, and completions in any order: the oracle of the block tests.

use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Submitted, Token,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::{vec, vec::Vec};

/// The disk behind a [`Disk`].
pub struct Platters {
    /// What a read sees.
    pub cached: Vec<u8>,
    /// What a power cut leaves.
    pub stable: Vec<u8>,
    pub read_only: bool,
    pub discard: bool,
    /// `None`: every request is done at once.
    pub slots: Option<usize>,
    /// Ends the next requests.
    pub fail_with: Option<BlockError>,
    pub flushes: u32,
    pub in_flight: Vec<Token>,
    pub finished: Vec<BlockCompletion>,
    flushing: Vec<Token>,
}

/// A handle on the disk: one in the device, one in the test.
#[derive(Clone)]
pub struct Disk(pub Rc<RefCell<Platters>>);

impl Disk {
    pub fn new(sectors: usize) -> Self {
        let bytes: Vec<u8> = vec![0; sectors * 512];
        Self(Rc::new(RefCell::new(Platters {
            cached: bytes.clone(),
            stable: bytes,
            read_only: false,
            discard: true,
            slots: None,
            fail_with: None,
            flushes: 0,
            in_flight: Vec::new(),
            finished: Vec::new(),
            flushing: Vec::new(),
        })))
    }

    pub fn with(self, change: impl FnOnce(&mut Platters)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// Finishes the request at `place` of those in flight.
    pub fn finish(&self, place: usize) {
        let disk = &mut *self.0.borrow_mut();
        let token = disk.in_flight.remove(place % disk.in_flight.len());
        let result = disk.fail_with.map_or(Ok(()), Err);
        if disk.flushing.contains(&token) {
            disk.flushing.retain(|other| *other != token);
            disk.flush();
        }
        disk.finished.push(BlockCompletion { token, result });
    }
}

impl Platters {
    fn flush(&mut self) {
        self.flushes += 1;
        self.stable.clone_from(&self.cached);
    }

    fn apply(&mut self, request: &BlockRequest<'_>) {
        let mut at = usize::try_from(request.sector.0).unwrap() * 512;
        match request.op {
            BlockOp::Read => {
                for span in request.data {
                    let end = at + span.bytes as usize;
                    request.memory.write_span(*span, &self.cached[at..end]);
                    at = end;
                }
            }
            BlockOp::Write => {
                for span in request.data {
                    let end = at + span.bytes as usize;
                    request.memory.read_span(*span, &mut self.cached[at..end]);
                    at = end;
                }
            }
            BlockOp::Flush => {}
            BlockOp::Discard { sectors } => self.cached[at..at + sectors as usize * 512].fill(0xdd),
            BlockOp::WriteZeroes { sectors } => self.cached[at..at + sectors as usize * 512].fill(0),
        }
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        let disk = self.0.borrow();
        BlockGeometry {
            sectors: disk.cached.len() as u64 / 512,
            read_only: disk.read_only,
            block_bytes: 4096,
            discard: disk.discard,
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let disk = &mut *self.0.borrow_mut();
        assert!(!disk.in_flight.contains(&request.token), "a token is in flight once");
        let bytes: u64 = request.data.iter().map(|span| u64::from(span.bytes)).sum();
        let moves = matches!(request.op, BlockOp::Read | BlockOp::Write);
        assert!(bytes.is_multiple_of(512) && moves == (bytes != 0), "the length that the port demands");
        let Some(slots) = disk.slots else {
            if let Some(error) = disk.fail_with {
                return Submitted::Done(Err(error));
            }
            disk.apply(request);
            if request.op == BlockOp::Flush {
                disk.flush();
            }
            return Submitted::Done(Ok(()));
        };
        if disk.in_flight.len() == slots {
            return Submitted::Full;
        }
        // Data moves at once; what is in flight is the answer, and for a flush its effect.
        disk.apply(request);
        if request.op == BlockOp::Flush {
            disk.flushing.push(request.token);
        }
        disk.in_flight.push(request.token);
        Submitted::InFlight
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        let disk = &mut *self.0.borrow_mut();
        if disk.finished.is_empty() { None } else { Some(disk.finished.remove(0)) }
    }
}
