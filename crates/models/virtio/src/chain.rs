//! One descriptor chain, copied out of the guest's memory, validated, and resolved to host memory.
//!
//! Called by: [`crate::queue::Queue::pop`] fills it, the devices use it. Calls: `GuestMemory`.
//! Source: virtio 1.2, 2.7.4 "Message Framing" (a device assumes nothing about where descriptors end), 2.7.5.
//! Invariants (rule `copy-once`): no field is read from the guest twice; all spans were resolved.

use heapless::Vec;
use ports::{GuestMemory, Span};
use specs::{Ipa, IpaRange, Pa};

use crate::queue::QueueFault;

/// A chain in at most `N` runs of contiguous host memory: first those that the device reads, then those it writes.
pub struct Chain<const N: usize> {
    head: u16,
    spans: Vec<Span, N>,
    /// Spans before this one were consumed.
    first: usize,
    /// Spans from this one on are written by the device.
    split: usize,
    readable_bytes: u32,
    writable_bytes: u32,
    /// The last byte of the chain, where it is written by the device.
    last: Option<Pa>,
    whole: bool,
}

impl<const N: usize> Chain<N> {
    /// A chain without any bytes.
    pub const fn new() -> Self {
        Self {
            head: 0,
            spans: Vec::new(),
            first: 0,
            split: 0,
            readable_bytes: 0,
            writable_bytes: 0,
            last: None,
            whole: true,
        }
    }

    /// The descriptor that names the chain in the used ring.
    #[inline]
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// `false`: the chain lies in more runs than `N`; what does not fit is missing. The guest did nothing wrong.
    #[inline]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// What the device reads, less what was taken.
    #[inline]
    pub fn readable(&self) -> &[Span] {
        self.spans.get(self.first..self.split).unwrap_or_default()
    }

    /// What the device writes, less what was taken.
    #[inline]
    pub fn writable(&self) -> &[Span] {
        self.spans.get(self.split..).unwrap_or_default()
    }

    /// Bytes of [`Self::readable`], had it all found room.
    #[inline]
    pub const fn readable_bytes(&self) -> u32 {
        self.readable_bytes
    }

    /// Bytes of [`Self::writable`], had it all found room.
    #[inline]
    pub const fn writable_bytes(&self) -> u32 {
        self.writable_bytes
    }

    /// Takes the first readable bytes out of the chain; `false` (and nothing taken) where there are fewer.
    pub fn take_readable<M: GuestMemory>(&mut self, memory: &M, into: &mut [u8]) -> bool {
        if !self.whole || u64::from(self.readable_bytes) < into.len() as u64 {
            return false;
        }
        self.take_some(memory, into) == into.len()
    }

    /// Takes readable bytes out of the chain until `into` is full or there are no more; how many.
    pub fn take_some<M: GuestMemory>(&mut self, memory: &M, into: &mut [u8]) -> usize {
        let mut taken = 0_usize;
        while let Some(rest) = into.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            let Some(span) = self.spans.get_mut(self.first).filter(|_| self.first < self.split) else {
                break;
            };
            let bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX).min(span.bytes);
            let len = bytes as usize;
            memory.read_span(*span, rest.get_mut(..len).unwrap_or_default());
            *span = skip(*span, bytes);
            if span.bytes == 0 {
                self.first = self.first.saturating_add(1);
            }
            self.readable_bytes = self.readable_bytes.saturating_sub(bytes);
            taken = taken.saturating_add(len);
        }
        taken
    }

    /// Takes the last byte of the chain, where it is one that the device writes.
    pub fn take_last_byte(&mut self) -> Option<Span> {
        let start = self.last.take()?;
        self.writable_bytes = self.writable_bytes.saturating_sub(1);
        if self.whole
            && let Some(span) = self.spans.last_mut()
        {
            span.bytes = span.bytes.saturating_sub(1);
            if span.bytes == 0 {
                self.spans.pop();
            }
        }
        Some(Span { start, bytes: 1 })
    }

    pub(crate) fn restart(&mut self, head: u16) {
        // Field by field: the spans of before are left where they are.
        self.head = head;
        self.spans.clear();
        (self.first, self.split) = (0, 0);
        (self.readable_bytes, self.writable_bytes) = (0, 0);
        self.last = None;
        self.whole = true;
    }

    /// Adds the buffer of one descriptor.
    pub(crate) fn push<M: GuestMemory>(
        &mut self,
        memory: &M,
        range: IpaRange,
        writable: bool,
    ) -> Result<(), QueueFault> {
        if range.bytes() == 0 {
            return Err(QueueFault::EmptyBuffer);
        }
        if !writable && self.last.is_some() {
            return Err(QueueFault::ReadableAfterWritable);
        }
        let total = if writable { &mut self.writable_bytes } else { &mut self.readable_bytes };
        let bytes = u32::try_from(range.bytes()).map_err(|_| QueueFault::TooLong)?;
        *total = total.checked_add(bytes).ok_or(QueueFault::TooLong)?;
        let end = self.resolve(memory, range)?;
        if writable {
            self.last = Some(end);
        } else {
            self.split = self.spans.len();
        }
        Ok(())
    }

    /// Appends the runs of `range`; the host address of its last byte.
    fn resolve<M: GuestMemory>(&mut self, memory: &M, range: IpaRange) -> Result<Pa, QueueFault> {
        let mut at = range.start();
        let end = range.end();
        loop {
            let left = end.offset_from(at).unwrap_or(0);
            let rest = IpaRange::new(at, left).ok_or(QueueFault::BadAddress)?;
            let span = memory.resolve(rest).map_err(|_| QueueFault::BadAddress)?;
            if self.spans.push(span).is_err() {
                self.whole = false;
                return last_byte(memory, end);
            }
            if u64::from(span.bytes) >= left {
                return Ok(Pa(span.start.0.wrapping_add(left.saturating_sub(1))));
            }
            at = at.checked_add(span.bytes.max(1).into()).ok_or(QueueFault::BadAddress)?;
        }
    }
}

impl<const N: usize> Default for Chain<N> {
    fn default() -> Self {
        Self::new()
    }
}

fn last_byte<M: GuestMemory>(memory: &M, end: Ipa) -> Result<Pa, QueueFault> {
    let last = IpaRange::new(Ipa(end.0.wrapping_sub(1)), 1).ok_or(QueueFault::BadAddress)?;
    Ok(memory.resolve(last).map_err(|_| QueueFault::BadAddress)?.start)
}

/// Writes `from` over the first bytes of `into`; how many found room.
pub(crate) fn scatter<M: GuestMemory>(memory: &M, into: &[Span], from: &[u8]) -> u32 {
    scatter_behind(memory, into, 0, from)
}

/// As [`scatter`], behind the first `bytes` bytes of `into`.
pub(crate) fn scatter_behind<M: GuestMemory>(memory: &M, into: &[Span], bytes: u32, from: &[u8]) -> u32 {
    let mut rest = from;
    let mut passed = bytes;
    let mut written = 0_u32;
    for span in into {
        let room = skip(*span, passed);
        passed = passed.saturating_sub(span.bytes);
        let (piece, later) = rest.split_at(rest.len().min(room.bytes as usize));
        memory.write_span(room, piece);
        written = written.saturating_add(u32::try_from(piece.len()).unwrap_or(0));
        rest = later;
    }
    written
}

/// The span without its first `bytes` bytes.
#[inline]
pub(crate) fn skip(span: Span, bytes: u32) -> Span {
    let bytes = bytes.min(span.bytes);
    Span { start: Pa(span.start.0.wrapping_add(bytes.into())), bytes: span.bytes.saturating_sub(bytes) }
}

/// The first `bytes` bytes of the span.
#[inline]
pub(crate) fn cut(span: Span, bytes: u32) -> Span {
    Span { start: span.start, bytes: span.bytes.min(bytes) }
}
