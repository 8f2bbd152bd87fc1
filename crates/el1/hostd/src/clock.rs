//! The time from the network: the socket of `management::sntp`, and the call that sets the host's clock.
//!
//! Called by: [`crate::network`]. The time of day goes to the vmkernel, which has the clock; sessions and lock-outs do not
//! depend on it.

use crate::server::Server;
use crate::vmkernel::Vmkernel;
use abi::Call;
use alloc::format;
use alloc::string::String;
use core::cell::Cell;
use core::net::IpAddr;
use core::time::Duration;
use embassy_futures::select::select;
use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpAddress, IpEndpoint, Stack};
use embassy_time::{Instant, with_deadline};
use management::port::Platform;
use management::sntp::{self, ANSWER, BYTES, Clock, Next, Reading, Refusal};

/// Asks for ever, as the settings say.
pub async fn run(stack: Stack<'static>, server: &Server, platform: &impl Platform, vmkernel: &Vmkernel) {
    let settings = &server.management().settings;
    settings.differ_from(None).await;
    let said = Cell::new(false);
    loop {
        let ntp = settings.current().ntp;
        if ntp.is_empty() && !vmkernel.time().is_known {
            vmkernel.log(format_args!("the time is not known: no NTP server is set"));
        }
        let clock = Clock::new(&ntp);
        let keep = Keep { stack, server, platform, vmkernel, said: &said };
        select(keep.run(clock), settings.ntp_differs_from(&ntp)).await;
    }
}

/// What keeping the time takes.
struct Keep<'a, P> {
    stack: Stack<'static>,
    server: &'a Server,
    platform: &'a P,
    vmkernel: &'a Vmkernel,
    /// Whether it was said that the time is known.
    said: &'a Cell<bool>,
}

/// Why there is no time.
enum Failure {
    Refused(Refusal),
    Silent(&'static str),
}

impl<P: Platform> Keep<'_, P> {
    async fn run(&self, mut clock: Clock) {
        loop {
            let wait = match clock.step() {
                Next::Never => core::future::pending().await,
                Next::Wait(time) => time,
                Next::Ask(name) => self.ask(&mut clock, &name).await,
            };
            *self.server.management().settings.servers.borrow_mut() = clock.shown();
            self.platform.sleep(wait).await;
        }
    }

    /// Asks a server; how long to wait after that.
    async fn ask(&self, clock: &mut Clock, name: &str) -> Duration {
        let result = self.read(name).await;
        let now = self.platform.now();
        match result {
            Ok(reading) => match self.set(name, &reading) {
                Ok(offset) => return clock.took(now, offset),
                Err(why) => clock.failed(now, why),
            },
            Err(Failure::Refused(why)) => clock.refused(now, why),
            Err(Failure::Silent(why)) => clock.failed(now, String::from(why)),
        }
        Duration::ZERO
    }

    async fn read(&self, name: &str) -> Result<Reading, Failure> {
        let server = self.find(name).await.ok_or(Failure::Silent("no DNS server knows its name"))?;
        let nonce = self.vmkernel.random().ok().and_then(|bytes| bytes.first_chunk().copied());
        let nonce =
            u64::from_be_bytes(nonce.ok_or(Failure::Silent("there are no random numbers to ask with"))?);
        let (mut heard, mut said) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 1]);
        let (mut incoming, mut outgoing) = ([0; 8 * BYTES], [0; BYTES]);
        let mut socket = UdpSocket::new(self.stack, &mut heard, &mut incoming, &mut said, &mut outgoing);
        socket.bind(0).map_err(|_| Failure::Silent("there is no port to ask from"))?;
        let uptime = || Duration::from_nanos(self.vmkernel.time().uptime);
        let sent = uptime();
        let packet = sntp::request(nonce);
        socket.send_to(&packet, server).await.map_err(|_| Failure::Silent("the network has no way to it"))?;
        let end = Instant::now() + embassy_time::Duration::from_millis(ANSWER.as_millis() as u64);
        let mut packet = [0; 4 * BYTES];
        loop {
            let received = with_deadline(end, socket.recv_from(&mut packet)).await;
            let received = received.map_err(|_| Failure::Silent("it does not answer"))?;
            // Of another, or longer than any answer: it is waited for the right one.
            let Ok((bytes, from)) = received else { continue };
            if from.endpoint != server {
                continue;
            }
            match sntp::read(&packet[..bytes], nonce, sent, uptime()) {
                Err(Refusal::NotOurs) => {}
                result => return result.map_err(Failure::Refused),
            }
        }
    }

    async fn find(&self, name: &str) -> Option<IpEndpoint> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some((IpAddress::from(address), sntp::PORT).into());
        }
        for kind in [DnsQueryType::A, DnsQueryType::Aaaa] {
            let found = self.stack.dns_query(name, kind).await.ok();
            if let Some(address) = found.and_then(|found| found.first().copied()) {
                return Some((address, sntp::PORT).into());
            }
        }
        None
    }

    /// Sets the host's clock; by how many milliseconds it was behind.
    fn set(&self, name: &str, reading: &Reading) -> Result<i64, String> {
        let before = self.vmkernel.time();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let arguments = [nanos(reading.unix), nanos(reading.uptime), 0];
        self.vmkernel
            .call(Call::SetTime, &mut [], arguments)
            .map_err(|status| format!("the host does not take its time: {status:?}"))?;
        if !self.said.replace(true) {
            let seconds = reading.unix.as_secs();
            self.vmkernel.log(format_args!("the time is known: {seconds} seconds since 1970, by {name}"));
        }
        if !before.is_known {
            // What was made without knowing the time is made anew.
            self.server.management().renewal.look();
        }
        // Both at the moment of the call.
        let since = before.uptime.saturating_sub(nanos(reading.uptime));
        let right = nanos(reading.unix).saturating_add(since) / 1_000_000;
        Ok(right as i64 - (before.unix_seconds as i64).saturating_mul(1000))
    }
}
