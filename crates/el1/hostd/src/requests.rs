//! Requests to the call queue as futures: any number of tasks may ask at a time; the queue's room is shared.
//!
//! Called by: tasks. Calls: [`crate::queue`]. A request whose task is gone is carried out all the same; its answer is
//! dropped. Concurrency: all on vCPU 0; no borrow is held over a wait.

use crate::interrupts::CALLS;
use crate::queue::{Queue, Reply, Token};
use abi::Status;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use management::port::{Received, Refused, Request};

/// The queue, and who waits for it.
pub struct Requests {
    queue: RefCell<Queue>,
    waiting: RefCell<Vec<Entry>>,
    next: Cell<u64>,
    /// For room in the queue.
    crowd: RefCell<Vec<Waker>>,
}

/// A request in flight, or answered and not fetched yet: then its token may be another one's already.
struct Entry {
    id: u64,
    token: Token,
    waiting: Waiting,
}

/// How a request stands.
enum Waiting {
    For(Waker),
    Done(Reply),
    /// Whoever asked is gone.
    Nobody,
}

/// One request in flight, until it is dropped.
struct Flight<'a> {
    requests: &'a Requests,
    id: u64,
}

impl Requests {
    /// Over this queue.
    pub fn new(queue: Queue) -> Self {
        Self {
            queue: queue.into(),
            waiting: RefCell::default(),
            next: Cell::new(0),
            crowd: RefCell::default(),
        }
    }

    /// The queue itself, for tests that break its rules.
    pub fn queue(&self) -> &RefCell<Queue> {
        &self.queue
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        let refuse = |status| Refused { status, received: Received { value: 0, bytes: 0 } };
        let sent = request.send[0].len() + request.send[1].len();
        let room = receive.len().min(request.kind.receive_max() as usize);
        if sent > request.kind.send_max() as usize {
            return Err(refuse(Status::Invalid));
        }
        let id = poll_fn(|context| self.send(context, &request, room)).await;
        let flight = Flight { requests: self, id };
        let reply = poll_fn(|context| flight.poll(context)).await;
        let bytes = reply.payload.len().min(receive.len());
        receive[..bytes].copy_from_slice(&reply.payload[..bytes]);
        let received = Received { value: reply.value, bytes };
        if reply.status == Status::Ok {
            Ok(received)
        } else {
            Err(Refused { status: reply.status, received })
        }
    }

    fn send(&self, context: &Context<'_>, request: &Request<'_>, room: usize) -> Poll<u64> {
        let mut queue = self.queue.borrow_mut();
        let header = queue.request(request.kind, request.target, request.argument);
        match queue.send(header, request.send, room) {
            Some(token) => {
                let id = self.next.replace(self.next.get() + 1);
                let waiting = Waiting::For(context.waker().clone());
                self.waiting.borrow_mut().push(Entry { id, token, waiting });
                Poll::Ready(id)
            }
            None => {
                self.crowd.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Hands the answers to who waits for them, for ever.
    pub async fn run(&self) {
        poll_fn(|context| {
            loop {
                CALLS.register(context.waker());
                let reply = self.queue.borrow_mut().take();
                match reply {
                    Some(reply) => self.hand_on(reply),
                    None => return Poll::<()>::Pending,
                }
            }
        })
        .await;
    }

    fn hand_on(&self, reply: Reply) {
        let mut waiting = self.waiting.borrow_mut();
        let is_its = |entry: &Entry| entry.token == reply.token && !matches!(entry.waiting, Waiting::Done(_));
        if let Some(at) = waiting.iter().position(is_its) {
            match core::mem::replace(&mut waiting[at].waiting, Waiting::Done(reply)) {
                Waiting::For(waker) => waker.wake(),
                Waiting::Nobody | Waiting::Done(_) => _ = waiting.swap_remove(at),
            }
        }
        drop(waiting);
        // There is room for one more; who does not get it waits again.
        self.crowd.take().into_iter().for_each(Waker::wake);
    }
}

impl Flight<'_> {
    fn poll(&self, context: &Context<'_>) -> Poll<Reply> {
        let mut waiting = self.requests.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|entry| entry.id == self.id) else { return Poll::Pending };
        match &mut waiting[at].waiting {
            Waiting::Done(_) => match waiting.swap_remove(at).waiting {
                Waiting::Done(reply) => Poll::Ready(reply),
                Waiting::For(_) | Waiting::Nobody => Poll::Pending,
            },
            waits => {
                *waits = Waiting::For(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut waiting = self.requests.waiting.borrow_mut();
        if let Some(at) = waiting.iter().position(|entry| entry.id == self.id) {
            match waiting[at].waiting {
                Waiting::Done(_) => _ = waiting.swap_remove(at),
                _ => waiting[at].waiting = Waiting::Nobody,
            }
        }
    }
}
