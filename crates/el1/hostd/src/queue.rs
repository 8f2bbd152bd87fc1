//! The driver of the call queue: requests, each with its token, and their answers. Virtio 1.2, 2.7 and 4.2.
//!
//! Everything lies in spare RAM, in windows: rings, and for each request in flight a *letter*: one half for the
//! request and what it sends, the other for the answer and what it gives back. Two descriptors a request.
//! Concurrency: one owner.

use crate::interrupts::CALLS;
use crate::transport::{Rings, Transport};
use abi::request::{COMPATIBLE, DEVICE_ID, QUEUE_SIZE};
use abi::{Answer, Request, RequestKind, Status, WorldGeneration};
use alloc::vec::Vec;
use el1::Boot;
use el1::window::Window;
use virtio::driver_queue::{Access, DriverQueue, Head, Segment};

/// Descriptors: as many as the queue has.
const SIZE: usize = QUEUE_SIZE as usize;
/// Its place in spare RAM, behind the calls' buffer.
const PLACE: usize = 0x1_0000;
const RINGS_BYTES: usize = 0x1_0000;
/// Requests in flight at most.
const LETTERS: usize = 8;
/// Half of a letter: the most that a request sends (`abi::request`: a name and 64 KiB), and its struct.
const HALF_BYTES: usize = 0x1_1000;
const LETTER_BYTES: usize = 2 * HALF_BYTES;

/// A request in flight: its letter's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(usize);

/// How a request ended.
#[derive(Debug)]
pub struct Reply {
    /// Which.
    pub token: Token,
    /// How.
    pub status: Status,
    /// As its kind says.
    pub value: u64,
    /// What it gave back.
    pub payload: Vec<u8>,
}

/// The call queue.
pub struct Queue {
    transport: Transport,
    queue: DriverQueue<Rings, SIZE>,
    letters: Window,
    /// Who is in each letter.
    heads: [Option<Head>; LETTERS],
    generation: WorldGeneration,
}

impl Queue {
    /// Brings it up; `None` where there is none.
    pub fn new(boot: &'static Boot, generation: WorldGeneration) -> Option<Self> {
        let device = boot.devices(COMPATIBLE).next()?;
        let transport = Transport::new(device.registers, DEVICE_ID)?;
        let memory = boot.spare.part(PLACE, RINGS_BYTES + LETTERS * LETTER_BYTES);
        // Also the letters: memory that was never touched is no buffer.
        (0..memory.bytes()).step_by(8).for_each(|at| memory.write64(at, 0));
        let queue = DriverQueue::new(Rings(memory.part(0, RINGS_BYTES)), QUEUE_SIZE, false)?;
        transport.negotiate(0);
        transport.attach(0, &queue);
        CALLS.enable(boot, device.intid?);
        transport.start();
        let letters = memory.part(RINGS_BYTES, LETTERS * LETTER_BYTES);
        Some(Self { transport, queue, letters, heads: [None; LETTERS], generation })
    }

    /// A request of ours.
    pub const fn request(&self, kind: RequestKind, target: u64, argument: u64) -> Request {
        Request { kind: kind as u32, generation: self.generation.0, target, argument, reserved: 0 }
    }

    /// Asks for something, with what it sends and room for what it gives back; `None` where the queue is full, or that
    /// is more than any kind has.
    pub fn send(&mut self, request: Request, send: [&[u8]; 2], room: usize) -> Option<Token> {
        let place = self.heads.iter().position(Option::is_none)?;
        let letter = self.letter(place);
        let mut end = 0;
        for part in [&request.to_bytes()[..], send[0], send[1]] {
            if part.len() > HALF_BYTES - end {
                return None;
            }
            letter.fill(end, part);
            end += part.len();
        }
        let room = (room <= HALF_BYTES - Answer::BYTES).then_some(Answer::BYTES + room)?;
        let base = letter.base() as u64;
        let segments = [
            Segment { address: base, bytes: end as u32, access: Access::Read },
            Segment { address: base + HALF_BYTES as u64, bytes: room as u32, access: Access::Write },
        ];
        self.heads[place] = Some(self.queue.submit(&segments).ok()?);
        if self.queue.publish() {
            self.transport.notify(0);
        }
        Some(Token(place))
    }

    /// An answer that came.
    pub fn take(&mut self) -> Option<Reply> {
        if CALLS.take_raised() {
            self.transport.acknowledge();
        }
        let used = self.queue.pop_used().ok()??;
        let place = self.heads.iter().position(|head| *head == Some(used.head))?;
        self.heads[place] = None;
        let mut bytes = [0; Answer::BYTES];
        let back = self.letter(place).part(HALF_BYTES, HALF_BYTES);
        back.copy_to(0, &mut bytes);
        let answer = Answer::from_bytes(&bytes);
        let mut payload = alloc::vec![0; (used.written as usize).saturating_sub(Answer::BYTES)];
        back.copy_to(Answer::BYTES, &mut payload);
        let status = Status::from_raw(answer.status).unwrap_or(Status::Invalid);
        Some(Reply { token: Token(place), status, value: answer.value, payload })
    }

    fn letter(&self, place: usize) -> Window {
        self.letters.part(place * LETTER_BYTES, LETTER_BYTES)
    }
}
