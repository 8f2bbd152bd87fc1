//! Any bytes from the network, and questions that are nearly right: an answer fits a frame, and is no question.
#![no_main]

use core::net::{IpAddr, Ipv4Addr};
use management::mdns::{Me, PACKET_MAX, PORT};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let me = Me::new("esx0", &[(Ipv4Addr::new(10, 0, 2, 15).into(), 24)]);
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));
    let port = if bytes.first().is_some_and(|byte| byte & 1 == 0) { PORT } else { 40_000 };
    // Its own probe, with what is given written over its beginning.
    let mut near = me.probe();
    near.iter_mut().zip(bytes).for_each(|(to, from)| *to ^= from);
    for packet in [bytes, &near] {
        if let Some(reply) = me.answer(packet, peer, port) {
            // A message of 32 questions for all that there is, echoed.
            assert!(reply.bytes.len() <= 2 * PACKET_MAX + packet.len());
            assert_eq!(me.answer(&reply.bytes, peer, port), None);
            assert!(!me.is_taken(&reply.bytes));
        }
        let _ = me.is_taken(packet);
    }
});
