//! The client.

use super::std::io::{Read as _, Write as _};
use crate::fake::{Stream, UNIX};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use embedded_io_async::{Read as _, Write as _};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};

/// What the server has as well, what it does not like best first.
pub const SUITES: [SupportedCipherSuite; 2] =
    [ring::cipher_suite::TLS13_AES_128_GCM_SHA256, ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];

/// What the server has as well.
pub fn groups() -> [&'static dyn SupportedKxGroup; 2] {
    [ring::kx_group::X25519, ring::kx_group::SECP256R1]
}

#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(UNIX)))
    }
}

/// How clients connect; it remembers tickets.
pub struct Setup(Arc<ClientConfig>);

impl Setup {
    pub fn new(ca: &[u8], suites: &[SupportedCipherSuite], groups: &[&'static dyn SupportedKxGroup]) -> Self {
        Self::of(ca, suites, groups, &[&rustls::version::TLS13])
    }

    pub fn of(
        ca: &[u8],
        suites: &[SupportedCipherSuite],
        groups: &[&'static dyn SupportedKxGroup],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(ca.to_vec().into()).unwrap();
        let provider = CryptoProvider {
            cipher_suites: suites.to_vec(),
            kx_groups: groups.to_vec(),
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Clock))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    pub fn connect(&self, stream: Stream, name: &str) -> Client {
        let name = ServerName::try_from(name.to_string()).unwrap();
        let connection = ClientConnection::new(self.0.clone(), name).unwrap();
        Client { connection, stream, text: Vec::new(), ended_well: false, error: None }
    }
}

/// Sends bytes for as long as the other end takes them.
pub async fn offer(stream: &mut Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.write(bytes).await.unwrap() {
            0 => return,
            count => bytes = &bytes[count..],
        }
    }
}

/// One connection.
pub struct Client {
    pub connection: ClientConnection,
    pub stream: Stream,
    /// What the server sent.
    pub text: Vec<u8>,
    /// The server said that it sends no more.
    pub ended_well: bool,
    /// How it failed.
    pub error: Option<String>,
}

impl Client {
    /// Sends what is to be sent.
    pub async fn transmit(&mut self) {
        while self.connection.wants_write() {
            let mut bytes = Vec::new();
            self.connection.write_tls(&mut bytes).unwrap();
            offer(&mut self.stream, &bytes).await;
        }
    }

    /// Hears the server once; `false`: it is over.
    pub async fn hear(&mut self) -> bool {
        self.transmit().await;
        let mut bytes = [0; 700];
        let count = self.stream.read(&mut bytes).await.unwrap();
        self.connection.read_tls(&mut &bytes[..count]).unwrap();
        match self.connection.process_new_packets() {
            Ok(state) => {
                let start = self.text.len();
                self.text.resize(start + state.plaintext_bytes_to_read(), 0);
                self.connection.reader().read_exact(&mut self.text[start..]).unwrap();
                self.ended_well |= state.peer_has_closed();
            }
            Err(error) => self.error = Some(error.to_string()),
        }
        self.transmit().await;
        count > 0 && self.error.is_none() && !self.ended_well
    }

    pub async fn read_to_end(&mut self) {
        while self.hear().await {}
    }

    /// The handshake, and the ticket that comes after it.
    pub async fn shake(&mut self) {
        while self.connection.is_handshaking() && self.hear().await {}
        self.hear().await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(5000) {
            self.connection.writer().write_all(piece).unwrap();
            self.transmit().await;
        }
    }
}
