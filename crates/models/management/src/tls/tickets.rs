//! Tickets: a client that comes back within some hours shows one and saves the signature. RFC 8446, 4.6.1; RFC 5077, 4.
//!
//! Called by: rustls. A ticket is the session's secret, encrypted under a key that lives in RAM only, and changes: what a
//! later thief of the key can read is bounded by [`LIFE`]. Stateless: a crowd of clients costs no memory.

use super::{Of, Unseeded};
use aead::{Aead, KeyInit};
use alloc::vec::Vec;
use chacha20poly1305::ChaCha20Poly1305;
use core::fmt;
use core::time::Duration;
use rustls::server::ProducesTickets;
use spin::mutex::SpinMutex;

/// How long a key makes tickets; it reads them for as long again.
const LIFE: Duration = Duration::from_secs(6 * 3600);
const NONCE: usize = 12;

struct Key {
    cipher: ChaCha20Poly1305,
    born: Duration,
}

#[derive(Default)]
struct Keys {
    current: Option<Key>,
    previous: Option<Key>,
}

/// Makes and reads them.
pub struct Tickets {
    host: Of,
    keys: SpinMutex<Keys>,
}

impl Tickets {
    /// With keys from this host's random numbers.
    pub fn new(host: Of) -> Self {
        Self { host, keys: SpinMutex::new(Keys::default()) }
    }

    fn fill(&self, into: &mut [u8]) -> Option<()> {
        self.host.0.random(into).map_err(|Unseeded| ()).ok()
    }

    /// Lets go of keys that are too old.
    fn age(&self, keys: &mut Keys) {
        let now = self.host.0.uptime();
        let is_over = |key: &Key, life: Duration| now.saturating_sub(key.born) >= life;
        if keys.current.as_ref().is_some_and(|key| is_over(key, LIFE)) {
            keys.previous = keys.current.take();
        }
        if keys.previous.as_ref().is_some_and(|key| is_over(key, LIFE.saturating_mul(2))) {
            keys.previous = None;
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        self.fill(&mut nonce)?;
        let mut keys = self.keys.lock();
        self.age(&mut keys);
        if keys.current.is_none() {
            let mut secret = [0; 32];
            self.fill(&mut secret)?;
            let cipher = ChaCha20Poly1305::new(&secret.into());
            keys.current = Some(Key { cipher, born: self.host.0.uptime() });
        }
        let sealed = keys.current.as_ref()?.cipher.encrypt(&nonce.into(), plain).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE>()?;
        let mut keys = self.keys.lock();
        self.age(&mut keys);
        [&keys.current, &keys.previous]
            .into_iter()
            .flatten()
            .find_map(|key| key.cipher.decrypt(nonce.into(), sealed).ok())
    }
}
