//! What management needs of the world around it: the vmkernel, and time, sleep and another vCPU for long work.
//!
//! Implemented by: `hostd` over HVC and the call queue; a fake over a datastore in a file, on a PC.

use abi::{Call, RequestKind, Status};
use core::future::Future;
use core::time::Duration;

/// Time, sleep and long work. One executor polls all of management on one vCPU.
pub trait Platform {
    /// Time since the host started; it never goes back, and goes on where hostd is restarted.
    fn now(&self) -> Duration;

    /// Is done when this much time went by. Dropping it ends the sleep.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;

    /// Does work of more than 5 ms where it holds up nobody: on another vCPU, or on a thread. One such work at a time,
    /// in the order asked for. Dropping the future does not stop work that was begun.
    fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T>;
}

/// The vmkernel, by its two ways in.
pub trait Vmkernel {
    /// A call by HVC. `buffer`: in and out, at most [`Call::buffer_max`] bytes. The values are x1–x3.
    fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status>;

    /// A request to the call queue; it waits where the queue is full.
    fn request(
        &self,
        request: Request<'_>,
        receive: &mut [u8],
    ) -> impl Future<Output = Result<Received, Refused>>;
}

/// A request: the table is [`RequestKind`].
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub kind: RequestKind,
    /// What it is about.
    pub target: u64,
    /// As the kind says.
    pub argument: u64,
    /// What follows the request, at most [`RequestKind::send_max`] bytes: joined without anything in between.
    pub send: [&'a [u8]; 2],
}

/// How a request was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// As the kind says.
    pub value: u64,
    /// Bytes that were written to the receiver's buffer.
    pub bytes: usize,
}

/// That a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub status: Status,
    /// What came with it.
    pub received: Received,
}

/// Both in one, as management takes them.
pub trait Port: Platform + Vmkernel {}

impl<T: Platform + Vmkernel> Port for T {}
