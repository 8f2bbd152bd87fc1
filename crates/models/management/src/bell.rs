//! What tasks of one executor wait with: a bell that wakes all who wait, a turn that one has at a time, and a queue for
//! one's turn that is fair to where people come from.

use crate::admission::{CONNECTIONS_MAX, Source};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Counts its rings; who waits for the next one names the last that it heard, so that none is missed.
#[derive(Default)]
pub struct Bell {
    rings: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Wakes all who wait.
    pub fn ring(&self) {
        self.rings.set(self.rings.get().wrapping_add(1));
        let waiting = core::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How often it rang.
    pub fn rings(&self) -> u64 {
        self.rings.get()
    }

    /// Is done when it rang since `heard`.
    pub async fn after(&self, heard: u64) {
        poll_fn(|context| {
            if self.rings.get() != heard {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// One has it at a time; the others wait.
#[derive(Default)]
pub struct Turn {
    taken: Cell<bool>,
    freed: Bell,
}

/// That one has the turn; the next one's when it is dropped.
pub struct Taken<'t>(&'t Turn);

impl Turn {
    /// Takes the turn, if nobody has it.
    pub fn try_take(&self) -> Option<Taken<'_>> {
        (!self.taken.replace(true)).then(|| Taken(self))
    }

    /// Waits for the turn.
    pub async fn take(&self) -> Taken<'_> {
        loop {
            let heard = self.freed.rings();
            if !self.taken.replace(true) {
                return Taken(self);
            }
            self.freed.after(heard).await;
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.freed.ring();
    }
}

/// One has its turn at a time. The next one is who waits longest of the source that had its last turn longest ago, or
/// none: however many wait from one source, another one's waits for one turn of each source at most.
#[derive(Default)]
pub struct Queue {
    turn: Turn,
    waiting: RefCell<Vec<Waiting>>,
    /// Sources that had a turn, the last one last.
    served: RefCell<Vec<Source>>,
    next: Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Waiting {
    number: u64,
    from: Source,
}

/// A place in a queue, which is free again when it is dropped.
struct Place<'q>(&'q Queue, Waiting);

impl Queue {
    /// Waits for its turn.
    pub async fn take(&self, from: Source) -> Taken<'_> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let place = Place(self, Waiting { number, from });
        self.waiting.borrow_mut().push(place.1);
        loop {
            let heard = self.turn.freed.rings();
            if self.first() == Some(place.1)
                && let Some(taken) = self.turn.try_take()
            {
                let mut served = self.served.borrow_mut();
                served.retain(|other| *other != from);
                if served.len() >= CONNECTIONS_MAX {
                    served.remove(0);
                }
                served.push(from);
                return taken;
            }
            self.turn.freed.after(heard).await;
        }
    }

    fn first(&self) -> Option<Waiting> {
        let served = self.served.borrow();
        let last_turn = |each: &Waiting| served.iter().position(|from| *from == each.from);
        // Who waits longest comes first, and of equals the first one is taken.
        self.waiting.borrow().iter().min_by_key(|each| last_turn(each)).copied()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().retain(|each| *each != self.1);
        // It may have been the first.
        self.0.turn.freed.ring();
    }
}
