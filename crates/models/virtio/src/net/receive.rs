//! The receive half: a frame is copied into the guest's receive buffers.
//!
//! Called by: [`super::Net`], under the half's lock, on the PE of whoever sends. Calls: [`finish`](super::finish).
//! Source: virtio 1.2, 5.1.6.3 "Setting Up Receive Buffers", 5.1.6.4 "Processing of Incoming Packets".
//! Invariants: the guest sees all buffers of a frame at once or none: the used ring is published after the last, and
//! what was pushed for a frame that does not fit is taken back.

use super::finish::{Piece, finish};
use super::{QUEUE_SIZE, SPANS};
use crate::chain::{Chain, cut, skip};
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use alloc::boxed::Box;
use ports::{Delivered, Frame, GuestMemory, InterruptLine, Offload, Span};
use specs::virtio::net;

/// What the guest received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiveCounters {
    /// Frames put into receive buffers (after segmentation here, if any).
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames dropped for want of a buffer.
    pub no_buffer: u64,
    /// Frames dropped because they do not fit the driver: longer than its one buffer, or not to be finished.
    pub refused: u64,
}

pub(super) struct Receive {
    queue: Option<Queue>,
    features: u64,
    chain: Box<Chain<SPANS>>,
    counters: ReceiveCounters,
}

impl Receive {
    pub(super) fn new() -> Self {
        Self { queue: None, features: 0, chain: Box::default(), counters: ReceiveCounters::default() }
    }

    pub(super) const fn counters(&self) -> ReceiveCounters {
        self.counters
    }

    pub(super) fn attach(&mut self, queue: Queue, features: u64) {
        self.queue = Some(queue);
        self.features = features;
    }

    pub(super) fn detach(&mut self) {
        self.queue = None;
    }

    pub(super) fn deliver<M: GuestMemory, L: InterruptLine>(
        &mut self,
        link: &Link<M, L>,
        frame: &Frame<'_>,
    ) -> Delivered {
        let Some(mut queue) = link.take(&mut self.queue) else { return Delivered::Refused };
        let worked = self.receive(link.memory(), &mut queue, frame);
        let delivered = link.put_back(&mut self.queue, queue, worked).unwrap_or(Delivered::Refused);
        match delivered {
            Delivered::Yes => {}
            Delivered::NoBuffer => self.counters.no_buffer = self.counters.no_buffer.saturating_add(1),
            Delivered::Refused => self.counters.refused = self.counters.refused.saturating_add(1),
        }
        delivered
    }

    fn receive<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        frame: &Frame<'_>,
    ) -> Result<Delivered, QueueFault> {
        if self.takes(frame.offload) {
            let whole = Piece { lead: &[], from: 0, bytes: frame.bytes };
            return self.put(memory, queue, frame, header(frame.offload), &whole);
        }
        let mut outcome = Ok(Delivered::Yes);
        let finished = finish(frame, |piece| {
            outcome = self.put(memory, queue, frame, header(Offload::default()), piece);
            outcome == Ok(Delivered::Yes)
        });
        if finished.is_err() { Ok(Delivered::Refused) } else { outcome }
    }

    /// Whether the driver agreed to do what is left to be done.
    fn takes(&self, offload: Offload) -> bool {
        let agreed = |feature| self.features & feature != 0;
        let segmentation = match offload.gso_type {
            net::GSO_NONE => true,
            net::GSO_TCPV4 => agreed(net::F_GUEST_TSO4),
            net::GSO_TCPV6 => agreed(net::F_GUEST_TSO6),
            _ => false,
        };
        segmentation && offload.vlan == 0 && (offload.flags == 0 || agreed(net::F_GUEST_CSUM))
    }

    /// Copies one piece into as many receive buffers as it takes.
    fn put<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        frame: &Frame<'_>,
        header: [u8; net::HEADER_BYTES],
        piece: &Piece<'_>,
    ) -> Result<Delivered, QueueFault> {
        let mut source = Source::new(frame.data, &header, piece);
        let mergeable = self.features & net::F_MRG_RXBUF != 0;
        let mut count_at = None;
        let mut buffers = 0_u16;
        while !source.is_empty() {
            let refused = if buffers != 0 && !mergeable {
                Some(Delivered::Refused)
            } else if !queue.pop(memory, &mut self.chain)? {
                Some(Delivered::NoBuffer)
            } else {
                None
            };
            if let Some(delivered) = refused {
                queue.unpop(buffers);
                queue.unpush_used(buffers);
                return Ok(delivered);
            }
            buffers = buffers.saturating_add(1);
            if count_at.is_none() {
                count_at = Some(locate_count(self.chain.writable()).ok_or(QueueFault::NoAnswerBuffer)?);
            }
            let written = source.fill(memory, self.chain.writable());
            if written == 0 {
                return Err(QueueFault::NoAnswerBuffer);
            }
            queue.push_used(memory, self.chain.head(), written)?;
        }
        if let Some(count_at) = count_at.filter(|_| buffers != 1) {
            for (span, byte) in count_at.into_iter().zip(buffers.to_le_bytes()) {
                memory.write_span(span, &[byte]);
            }
        }
        self.counters.frames = self.counters.frames.saturating_add(1);
        self.counters.bytes = self.counters.bytes.saturating_add(piece.frame_bytes().into());
        Ok(Delivered::Yes)
    }
}

/// virtio_net_hdr with `num_buffers` 1.
fn header(offload: Offload) -> [u8; net::HEADER_BYTES] {
    let [h0, h1] = offload.header_bytes.to_le_bytes();
    let [g0, g1] = offload.gso_bytes.to_le_bytes();
    let [s0, s1] = offload.checksum_start.to_le_bytes();
    let [o0, o1] = offload.checksum_offset.to_le_bytes();
    [offload.flags, offload.gso_type, h0, h1, g0, g1, s0, s1, o0, o1, 1, 0]
}

/// The two bytes of `num_buffers` in the first buffer.
fn locate_count(spans: &[Span]) -> Option<[Span; 2]> {
    let byte = |at: usize| {
        let mut left = u32::try_from(at).ok()?;
        for span in spans {
            if left < span.bytes {
                return Some(cut(skip(*span, left), 1));
            }
            left = left.saturating_sub(span.bytes);
        }
        None
    };
    Some([byte(net::NUM_BUFFERS)?, byte(net::NUM_BUFFERS.saturating_add(1))?])
}

/// What is still to be written: header, lead, then a part of the frame.
struct Source<'a> {
    lead: [&'a [u8]; 2],
    data: &'a [Span],
    /// Bytes of the first of `data` that were used.
    used: u32,
    bytes: u32,
}

impl<'a> Source<'a> {
    fn new(data: &'a [Span], header: &'a [u8], piece: &Piece<'a>) -> Self {
        let mut source = Self { lead: [header, piece.lead], data, used: 0, bytes: 0 };
        source.advance(piece.from);
        source.bytes = piece.bytes;
        source
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0 && self.lead.iter().all(|lead| lead.is_empty())
    }

    fn advance(&mut self, bytes: u32) {
        self.used = self.used.saturating_add(bytes);
        while let [first, rest @ ..] = self.data
            && self.used >= first.bytes
        {
            self.used = self.used.saturating_sub(first.bytes);
            self.data = rest;
        }
    }

    /// Fills `into` as far as either reaches; how many bytes.
    fn fill<M: GuestMemory>(&mut self, memory: &M, into: &[Span]) -> u32 {
        let mut written = 0_u32;
        for span in into {
            let mut room = *span;
            while room.bytes != 0 {
                let done = self.copy(memory, room);
                if done == 0 {
                    return written;
                }
                room = skip(room, done);
                written = written.saturating_add(done);
            }
        }
        written
    }

    /// Copies one run; how many bytes, 0 at the end.
    fn copy<M: GuestMemory>(&mut self, memory: &M, into: Span) -> u32 {
        for lead in &mut self.lead {
            if !lead.is_empty() {
                let (piece, rest) = lead.split_at(lead.len().min(into.bytes as usize));
                memory.write_span(into, piece);
                *lead = rest;
                return u32::try_from(piece.len()).unwrap_or(0);
            }
        }
        let Some(first) = self.data.first().filter(|_| self.bytes != 0) else { return 0 };
        let from = cut(skip(*first, self.used), self.bytes.min(into.bytes));
        memory.copy_span(cut(into, from.bytes), from);
        self.advance(from.bytes);
        self.bytes = self.bytes.saturating_sub(from.bytes);
        from.bytes
    }
}

const _: () = assert!(QUEUE_SIZE < u16::MAX, "buffers of one frame are counted in a u16");
