//! Requests to the call queue as futures: any number of tasks may ask at a time; the queue's room is shared.
//!
//! Called by: tasks. Calls: [`crate::queue`]. A request whose task is gone is carried out all the same; its answer is
//! dropped. Concurrency: all on vCPU 0; no borrow is held over a wait.

use crate::interrupts::CALLS;
use crate::queue::{Queue, Reply, Token};
use abi::Status;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use management::port::{Received, Refused, Request};

/// The queue, and who waits for it.
pub struct Requests {
    queue: RefCell<Queue>,
    waiting: RefCell<Vec<(Token, Waiting)>>,
    /// For room in the queue.
    crowd: RefCell<Vec<Waker>>,
}

/// How a request in flight stands.
enum Waiting {
    For(Waker),
    Done(Reply),
    /// Whoever asked is gone.
    Nobody,
}

/// One request in flight, until it is dropped.
struct Flight<'a> {
    requests: &'a Requests,
    token: Token,
}

impl Requests {
    /// Over this queue.
    pub fn new(queue: Queue) -> Self {
        Self { queue: queue.into(), waiting: RefCell::default(), crowd: RefCell::default() }
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
        let token = poll_fn(|context| self.send(context, &request, room)).await;
        let flight = Flight { requests: self, token };
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

    fn send(&self, context: &Context<'_>, request: &Request<'_>, room: usize) -> Poll<Token> {
        let mut queue = self.queue.borrow_mut();
        let header = queue.request(request.kind, request.target, request.argument);
        match queue.send(header, request.send, room) {
            Some(token) => {
                self.waiting.borrow_mut().push((token, Waiting::For(context.waker().clone())));
                Poll::Ready(token)
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
        if let Some(at) = waiting.iter().position(|(token, _)| *token == reply.token) {
            match core::mem::replace(&mut waiting[at].1, Waiting::Nobody) {
                Waiting::For(waker) => {
                    waiting[at].1 = Waiting::Done(reply);
                    waker.wake();
                }
                Waiting::Done(_) | Waiting::Nobody => {
                    waiting.swap_remove(at);
                }
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
        let Some(at) = waiting.iter().position(|(token, _)| *token == self.token) else {
            return Poll::Pending;
        };
        if matches!(waiting[at].1, Waiting::Done(_)) {
            if let (_, Waiting::Done(reply)) = waiting.swap_remove(at) {
                return Poll::Ready(reply);
            }
        } else {
            waiting[at].1 = Waiting::For(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut waiting = self.requests.waiting.borrow_mut();
        if let Some(at) = waiting.iter().position(|(token, _)| *token == self.token) {
            if matches!(waiting[at].1, Waiting::Done(_)) {
                waiting.swap_remove(at);
            } else {
                waiting[at].1 = Waiting::Nobody;
            }
        }
    }
}
