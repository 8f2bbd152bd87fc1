//! Who answers on port 443: connections under TLS, each served by `management`.
//!
//! Called by: [`crate::network`]. The sockets are more than the connections that there may be, so that a newcomer always
//! finds one that listens; who gives way to him says `management`.

use crate::addresses::{Addresses, Prefixed};
use crate::port::World;
use crate::vmkernel::Vmkernel;
use crate::{argument, worker};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU32, Ordering};
use el1::Boot;
use embassy_futures::select::select3;
use embassy_net::Stack;
use embassy_net::tcp::{self, TcpSocket};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use management::admission::CONNECTIONS_MAX;
use management::identity::{self, Fault, Found, Names, Now};
use management::tls::{Config, Provider};
use management::web::Web;
use management::{Management, Ticket, accept, serve};

/// Sockets: one listens even when all connections are taken.
pub const SOCKETS: usize = CONNECTIONS_MAX + 4;
/// Buffers of a socket: a whole record of a client's, and as much as it may send before it is told to go on.
const RECEIVE: usize = 16 * 1024;
const SEND: usize = 8 * 1024;
/// HTTPS.
const PORT: u16 = 443;
/// How long a client may take for TCP's handshake: until then it has a socket.
const HALF_OPEN: Duration = Duration::from_secs(4);
/// How long the last bytes of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an address is waited for before the certificate is looked at without one.
const ADDRESS: Duration = Duration::from_secs(5);
/// Until what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The certificate is looked at anew.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Connections that were served to their end; for tests (`hostd.after`).
pub static SERVED: AtomicU32 = AtomicU32::new(0);

/// What all connections have in common.
pub struct Server {
    world: World,
    vmkernel: &'static Vmkernel,
    management: Management<World>,
    provider: Provider,
    config: RefCell<Option<Config>>,
    /// Say what each handshake took: the boot argument `hostd.handshakes`.
    tells: bool,
}

impl Server {
    /// Over this world.
    pub fn new(boot: &'static Boot, vmkernel: &'static Vmkernel, world: World) -> Self {
        Self {
            world,
            vmkernel,
            management: Management::new(world).with_web(web(vmkernel)),
            provider: Provider::new(vmkernel),
            config: RefCell::new(None),
            tells: argument(boot, "hostd.handshakes").is_some(),
        }
    }

    /// What `management` does by itself.
    pub async fn manage(&self) {
        self.management.run().await;
    }

    /// What is managed.
    pub fn management(&self) -> &Management<World> {
        &self.management
    }

    /// Finds or makes the host's certificate, and does so again for each new address or name, when the time becomes known,
    /// when it is asked for, and each day.
    pub async fn identify(&self, addresses: &'static Addresses) {
        let (settings, renewal) = (&self.management.settings, &self.management.renewal);
        let mut name = settings.differ_from(None).await.name;
        let mut told = None;
        let first = addresses.all();
        let _ = with_timeout(ADDRESS, addresses.differ_from(&first)).await;
        loop {
            let heard = renewal.rings();
            let all = addresses.all();
            let Some(found) = self.find(&name, &all).await else {
                Timer::after(AGAIN).await;
                name = settings.current().name;
                continue;
            };
            let fingerprint = found.fingerprint();
            match Config::new(&self.provider, found.identity) {
                Ok(config) => *self.config.borrow_mut() = Some(config),
                Err(error) => self.vmkernel.log(format_args!("certificate: {error}")),
            }
            if told.as_ref().is_none_or(|(old, _)| *old != fingerprint) {
                self.vmkernel.log(format_args!("CA certificate, SHA-256: {fingerprint}"));
            }
            // The link-local one, the last, is no use without the name of a client's card.
            let address = all.first().filter(|_| all.len() > 1).map(|(address, _)| *address);
            let is_told = |address: &IpAddr| told.as_ref().is_some_and(|(_, old)| *old == Some(*address));
            if let Some(address) = address.filter(|address| !is_told(address)) {
                match address {
                    IpAddr::V4(address) => self.vmkernel.log(format_args!("https://{address}/")),
                    IpAddr::V6(address) => self.vmkernel.log(format_args!("https://[{address}]/")),
                }
            }
            told = Some((fingerprint, address));
            let other =
                select3(addresses.differ_from(&all), settings.name_differs_from(&name), renewal.after(heard));
            let _ = with_timeout(DAY, other).await;
            name = settings.current().name;
        }
    }

    async fn find(&self, name: &str, addresses: &[Prefixed]) -> Option<Found> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|(address, _)| *address).collect();
        let names = Names::new(name, &addresses)?;
        let time = self.vmkernel.time();
        let now = Now { unix_seconds: time.unix_seconds, is_known: time.is_known };
        let result = if self.management.renewal.take() {
            identity::renew(&self.world, self.vmkernel, &names, now).await
        } else {
            identity::find(&self.world, self.vmkernel, &names, now).await
        };
        match result {
            Ok(found) => Some(found),
            Err(Fault::Unseeded) => None,
            Err(fault) => {
                self.vmkernel.log(format_args!("its certificate is not kept: {fault}"));
                identity::unkept(self.vmkernel, &names, now).await.ok()
            }
        }
    }

    /// One connection after the other.
    pub async fn connections(&self, stack: Stack<'static>) {
        let (mut receive, mut send) = (vec![0; RECEIVE], vec![0; SEND]);
        loop {
            let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
            // One whose peer never completed the handshake would listen to nobody else.
            socket.set_timeout(Some(HALF_OPEN));
            if socket.accept(PORT).await.is_err() || !socket.may_send() {
                continue;
            }
            // What is written is a whole record, or the rest of one.
            socket.set_nagle_enabled(false);
            socket.set_keep_alive(Some(Duration::from_secs(30)));
            socket.set_timeout(Some(Duration::from_secs(60)));
            let config = self.config.borrow().clone();
            let peer =
                socket.remote_endpoint().map(|peer| SocketAddr::from((IpAddr::from(peer.addr), peer.port)));
            if let (Some(config), Some(peer)) = (config, peer)
                && let Some(ticket) = self.management.admit(peer.ip())
                && self.connection(&mut socket, &config, peer, ticket).await
            {
                socket.close();
                let _ = with_timeout(FAREWELL, socket.flush()).await;
            }
            socket.abort();
            let _ = with_timeout(FAREWELL, socket.flush()).await;
        }
    }

    /// Serves a connection. Whether it ended by itself: who gave way is shown out at once, since the next one needs the
    /// socket and a peer that has vanished would hold it up.
    async fn connection(
        &self,
        socket: &mut TcpSocket<'_>,
        config: &Config,
        peer: SocketAddr,
        ticket: Ticket<'_, World>,
    ) -> bool {
        let before = worker::busy();
        let Some(mut tls) = accept(config, Prompt(socket), &ticket).await else { return !ticket.gave_way() };
        if self.tells {
            let took = worker::busy() - before;
            self.vmkernel.log(format_args!("handshake: {took} us on the second vCPU"));
        }
        let is_whole = serve(&self.management, &mut tls, peer, ticket).await;
        if is_whole {
            let _ = with_timeout(FAREWELL, tls.close()).await;
        }
        SERVED.fetch_add(1, Ordering::Relaxed);
        is_whole
    }
}

/// A socket whose flush does not wait. What is in its buffer goes out by itself; embassy would wait for the peer's
/// acknowledgement, which may come half a second later (RFC 9293, 3.8.6.3), with the next byte of a console behind it.
struct Prompt<'a, 's>(&'a mut TcpSocket<'s>);

impl ErrorType for Prompt<'_, '_> {
    type Error = tcp::Error;
}

impl Read for Prompt<'_, '_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, tcp::Error> {
        self.0.read(into).await
    }
}

impl Write for Prompt<'_, '_> {
    async fn write(&mut self, from: &[u8]) -> Result<usize, tcp::Error> {
        self.0.write(from).await
    }

    async fn flush(&mut self) -> Result<(), tcp::Error> {
        Ok(())
    }
}

/// The web UI that was packed when this was built.
fn web(vmkernel: &Vmkernel) -> Web {
    let web = Web::open(include_bytes!(env!("WEB")));
    if web.is_none() {
        vmkernel.log(format_args!("its web UI is damaged: there is only the API"));
    }
    web.unwrap_or_default()
}
