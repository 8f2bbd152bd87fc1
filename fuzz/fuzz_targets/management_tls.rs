//! Bytes from the network before there is a key: none opens a connection, none is more than an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use management::fake::TlsServer;

/// A whole ClientHello, as openssl sends one: a record of a handshake.
const HELLO: &[u8] = include_bytes!("client_hello.bin");

fuzz_target!(|data: &[u8]| {
    let [piece, kind, rest @ ..] = data else { return };
    thread_local!(static SERVER: TlsServer = TlsServer::new().expect("a server"));
    let bytes = match kind % 2 {
        0 => rest.to_vec(),
        // A hello with bytes changed, and something after it.
        _ => {
            let mut hello = HELLO.to_vec();
            let (changes, more) = rest.split_at(rest.len() / 2);
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % hello.len();
                hello[at] = change[2];
            }
            hello.extend(more);
            hello
        }
    };
    SERVER.with(|server| assert!(server.hear(&bytes, usize::from(*piece)), "a connection without a client's key"));
});
