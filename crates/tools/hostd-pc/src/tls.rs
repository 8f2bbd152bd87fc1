//! TLS as a host has it: a CA and a certificate of its own, made at the start.

use crate::PcHost;
use anyhow::{Context, Result};
use management::identity::{Names, Now, find};
use management::tls::{Config, Host, Provider, Unseeded};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Pc {
    started: Instant,
}

impl Host for Pc {
    fn random(&self, into: &mut [u8]) -> Result<(), Unseeded> {
        getrandom::fill(into).map_err(|_| Unseeded)
    }

    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Makes them; the CA's fingerprint goes to the host's log.
pub async fn start(host: &PcHost) -> Result<Config> {
    // One for each host, which lives as long as the process.
    let pc: &'static Pc = Box::leak(Box::new(Pc { started: Instant::now() }));
    let names = Names::new("localhost", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).context("a host name")?;
    let now = Now { unix_seconds: pc.unix_time().as_secs(), is_known: true };
    let found = find(host, pc, &names, now).await.map_err(|fault| anyhow::anyhow!("no identity: {fault}"))?;
    host.log(&format!("CA's SHA-256: {}", found.fingerprint()));
    Config::new(&Provider::new(pc), found.identity).map_err(|error| anyhow::anyhow!("no TLS: {error}"))
}
