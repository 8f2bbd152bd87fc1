//! Any packets, one after another, as a router's: an address that comes of them is one of the card's.
#![no_main]

use core::time::Duration;
use management::slaac::Slaac;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut slaac = Slaac::new(MAC);
    for (at, packet) in bytes.chunks(96).enumerate() {
        let now = Duration::from_secs(at as u64 * 60);
        slaac.hear(packet, now);
        // Nearly right: a router's header before it.
        let mut near = vec![0x60, 0, 0, 0, 0, packet.len() as u8, 58, 255, 0xfe, 0x80];
        near.resize(40, 0);
        near.extend_from_slice(packet);
        slaac.hear(&near, now);
        if let Some((address, router)) = slaac.address(now) {
            assert!(address.octets().ends_with(&[0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56]));
            assert!(!address.is_multicast() && router.is_none_or(|router| router.is_unicast_link_local()));
        }
        if let Some(due) = slaac.due(now) {
            assert!(due > now || slaac.ask(now).is_some());
        }
    }
});
