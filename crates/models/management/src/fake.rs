//! What stands behind the ports where there is no host: a vmkernel in RAM, time that goes on when nobody has anything to
//! do, and connections in memory. Tests and fuzzers use all of it, hostd on a PC the vmkernel.

mod activity;
mod objects;
mod shell;
mod stream;
mod time;
mod tls;
mod vmkernel;
mod vms;

pub use stream::{Stream, pair};
pub use time::VirtualTime;
pub use tls::{TlsHost, TlsServer, UNIX};
pub use vmkernel::{Environment, RamVmkernel};

use crate::port::{Platform, Received, Refused, Request, Vmkernel};
use abi::{Call, Status};
use alloc::rc::Rc;
use core::cell::Cell;
use core::future::Future;
use core::time::Duration;

/// A host for tests: everything that happens in it is repeatable.
pub struct Host {
    /// Its time.
    pub time: Rc<VirtualTime>,
    /// Its vmkernel.
    pub vmkernel: RamVmkernel,
    /// What a request takes.
    takes: Cell<Duration>,
}

impl Host {
    /// Requests take so long from now on.
    pub fn slow_requests(&self, time: Duration) {
        self.takes.set(time);
    }
}

impl Default for Host {
    fn default() -> Self {
        let time = Rc::new(VirtualTime::default());
        let vmkernel = RamVmkernel::new(Repeatable { time: time.clone(), state: 1.into() });
        Self { time, vmkernel, takes: Cell::default() }
    }
}

/// Numbers that are random to look at, and the time of [`VirtualTime`].
struct Repeatable {
    time: Rc<VirtualTime>,
    state: Cell<u64>,
}

impl Environment for Repeatable {
    fn uptime(&self) -> Duration {
        self.time.now()
    }

    fn unix_seconds(&self) -> u64 {
        1_800_000_000_u64.saturating_add(self.time.now().as_secs())
    }

    fn random(&self, into: &mut [u8]) {
        for byte in into {
            // xorshift64 (Marsaglia 2003).
            let mut x = self.state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.state.set(x);
            let [_, _, _, taken, ..] = x.to_le_bytes();
            *byte = taken;
        }
    }

    fn log(&self, _: &str) {}
}

impl Platform for Host {
    fn now(&self) -> Duration {
        self.time.now()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> {
        self.time.sleep(time)
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Long enough for others to be seen to go on meanwhile.
        self.sleep(Duration::from_millis(50)).await;
        work()
    }
}

impl Vmkernel for Host {
    fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status> {
        self.vmkernel.call(call, buffer, arguments)
    }

    async fn request(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        if !self.takes.get().is_zero() {
            self.sleep(self.takes.get()).await;
        }
        self.vmkernel.request(request, receive).await
    }
}
