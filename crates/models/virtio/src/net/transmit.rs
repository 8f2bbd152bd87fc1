//! The transmit half: chains of the guest become frames for the switch.
//!
//! Called by: [`super::Net`], under the half's lock. Calls: the sink, which may take the receive half of any card.
//! Source: virtio 1.2, 5.1.6.2 "Packet Transmission".

use super::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, QUEUE_SIZE, SPANS};
use crate::chain::Chain;
use crate::link::Link;
use crate::queue::{Queue, QueueFault};
use crate::transport::Progress;
use alloc::boxed::Box;
use ports::{Delivered, Frame, FrameSink, GuestMemory, InterruptLine, Offload};
use specs::virtio::net;

/// What the guest sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TransmitCounters {
    /// Frames that the sink took.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that found no receiver with room, or a link that was down.
    pub dropped: u64,
    /// Frames that no driver may send: too short, too long, an offload that was not agreed.
    pub malformed: u64,
}

/// Frames sent in one call.
const BUDGET: u16 = QUEUE_SIZE;

/// Bytes sent in one call: the copies are what takes long. About sixteen unsegmented TCP frames.
const BYTES_BUDGET: u32 = 1 << 20;

pub(super) struct Transmit<S> {
    queue: Option<Queue>,
    features: u64,
    chain: Box<Chain<SPANS>>,
    mtu: u16,
    sink: S,
    counters: TransmitCounters,
}

impl<S: FrameSink> Transmit<S> {
    pub(super) fn new(mtu: u16, sink: S) -> Self {
        Self {
            queue: None,
            features: 0,
            chain: Box::default(),
            mtu,
            sink,
            counters: TransmitCounters::default(),
        }
    }

    pub(super) const fn counters(&self) -> TransmitCounters {
        self.counters
    }

    pub(super) fn attach(&mut self, queue: Queue, features: u64) {
        self.queue = Some(queue);
        self.features = features;
    }

    pub(super) fn detach(&mut self) {
        self.queue = None;
    }

    pub(super) fn work<M: GuestMemory, L: InterruptLine>(
        &mut self,
        link: &Link<M, L>,
        is_link_up: bool,
    ) -> Progress {
        let Some(mut queue) = link.take(&mut self.queue) else { return Progress::Done };
        let worked = self.serve(link.memory(), &mut queue, is_link_up);
        link.put_back(&mut self.queue, queue, worked).unwrap_or(Progress::Done)
    }

    fn serve<M: GuestMemory>(
        &mut self,
        memory: &M,
        queue: &mut Queue,
        is_link_up: bool,
    ) -> Result<Progress, QueueFault> {
        let mut bytes = BYTES_BUDGET;
        for _ in 0..BUDGET {
            if queue.pop(memory, &mut self.chain)? {
                bytes = bytes.saturating_sub(self.chain.readable_bytes());
                self.send(memory, is_link_up);
                queue.push_used(memory, self.chain.head(), 0)?;
            } else if !queue.arm(memory)? {
                return Ok(Progress::Done);
            }
            if bytes == 0 {
                break;
            }
        }
        Ok(Progress::More)
    }

    fn send<M: GuestMemory>(&mut self, memory: &M, is_link_up: bool) {
        let Some(offload) = self.parse(memory) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        let bytes = self.chain.readable_bytes();
        let frame = Frame { data: self.chain.readable(), bytes, offload, memory };
        if is_link_up && self.sink.deliver(&frame) == Delivered::Yes {
            self.counters.frames = self.counters.frames.saturating_add(1);
            self.counters.bytes = self.counters.bytes.saturating_add(bytes.into());
        } else {
            self.counters.dropped = self.counters.dropped.saturating_add(1);
        }
    }

    /// Takes the header off the chain; `None` for what no driver may send.
    fn parse<M: GuestMemory>(&mut self, memory: &M) -> Option<Offload> {
        let mut header = [0; net::HEADER_BYTES];
        if !self.chain.take_readable(memory, &mut header) {
            return None;
        }
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, _, _] = header;
        let offload = Offload {
            // DATA_VALID is for receivers; a sender's word on its own checksum is worth nothing.
            flags: flags & net::HDR_F_NEEDS_CSUM,
            gso_type,
            header_bytes: u16::from_le_bytes([h0, h1]),
            gso_bytes: u16::from_le_bytes([g0, g1]),
            checksum_start: u16::from_le_bytes([s0, s1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
            vlan: 0,
        };
        let bytes = self.chain.readable_bytes();
        let needs_checksum = offload.flags & net::HDR_F_NEEDS_CSUM != 0;
        let segmented = offload.gso_type != net::GSO_NONE;
        let checksum_end = u32::from(offload.checksum_start)
            .saturating_add(offload.checksum_offset.into())
            .saturating_add(2);
        let agreed = match offload.gso_type {
            net::GSO_NONE => true,
            net::GSO_TCPV4 => self.features & net::F_HOST_TSO4 != 0,
            net::GSO_TCPV6 => self.features & net::F_HOST_TSO6 != 0,
            _ => false,
        };
        // With a VLAN tag of the guest's own.
        let longest = if segmented { FRAME_BYTES_MAX } else { u32::from(self.mtu).saturating_add(18) };
        let legal = agreed
            && (FRAME_BYTES_MIN..=longest).contains(&bytes)
            && (!needs_checksum || self.features & net::F_CSUM != 0 && checksum_end <= bytes)
            && (!segmented || needs_checksum && offload.gso_bytes != 0);
        legal.then_some(offload)
    }
}
