//! hostd's network: IPv4 by DHCP or as the boot argument says, IPv6 link-local, over its card; and who answers there.
//!
//! | boot argument | what |
//! |---|---|
//! | `hostd.address=A.B.C.D/N[,GATEWAY]` | this address; without it DHCP |
//!
//! Called by: `main`. Calls: `embassy-net` over [`crate::card`]. Sockets and their buffers are of fixed number and size.

use crate::card::Card;
use crate::executor::Task;
use crate::port::World;
use crate::server::{self, Server};
use crate::vmkernel::Vmkernel;
use alloc::boxed::Box;
use alloc::string::ToString;
use core::str::FromStr;
use el1::Boot;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, ConfigV4, ConfigV6, Ipv4Cidr, Ipv6Address, Ipv6Cidr, Stack, StackResources};
use embassy_net::{StaticConfigV4, StaticConfigV6};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::Write;
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use management::redirect;

/// All sockets, with the stack's own (DHCP), and for what asks others.
const SOCKETS: usize = server::SOCKETS + PLAIN_CONNECTIONS + 4;
/// HTTP, for which there is no more than a hint.
const PLAIN_PORT: u16 = 80;
/// Connections at a time there, and how long each may take.
const PLAIN_CONNECTIONS: usize = 2;
const PLAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the network of this card for ever.
pub async fn run(boot: &'static Boot, vmkernel: &'static Vmkernel, world: World, card: Card, seed: u64) {
    let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
    let config = configuration(boot, vmkernel, card.address());
    let (stack, mut runner) = embassy_net::new(card, config, resources, seed);
    let tasks: FuturesUnordered<Task> = FuturesUnordered::new();
    let server: &'static Server = Box::leak(Box::new(Server::new(boot, vmkernel, world)));
    tasks.push(Box::pin(server.manage()));
    tasks.push(Box::pin(server.identify(stack)));
    (0..server::SOCKETS).for_each(|_| tasks.push(Box::pin(server.connections(stack))));
    (0..PLAIN_CONNECTIONS).for_each(|_| tasks.push(Box::pin(redirections(stack))));
    join(runner.run(), tasks.collect::<()>()).await;
}

fn configuration(boot: &'static Boot, vmkernel: &Vmkernel, mac: [u8; 6]) -> Config {
    let mut config = Config::default();
    config.ipv6 = ConfigV6::Static(StaticConfigV6 {
        address: Ipv6Cidr::new(link_local(mac), 64),
        gateway: None,
        dns_servers: Default::default(),
    });
    config.ipv4 = match crate::argument(boot, "hostd.address=").map(|text| (text, fixed(text))) {
        Some((_, Some(fixed))) => ConfigV4::Static(fixed),
        Some((text, None)) => {
            vmkernel.log(format_args!("hostd.address={text} is no A.B.C.D/N[,GATEWAY]: DHCP instead"));
            ConfigV4::Dhcp(Default::default())
        }
        None => ConfigV4::Dhcp(Default::default()),
    };
    config
}

/// `A.B.C.D/N[,GATEWAY]`.
fn fixed(text: &str) -> Option<StaticConfigV4> {
    let (address, gateway) = match text.split_once(',') {
        Some((address, gateway)) => (address, Some(gateway.parse().ok()?)),
        None => (text, None),
    };
    let address = Ipv4Cidr::from_str(address).ok()?;
    Some(StaticConfigV4 { address, gateway, dns_servers: Default::default() })
}

/// Of a MAC address: RFC 4291, 2.5.6 and appendix A.
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Address {
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Address::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// Tells who comes by plain HTTP where it is by HTTPS, one after the other.
async fn redirections(stack: Stack<'static>) {
    let (mut receive, mut send) = ([0; redirect::HEAD_BYTES], [0; 1024]);
    loop {
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        if socket.accept(PLAIN_PORT).await.is_err() {
            continue;
        }
        socket.set_timeout(Some(PLAIN_PATIENCE));
        // What does not come, or is not taken, within the time limit is let go.
        let _ = with_timeout(PLAIN_PATIENCE, redirection(stack, &mut socket)).await;
        socket.abort();
    }
}

async fn redirection(
    stack: Stack<'static>,
    socket: &mut TcpSocket<'_>,
) -> Result<(), embassy_net::tcp::Error> {
    let mut head = [0; redirect::HEAD_BYTES];
    let mut bytes = 0;
    while bytes < head.len() && !redirect::is_whole(&head[..bytes]) {
        match socket.read(&mut head[bytes..]).await? {
            0 => break,
            more => bytes += more,
        }
    }
    let address = stack.config_v4().map(|config| config.address.address().to_string()).unwrap_or_default();
    socket.write_all(redirect::answer(&head[..bytes], &address).as_bytes()).await?;
    socket.close();
    socket.flush().await
}
