//! The self-test's look at a disk: what was read twice must be the same, what was written must be read back.
//!
//! Called by `vmkernel`, which gives a buffer and polls; calls a [`BlockBackend`]. Reading touches the first, the middle
//! and the last sectors. Writing is done in a partition of ours only (a `partition::Window`), keeps what was there, and
//! puts it back. Waits for nothing: one request is in flight at a time.

use crate::partition::crc32;
use core::fmt;
use ports::{BlockBackend, BlockError, BlockOp, BlockRequest, GuestMemory, Sector, Span, Submitted, Token};

/// Bytes of the buffer: two halves of eight sectors.
pub const BUFFER_BYTES: u32 = 8192;
const HALF: u32 = BUFFER_BYTES / 2;
const SECTORS: u64 = 8;
const PLACES: u64 = 3;
const TOKEN: Token = Token(0x5e1f_7e57);

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskVerdict {
    /// As it should; the sum of all that was read.
    Same {
        /// CRC-32.
        sum: u32,
    },
    /// The disk has fewer sectors than are looked at.
    TooSmall,
    /// A request failed there.
    Failed(Sector, BlockError),
    /// No end of it.
    Late,
    /// Not written: there is no partition of ours that nobody uses.
    NotOurs,
    /// What was read there differs from what it should be.
    Differs(Sector),
}

impl DiskVerdict {
    /// As it should.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Same { .. })
    }
}

impl fmt::Display for DiskVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same { sum } => write!(f, "first, middle and last sectors, sum {sum:08x}"),
            Self::Late => f.write_str("no end of it"),
            Self::NotOurs => f.write_str("no partition of ours that nobody uses"),
            Self::TooSmall => f.write_str("the disk is too small"),
            Self::Failed(sector, error) => write!(f, "sector {}: {error:?}", sector.0),
            Self::Differs(sector) => write!(f, "sector {} reads differently", sector.0),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Read into the first half.
    First,
    /// Read into the second half, and compare.
    Second,
    /// Write the pattern from the second half.
    Write,
    /// A flush.
    Flush,
    /// Read into the second half, and compare with the pattern.
    ReadBack,
    /// Write the first half back.
    Restore,
}

/// A check under way.
#[derive(Debug)]
pub struct DiskCheck {
    buffer: Span,
    writes: bool,
    place: u64,
    step: Step,
    in_flight: bool,
    crc: u32,
    /// What is to be told once the old contents were put back.
    failed: Option<DiskVerdict>,
}

impl DiskCheck {
    /// With a buffer of [`BUFFER_BYTES`]; `writes` writes too.
    pub const fn new(buffer: Span, writes: bool) -> Self {
        Self { buffer, writes, place: 0, step: Step::First, in_flight: false, crc: !0, failed: None }
    }

    fn half(&self, second: bool) -> Span {
        let start = self.buffer.start.checked_add(if second { HALF.into() } else { 0 });
        Span { start: start.unwrap_or(self.buffer.start), bytes: HALF }
    }

    fn sector(&self, sectors: u64) -> Sector {
        let last = sectors.saturating_sub(SECTORS);
        Sector(match self.place {
            0 => 0,
            1 => last / 2,
            _ => last,
        })
    }

    fn sum(&self, memory: &dyn GuestMemory, second: bool) -> u32 {
        let mut bytes = [0; HALF as usize];
        memory.read_span(self.half(second), &mut bytes);
        crc32(!0, &bytes)
    }

    /// Goes on, before or after a poll of the driver below; the verdict, once there is one.
    pub fn poll(&mut self, disk: &mut impl BlockBackend, memory: &dyn GuestMemory) -> Option<DiskVerdict> {
        let sectors = disk.geometry().sectors;
        if sectors < SECTORS * PLACES {
            return Some(DiskVerdict::TooSmall);
        }
        loop {
            let at = self.sector(sectors);
            let result = if self.in_flight {
                let end = disk.complete()?;
                self.in_flight = false;
                end.result
            } else {
                match self.submit(disk, memory, at) {
                    Submitted::Done(result) => result,
                    Submitted::InFlight => {
                        self.in_flight = true;
                        continue;
                    }
                    Submitted::Full => return None,
                }
            };
            if let Some(verdict) = self.next(result, memory, at) {
                return Some(verdict);
            }
        }
    }

    fn submit(
        &mut self,
        disk: &mut impl BlockBackend,
        memory: &dyn GuestMemory,
        sector: Sector,
    ) -> Submitted {
        let (op, half) = match self.step {
            Step::First => (BlockOp::Read, Some(false)),
            Step::Second | Step::ReadBack => {
                // So that bytes left from before are not taken for read ones.
                memory.write_span(self.half(true), &[0x55; HALF as usize]);
                (BlockOp::Read, Some(true))
            }
            Step::Write => {
                memory.write_span(self.half(true), &pattern(self.place));
                (BlockOp::Write, Some(true))
            }
            Step::Restore => (BlockOp::Write, Some(false)),
            Step::Flush => (BlockOp::Flush, None),
        };
        let span = half.map(|second| self.half(second));
        disk.submit(&BlockRequest { token: TOKEN, op, sector, data: span.as_slice(), memory })
    }

    fn next(
        &mut self,
        result: Result<(), BlockError>,
        memory: &dyn GuestMemory,
        at: Sector,
    ) -> Option<DiskVerdict> {
        if let Err(error) = result {
            let verdict = self.failed.unwrap_or(DiskVerdict::Failed(at, error));
            // After a write, the old contents are put back whatever happened; only a failure of that itself ends it.
            if !matches!(self.step, Step::Write | Step::Flush | Step::ReadBack) {
                return Some(verdict);
            }
            self.failed = Some(verdict);
            self.step = Step::Restore;
            return None;
        }
        self.step = match self.step {
            Step::First => Step::Second,
            Step::Second => {
                let sum = self.sum(memory, true);
                if sum != self.sum(memory, false) {
                    return Some(DiskVerdict::Differs(at));
                }
                self.crc = crc32(self.crc, &sum.to_le_bytes());
                if self.writes { Step::Write } else { return self.next_place() }
            }
            Step::Write => Step::Flush,
            Step::Flush => Step::ReadBack,
            Step::ReadBack => {
                if self.sum(memory, true) != crc32(!0, &pattern(self.place)) {
                    self.failed = Some(DiskVerdict::Differs(at));
                }
                Step::Restore
            }
            Step::Restore => {
                if self.failed.is_some() {
                    return self.failed;
                }
                return self.next_place();
            }
        };
        None
    }

    fn next_place(&mut self) -> Option<DiskVerdict> {
        self.step = Step::First;
        self.place = self.place.saturating_add(1);
        (self.place >= PLACES).then_some(DiskVerdict::Same { sum: !self.crc })
    }
}

/// Bytes that differ from place to place and from sector to sector.
fn pattern(place: u64) -> [u8; HALF as usize] {
    let mut bytes = [0; HALF as usize];
    let mut state = place.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}
