//! What the switch reads of a frame: the first 18 bytes, once (rule `copy-once`).
//!
//! Called by: [`crate::switch`]. Source: IEEE 802.3, 3.2; IEEE 802.1Q-2018, 9.3 to 9.6.

use heapless::Vec;
use ports::{Frame, Span};
use specs::Pa;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it names a group of stations; all of them are one.
    pub const fn is_multicast(self) -> bool {
        let Self([first, ..]) = self;
        first & 1 != 0
    }

    /// 01-80-C2-00-00-00 to -0F: between neighbours only, never forwarded (IEEE 802.1Q-2018, table 8-1).
    pub const fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }

    /// As the low 48 bits of a number.
    pub const fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

/// The header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where it goes.
    pub destination: MacAddress,
    /// Where it says it comes from.
    pub source: MacAddress,
    /// Its tag, if any.
    pub tag: Option<Tag>,
    /// What it carries, or the tag's kind.
    pub ether_type: u16,
}

/// A VLAN tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// A customer tag (0x8100); else one of the other kinds, which the switch forwards for nobody.
    pub is_customer: bool,
    /// The VLAN id, 0 for a priority tag.
    pub vlan: u16,
}

/// Bytes of addresses, tag and EtherType.
pub const HEADER_BYTES: usize = 18;
/// Bytes of both addresses, behind which a tag lies.
const ADDRESSES: u32 = 12;
const TAG_BYTES: u32 = 4;

impl Header {
    /// From the first bytes of a frame; `None` where there are fewer than 14.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk()?;
        let (ether_type, rest) = rest.split_first_chunk()?;
        let ether_type = u16::from_be_bytes(*ether_type);
        let is_customer = ether_type == 0x8100;
        let tagged = is_customer || matches!(ether_type, 0x88a8 | 0x9100);
        let tag = if tagged {
            let (control, _) = rest.split_first_chunk()?;
            Some(Tag { is_customer, vlan: u16::from_be_bytes(*control) & 0xfff })
        } else {
            None
        };
        Some(Self { destination: MacAddress(*destination), source: MacAddress(*source), tag, ether_type })
    }

    /// Of a frame in memory.
    pub fn read(frame: &Frame<'_>) -> Option<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0_usize;
        for span in frame.data {
            let Some(into) = bytes.get_mut(at..).filter(|into| !into.is_empty()) else { break };
            frame.memory.read_span(*span, into);
            at = at.saturating_add(span.bytes as usize);
        }
        Self::parse(bytes.get(..at.min(HEADER_BYTES))?)
    }
}

/// The spans of a frame without its tag: one is split at most.
pub(crate) fn untag<const N: usize>(frame: &Frame<'_>) -> Option<Vec<Span, N>> {
    let mut spans = Vec::new();
    let mut at = 0_u32;
    for span in frame.data {
        let end = at.saturating_add(span.bytes);
        // What lies before the tag, and what lies behind it.
        for (from, to) in [(at, end.min(ADDRESSES)), (at.max(ADDRESSES.saturating_add(TAG_BYTES)), end)] {
            if from < to {
                let start = Pa(span.start.0.wrapping_add(from.saturating_sub(at).into()));
                spans.push(Span { start, bytes: to.saturating_sub(from) }).ok()?;
            }
        }
        at = end;
    }
    Some(spans)
}
