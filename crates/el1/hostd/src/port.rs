//! The world around `management`: the vmkernel by calls and the call queue, time by the virtual timer, long work on the
//! other vCPU.
//!
//! Called by: `management`. Calls: [`crate::vmkernel`], [`crate::requests`], [`crate::worker`].

use crate::requests::Requests;
use crate::vmkernel::Vmkernel;
use crate::worker;
use abi::{Call, Status};
use core::future::Future;
use core::time::Duration;
use embassy_time::{Instant, Timer};
use management::port::{Platform, Received, Refused, Request};
use management::{port, tls};

/// What hostd has of the world. Copies are the same.
#[derive(Clone, Copy)]
pub struct World {
    vmkernel: &'static Vmkernel,
    requests: &'static Requests,
    /// When the host had started, before this generation.
    before: Duration,
}

impl World {
    /// Over these two ways to the vmkernel.
    pub fn new(vmkernel: &'static Vmkernel, requests: &'static Requests) -> Self {
        let uptime = Duration::from_nanos(vmkernel.time().uptime);
        let before = uptime.saturating_sub(Duration::from_micros(Instant::now().as_micros()));
        Self { vmkernel, requests, before }
    }
}

impl Platform for World {
    fn now(&self) -> Duration {
        self.before + Duration::from_micros(Instant::now().as_micros())
    }

    async fn sleep(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Timer::after(embassy_time::Duration::from_micros(micros)).await;
    }

    fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> {
        worker::compute(work)
    }
}

impl port::Vmkernel for World {
    fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status> {
        self.vmkernel.call(call, buffer, arguments)
    }

    async fn request(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        self.requests.ask(request, receive).await
    }
}

impl tls::Host for Vmkernel {
    fn random(&self, into: &mut [u8]) -> Result<(), tls::Unseeded> {
        for piece in into.chunks_mut(Call::Random.buffer_max() as usize) {
            self.call(Call::Random, piece, [0; 3]).map_err(|_| tls::Unseeded)?;
        }
        Ok(())
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(self.time().unix_seconds)
    }

    fn uptime(&self) -> Duration {
        Duration::from_nanos(self.time().uptime)
    }
}
