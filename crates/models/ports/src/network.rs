//! The frame port: between a vNIC, the switch and an uplink.

use crate::{GuestMemory, Span};

/// What a sender leaves to be done: the fields of virtio_net_hdr that travel with a frame from guest to guest, and what
/// the switch adds.
///
/// Source: virtio 1.2, 5.1.6 "Device Operation".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// VIRTIO_NET_HDR_F_*.
    pub flags: u8,
    /// VIRTIO_NET_HDR_GSO_*.
    pub gso_type: u8,
    /// Bytes of headers (a hint).
    pub header_bytes: u16,
    /// Bytes of payload per segment.
    pub gso_bytes: u16,
    /// Where checksumming starts, from the start of the frame.
    pub checksum_start: u16,
    /// Where the checksum goes, from `checksum_start`.
    pub checksum_offset: u16,
    /// VLAN id of an IEEE 802.1Q tag that is to be put into the frame, 0 for none. The other fields do not count it.
    /// Only uplinks get such frames.
    pub vlan: u16,
}

/// An Ethernet frame that lies in memory of a guest, or of the host.
pub struct Frame<'a> {
    /// The frame in order, from the destination MAC address on.
    pub data: &'a [Span],
    /// Sum of the lengths of `data`.
    pub bytes: u32,
    /// What is left to be done.
    pub offload: Offload,
    /// Reaches the bytes of `data`.
    pub memory: &'a dyn GuestMemory,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// Taken.
    Yes,
    /// No receive buffer; dropped and counted by the receiver.
    NoBuffer,
    /// The link is down or the receiver does not take such a frame.
    Refused,
}

/// What takes frames: a vNIC's receive side, an uplink's transmit side.
pub trait FrameSink {
    /// Takes a frame now, by copying it, or drops it. Never keeps a reference.
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered;
}
