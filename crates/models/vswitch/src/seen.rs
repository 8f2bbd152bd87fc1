//! Addresses of IP that cards were seen to use, read from what they tell their neighbours.
//!
//! Called by: [`crate::switch`] for a frame that a port may send. A guest may tell what it likes, and gets no more than
//! [`PER_PORT`] places for it. Source: RFC 826 "An Ethernet Address Resolution Protocol"; RFC 4861, 4 "Message Formats".

use crate::frame::{Header, MacAddress};
use crate::switch::PortIndex;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ports::Frame;

/// Addresses that are remembered of a port; the one that was not heard of for longest makes room.
pub const PER_PORT: usize = 8;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// Bytes of a frame that are read: up to the end of a neighbour advertisement's target.
const BYTES: usize = 78;
/// No longer frame is read: solicitations and advertisements have few options.
const LONGEST: u32 = 160;
const ICMPV6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// An address of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IpAddress {
    /// Version 4.
    V4([u8; 4]),
    /// Version 6.
    V6([u8; 16]),
}

/// An address, and when it was first seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The address.
    pub address: IpAddress,
    /// Seconds, as [`crate::Switch::forward`] was told.
    pub since: u32,
}

/// What was seen of all ports, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Addresses(BTreeMap<PortIndex, Vec<Seen>>);

impl Addresses {
    pub(crate) fn note(&mut self, port: PortIndex, address: IpAddress, now: u32) {
        let seen = self.0.entry(port).or_default();
        let known = seen.iter().position(|seen| seen.address == address).map(|at| seen.remove(at));
        if seen.len() >= PER_PORT {
            seen.remove(0);
        }
        seen.push(known.unwrap_or(Seen { address, since: now }));
    }

    pub(crate) fn forget(&mut self, port: PortIndex) {
        self.0.remove(&port);
    }

    pub(crate) fn of(&self, port: PortIndex) -> Vec<Seen> {
        self.0.get(&port).cloned().unwrap_or_default()
    }
}

/// Whether a frame may tell an address of its sender: the one look that every frame costs.
#[inline]
pub(crate) const fn may_tell(header: &Header, bytes: u32) -> bool {
    (header.ether_type == ARP || header.ether_type == IPV6) && bytes <= LONGEST
}

/// What a frame tells of its sender.
pub(crate) fn told(frame: &Frame<'_>, source: MacAddress) -> Option<IpAddress> {
    let mut bytes = [0; BYTES];
    let mut at = 0_usize;
    for span in frame.data {
        let Some(into) = bytes.get_mut(at..).filter(|into| !into.is_empty()) else { break };
        frame.memory.read_span(*span, into);
        at = at.saturating_add(span.bytes as usize);
    }
    sender(bytes.get(..at.min(BYTES))?, source)
}

fn sender(bytes: &[u8], source: MacAddress) -> Option<IpAddress> {
    let ether_type: [u8; 2] = field(bytes, 12)?;
    match u16::from_be_bytes(ether_type) {
        ARP => arp_sender(bytes, source).map(IpAddress::V4),
        IPV6 => neighbour(bytes).map(IpAddress::V6),
        _ => None,
    }
}

/// Bytes from a place of the frame on.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn arp_sender(bytes: &[u8], source: MacAddress) -> Option<[u8; 4]> {
    // Ethernet and IPv4, with addresses of 6 and 4 bytes.
    let kinds: [u8; 6] = field(bytes, 14)?;
    let is_ours = kinds == [0, 1, 8, 0, 6, 4] && field::<6>(bytes, 22)? == source.0;
    let address: [u8; 4] = field(bytes, 28)?;
    let [first, ..] = address;
    // 0.0.0.0 asks whether an address is free; 224 and above name groups.
    (is_ours && (1..224).contains(&first)).then_some(address)
}

fn neighbour(bytes: &[u8]) -> Option<[u8; 16]> {
    let [next_header, hop_limit]: [u8; 2] = field(bytes, 20)?;
    // From another network nobody is a neighbour.
    if next_header != ICMPV6 || hop_limit != 255 {
        return None;
    }
    let [kind]: [u8; 1] = field(bytes, 54)?;
    let from: [u8; 16] = field(bytes, 22)?;
    let address = match kind {
        ROUTER_SOLICITATION => from,
        // Without a source it asks whether the target is free: it is about to be the sender's.
        NEIGHBOUR_SOLICITATION if from == [0; 16] => field(bytes, 62)?,
        NEIGHBOUR_SOLICITATION => from,
        NEIGHBOUR_ADVERTISEMENT => field(bytes, 62)?,
        _ => return None,
    };
    let [first, ..] = address;
    (first != 0xff && address != [0; 16]).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::{Addresses, IpAddress, PER_PORT, Seen, sender};
    use crate::frame::MacAddress;
    use crate::switch::PortIndex;
    use std::vec::Vec;

    const SOURCE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn arp(sender_ip: [u8; 4]) -> Vec<u8> {
        let mut frame = [[0xff; 6], SOURCE.0].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(SOURCE.0);
        frame.extend(sender_ip);
        frame.extend([0; 10]);
        frame
    }

    fn icmp(kind: u8, from: [u8; 16], target: [u8; 16]) -> Vec<u8> {
        let mut frame = [[0x33, 0x33, 0, 0, 0, 1], SOURCE.0].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
        frame.extend(from);
        frame.extend([0xff; 16]);
        frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(target);
        frame
    }

    #[test]
    fn neighbours_tell_their_addresses() {
        let [zero, link, target] = [[0; 16], [0xfe; 16], [0x20; 16]];
        let told = |frame: &[u8]| sender(frame, SOURCE);
        assert_eq!(told(&arp([192, 0, 2, 7])), Some(IpAddress::V4([192, 0, 2, 7])));
        assert_eq!(told(&icmp(133, link, zero)), Some(IpAddress::V6(link)));
        assert_eq!(told(&icmp(135, link, target)), Some(IpAddress::V6(link)));
        assert_eq!(told(&icmp(135, zero, target)), Some(IpAddress::V6(target)));
        assert_eq!(told(&icmp(136, link, target)), Some(IpAddress::V6(target)));
        for nothing in [
            arp([0; 4]),
            arp([255; 4]),
            arp([239, 1, 1, 1]),
            icmp(133, zero, zero),
            icmp(128, link, target),
            icmp(136, link, [0xff; 16]),
        ] {
            assert_eq!(told(&nothing), None, "{nothing:x?}");
        }
        // Another's address, other hardware, one router further.
        assert_eq!(sender(&arp([192, 0, 2, 7]), MacAddress([2; 6])), None);
        let mut token_ring = arp([192, 0, 2, 7]);
        token_ring[15] = 6;
        assert_eq!(told(&token_ring), None);
        let mut far = icmp(136, link, target);
        far[21] = 254;
        assert_eq!(told(&far), None);
        // Cut anywhere they tell nothing.
        for whole in [arp([192, 0, 2, 7])[..32].to_vec(), icmp(136, link, target)] {
            assert!((0..whole.len()).all(|end| told(&whole[..end]).is_none()));
            assert!(told(&whole).is_some());
        }
    }

    #[test]
    fn a_port_has_few_places_and_the_oldest_makes_room() {
        let mut addresses = Addresses::default();
        let (port, other) = (PortIndex(3), PortIndex(4));
        let address = |last: u8| IpAddress::V4([10, 0, 0, last]);
        for last in 0..u8::try_from(PER_PORT).unwrap() {
            addresses.note(port, address(last), last.into());
        }
        // Heard of again it is young, and known since then.
        addresses.note(port, address(0), 100);
        addresses.note(port, address(99), 101);
        let seen = addresses.of(port);
        assert_eq!(seen.len(), PER_PORT);
        assert!(!seen.iter().any(|seen| seen.address == address(1)));
        assert!(seen.contains(&Seen { address: address(0), since: 0 }));
        assert!(seen.contains(&Seen { address: address(99), since: 101 }));
        assert_eq!(addresses.of(other), []);
        addresses.forget(port);
        assert_eq!(addresses.of(port), []);
    }
}
