//! The host's name on its own network, without a server: multicast DNS (RFC 6762) and what it offers (RFC 6763).
//!
//! | name | record |
//! |---|---|
//! | `NAME.local` | A, AAAA: the host's addresses |
//! | `_https._tcp.local` | PTR: `NAME._https._tcp.local`, which has SRV (port 443) and TXT |
//! | `_services._dns-sd._udp.local` | PTR: `_https._tcp.local` |
//!
//! Called by: hostd, which has the socket. Pure: packets in, packets out; nothing is remembered of who asks. Before a name
//! is used it is asked for ([`Me::probe`]); who finds another host there ([`Me::is_taken`]) keeps silent.

mod wire;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{
    A, AAAA, ANY, Data, IN, Message, NSEC, Name, PTR, Question, RESPONSE, Record, SRV, TOP, TXT, Writer,
};

/// UDP port.
pub const PORT: u16 = 5353;
/// Where everyone listens.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The same by IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Most bytes of a packet that is read: what fits a frame.
pub const PACKET_MAX: usize = 1472;

/// What names a host is known for, and what does not change (RFC 6762, 10).
const TTL_HOST: u32 = 120;
const TTL_OTHER: u32 = 4500;
/// For who is no member of the group (6.7).
const TTL_LEGACY: u32 = 10;
/// What is offered.
const SERVICE: [&str; 3] = ["_https", "_tcp", "local"];
const HTTPS: u16 = 443;

/// A host that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Me {
    host: String,
    /// With the lengths of their prefixes.
    addresses: Vec<(IpAddr, u8)>,
}

/// An answer, and whom it goes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The packet.
    pub bytes: Vec<u8>,
    /// To the asker alone; else to everyone.
    pub is_unicast: bool,
}

impl Me {
    /// With a name that was checked (`identity::Names`).
    pub fn new(host: &str, addresses: &[(IpAddr, u8)]) -> Self {
        Self { host: host.into(), addresses: addresses.to_vec() }
    }

    /// Answers a packet from this address and port, if it asks for anything here. Who is not on a network of the host's
    /// gets nothing (RFC 6762, 11).
    pub fn answer(&self, packet: &[u8], peer: IpAddr, port: u16) -> Option<Reply> {
        let message = Message::read(packet).filter(|message| !message.is_response && self.is_near(peer))?;
        let is_legacy = port != PORT;
        let mut answers = Vec::new();
        for question in &message.questions {
            for record in self.matching(question) {
                let is_known = !is_legacy && message.answers.iter().any(|known| says_enough(known, &record));
                if !is_known && !answers.contains(&record) {
                    answers.push(record);
                }
            }
        }
        if answers.is_empty() {
            return None;
        }
        let more = self.additional(&answers);
        let is_unicast = is_legacy || message.questions.iter().all(|question| question.wants_unicast);
        let (id, echoed): (u16, &[Question]) =
            if is_legacy { (message.id, &message.questions) } else { (0, &[]) };
        let mut writer = Writer::new(id, RESPONSE, [echoed.len(), answers.len(), 0, more.len()]);
        for question in echoed {
            writer.question(&Question { wants_unicast: false, ..question.clone() });
        }
        for mut record in answers.into_iter().chain(more) {
            if is_legacy {
                record.class &= !TOP;
                record.ttl = record.ttl.min(TTL_LEGACY);
            }
            writer.record(&record);
        }
        Some(Reply { bytes: writer.0, is_unicast })
    }

    /// Asks whether another host has the name (8.1).
    pub fn probe(&self) -> Vec<u8> {
        let question = |name| Question { name, kind: ANY, class: IN, wants_unicast: true };
        let unique: Vec<Record> =
            self.records().into_iter().filter(|record| record.class & TOP != 0).collect();
        let mut writer = Writer::new(0, 0, [2, 0, unique.len(), 0]);
        writer.question(&question(self.name()));
        writer.question(&question(self.instance()));
        // In an authority section nothing replaces anything.
        unique.into_iter().for_each(|record| writer.record(&Record { class: IN, ..record }));
        writer.0
    }

    /// Tells everyone (8.3).
    pub fn announcement(&self) -> Vec<u8> {
        self.told(|record| record)
    }

    /// Tells everyone that it is gone (10.1).
    pub fn goodbye(&self) -> Vec<u8> {
        self.told(|record| Record { ttl: 0, ..record })
    }

    /// Whether a packet shows that another host has the name (9): it says of it what this one does not.
    pub fn is_taken(&self, packet: &[u8]) -> bool {
        let Some(message) = Message::read(packet).filter(|message| message.is_response) else { return false };
        let ours = self.records();
        let same = |one: &Record, other: &Record| one.kind == other.kind && one.data == other.data;
        message.answers.iter().any(|record| {
            let is_about_us = (record.name == self.name() && matches!(record.kind, A | AAAA))
                || (record.name == self.instance() && record.kind == SRV);
            is_about_us && record.ttl > 0 && !ours.iter().any(|own| same(own, record))
        })
    }

    fn told(&self, change: impl Fn(Record) -> Record) -> Vec<u8> {
        let records = self.records();
        let mut writer = Writer::new(0, RESPONSE, [0, records.len(), 0, 0]);
        records.into_iter().for_each(|record| writer.record(&change(record)));
        writer.0
    }

    fn name(&self) -> Name {
        Name::of(&[&self.host, "local"])
    }

    fn instance(&self) -> Name {
        let [service, protocol, domain] = SERVICE;
        Name::of(&[&self.host, service, protocol, domain])
    }

    fn is_near(&self, peer: IpAddr) -> bool {
        self.addresses.iter().any(|(own, bits)| match (own, peer) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                (own.to_bits() ^ peer.to_bits())
                    .checked_shr(32_u32.saturating_sub((*bits).into()))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                (own.to_bits() ^ peer.to_bits())
                    .checked_shr(128_u32.saturating_sub((*bits).into()))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        })
    }

    /// All that there is to say, but for what there is not.
    fn records(&self) -> Vec<Record> {
        let mut all = self.hosts();
        let ours = |name, kind, ttl, data| Record { name, kind, class: IN | TOP, ttl, data };
        let pointer = |name, to| Record { name, kind: PTR, class: IN, ttl: TTL_OTHER, data: Data::Name(to) };
        all.push(pointer(Name::of(&SERVICE), self.instance()));
        all.push(pointer(Name::of(&["_services", "_dns-sd", "_udp", "local"]), Name::of(&SERVICE)));
        // Priority, weight, port, host.
        let mut service = vec![0; 4];
        service.extend_from_slice(&HTTPS.to_be_bytes());
        self.name().write(&mut service);
        all.push(ours(self.instance(), SRV, TTL_HOST, Data::Bytes(service)));
        all.push(ours(self.instance(), TXT, TTL_OTHER, Data::Bytes(b"\x06path=/".to_vec())));
        all
    }

    fn hosts(&self) -> Vec<Record> {
        let record = |(address, _): &(IpAddr, u8)| {
            let (kind, bytes) = match address {
                IpAddr::V4(address) => (A, address.octets().to_vec()),
                IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
            };
            Record { name: self.name(), kind, class: IN | TOP, ttl: TTL_HOST, data: Data::Bytes(bytes) }
        };
        self.addresses.iter().map(record).collect()
    }

    fn matching(&self, question: &Question) -> Vec<Record> {
        if !matches!(question.class, IN | ANY) {
            return Vec::new();
        }
        let all = self.records();
        let named: Vec<Record> = all.into_iter().filter(|record| record.name == question.name).collect();
        let is_unique = named.iter().any(|record| record.class & TOP != 0);
        let kinds: Vec<u16> = named.iter().map(|record| record.kind).collect();
        let found: Vec<Record> = named
            .into_iter()
            .filter(|record| matches!(question.kind, ANY) || record.kind == question.kind)
            .collect();
        if found.is_empty() && is_unique {
            return vec![nothing_else(&question.name, &kinds)];
        }
        found
    }

    /// What who got these asks for next (RFC 6763, 12).
    fn additional(&self, answers: &[Record]) -> Vec<Record> {
        let has = |kind| answers.iter().any(|record| record.kind == kind);
        let is_pointed = answers.iter().any(|record| record.data == Data::Name(self.instance()));
        let mut more = Vec::new();
        if is_pointed {
            more.extend(self.records().into_iter().filter(|record| record.name == self.instance()));
        }
        if is_pointed || has(SRV) {
            more.extend(self.hosts());
        }
        more.retain(|record| !answers.contains(record));
        more
    }
}

/// Who asks has it already, for at least half of its time (7.1).
fn says_enough(known: &Record, record: &Record) -> bool {
    known.name == record.name
        && known.kind == record.kind
        && known.data == record.data
        && known.ttl >= record.ttl.div_ceil(2)
}

/// A name has these types only (6.1). Types up to 255 are one window of bits (RFC 4034, 4.1.2).
fn nothing_else(name: &Name, kinds: &[u16]) -> Record {
    let mut data = Vec::new();
    name.write(&mut data);
    let last = kinds.iter().max().map_or(0, |kind| usize::from(*kind) / 8);
    let mut bits = vec![0_u8; last.saturating_add(1)];
    for kind in kinds {
        if let Some(byte) = bits.get_mut(usize::from(*kind) / 8) {
            *byte |= 0x80 >> (kind % 8);
        }
    }
    data.extend([0, u8::try_from(bits.len()).unwrap_or(0)]);
    data.extend(bits);
    Record { name: name.clone(), kind: NSEC, class: IN | TOP, ttl: TTL_HOST, data: Data::Bytes(data) }
}

#[cfg(test)]
mod tests;
