//! Against a client that knows nothing of us: rustls with ring's cryptography, by its blocking interface, over a
//! connection in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

extern crate std;

mod client;
mod crowd;
mod hostile;
mod transfer;

use super::{Config, Fault, Provider, Tls};
use crate::fake::{self, Stream, TlsHost, UNIX, pair};
use crate::identity::{self, Names, Now};
use alloc::vec::Vec;
use client::Client;
use core::convert::Infallible;
use core::sync::atomic::Ordering;
use core::time::Duration;
use embassy_futures::join::join;
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};

/// A server, the host that it runs on, and the CA that its clients trust.
struct Server {
    fake: fake::Host,
    host: &'static TlsHost,
    provider: Provider,
    config: Config,
    ca: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        let (fake, host) = (fake::Host::default(), TlsHost::new());
        let names = Names::new("esx0", &["10.0.2.15".parse().unwrap()]).unwrap();
        let now = Now { unix_seconds: UNIX, is_known: true };
        let found = fake.time.run(identity::find(&fake, host, &names, now)).unwrap().unwrap();
        let provider = Provider::new(host);
        let config = Config::new(&provider, found.identity).unwrap();
        Self { fake, host, provider, config, ca: found.ca }
    }

    /// Accepts one connection, whose other end `other` has.
    fn with<T, U>(
        &self,
        served: impl AsyncFnOnce(Result<Tls<Stream>, Fault<Infallible>>) -> T,
        other: impl AsyncFnOnce(Stream) -> U,
    ) -> (T, U) {
        let (ours, theirs) = pair();
        let ours = async { served(Tls::accept(&self.fake, &self.config, ours).await).await };
        self.fake.time.run(join(ours, other(theirs))).expect("both ends come to an end")
    }

    /// A whole connection by a client: what it was, and how it went for the client.
    fn visit(&self, client: &client::Setup) -> (Result<(), Fault<Infallible>>, Client) {
        self.with(
            async |tls| {
                let mut tls = tls?;
                embedded_io_async::Write::write_all(&mut tls, b"hello").await?;
                tls.close().await
            },
            async |stream| {
                let mut client = client.connect(stream, "esx0.local");
                client.read_to_end().await;
                client
            },
        )
    }
}

#[test]
fn each_suite_and_group_and_ours_first() {
    let server = Server::new();
    let all = [
        (client::SUITES.to_vec(), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (client::SUITES[..1].to_vec(), CipherSuite::TLS13_AES_128_GCM_SHA256),
        (client::SUITES[1..].to_vec(), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ];
    for (suites, expected) in all {
        for (group, name) in [(0, NamedGroup::X25519), (1, NamedGroup::secp256r1)] {
            let setup = client::Setup::new(&server.ca, &suites, &client::groups()[group..=group]);
            let (served, client) = server.visit(&setup);
            assert_eq!(served, Ok(()));
            assert_eq!(
                (client.text.as_slice(), client.ended_well),
                (&b"hello"[..], true),
                "{:?}",
                client.error
            );
            let tls = &client.connection;
            assert_eq!(tls.negotiated_cipher_suite().unwrap().suite(), expected);
            assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), name);
            assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }
}

#[test]
fn a_share_for_another_group_is_asked_for_again() {
    let server = Server::new();
    // The client's first share is of a group that the server does not have.
    let groups = [rustls::crypto::ring::kx_group::SECP384R1, rustls::crypto::ring::kx_group::SECP256R1];
    let (served, client) = server.visit(&client::Setup::new(&server.ca, &client::SUITES, &groups));
    assert_eq!(served, Ok(()));
    assert_eq!(client.connection.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn who_comes_back_saves_the_signature() {
    let mut server = Server::new();
    let setup = client::Setup::new(&server.ca, &client::SUITES, &client::groups());
    let kind = |server: &Server| {
        let (served, client) = server.visit(&setup);
        assert_eq!(served, Ok(()));
        assert_eq!(client.text, b"hello");
        client.connection.handshake_kind().unwrap()
    };
    assert_eq!(kind(&server), HandshakeKind::Full);
    assert_eq!(kind(&server), HandshakeKind::Resumed);
    // A ticket is read for a key's life after the one in which it was made, and no longer.
    server.host.uptime.store(7 * 3600, Ordering::Relaxed);
    assert_eq!(kind(&server), HandshakeKind::Resumed);
    server.host.uptime.store(20 * 3600, Ordering::Relaxed);
    assert_eq!(kind(&server), HandshakeKind::Full);
    // Another generation of hostd has other keys.
    server.provider = Provider::new(server.host);
    let names = Names::new("esx0", &["10.0.2.15".parse().unwrap()]).unwrap();
    let now = Now { unix_seconds: UNIX, is_known: true };
    let again =
        server.fake.time.run(identity::find(&server.fake, server.host, &names, now)).unwrap().unwrap();
    assert_eq!(again.ca, server.ca, "the identity is the same one");
    server.config = Config::new(&server.provider, again.identity).unwrap();
    assert_eq!(kind(&server), HandshakeKind::Full);
    assert_eq!(kind(&server), HandshakeKind::Resumed);
}

#[test]
fn without_random_numbers_there_is_no_handshake() {
    let server = Server::new();
    server.host.seeded.store(false, Ordering::Relaxed);
    let (served, client) = server.visit(&client::Setup::new(&server.ca, &client::SUITES, &client::groups()));
    assert!(matches!(served, Err(Fault::Protocol(rustls::Error::FailedToGetRandomBytes))), "{served:?}");
    assert!(client.text.is_empty() && !client.ended_well);
}
