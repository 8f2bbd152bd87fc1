//! The body of a request, in pieces: of a known length or chunked.
//!
//! Source: RFC 9112, 7.1 "Chunked Transfer Coding". Extensions are skipped, trailers are read and forgotten; both are
//! bounded.

use super::head::Length;
use super::wire::{Ended, Patience, Wire};
use crate::port::Platform;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use embedded_io_async::{Read, Write};

/// Most bytes of a line between chunks, and of all trailers.
const LINE_MAX: usize = 256;

/// Where in a body its reader is.
pub struct Body {
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Bytes(u64),
    /// So many bytes are left of a chunk; then comes its end.
    Chunk(u64),
    /// The size of a chunk comes next.
    Size,
    Done,
}

/// Why a body could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFault {
    /// The connection is over.
    Ended(Ended),
    /// These are no chunks.
    Malformed,
    /// It is longer than is taken.
    TooLarge,
}

impl From<Ended> for BodyFault {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Body {
    /// Of this length, from here on.
    pub fn new(length: Length) -> Self {
        let state = match length {
            Length::Bytes(bytes) => State::Bytes(bytes),
            Length::Chunked => State::Size,
        };
        Self { state }
    }

    /// Whether all of it was read.
    pub fn is_read(&self) -> bool {
        matches!(self.state, State::Done | State::Bytes(0))
    }

    /// Reads some of it; 0 at its end.
    pub async fn read<S: Read + Write, P: Platform>(
        &mut self,
        wire: &mut Wire<'_, S, P>,
        into: &mut [u8],
        time: Duration,
    ) -> Result<usize, BodyFault> {
        if self.state == State::Size {
            self.state = match chunk_size(wire, time).await? {
                0 => {
                    trailers(wire, time).await?;
                    State::Done
                }
                size => State::Chunk(size),
            };
        }
        let (State::Bytes(left) | State::Chunk(left)) = self.state else { return Ok(0) };
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let bytes = wire.read(into.get_mut(..most).unwrap_or_default(), time).await?;
        let left = left.saturating_sub(bytes as u64);
        self.state = match self.state {
            State::Chunk(_) if left > 0 => State::Chunk(left),
            State::Chunk(_) => {
                if !line(wire, time).await?.is_empty() {
                    return Err(BodyFault::Malformed);
                }
                State::Size
            }
            _ => State::Bytes(left),
        };
        Ok(bytes)
    }

    /// Reads all of it, at most so many bytes, within [`Patience::BODY`].
    pub async fn read_all<S: Read + Write, P: Platform>(
        &mut self,
        wire: &mut Wire<'_, S, P>,
        most: usize,
    ) -> Result<Vec<u8>, BodyFault> {
        if matches!(self.state, State::Bytes(bytes) if bytes > most as u64) {
            return Err(BodyFault::TooLarge);
        }
        let end = wire.platform().now().saturating_add(Patience::BODY);
        let mut all = Vec::new();
        let mut piece = vec![0; 1024];
        loop {
            let left = end.saturating_sub(wire.platform().now());
            let bytes = self.read(wire, &mut piece, left).await?;
            if bytes == 0 {
                return Ok(all);
            }
            if all.len().saturating_add(bytes) > most {
                return Err(BodyFault::TooLarge);
            }
            all.extend_from_slice(piece.get(..bytes).unwrap_or_default());
        }
    }
}

async fn chunk_size<S: Read + Write, P: Platform>(
    wire: &mut Wire<'_, S, P>,
    time: Duration,
) -> Result<u64, BodyFault> {
    let line = line(wire, time).await?;
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let is_hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = core::str::from_utf8(digits).ok().filter(|_| is_hex);
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(BodyFault::Malformed)
}

async fn trailers<S: Read + Write, P: Platform>(
    wire: &mut Wire<'_, S, P>,
    time: Duration,
) -> Result<(), BodyFault> {
    let mut bytes = 0_usize;
    loop {
        let line = line(wire, time).await?;
        if line.is_empty() {
            return Ok(());
        }
        bytes = bytes.saturating_add(line.len());
        if bytes > LINE_MAX {
            return Err(BodyFault::Malformed);
        }
    }
}

/// A line without its CRLF.
async fn line<S: Read + Write, P: Platform>(
    wire: &mut Wire<'_, S, P>,
    time: Duration,
) -> Result<Vec<u8>, BodyFault> {
    loop {
        if let Some(end) = wire.unread().iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
            let line = wire.unread().get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(BodyFault::Malformed)?.to_vec();
            wire.take(end.saturating_add(1));
            return Ok(line);
        }
        if wire.unread().len() >= LINE_MAX {
            return Err(BodyFault::Malformed);
        }
        wire.fill(time).await?;
    }
}
