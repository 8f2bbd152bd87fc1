//! One connection's bytes: a stream with a buffer for what was read too much, and with an end to patience.

use super::head::HEAD_MAX;
use crate::port::Platform;
use alloc::boxed::Box;
use alloc::vec;
use core::future::Future;
use core::time::Duration;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};

/// How long a client may take.
pub struct Patience;

impl Patience {
    /// From the first byte of a head to its last.
    pub const HEAD: Duration = Duration::from_secs(10);
    /// From one request to the next, by a client that has logged in.
    pub const IDLE: Duration = Duration::from_secs(75);
    /// The same, by one that has not.
    pub const STRANGER: Duration = Duration::from_secs(15);
    /// For some progress: a read of a body, or a write.
    pub const PROGRESS: Duration = Duration::from_secs(20);
    /// For the whole of a body that is kept in memory.
    pub const BODY: Duration = Duration::from_secs(30);
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By the peer, or by the network.
    Closed,
    /// The peer was too slow.
    TimedOut,
}

/// A stream and what was read of it beyond what was wanted.
pub struct Wire<'p, S, P> {
    stream: S,
    platform: &'p P,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'p, S: Read + Write, P: Platform> Wire<'p, S, P> {
    /// Reads of the stream have to be safe to drop: one that is dropped has taken nothing.
    pub fn new(stream: S, platform: &'p P) -> Self {
        Self { stream, platform, buffer: vec![0; HEAD_MAX].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Time, for whoever has a deadline to reckon.
    pub fn platform(&self) -> &'p P {
        self.platform
    }

    /// What was read and not taken.
    pub fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes bytes of [`Self::unread`].
    pub fn take(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
    }

    /// Reads some more behind [`Self::unread`]; nothing where the buffer is full.
    pub async fn fill(&mut self, time: Duration) -> Result<(), Ended> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Ok(());
        }
        let bytes = within(self.platform, time, self.stream.read(room)).await?;
        self.end = self.end.saturating_add(bytes).min(HEAD_MAX);
        Ok(())
    }

    /// Reads some bytes, at least one.
    pub async fn read(&mut self, into: &mut [u8], time: Duration) -> Result<usize, Ended> {
        if self.unread().is_empty() {
            return within(self.platform, time, self.stream.read(into)).await;
        }
        let bytes = self.unread().len().min(into.len());
        if let (Some(into), Some(unread)) = (into.get_mut(..bytes), self.unread().get(..bytes)) {
            into.copy_from_slice(unread);
        }
        self.take(bytes);
        Ok(bytes)
    }

    /// Writes all.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            let written = within(self.platform, Patience::PROGRESS, self.stream.write(bytes)).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends what was written.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        let flush = select(self.stream.flush(), self.platform.sleep(Patience::PROGRESS));
        match flush.await {
            Either::First(Ok(())) => Ok(()),
            Either::First(Err(_)) => Err(Ended::Closed),
            Either::Second(()) => Err(Ended::TimedOut),
        }
    }
}

/// Some bytes within a time.
async fn within<P: Platform, E>(
    platform: &P,
    time: Duration,
    io: impl Future<Output = Result<usize, E>>,
) -> Result<usize, Ended> {
    match select(io, platform.sleep(time)).await {
        Either::First(Ok(bytes)) if bytes > 0 => Ok(bytes),
        Either::First(_) => Err(Ended::Closed),
        Either::Second(()) => Err(Ended::TimedOut),
    }
}
