//! Clients that break the protocol.

use super::*;
use embedded_io_async::Read;
use proptest::prelude::*;
use rustls::{AlertDescription, Error};

/// Sends these bytes as they are; what the server made of it, and what it answered.
fn send(server: &Server, bytes: &[u8]) -> (Result<(), Fault<Infallible>>, Vec<u8>) {
    server.with(
        async |tls| tls.map(|_| ()),
        async |mut stream| {
            client::offer(&mut stream, bytes).await;
            let mut answer = Vec::new();
            let mut piece = [0; 256];
            // It waits for more only where what it has is no whole record or message.
            loop {
                match embassy_futures::select::select(
                    stream.read(&mut piece),
                    server.fake.time.sleep(Duration::from_secs(1)),
                )
                .await
                {
                    embassy_futures::select::Either::First(Ok(count)) if count > 0 => {
                        answer.extend_from_slice(&piece[..count])
                    }
                    _ => return answer,
                }
            }
        },
    )
}

/// A record: type, version of TLS 1.2, length, body.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

#[test]
fn every_alert_ends_the_handshake_by_its_name() {
    let server = Server::new();
    for description in 0..=255 {
        let (served, _) = send(&server, &record(ALERT, &[2, description]));
        match (served, AlertDescription::from(description)) {
            // The client went away: that is no failure of anything.
            (Err(Fault::Cut), AlertDescription::CloseNotify) => {}
            (Err(Fault::Protocol(Error::AlertReceived(found))), expected) => assert_eq!(found, expected),
            (served, expected) => panic!("{expected:?}: {served:?}"),
        }
    }
}

#[test]
fn each_fault_is_answered_by_its_alert() {
    let server = Server::new();
    let cases: [(&str, Vec<u8>, AlertDescription); 4] = [
        ("plain HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), AlertDescription::DecodeError),
        ("data before a handshake", record(23, b"text"), AlertDescription::UnexpectedMessage),
        ("a hello that is none", record(HANDSHAKE, &[1, 0, 0, 2, 3, 3]), AlertDescription::DecodeError),
        ("a Finished first", record(HANDSHAKE, &[20, 0, 0, 0]), AlertDescription::UnexpectedMessage),
    ];
    for (what, bytes, expected) in cases {
        let (served, answer) = send(&server, &bytes);
        assert!(matches!(served, Err(Fault::Protocol(_))), "{what}: {served:?}");
        assert_eq!(answer, record(ALERT, &[2, u8::from(expected)]), "{what}");
    }
}

#[test]
fn older_versions_and_foreign_suites_and_groups_are_refused_by_name() {
    let server = Server::new();
    let ring = rustls::crypto::ring::ALL_CIPHER_SUITES;
    let groups = client::groups();
    let aes_256 = [rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let p384 = [rustls::crypto::ring::kx_group::SECP384R1];
    let cases = [
        (client::Setup::of(&server.ca, ring, &groups, &[&rustls::version::TLS12]), "ProtocolVersion"),
        (client::Setup::new(&server.ca, &aes_256, &groups), "HandshakeFailure"),
        (client::Setup::new(&server.ca, &client::SUITES, &p384), "HandshakeFailure"),
    ];
    for (setup, alert) in cases {
        let (served, client) = server.visit(&setup);
        assert!(matches!(served, Err(Fault::Protocol(Error::PeerIncompatible(_)))), "{served:?}");
        assert!(client.error.as_ref().unwrap().contains(alert), "{:?}", client.error);
    }
}

#[test]
fn a_handshake_message_without_end_is_given_up() {
    let server = Server::new();
    // A ClientHello of 16 MiB, in records of 16 KiB.
    let mut bytes = record(HANDSHAKE, &[&[1, 0xff, 0xff, 0xff][..], &[0; 16_000]].concat());
    (0..8).for_each(|_| bytes.extend(record(HANDSHAKE, &[0; 16_000])));
    let (served, _) = send(&server, &bytes);
    assert!(matches!(served, Err(Fault::TooLong | Fault::Protocol(_))), "{served:?}");
    // Many small pieces of one that is shorter, and never whole.
    let mut bytes = record(HANDSHAKE, &[1, 0, 0xff, 0xff]);
    (0..4000).for_each(|_| bytes.extend(record(HANDSHAKE, &[0; 8])));
    let (served, _) = send(&server, &bytes);
    assert!(matches!(served, Err(Fault::TooLong | Fault::Protocol(_))), "{served:?}");
}

/// After the handshake a bit that flips in a record ends the connection, and the client is told why. (Type and version
/// in the header of an encrypted record mean nothing: RFC 8446, 5.2.)
#[test]
fn a_changed_record_is_refused() {
    let server = Server::new();
    // The length becomes smaller; text, type and tag change.
    for bit in [8 * 4 + 1, 8 * 5, 8 * 5 + 33, 8 * 26, 8 * 42 + 7] {
        let (read, client) = server.with(
            async |tls| tls.unwrap().read(&mut [0; 100]).await,
            async |stream| {
                let setup = client::Setup::new(&server.ca, &client::SUITES, &client::groups());
                let mut client = setup.connect(stream, "esx0");
                client.shake().await;
                super::std::io::Write::write_all(&mut client.connection.writer(), b"a text of some length")
                    .unwrap();
                let mut bytes = Vec::new();
                client.connection.write_tls(&mut bytes).unwrap();
                bytes[bit / 8] ^= 1 << (bit % 8);
                client::offer(&mut client.stream, &bytes).await;
                client.read_to_end().await;
                client
            },
        );
        assert!(matches!(read, Err(Fault::Protocol(_))), "bit {bit}: {read:?}");
        assert!(client.error.unwrap().contains("alert"), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bytes, records and cut handshakes of any kind: an error or a cut, never anything else.
    #[test]
    fn garbage_ends_the_connection(
        records in proptest::collection::vec((any::<u8>(), 0..4_u8, proptest::collection::vec(any::<u8>(), 0..300)), 0..6),
    ) {
        let server = Server::new();
        let mut bytes = Vec::new();
        for (kind, form, body) in records {
            match form {
                0 => bytes.extend(body),
                1 => bytes.extend(record(kind, &body)),
                _ => bytes.extend(record(20 + kind % 4, &body)),
            }
        }
        let (served, _) = send(&server, &bytes);
        prop_assert!(served.is_err());
    }
}
