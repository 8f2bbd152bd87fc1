//! Who answers on port 443: connections under TLS, each served by `management`.
//!
//! Called by: [`crate::network`]. The sockets are more than the connections that there may be, so that a newcomer always
//! finds one that listens; who gives way to him says `management`.

use crate::port::World;
use crate::vmkernel::Vmkernel;
use crate::{argument, worker};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::net::IpAddr;
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;
use el1::Boot;
use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Timer, with_timeout};
use management::admission::CONNECTIONS_MAX;
use management::identity::{self, Fault, Found, Names, Now};
use management::tls::{Config, Provider, Tls};
use management::web::Web;
use management::{Management, Ticket, serve};

/// Sockets: one listens even when all connections are taken.
pub const SOCKETS: usize = CONNECTIONS_MAX + 4;
/// Buffers of a socket.
const RECEIVE: usize = 8 * 1024;
const SEND: usize = 8 * 1024;
/// HTTPS.
const PORT: u16 = 443;
/// The host's name while it has no other.
const HOST_NAME: &str = "bramble";
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
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

    /// Finds or makes the host's certificate, and does so again for each new address, and each day.
    pub async fn identify(&self, stack: Stack<'static>) {
        let mut told = None;
        let _ = with_timeout(ADDRESS, address_other_than(stack, None)).await;
        loop {
            let address = address(stack);
            match self.find(address, stack).await {
                Some(found) => {
                    let fingerprint = found.fingerprint();
                    match Config::new(&self.provider, found.identity) {
                        Ok(config) => *self.config.borrow_mut() = Some(config),
                        Err(error) => self.vmkernel.log(format_args!("certificate: {error}")),
                    }
                    if told.is_none() {
                        self.vmkernel.log(format_args!("CA certificate, SHA-256: {fingerprint}"));
                    }
                    if let Some(address) = address.filter(|_| told != Some(address)) {
                        self.vmkernel.log(format_args!("https://{address}/"));
                    }
                    told = Some(address);
                    let _ = with_timeout(DAY, address_other_than(stack, address)).await;
                }
                None => Timer::after(AGAIN).await,
            }
        }
    }

    async fn find(&self, address: Option<IpAddr>, stack: Stack<'static>) -> Option<Found> {
        let link_local = stack.config_v6().map(|config| IpAddr::V6(config.address.address()));
        let addresses: Vec<IpAddr> = address.into_iter().chain(link_local).collect();
        let names = Names::new(HOST_NAME, &addresses)?;
        let time = self.vmkernel.time();
        let now = Now { unix_seconds: time.unix_seconds, is_known: time.is_known };
        match identity::find(&self.world, self.vmkernel, &names, now).await {
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
            if socket.accept(PORT).await.is_err() {
                continue;
            }
            socket.set_keep_alive(Some(Duration::from_secs(30)));
            socket.set_timeout(Some(Duration::from_secs(60)));
            let config = self.config.borrow().clone();
            if let (Some(config), Some(ticket)) = (config, self.management.admit()) {
                self.connection(&mut socket, &config, ticket).await;
                socket.close();
                let _ = with_timeout(FAREWELL, socket.flush()).await;
            }
            socket.abort();
            let _ = with_timeout(FAREWELL, socket.flush()).await;
        }
    }

    async fn connection(&self, socket: &mut TcpSocket<'_>, config: &Config, ticket: Ticket<'_, World>) {
        let Some(peer) = socket.remote_endpoint() else { return };
        let before = worker::busy();
        let handshake = with_timeout(HANDSHAKE, Tls::accept(&self.world, config, socket));
        let Either::First(Ok(Ok(mut tls))) = select(handshake, ticket.given_up()).await else { return };
        if self.tells {
            let took = worker::busy() - before;
            self.vmkernel.log(format_args!("handshake: {took} us on the second vCPU"));
        }
        serve(&self.management, &mut tls, (IpAddr::from(peer.addr), peer.port).into(), ticket).await;
        let _ = with_timeout(FAREWELL, tls.close()).await;
        SERVED.fetch_add(1, Ordering::Relaxed);
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

/// The address by DHCP or boot argument.
fn address(stack: Stack<'static>) -> Option<IpAddr> {
    stack.config_v4().map(|config| IpAddr::V4(config.address.address()))
}

/// Is done when the address is another one.
async fn address_other_than(stack: Stack<'static>, old: Option<IpAddr>) {
    // It wakes this task at every change; the link-local address never goes.
    let mut down = pin!(stack.wait_config_down());
    poll_fn(|context| if address(stack) != old { Poll::Ready(()) } else { down.as_mut().poll(context) })
        .await;
}
