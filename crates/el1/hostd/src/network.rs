//! hostd's network: IPv4 by DHCP or as the boot argument says, IPv6 link-local, over its card; and who answers there.
//!
//! | boot argument | what |
//! |---|---|
//! | `hostd.address=A.B.C.D/N[,GATEWAY]` | this address; without it DHCP |
//!
//! Called by: `main`. Calls: `embassy-net` over [`crate::card`]. Sockets and their buffers are of fixed number and size.

use crate::card::Card;
use crate::executor::Task;
use crate::vmkernel::Vmkernel;
use alloc::boxed::Box;
use alloc::vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::str::FromStr;
use core::task::Poll;
use el1::Boot;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, ConfigV4, ConfigV6, Ipv4Cidr, Ipv6Address, Ipv6Cidr, Stack, StackResources};
use embassy_net::{StaticConfigV4, StaticConfigV6};
use embassy_time::Duration;
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};

/// Connections at a time.
const CONNECTIONS: usize = 32;
/// … and sockets of the stack's own (DHCP), and for what asks others.
const SOCKETS: usize = CONNECTIONS + 4;
/// Buffers of a connection.
const RECEIVE: usize = 8 * 1024;
const SEND: usize = 16 * 1024;
/// HTTPS.
const PORT: u16 = 443;
/// A peer that says nothing for so long is asked whether it is there, and is given up after …
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(120);

/// Runs the network of this card for ever.
pub async fn run(boot: &'static Boot, vmkernel: &'static Vmkernel, card: Card, seed: u64) {
    let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
    let config = configuration(boot, vmkernel, card.address());
    let (stack, mut runner) = embassy_net::new(card, config, resources, seed);
    let tasks: FuturesUnordered<Task> = FuturesUnordered::new();
    tasks.push(Box::pin(announce(vmkernel, stack)));
    (0..CONNECTIONS).for_each(|_| tasks.push(Box::pin(connections(stack))));
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

/// Says each address that the host gets.
async fn announce(vmkernel: &'static Vmkernel, stack: Stack<'static>) {
    let mut told = None;
    loop {
        let address = stack.config_v4().map(|config| config.address.address());
        if let Some(address) = address.filter(|_| told != address) {
            vmkernel.log(format_args!("https://{address}/"));
        }
        told = address;
        // It wakes this task at every change; the link-local address never goes.
        let mut down = pin!(stack.wait_config_down());
        poll_fn(|context| {
            let now = stack.config_v4().map(|config| config.address.address());
            if now != told { Poll::Ready(()) } else { down.as_mut().poll(context) }
        })
        .await;
    }
}

/// One connection after the other.
async fn connections(stack: Stack<'static>) {
    let (mut receive, mut send) = (vec![0; RECEIVE], vec![0; SEND]);
    loop {
        let mut socket = TcpSocket::new(stack, &mut receive, &mut send);
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(SILENCE));
        if socket.accept(PORT).await.is_err() {
            continue;
        }
        // TODO-REMOVED-LATER
        use embedded_io_async::Write;
        let mut b = [0; 512];
        let _ = socket.read(&mut b).await;
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").await;
        socket.close();
        let _ = socket.flush().await;
    }
}
