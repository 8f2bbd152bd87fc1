//! The call queue: how a world asks the vmkernel for what may wait.
//!
//! Called by: the transport; the vmkernel (`VirtioMmio::poll`) once something is done. Calls: a [`Desk`].
//! Source: virtio 1.2, 2.7 "Split Virtqueues"; the requests are `abi::request`'s.
//! Invariants: a request and what it sends are copied out once (rule `copy-once`). A token names a request of one *epoch* of the queue: a
//! reset, which is what the world's end comes to, ends the epoch, and completions of earlier ones are dropped, so that no
//! answer ever reaches memory of a later generation. What was begun goes on to its end: completed or undone, by the desk.
//! Concurrency: one lock. Lock order: call half → desk → interrupt line. The desk takes no other lock.

#[cfg(test)]
mod tests;

use crate::chain::{Chain, scatter, scatter_behind};
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use crate::transport::{CONFIG_BYTES, Device, Progress};
use abi::request::{DEVICE_ID, PAYLOAD_MAX, QUEUE_SIZE};
use abi::{Answer, Request, RequestKind, Status};
use alloc::boxed::Box;
use alloc::vec::Vec;
use ports::{GuestMemory, InterruptLine, Span};
use spin::Mutex;

/// Runs of memory that an answer, or a request, may be scattered over: the longest one in pages, wherever it starts, and
/// the struct before it.
const ANSWER_SPANS: usize = 20;
/// Runs of memory in a chain.
const SPANS: usize = 2 * ANSWER_SPANS;
/// Requests taken in one call, and bytes that they send: what is left comes with the next one, so that a PE is not held.
const BUDGET: u16 = QUEUE_SIZE * 2;
const BYTES_BUDGET: u32 = PAYLOAD_MAX;

/// Names a request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Of the queue.
    pub epoch: u32,
    /// The head of its chain.
    pub head: u16,
}

/// A request that was taken.
#[derive(Debug)]
pub struct Asked {
    /// Names it.
    pub token: Token,
    /// What it asks for.
    pub kind: RequestKind,
    /// The request.
    pub request: Request,
    /// What it sends, at most [`RequestKind::send_max`] bytes.
    pub payload: Vec<u8>,
    /// How many bytes it has room for, at most [`RequestKind::receive_max`].
    pub room: u32,
}

/// A request that is done.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub token: Token,
    /// How it ended.
    pub answer: Answer,
    /// What it gives back; what does not find room is cut off.
    pub payload: Vec<u8>,
}

/// Who carries requests out. It takes them at once and does them later, outside of the device's lock.
pub trait Desk {
    /// The world's generation: only its requests are taken.
    fn generation(&self) -> u32;
    /// Whether the world may ask for that.
    fn allows(&self, kind: RequestKind) -> bool;
    /// Takes a request; each is completed once.
    fn submit(&mut self, asked: Asked);
    /// One that is done.
    fn complete(&mut self) -> Option<Done>;
}

/// The call queue of a world.
pub struct Calls<D> {
    half: Mutex<Half<D>>,
}

struct Half<D> {
    desk: D,
    queue: Option<Queue>,
    chain: Box<Chain<SPANS>>,
    epoch: u32,
    /// Where the answer of each request in flight goes, by head.
    answers: Box<[Option<heapless::Vec<Span, ANSWER_SPANS>>]>,
}

impl<D: Desk> Calls<D> {
    /// A queue to this desk.
    pub fn new(desk: D) -> Self {
        let half = Half {
            desk,
            queue: None,
            chain: Box::default(),
            epoch: 0,
            // On the heap: it is more than a PE's stack should hold.
            answers: (0..QUEUE_SIZE).map(|_| None).collect(),
        };
        Self { half: Mutex::new(half) }
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.half.lock().answers.iter().flatten().count()
    }
}

impl<D: Desk> Half<D> {
    fn work<M: GuestMemory, L: InterruptLine>(&mut self, link: &Link<M, L>) -> Progress {
        let Some(mut queue) = link.take(&mut self.queue) else {
            // Nobody is there to hear them.
            while self.desk.complete().is_some() {}
            return Progress::Done;
        };
        let worked = self.serve(link.memory(), &mut queue);
        link.put_back(&mut self.queue, queue, worked).unwrap_or(Progress::Done)
    }

    fn serve<M: GuestMemory>(&mut self, memory: &M, queue: &mut Queue) -> Result<Progress, QueueFault> {
        let mut bytes = 0_u32;
        while let Some(done) = self.desk.complete() {
            self.finish(memory, queue, &done)?;
        }
        for _ in 0..BUDGET {
            if bytes >= BYTES_BUDGET {
                break;
            }
            if queue.pop(memory, &mut self.chain)? {
                bytes = bytes.saturating_add(self.chain.readable_bytes());
                self.begin(memory, queue)?;
            } else if !queue.arm(memory)? {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::More)
    }

    /// Takes the request in `chain`.
    fn begin<M: GuestMemory>(&mut self, memory: &M, queue: &mut Queue) -> Result<(), QueueFault> {
        let head = self.chain.head();
        let room = (self.chain.writable_bytes() as usize).checked_sub(Answer::BYTES);
        let room = room.filter(|_| self.chain.is_whole()).ok_or(QueueFault::NoAnswerBuffer)?;
        let place =
            heapless::Vec::from_slice(self.chain.writable()).map_err(|_| QueueFault::NoAnswerBuffer)?;
        let slot = self.answers.get_mut(usize::from(head)).ok_or(QueueFault::DescriptorIndex)?;
        if slot.replace(place).is_some() {
            return Err(QueueFault::HeadInFlight);
        }
        let token = Token { epoch: self.epoch, head };
        let answer = match self.admit(memory, token, room) {
            Ok(asked) if asked.kind == RequestKind::Echo => {
                Answer { value: asked.request.argument, ..Answer::of(Status::Ok) }
            }
            Ok(asked) => {
                self.desk.submit(asked);
                return Ok(());
            }
            Err(status) => Answer::of(status),
        };
        self.finish(memory, queue, &Done { token, answer, payload: Vec::new() })
    }

    /// Copies the request out, and what it sends once it is known to be allowed and not too long.
    fn admit<M: GuestMemory>(&mut self, memory: &M, token: Token, room: usize) -> Result<Asked, Status> {
        let mut raw = [0; Request::BYTES];
        if !self.chain.take_readable(memory, &mut raw) {
            return Err(Status::Invalid);
        }
        let request = Request::from_bytes(&raw);
        if request.generation != self.desk.generation() {
            return Err(Status::Stale);
        }
        let kind = RequestKind::from_raw(request.kind).ok_or(Status::NotSupported)?;
        if !self.desk.allows(kind) {
            return Err(Status::Denied);
        }
        let bytes = self.chain.readable_bytes();
        let room = u32::try_from(room).ok().filter(|room| *room <= kind.receive_max());
        let room = room.filter(|_| bytes <= kind.send_max()).ok_or(Status::Invalid)?;
        let mut payload = Vec::new();
        payload.try_reserve_exact(bytes as usize).map_err(|_| Status::Busy)?;
        payload.resize(bytes as usize, 0);
        self.chain.take_some(memory, &mut payload);
        Ok(Asked { token, kind, request, payload, room })
    }

    fn finish<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        done: &Done,
    ) -> Result<(), QueueFault> {
        let token = done.token;
        if token.epoch != self.epoch {
            return Ok(());
        }
        let Some(place) = self.answers.get_mut(usize::from(token.head)).and_then(Option::take) else {
            return Ok(());
        };
        let answer = scatter(memory, &place, &done.answer.to_bytes());
        let written = answer.saturating_add(scatter_behind(memory, &place, answer, &done.payload));
        queue.push_used(memory, token.head, written)
    }

    fn forget(&mut self) {
        self.queue = None;
        self.epoch = self.epoch.wrapping_add(1);
        self.answers.fill_with(|| None);
    }
}

impl<D: Desk, M: GuestMemory, L: InterruptLine> Device<M, L> for Calls<D> {
    const ID: u32 = DEVICE_ID;
    const QUEUES: usize = 1;
    const QUEUE_SIZE_MAX: u16 = QUEUE_SIZE;

    fn features(&self) -> u64 {
        0
    }

    fn config(&self, _into: &mut [u8; CONFIG_BYTES]) {}

    fn attach(&self, _index: usize, queue: Queue, _features: u64) {
        let mut half = self.half.lock();
        half.forget();
        half.queue = Some(queue);
    }

    fn detach(&self, _index: usize) {
        self.half.lock().forget();
    }

    fn notify(&self, link: &Link<M, L>, _index: usize) -> Progress {
        self.half.lock().work(link)
    }

    fn poll(&self, link: &Link<M, L>) -> Progress {
        self.half.lock().work(link)
    }
}
