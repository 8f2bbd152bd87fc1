//! What hostd is made of, without the world that it runs in: it manages a host over HTTPS. The same code runs at EL1 and
//! on a PC, where a fake vmkernel stands behind [`port`].
//!
//! | what | module |
//! |---|---|
//! | a connection is let in, gives way | [`admission`], [`Management::admit`] |
//! | bytes become requests, responses become bytes | [`http`] |
//! | plain HTTP is sent to HTTPS | [`redirect`] |
//! | a connection's requests, one after another | [`serve()`] |
//! | which operation a request asks for, and who may | [`route`] |
//! | why a call is refused | [`problem`] |
//! | the vmkernel, time, another vCPU | [`port`] |
//! | what stands for them in tests and on a PC | `fake` |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod admission;
mod bell;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod http;
mod operations;
pub mod port;
pub mod problem;
pub mod redirect;
pub mod route;
mod serve;

use admission::{ConnectionId, Pool};
use bell::Bell;
use core::cell::RefCell;
use port::Port;
pub use serve::serve;

/// A host under management. One executor polls all that uses it.
pub struct Management<P> {
    port: P,
    pool: RefCell<Pool>,
    /// Rings when a connection has to give way.
    gave_way: Bell,
}

/// The right to a connection, until it is dropped.
pub struct Ticket<'m, P> {
    management: &'m Management<P>,
    id: ConnectionId,
}

impl<P: Port> Management<P> {
    /// Over a vmkernel.
    pub fn new(port: P) -> Self {
        Self { port, pool: RefCell::default(), gave_way: Bell::default() }
    }

    /// Someone connects; `None`: there is no room, and the connection is to be closed.
    pub fn admit(&self) -> Option<Ticket<'_, P>> {
        let arrival = self.pool.borrow_mut().arrive()?;
        if arrival.gives_way.is_some() {
            self.gave_way.ring();
        }
        Some(Ticket { management: self, id: arrival.id })
    }
}

impl<P> Ticket<'_, P> {
    /// Is done when the connection has to give way to another. A TLS handshake is to be raced with it; [`serve()`] does
    /// so by itself.
    pub async fn given_up(&self) {
        loop {
            let heard = self.management.gave_way.rings();
            if !self.management.pool.borrow().has(self.id) {
                return;
            }
            self.management.gave_way.after(heard).await;
        }
    }

    #[allow(dead_code)]
    fn know(&self, is_known: bool) {
        self.management.pool.borrow_mut().know(self.id, is_known);
    }
}

impl<P> Drop for Ticket<'_, P> {
    fn drop(&mut self) {
        self.management.pool.borrow_mut().leave(self.id);
    }
}
