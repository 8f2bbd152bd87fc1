//! What tasks of one executor wait with: a bell that wakes all who wait, and a turn that one has at a time.

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
