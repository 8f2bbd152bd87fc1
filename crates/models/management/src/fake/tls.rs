//! A host for TLS, and a server on it that hears what it is given.

use super::{Host, pair};
use crate::identity::{self, Names, Now};
use crate::tls::{self, Config, Provider, Tls, Unseeded};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use embassy_futures::join::join;
use embedded_io_async::Write;

/// The time of day of all of them, 2027-01-15.
pub const UNIX: u64 = 1_800_000_000;

/// A host whose numbers are repeatable and whose time is set.
pub struct TlsHost {
    state: AtomicU64,
    /// Seconds since it started.
    pub uptime: AtomicU64,
    /// Whether it has random numbers.
    pub seeded: AtomicBool,
}

impl TlsHost {
    /// A new one, each with the same numbers.
    pub fn new() -> &'static Self {
        Box::leak(Box::new(Self { state: 1.into(), uptime: 0.into(), seeded: true.into() }))
    }
}

impl tls::Host for TlsHost {
    fn random(&self, into: &mut [u8]) -> Result<(), Unseeded> {
        for byte in into {
            // splitmix64 (Steele, Lea, Flood 2014).
            let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let [_, _, _, _, taken, ..] = z.to_le_bytes();
            *byte = taken;
        }
        if self.seeded.load(Ordering::Relaxed) { Ok(()) } else { Err(Unseeded) }
    }

    fn unix_time(&self) -> Duration {
        Duration::from_secs(UNIX)
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.uptime.load(Ordering::Relaxed))
    }
}

/// A server, for a fuzzer.
pub struct TlsServer {
    fake: Host,
    config: Config,
}

impl TlsServer {
    /// One that is ready; `None`: it can't be made, which is a defect.
    pub fn new() -> Option<Self> {
        let (fake, host) = (Host::default(), TlsHost::new());
        let names = Names::new("esx0", &[])?;
        let now = Now { unix_seconds: UNIX, is_known: true };
        let found = fake.time.run(identity::find(&fake, host, &names, now))?.ok()?;
        let config = Config::new(&Provider::new(host), found.identity).ok()?;
        Some(Self { fake, config })
    }

    /// Hears these bytes, in pieces of at most `piece`, and then that the client is gone. Whether it came to an end, and
    /// not to an open connection.
    pub fn hear(&self, bytes: &[u8], piece: usize) -> bool {
        let (ours, mut theirs) = pair();
        let accept = async { Tls::accept(&self.fake, &self.config, ours).await.is_err() };
        let client = async move {
            for piece in bytes.chunks(piece.max(1)) {
                let mut rest = piece;
                while let Ok(sent @ 1..) = theirs.write(rest).await {
                    rest = rest.get(sent..).unwrap_or_default();
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        };
        self.fake.time.run(join(accept, client)).is_some_and(|(refused, ())| refused)
    }
}
