//! Asking an NTP server for the time: the packets, and when to ask whom. RFC 5905; RFC 4330, 10 "Best practices".
//!
//! Called by: hostd's clock, which has the socket. Pure: bytes and times in, bytes and times out. A request says nothing
//! about the host: its transmit timestamp is a random number, which an answer has to bring back. Who is not on the way to
//! the server can't make the host believe anything; who is, can: NTP has no keys here.

mod clock;

pub use clock::{ANSWER, Clock, Next};

use crate::identity::EARLIEST;
use core::fmt;
use core::time::Duration;

/// UDP port of servers.
pub const PORT: u16 = 123;
/// Bytes of a packet without extensions.
pub const BYTES: usize = 48;

/// No leap second is near, version 4, client.
const CLIENT: u8 = 0b00_100_011;
const SERVER: u8 = 4;
/// The server's own clock is not set.
const UNSYNCHRONIZED: u8 = 3;
/// The highest stratum of a server that has the time.
const STRATUM_MAX: u8 = 15;
/// From 1900 to 1970, in seconds.
const UNIX: u64 = 2_208_988_800;
/// A time so far ahead of this program is one from before it: the counter of seconds turns over every 136 years.
const LATEST: u64 = EARLIEST + 80 * 365 * 24 * 3600;
/// An answer that took longer says too little.
const TRIP_MAX: Duration = Duration::from_secs(2);

/// A request that brings back `nonce`.
pub fn request(nonce: u64) -> [u8; BYTES] {
    let mut packet = [0; BYTES];
    let [first, .., a, b, c, d, e, f, g, h] = &mut packet;
    *first = CLIENT;
    [*a, *b, *c, *d, *e, *f, *g, *h] = nonce.to_be_bytes();
    packet
}

/// Why an answer is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is none, or none to this request.
    NotOurs,
    /// The server does not know the time itself.
    Unsynchronized,
    /// The server wants to be asked less often, or not at all: kiss-o'-death (RFC 5905, 7.4).
    Kiss([u8; 4]),
    /// It says a time from before this program, or none.
    TooEarly,
    /// It was on the way for more than two seconds.
    TooSlow,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("it answered something else"),
            Self::Unsynchronized => f.write_str("it does not know the time itself"),
            Self::Kiss(code) => {
                let code = core::str::from_utf8(code).unwrap_or("?");
                write!(f, "it refuses ({})", code.escape_debug())
            }
            Self::TooEarly => f.write_str("it says a time from before this program was made"),
            Self::TooSlow => f.write_str("it took more than two seconds"),
        }
    }
}

/// What time it was when an answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Since 1970.
    pub unix: Duration,
    /// On the host's uptime, when it was so.
    pub uptime: Duration,
}

/// Reads an answer to the request of `nonce`, sent and received at these uptimes.
pub fn read(packet: &[u8], nonce: u64, sent: Duration, received: Duration) -> Result<Reading, Refusal> {
    let Some(Header { leap, mode, stratum, reference, origin, receive, transmit }) = Header::read(packet)
    else {
        return Err(Refusal::NotOurs);
    };
    if mode != SERVER || origin != nonce {
        return Err(Refusal::NotOurs);
    }
    if stratum == 0 {
        return Err(Refusal::Kiss(reference));
    }
    if leap == UNSYNCHRONIZED || stratum > STRATUM_MAX || transmit == 0 {
        return Err(Refusal::Unsynchronized);
    }
    let (receive, transmit) = (since_1970(receive), since_1970(transmit));
    if transmit.as_secs() > LATEST {
        return Err(Refusal::TooEarly);
    }
    let trip = received.saturating_sub(sent).saturating_sub(transmit.saturating_sub(receive));
    if trip > TRIP_MAX {
        return Err(Refusal::TooSlow);
    }
    Ok(Reading { unix: transmit.saturating_add(trip / 2), uptime: received })
}

/// 32 bits of seconds since 1900, in whichever round of 2^32 they lie after this program; 32 bits of fraction.
fn since_1970(timestamp: u64) -> Duration {
    let first = EARLIEST.saturating_add(UNIX);
    let since = (timestamp >> 32).wrapping_sub(first) & 0xffff_ffff;
    let nanos = ((timestamp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Duration::new(EARLIEST.saturating_add(since), u32::try_from(nanos).unwrap_or(0))
}

struct Header {
    leap: u8,
    mode: u8,
    stratum: u8,
    reference: [u8; 4],
    origin: u64,
    receive: u64,
    transmit: u64,
}

impl Header {
    /// | offset | what |
    /// |---|---|
    /// | 0 | leap (2 bits), version (3), mode (3) |
    /// | 1 | stratum |
    /// | 12 | reference id, or the kiss's code |
    /// | 24, 32, 40 | origin, receive, transmit timestamp |
    fn read(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(*packet.get(at..)?.first_chunk::<8>()?));
        let first = *packet.first()?;
        Some(Self {
            leap: first >> 6,
            mode: first & 7,
            stratum: *packet.get(1)?,
            reference: *packet.get(12..)?.first_chunk()?,
            origin: word(24)?,
            receive: word(32)?,
            transmit: word(40)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;
    /// 2027-01-15 08:00:00.5 UTC, by NTP.
    const THEN: u64 = ((1_800_000_000 + UNIX) << 32) | 1 << 31;

    fn answer(change: impl FnOnce(&mut [u8; BYTES])) -> [u8; BYTES] {
        let mut packet = request(0);
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
        packet[32..40].copy_from_slice(&(THEN - (1 << 30)).to_be_bytes());
        packet[40..48].copy_from_slice(&THEN.to_be_bytes());
        change(&mut packet);
        packet
    }

    fn read_it(packet: &[u8]) -> Result<Reading, Refusal> {
        read(packet, NONCE, Duration::from_secs(10), Duration::from_millis(10_450))
    }

    #[test]
    fn half_of_the_trip_is_added() {
        // 450 ms, of which the server had it for 250.
        let reading = read_it(&answer(|_| {})).unwrap();
        assert_eq!(reading.unix, Duration::from_millis(1_800_000_000_600));
        assert_eq!(reading.uptime, Duration::from_millis(10_450));
    }

    #[test]
    fn what_is_no_answer_to_this_request_is_nothing() {
        assert_eq!(read_it(&[]), Err(Refusal::NotOurs));
        assert_eq!(read_it(&answer(|_| {})[..47]), Err(Refusal::NotOurs));
        assert_eq!(read_it(&answer(|packet| packet[31] ^= 1)), Err(Refusal::NotOurs));
        assert_eq!(read_it(&request(NONCE)), Err(Refusal::NotOurs), "a client's packet");
    }

    #[test]
    fn a_server_that_does_not_know_says_nothing() {
        assert_eq!(read_it(&answer(|packet| packet[0] |= 0xc0)), Err(Refusal::Unsynchronized));
        assert_eq!(read_it(&answer(|packet| packet[1] = 16)), Err(Refusal::Unsynchronized));
        assert_eq!(read_it(&answer(|packet| packet[40..].fill(0))), Err(Refusal::Unsynchronized));
        let kiss = answer(|packet| {
            packet[1] = 0;
            packet[12..16].copy_from_slice(b"RATE");
        });
        assert_eq!(read_it(&kiss), Err(Refusal::Kiss(*b"RATE")));
        // 2020: before this program.
        let old = (1_577_836_800 + UNIX) << 32;
        assert_eq!(
            read_it(&answer(|packet| packet[40..].copy_from_slice(&old.to_be_bytes()))),
            Err(Refusal::TooEarly)
        );
        let late = read(&answer(|_| {}), NONCE, Duration::ZERO, Duration::from_secs(3));
        assert_eq!(late, Err(Refusal::TooSlow));
    }

    #[test]
    fn seconds_go_on_after_2036() {
        // 2040-01-01; the counter began anew in 2036.
        let later = (2_208_988_800_u64 + UNIX) << 32;
        let packet = answer(|packet| {
            packet[32..40].copy_from_slice(&later.to_be_bytes());
            packet[40..].copy_from_slice(&later.to_be_bytes());
        });
        assert_eq!(read_it(&packet).unwrap().unix.as_secs(), 2_208_988_800);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_go_back(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(reading) = read_it(&packet) {
                prop_assert!((EARLIEST..=LATEST + 2).contains(&reading.unix.as_secs()));
            }
        }
    }
}
