//! The cryptography that rustls is given: RustCrypto's, in portable code (a Raspberry Pi 4 has no AES instructions).
//!
//! Called by: rustls. ChaCha20-Poly1305 stands first, for the same reason. Random numbers are the host's alone; a key
//! exchange without them fails.

mod aead;
mod exchange;
mod hash;
mod signature;

pub(super) use signature::EcdsaKey;

use super::tickets::Tickets;
use super::{Host, Of, Unseeded};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use exchange::{P256, X25519};
use rustls::crypto::{
    CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SupportedKxGroup,
    WebPkiSupportedAlgorithms, tls13::HkdfUsingHmac,
};
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::sign::SigningKey;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, Error, SupportedCipherSuite, Tls13CipherSuite};

/// RFC 8446, 5.5 "Limits on Key Usage": of AES-GCM 2^24.5 records; of ChaCha20-Poly1305 more than there can be.
const AES_GCM_RECORDS: u64 = 1 << 24;

static CHACHA20_POLY1305: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &hash::Sha256,
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&hash::HmacSha256),
    aead_alg: &aead::CHACHA20_POLY1305,
    quic: None,
};

static AES_128_GCM: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
        hash_provider: &hash::Sha256,
        confidentiality_limit: AES_GCM_RECORDS,
    },
    hkdf_provider: &HkdfUsingHmac(&hash::HmacSha256),
    aead_alg: &aead::AES_128_GCM,
    quic: None,
};

/// The cryptography over one host, made once.
pub struct Provider {
    host: Of,
    rustls: Arc<CryptoProvider>,
    tickets: Arc<Tickets>,
}

impl Provider {
    /// Over this host.
    pub fn new(host: &'static dyn Host) -> Self {
        let host = Of(host);
        let random: &'static Of = Box::leak(Box::new(host));
        let x25519: &'static dyn SupportedKxGroup = Box::leak(Box::new(X25519(host)));
        let p256: &'static dyn SupportedKxGroup = Box::leak(Box::new(P256(host)));
        let rustls = CryptoProvider {
            cipher_suites: vec![
                SupportedCipherSuite::Tls13(&CHACHA20_POLY1305),
                SupportedCipherSuite::Tls13(&AES_128_GCM),
            ],
            kx_groups: vec![x25519, p256],
            // Clients have no certificates.
            signature_verification_algorithms: WebPkiSupportedAlgorithms { all: &[], mapping: &[] },
            secure_random: random,
            key_provider: &NoKeys,
        };
        Self { host, rustls: Arc::new(rustls), tickets: Arc::new(Tickets::new(host)) }
    }

    pub(super) fn rustls(&self) -> Arc<CryptoProvider> {
        self.rustls.clone()
    }

    pub(super) fn clock(&self) -> Arc<dyn TimeProvider> {
        Arc::new(self.host)
    }

    pub(super) fn tickets(&self) -> Arc<dyn ProducesTickets> {
        self.tickets.clone()
    }
}

impl SecureRandom for Of {
    fn fill(&self, into: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.random(into).map_err(|Unseeded| GetRandomFailed)
    }
}

impl TimeProvider for Of {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix_time()))
    }
}

/// Keys are given as keys: none is read from bytes.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("keys are given as keys".into()))
    }
}
