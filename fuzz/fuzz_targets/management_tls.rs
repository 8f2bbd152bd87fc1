//! Bytes from the network before there is a key: none opens a connection, none is more than an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use management::fake::TlsServer;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    thread_local!(static SERVER: TlsServer = TlsServer::new().expect("a server"));
    SERVER.with(|server| assert!(server.hear(bytes, usize::from(*piece)), "a connection without a client's key"));
});
