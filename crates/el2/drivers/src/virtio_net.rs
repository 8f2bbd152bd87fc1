//! A host's virtio network card, as an uplink of the switch.
//!
//! Called by: the switch, which sends by [`FrameSink`]; the PE's loop on the device's interrupt
//! ([`VirtioNet::acknowledge`], then [`VirtioNet::receive`]). Calls: the transport, the driver's side of two queues, and
//! `virtio::net::finish`, which completes checksums and cuts long TCP frames: of the card no offload is asked.
//! Source: virtio 1.2, 5.1 "Network Device".
//! Invariants: a buffer is the device's from submission until it is popped, else ours. After the first answer of the
//! device that makes no sense it is reset, and the link is down.
//! Concurrency: one owner.

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;

use crate::hardware::{Dma, DmaBuffer, Registers};
use crate::virtio_mmio::{HostQueue, QUEUE_MAX, Transport, VirtioError};
use ports::{Delivered, Frame, FrameSink, GuestMemory, Offload, Span};
use specs::Pa;
use specs::virtio::{device_id, feature, net};
use virtio::driver_queue::{Access, Segment, Used};
use virtio::net::finish::{Piece, finish};

/// Buffers for each direction.
const BUFFERS: usize = 128;
/// Bytes of a buffer: header and the longest frame with its tag, in cache lines of its own.
const BUFFER_BYTES: usize = 2048;
/// The longest frame: 1500 bytes behind an Ethernet header with a tag.
pub const FRAME_BYTES_MAX: u32 = 1518;
/// The shortest frame that has addresses and a type.
const FRAME_BYTES_MIN: u32 = 14;

/// What was counted since the driver began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames sent, after cutting.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Frames not sent for want of a buffer.
    pub no_buffer: u64,
    /// Frames not sent because they can't be: too long, unfinishable, link down.
    pub refused: u64,
    /// Frames received that are no frames.
    pub bad: u64,
}

/// One direction: a queue, and which buffer each of its heads is.
struct Half<B> {
    queue: HostQueue<B>,
    buffers: B,
    owners: [u8; QUEUE_MAX],
}

impl<B: DmaBuffer> Half<B> {
    fn new<R: Registers, D: Dma<Buffer = B>>(
        transport: &Transport<R>,
        index: u16,
        features: u64,
        dma: &D,
    ) -> Result<Self, VirtioError> {
        let queue = transport.attach(index, features, |bytes| dma.allocate(bytes))?;
        let buffers = dma.allocate(BUFFERS.saturating_mul(BUFFER_BYTES)).ok_or(VirtioError::NoMemory)?;
        // No line of a receive buffer may be dirty when the device writes it.
        buffers.to_device(0, buffers.bytes());
        Ok(Self { queue, buffers, owners: [0; QUEUE_MAX] })
    }

    /// Gives the first `bytes` bytes of a buffer to the device.
    fn submit(&mut self, buffer: u8, bytes: u32, access: Access) -> bool {
        let address = self.buffers.address().0.saturating_add(offset_of(buffer) as u64);
        let Ok(head) = self.queue.submit(&[Segment { address, bytes, access }]) else { return false };
        if let Some(owner) = self.owners.get_mut(usize::from(head.0)) {
            *owner = buffer;
        }
        true
    }

    fn buffer_of(&self, used: Used) -> u8 {
        self.owners.get(usize::from(used.head.0)).copied().unwrap_or(0)
    }
}

fn offset_of(buffer: u8) -> usize {
    usize::from(buffer).saturating_mul(BUFFER_BYTES)
}

const HEADER_BYTES: u32 = 12;
const _: () = assert!(HEADER_BYTES as usize == net::HEADER_BYTES);

/// A virtio network device of the host.
pub struct VirtioNet<R, D: Dma> {
    transport: Transport<R>,
    incoming: Half<D::Buffer>,
    outgoing: Half<D::Buffer>,
    /// Buffers of `outgoing` that are ours.
    free: heapless::Vec<u8, BUFFERS>,
    features: u64,
    mac: [u8; 6],
    link_up: bool,
    broken: bool,
    counters: Counters,
}

impl<R: Registers, D: Dma> VirtioNet<R, D> {
    /// Brings the device up, its receive buffers filled in.
    pub fn new(registers: R, dma: &D) -> Result<Self, VirtioError> {
        let transport = Transport::open(registers)?;
        if transport.device_id() != device_id::NET {
            return Err(VirtioError::WrongDevice);
        }
        let features = transport.negotiate(net::F_MAC | net::F_STATUS | feature::EVENT_IDX)?;
        if features & net::F_MAC == 0 {
            return Err(VirtioError::Refused);
        }
        let mut incoming = Half::new(&transport, net::RECEIVE, features, dma)?;
        let mut outgoing = Half::new(&transport, net::TRANSMIT, features, dma)?;
        let buffer_bytes = u32::try_from(BUFFER_BYTES).unwrap_or(0);
        let numbers = || (0_u8..).take(BUFFERS);
        let _ = numbers()
            .try_for_each(|buffer| incoming.submit(buffer, buffer_bytes, Access::Write).then_some(()));
        outgoing.queue.disarm();
        let mut mac = [0; 6];
        transport.config(net::config::MAC, &mut mac);
        transport.start();
        if incoming.queue.publish() {
            transport.notify(net::RECEIVE);
        }
        let free = numbers().collect();
        let (broken, counters) = (false, Counters::default());
        let mut card =
            Self { transport, incoming, outgoing, free, features, mac, link_up: true, broken, counters };
        card.read_link();
        Ok(card)
    }

    /// The card's MAC address.
    pub const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether the link is up; never again after the device broke.
    pub const fn is_link_up(&self) -> bool {
        self.link_up && !self.broken
    }

    /// What was counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The device's interrupt: acknowledges it. Call [`Self::receive`] next.
    pub fn acknowledge(&mut self) {
        let interrupt = self.transport.acknowledge();
        if interrupt.broken {
            self.give_up();
        } else if interrupt.config {
            self.read_link();
        }
    }

    /// Shows at most `budget` received frames to `take`, and gives their buffers back to the device. `memory` reaches
    /// host memory. True: there may be more. When false, the next frame raises the interrupt.
    pub fn receive(
        &mut self,
        memory: &dyn GuestMemory,
        budget: usize,
        mut take: impl FnMut(&Frame<'_>),
    ) -> bool {
        let mut left = budget;
        while left > 0 && !self.broken {
            match self.incoming.queue.pop_used() {
                Ok(Some(used)) => {
                    left = left.saturating_sub(1);
                    self.show(memory, used, &mut take);
                }
                Ok(None) => {
                    self.refill();
                    if !self.incoming.queue.arm() {
                        return false;
                    }
                }
                Err(_) => self.give_up(),
            }
        }
        self.refill();
        !self.broken
    }

    /// Tells the device of the buffers that [`Self::show`] gave back.
    fn refill(&mut self) {
        if self.incoming.queue.publish() {
            self.transport.notify(net::RECEIVE);
        }
    }

    fn show(&mut self, memory: &dyn GuestMemory, used: Used, take: &mut impl FnMut(&Frame<'_>)) {
        let buffer = self.incoming.buffer_of(used);
        let at = offset_of(buffer);
        let bytes = used.written.saturating_sub(HEADER_BYTES);
        let data = self.incoming.buffers.span(at.saturating_add(net::HEADER_BYTES), bytes);
        match data {
            Some(span) if bytes >= FRAME_BYTES_MIN => {
                self.counters.received = self.counters.received.saturating_add(1);
                let length = usize::try_from(used.written).unwrap_or(0);
                self.incoming.buffers.from_device(at, length);
                // No offload was agreed: the frame is finished, its header says nothing.
                take(&Frame { data: &[span], bytes, offload: Offload::default(), memory });
            }
            _ => self.counters.bad = self.counters.bad.saturating_add(1),
        }
        let buffer_bytes = u32::try_from(BUFFER_BYTES).unwrap_or(0);
        // Its descriptor was freed just now.
        let _ = self.incoming.submit(buffer, buffer_bytes, Access::Write);
    }

    fn read_link(&mut self) {
        let status = self.transport.config_number::<2>(net::config::STATUS);
        self.link_up = self.features & net::F_STATUS == 0 || status & u64::from(net::S_LINK_UP) != 0;
    }

    /// Takes back the buffers that were sent.
    fn reclaim(&mut self) {
        loop {
            match self.outgoing.queue.pop_used() {
                Ok(Some(used)) => {
                    let _ = self.free.push(self.outgoing.buffer_of(used));
                }
                Ok(None) => break self.outgoing.queue.disarm(),
                Err(_) => break self.give_up(),
            }
        }
    }

    /// Copies one finished frame into a buffer and the queue.
    fn put(&mut self, frame: &Frame<'_>, piece: &Piece<'_>) -> Delivered {
        let bytes = piece.frame_bytes();
        if bytes > FRAME_BYTES_MAX {
            return Delivered::Refused;
        }
        let Some(buffer) = self.free.pop() else { return Delivered::NoBuffer };
        let at = offset_of(buffer);
        let total = bytes.saturating_add(HEADER_BYTES);
        let lead_at = at.saturating_add(net::HEADER_BYTES);
        self.outgoing.buffers.write(at, &[0; net::HEADER_BYTES]);
        self.outgoing.buffers.write(lead_at, piece.lead);
        let copied = self.copy(frame, piece, lead_at.saturating_add(piece.lead.len()));
        self.outgoing.buffers.to_device(at, usize::try_from(total).unwrap_or(0));
        if !copied || !self.outgoing.submit(buffer, total, Access::Read) {
            let _ = self.free.push(buffer);
            return Delivered::NoBuffer;
        }
        self.counters.sent = self.counters.sent.saturating_add(1);
        Delivered::Yes
    }

    /// Copies the piece's part of the frame to `at` in the outgoing buffers.
    fn copy(&self, frame: &Frame<'_>, piece: &Piece<'_>, at: usize) -> bool {
        let (mut skip, mut left, mut at) = (piece.from, piece.bytes, at);
        for span in frame.data {
            let skipped = skip.min(span.bytes);
            skip = skip.saturating_sub(skipped);
            let bytes = span.bytes.saturating_sub(skipped).min(left);
            if bytes == 0 {
                continue;
            }
            let from = Span { start: Pa(span.start.0.saturating_add(skipped.into())), bytes };
            let Some(into) = self.outgoing.buffers.span(at, bytes) else { return false };
            frame.memory.copy_span(into, from);
            left = left.saturating_sub(bytes);
            at = at.saturating_add(usize::try_from(bytes).unwrap_or(0));
        }
        left == 0
    }

    #[cold]
    fn give_up(&mut self) {
        self.transport.reset();
        self.broken = true;
    }
}

impl<R: Registers, D: Dma> FrameSink for VirtioNet<R, D> {
    /// A long frame whose last segments find no buffer is cut off there: TCP sends them again.
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        self.reclaim();
        let mut outcome = Delivered::Refused;
        if self.is_link_up() {
            let finished = finish(frame, |piece| {
                outcome = self.put(frame, piece);
                outcome == Delivered::Yes
            });
            if finished.is_err() {
                outcome = Delivered::Refused;
            }
            if self.outgoing.queue.publish() {
                self.transport.notify(net::TRANSMIT);
            }
        }
        match outcome {
            Delivered::Yes => {}
            Delivered::NoBuffer => self.counters.no_buffer = self.counters.no_buffer.saturating_add(1),
            Delivered::Refused => self.counters.refused = self.counters.refused.saturating_add(1),
        }
        outcome
    }
}
