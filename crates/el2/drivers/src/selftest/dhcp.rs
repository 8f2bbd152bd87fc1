//! Asks a network for an address and takes none: DHCPDISCOVER out, DHCPOFFER in. That there is an answer shows that frames
//! go both ways.
//!
//! Called by `vmkernel`'s self-test; pure. Frames come from anyone: every field is checked.
//! Source: RFC 2131, 2 "Protocol Summary", 3.1; RFC 2132, 9.6 "DHCP Message Type"; RFC 791, 3.1; RFC 768.

/// Bytes of a request, Ethernet header included.
pub const DISCOVER_BYTES: usize = ETHERNET + IP + UDP + OPTIONS + 7;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
/// Where options begin in a message, after the magic cookie.
const OPTIONS: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const MESSAGE_TYPE: u8 = 53;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;

/// The request of a host with the address `mac`; `id` comes back in the answer.
pub fn discover(mac: [u8; 6], id: u32) -> [u8; DISCOVER_BYTES] {
    let mut frame = [0; DISCOVER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        for (into, from) in frame.iter_mut().skip(at).zip(bytes) {
            *into = *from;
        }
    };
    let big_endian = |bytes: usize| u16::try_from(bytes).unwrap_or(0).to_be_bytes();
    let [udp_high, udp_low] = big_endian(DISCOVER_BYTES - ETHERNET - IP);
    let [ip_high, ip_low] = big_endian(DISCOVER_BYTES - ETHERNET);
    put(0, &[0xff; 6]);
    put(6, &mac);
    put(12, &[0x08, 0x00]);
    // Version and length, total length, time to live, UDP; from 0.0.0.0 to 255.255.255.255.
    let mut header = [0x45, 0, ip_high, ip_low, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    let [sum_high, sum_low] = (!sum(&header)).to_be_bytes();
    (header[10], header[11]) = (sum_high, sum_low);
    put(ETHERNET, &header);
    // Ports 68 to 67; a sum of zero is none.
    put(ETHERNET + IP, &[0, 68, 0, 67, udp_high, udp_low, 0, 0]);
    let message = ETHERNET + IP + UDP;
    put(message, &[1, 1, 6, 0]);
    put(message + 4, &id.to_be_bytes());
    // The answer by broadcast: nobody of that address is there yet.
    put(message + 10, &[0x80]);
    put(message + 28, &mac);
    put(message + 236, &COOKIE);
    put(message + OPTIONS, &[MESSAGE_TYPE, 1, DISCOVER, 55, 1, 1, 255]);
    frame
}

/// The address that a frame offers to the asker; `None` for any other frame.
pub fn offer(frame: &[u8], mac: [u8; 6], id: u32) -> Option<[u8; 4]> {
    let at = |offset: usize, bytes: usize| frame.get(offset..offset.checked_add(bytes)?);
    let ip_bytes = usize::from(at(ETHERNET, 1)?.first()? & 15).checked_mul(4)?;
    let is_udp = at(12, 2)? == [0x08, 0x00] && at(ETHERNET + 9, 1)? == [17] && ip_bytes >= IP;
    let udp = ETHERNET.checked_add(ip_bytes)?;
    let is_answer = at(udp, 4)? == [0, 67, 0, 68];
    let message = udp.checked_add(UDP)?;
    let fits = at(message, 4)? == [2, 1, 6, 0]
        && at(message.checked_add(4)?, 4)? == id.to_be_bytes()
        && at(message.checked_add(28)?, 6)? == mac
        && at(message.checked_add(236)?, 4)? == COOKIE;
    let options = frame.get(message.checked_add(OPTIONS)?..)?;
    let address: [u8; 4] = at(message.checked_add(16)?, 4)?.try_into().ok()?;
    (is_udp && is_answer && fits && message_type(options) == Some(OFFER) && address != [0; 4])
        .then_some(address)
}

/// The message type among the options: pad (0) and end (255) have no length.
fn message_type(mut options: &[u8]) -> Option<u8> {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [MESSAGE_TYPE, 1, kind, ..] => return Some(*kind),
            [255, ..] => return None,
            [_, length, rest @ ..] => options = rest.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

/// The one's complement sum of 16-bit words.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks_exact(2) {
        sum = sum.saturating_add(pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const MAC: [u8; 6] = [0xdc, 0xa6, 0x32, 1, 2, 3];

    /// What a server makes of a request.
    fn answer(request: &[u8], kind: u8, options: &[u8]) -> Vec<u8> {
        let mut frame = request.to_vec();
        frame.truncate(ETHERNET + IP + UDP + OPTIONS);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame[42] = 2;
        frame[58..62].copy_from_slice(&[192, 168, 1, 7]);
        frame.extend(options);
        frame.extend([MESSAGE_TYPE, 1, kind, 255]);
        frame
    }

    #[test]
    fn a_request_is_well_formed_and_its_answer_is_understood() {
        let request = discover(MAC, 0x1234_5678);
        assert_eq!(sum(&request[ETHERNET..ETHERNET + IP]), 0xffff, "the header's checksum");
        assert_eq!(usize::from(u16::from_be_bytes([request[16], request[17]])), DISCOVER_BYTES - ETHERNET);
        assert_eq!(request[46..50], 0x1234_5678u32.to_be_bytes());
        for options in [&[][..], &[0, 0, 54, 4, 192, 168, 1, 1, 51, 4, 0, 0, 1, 0]] {
            let frame = answer(&request, OFFER, options);
            assert_eq!(offer(&frame, MAC, 0x1234_5678), Some([192, 168, 1, 7]));
            assert_eq!(offer(&frame, MAC, 1), None, "another's answer");
            assert_eq!(offer(&frame, [2, 0, 0, 0, 0, 1], 0x1234_5678), None, "another's answer");
        }
        assert_eq!(offer(&answer(&request, 5, &[]), MAC, 0x1234_5678), None, "no offer");
        assert_eq!(offer(&request, MAC, 0x1234_5678), None, "our own request");
        assert_eq!(offer(&answer(&request, OFFER, &[54, 200, 1]), MAC, 0x1234_5678), None, "a lying length");
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), at: usize, value: u8) {
            let _ = offer(&bytes, MAC, 1);
            let mut frame = answer(&discover(MAC, 1), OFFER, &bytes);
            let at = at % frame.len();
            frame[at] = value;
            frame.truncate(frame.len() - usize::from(value) % 8);
            let _ = offer(&frame, MAC, 1);
        }
    }
}
