//! TLS 1.3 for a server: what turns a connection into one that nobody else reads or changes. RFC 8446.
//!
//! | module | what |
//! |---|---|
//! | [`stream`] | a connection as a stream of bytes, both ways |
//! | `session` | rustls' state machine with its buffers, which are bounded |
//! | `provider` | the cryptography that rustls is given: RustCrypto's, portable code only |
//! | `tickets` | a client that comes back saves the signature |
//!
//! Called by: hostd, for each connection. Calls: rustls, by its unbuffered interface, which needs neither `std` nor
//! blocking. TLS 1.2 is not spoken. ADR: `docs/adr/0043-tls.md`.

mod provider;
mod session;
pub mod stream;
#[cfg(test)]
mod tests;
mod tickets;

pub use provider::Provider;
pub use stream::{Fault, Tls};

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// What TLS needs of the host, from any vCPU.
pub trait Host: Send + Sync {
    /// Fills `into` with random bytes.
    fn random(&self, into: &mut [u8]) -> Result<(), Unseeded>;
    /// Since 1970.
    fn unix_time(&self) -> Duration;
    /// Since the host started.
    fn uptime(&self) -> Duration;
}

/// There are no random numbers yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unseeded;

/// A host by reference, in the form that rustls wants: everything it is given can be printed.
#[derive(Clone, Copy)]
struct Of(&'static dyn Host);

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// What the server is: its certificates, the leaf first, and the leaf's key.
pub struct Identity {
    /// In DER.
    pub chain: Vec<Vec<u8>>,
    /// P-256.
    pub key: p256::ecdsa::SigningKey,
}

/// How connections are to be accepted.
#[derive(Clone)]
pub struct Config(Arc<ServerConfig>);

impl Config {
    /// For a server of this identity.
    pub fn new(provider: &Provider, identity: Identity) -> Result<Self, rustls::Error> {
        let chain = identity.chain.into_iter().map(CertificateDer::from).collect();
        let key = Arc::new(provider::EcdsaKey::new(identity.key));
        let certified = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let mut config = ServerConfig::builder_with_details(provider.rustls(), provider.clock())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certified));
        // Ours first: what a client prefers is fast on the client.
        config.ignore_client_order = true;
        config.alpn_protocols = [b"http/1.1".to_vec()].to_vec();
        config.ticketer = provider.tickets();
        config.send_tls13_tickets = 1;
        Ok(Self(Arc::new(config)))
    }
}
