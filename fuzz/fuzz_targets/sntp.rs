//! Any bytes as a server's answer: what is taken is a time after this program was made, and before it is out of sight.
#![no_main]

use core::time::Duration;
use management::sntp::{BYTES, read, request};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let nonce = bytes.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first));
    let (sent, received) = (Duration::from_secs(1), Duration::from_millis(1_100));
    let _ = read(bytes, nonce, sent, received);
    // Nearly right: the rest of a server's answer to this request.
    let mut packet = request(nonce);
    packet[0] = 0b00_100_100;
    packet[24..32].copy_from_slice(&nonce.to_be_bytes());
    for (to, from) in packet[1..24].iter_mut().zip(bytes) {
        *to = *from;
    }
    for (to, from) in packet[32..BYTES].iter_mut().zip(bytes.iter().skip(23)) {
        *to = *from;
    }
    if let Ok(reading) = read(&packet, nonce, sent, received) {
        let seconds = reading.unix.as_secs();
        assert!(seconds > 1_795_000_000 && seconds < 4_500_000_000, "{seconds}");
        assert_eq!(reading.uptime, received);
    }
});
