//! An IPv6 address from what a router announces. RFC 4861, 6.3 "Host Specification"; RFC 4862, 5.5.
//!
//! Called by: hostd, which has the socket. Pure: packets and times in, packets and an address out. One prefix and one
//! router are kept, the first that hold; no other host is asked whether it has the address, which comes from the card's.
//! smoltcp has this as well, but asks to be polled without end once no router has answered (0.13).

use core::net::Ipv6Addr;
use core::time::Duration;

/// Bytes of an IPv6 header, and of our solicitation (RFC 4861, 4.1) with the card's address.
const HEADER: usize = 40;
const SOLICITATION: usize = 16;
/// ICMPv6.
pub const ICMP: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const PREFIX_INFORMATION: u8 = 3;
/// Of a prefix: hosts may make addresses of it.
const AUTONOMOUS: u8 = 0x40;
/// All routers of the link.
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// MAX_RTR_SOLICITATIONS, RTR_SOLICITATION_INTERVAL (RFC 4861, 10).
const SOLICITATIONS: u8 = 3;
const INTERVAL: Duration = Duration::from_secs(4);
/// What nobody who forges advertisements can take from an address that is in use (RFC 4862, 5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(2 * 3600);

/// The link-local address of a MAC address: RFC 4291, 2.5.6 and appendix A.
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    under(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// The address of a MAC address under a prefix of 64 bits.
fn under(prefix: Ipv6Addr, [a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits((prefix.to_bits() & !u128::from(u64::MAX)) | u128::from(id))
}

/// What was announced.
pub struct Slaac {
    mac: [u8; 6],
    prefix: Option<Known>,
    router: Option<Known>,
    asked: u8,
    ask_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    address: Ipv6Addr,
    /// On the host's uptime.
    until: Duration,
}

/// An address, and the router for everything else.
pub type Address = (Ipv6Addr, Option<Ipv6Addr>);

impl Slaac {
    /// For this card.
    pub fn new(mac: [u8; 6]) -> Self {
        Self { mac, prefix: None, router: None, asked: 0, ask_at: Duration::ZERO }
    }

    /// What holds now; the prefix has 64 bits.
    pub fn address(&self, now: Duration) -> Option<Address> {
        let holds =
            |known: &Option<Known>| known.filter(|known| known.until > now).map(|known| known.address);
        holds(&self.prefix).map(|prefix| (under(prefix, self.mac), holds(&self.router)))
    }

    /// A solicitation to be sent now, an IPv6 packet.
    pub fn ask(&mut self, now: Duration) -> Option<[u8; HEADER + SOLICITATION]> {
        if self.router.is_some() || self.asked >= SOLICITATIONS || now < self.ask_at {
            return None;
        }
        self.asked = self.asked.saturating_add(1);
        self.ask_at = now.saturating_add(INTERVAL);
        Some(solicitation(self.mac))
    }

    /// When [`Self::ask`] or [`Self::address`] may say something else, though nothing came.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        let asks = (self.router.is_none() && self.asked < SOLICITATIONS).then_some(self.ask_at);
        let ends = [self.prefix, self.router].into_iter().flatten().map(|known| known.until);
        ends.filter(|end| *end > now).chain(asks).min()
    }

    /// Hears an IPv6 packet.
    pub fn hear(&mut self, packet: &[u8], now: Duration) {
        // What is not as it has to be was not meant, or not from this link.
        let _ = self.heard(packet, now);
    }

    fn heard(&mut self, packet: &[u8], now: Duration) -> Option<()> {
        let (header, rest) = packet.split_at_checked(HEADER)?;
        let source = Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?);
        let length = usize::from(u16::from_be_bytes(*header.get(4..)?.first_chunk()?));
        let message = rest.get(..length)?;
        let is_advertisement = header.get(6) == Some(&ICMP) && header.get(7) == Some(&255);
        let is_advertisement = is_advertisement && message.first_chunk() == Some(&[ROUTER_ADVERTISEMENT, 0]);
        if !is_advertisement || !source.is_unicast_link_local() {
            return None;
        }
        let lifetime = u16::from_be_bytes(*message.get(6..)?.first_chunk()?);
        let mut options = message.get(16..)?;
        // All of it is well formed, or nothing of it counts (RFC 4861, 6.1.2).
        let mut prefix = None;
        while let Some((kind, units)) =
            options.first_chunk().map(|[kind, units]| (*kind, usize::from(*units)))
        {
            let (option, rest) =
                options.split_at_checked(units.checked_mul(8).filter(|bytes| *bytes > 0)?)?;
            if kind == PREFIX_INFORMATION {
                prefix = prefix.or(read_prefix(option));
            }
            options = rest;
        }
        if !options.is_empty() {
            return None;
        }
        self.take_router(source, Duration::from_secs(lifetime.into()), now);
        if let Some((prefix, valid)) = prefix {
            self.take_prefix(prefix, valid, now);
        }
        Some(())
    }

    fn take_router(&mut self, router: Ipv6Addr, lifetime: Duration, now: Duration) {
        let is_its = self.router.is_some_and(|known| known.address == router);
        if is_its || self.router.is_none_or(|known| known.until <= now) {
            let until = now.saturating_add(lifetime);
            self.router = (!lifetime.is_zero()).then_some(Known { address: router, until });
        }
    }

    fn take_prefix(&mut self, prefix: Ipv6Addr, valid: Duration, now: Duration) {
        match self.prefix.filter(|known| known.until > now) {
            Some(known) if known.address == prefix => {
                let left = known.until.saturating_sub(now);
                let takes = if valid > TWO_HOURS || valid > left { valid } else { left.min(TWO_HOURS) };
                self.prefix = Some(Known { address: prefix, until: now.saturating_add(takes) });
            }
            None if !valid.is_zero() => {
                self.prefix = Some(Known { address: prefix, until: now.saturating_add(valid) });
            }
            _ => {}
        }
    }
}

/// | offset | what |
/// |---|---|
/// | 2 | length of the prefix |
/// | 3 | flags |
/// | 4, 8 | valid, preferred lifetime |
/// | 16 | prefix |
fn read_prefix(option: &[u8]) -> Option<(Ipv6Addr, Duration)> {
    let seconds = |at: usize| Some(u32::from_be_bytes(*option.get(at..)?.first_chunk()?));
    let (valid, preferred) = (seconds(4)?, seconds(8)?);
    let prefix = Ipv6Addr::from(*option.get(16..)?.first_chunk::<16>()?);
    let is_good = option.get(2) == Some(&64)
        && option.get(3).is_some_and(|flags| flags & AUTONOMOUS != 0)
        && preferred <= valid
        && !prefix.is_unicast_link_local()
        && !prefix.is_multicast()
        && !prefix.is_unspecified();
    is_good.then_some((prefix, Duration::from_secs(valid.into())))
}

fn solicitation(mac: [u8; 6]) -> [u8; HEADER + SOLICITATION] {
    let source = link_local(mac);
    let mut message = [0; SOLICITATION];
    let [kind, _, _, _, _, _, _, _, option, units, address @ ..] = &mut message;
    (*kind, *option, *units, *address) = (ROUTER_SOLICITATION, 1, 1, mac);
    let sum = checksum(source, ROUTERS, &message).to_be_bytes();
    let [_, _, high, low, ..] = &mut message;
    [*high, *low] = sum;
    let mut packet = [0; HEADER + SOLICITATION];
    // SOLICITATION, as the payload's length.
    let fixed = [0x60, 0, 0, 0, 0, 16, ICMP, 255];
    let all = fixed.into_iter().chain(source.octets()).chain(ROUTERS.octets()).chain(message);
    packet.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    packet
}

/// RFC 8200, 8.1; RFC 1071.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let pseudo = source.octets().into_iter().chain(destination.octets()).chain(length).chain([0, 0, 0, ICMP]);
    let mut sum = 0_u32;
    for (at, byte) in pseudo.chain(message.iter().copied()).enumerate() {
        sum = sum.wrapping_add(if at % 2 == 0 { u32::from(byte) << 8 } else { byte.into() });
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const NOW: Duration = Duration::from_secs(1000);

    fn advertisement(lifetime: u16, valid: u32, flags: u8) -> Vec<u8> {
        let mut message = Vec::from([134, 0, 0, 0, 64, 0]);
        message.extend(lifetime.to_be_bytes());
        message.extend([0; 8]);
        message.extend([3, 4, 64, flags]);
        message.extend(valid.to_be_bytes());
        message.extend(valid.to_be_bytes());
        message.extend([0; 4]);
        message.extend("fd00:1::".parse::<Ipv6Addr>().unwrap().octets());
        let bytes = u8::try_from(message.len()).unwrap();
        let mut packet = Vec::from([0x60, 0, 0, 0, 0, bytes, ICMP, 255]);
        packet.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(message);
        packet
    }

    fn address(slaac: &Slaac, seconds: u64) -> Option<Ipv6Addr> {
        slaac.address(NOW + Duration::from_secs(seconds)).map(|(address, _)| address)
    }

    #[test]
    fn an_announced_network_gives_an_address_for_its_time() {
        let mut slaac = Slaac::new(MAC);
        slaac.hear(&advertisement(1800, 3600, 0xc0), NOW);
        let own = "fd00:1::5054:ff:fe12:3456".parse().unwrap();
        assert_eq!(slaac.address(NOW), Some((own, Some("fe80::1".parse().unwrap()))));
        assert_eq!(slaac.due(NOW), Some(NOW + Duration::from_secs(1800)));
        assert_eq!(slaac.address(NOW + Duration::from_secs(1801)), Some((own, None)));
        assert_eq!(address(&slaac, 3600), None);
        assert_eq!(slaac.due(NOW + Duration::from_secs(3601)), None);
        assert_eq!(link_local(MAC), "fe80::5054:ff:fe12:3456".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn a_router_is_asked_for_three_times_and_then_waited_for() {
        let mut slaac = Slaac::new(MAC);
        for round in 0..3 {
            let now = NOW + INTERVAL * round;
            let packet = slaac.ask(now).unwrap();
            assert_eq!((packet[6], packet[7], packet[40]), (ICMP, 255, 133));
            // With its checksum in it the sum of all is that of nothing.
            let source = link_local(MAC);
            assert_eq!(checksum(source, ROUTERS, &packet[HEADER..]), 0);
            assert_eq!(slaac.ask(now), None);
        }
        assert_eq!((slaac.ask(NOW * 2), slaac.due(NOW * 2)), (None, None));
        let mut slaac = Slaac::new(MAC);
        slaac.hear(&advertisement(1800, 3600, 0xc0), NOW);
        assert_eq!(slaac.ask(NOW), None);
    }

    #[test]
    fn a_short_life_takes_no_address_away_at_once() {
        let mut slaac = Slaac::new(MAC);
        slaac.hear(&advertisement(1800, 86_400, 0xc0), NOW);
        slaac.hear(&advertisement(0, 0, 0xc0), NOW);
        assert_eq!(slaac.address(NOW).map(|(_, router)| router), Some(None), "its router is gone");
        assert!(address(&slaac, 7199).is_some() && address(&slaac, 7200).is_none());
    }

    #[test]
    fn what_is_not_for_hosts_is_not_taken() {
        let good = advertisement(1800, 3600, 0xc0);
        let with = |at: usize, byte: u8| {
            let mut packet = good.clone();
            packet[at] = byte;
            let mut slaac = Slaac::new(MAC);
            slaac.hear(&packet, NOW);
            slaac.address(NOW)
        };
        assert!(with(0, 0x60).is_some());
        // Its next header, hops, source, type, code; an option without a length; the prefix's length.
        for (at, byte) in [(6, 17), (7, 254), (8, 0x20), (40, 133), (41, 1), (57, 0), (57, 5), (58, 48)] {
            assert_eq!(with(at, byte), None, "{at}");
        }
        let mut slaac = Slaac::new(MAC);
        slaac.hear(&advertisement(1800, 3600, 0x80), NOW);
        slaac.hear(&advertisement(1800, 0, 0xc0), NOW);
        assert_eq!(slaac.address(NOW), None);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 40..90_usize, byte in any::<u8>(),
        ) {
            let mut slaac = Slaac::new(MAC);
            slaac.hear(&bytes, NOW);
            let mut near = advertisement(1800, 3600, 0xc0);
            near.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            slaac.hear(&near, NOW);
            let _ = (slaac.address(NOW), slaac.due(NOW));
        }
    }
}
