//! hostd's network: TCP/IP over its card, who answers there, and who asks. Open are 443 (HTTPS), 80 (a redirection) and
//! UDP 5353 (the host's name).
//!
//! Called by: `main`. Calls: `embassy-net` over [`crate::card`]. Sockets and their buffers are of fixed number and size.

use crate::addresses::{self, Addresses};
use crate::card::Card;
use crate::executor::Task;
use crate::port::World;
use crate::server::{self, Server};
use crate::vmkernel::Vmkernel;
use crate::{clock, name};
use alloc::boxed::Box;
use alloc::string::ToString;
use el1::Boot;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Stack, StackResources};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::Write;
use futures_util::stream::{FuturesUnordered, StreamExt};
use management::redirect;

/// All sockets: also DHCP, DNS, the host's name, the time, and what routers announce.
const SOCKETS: usize = server::SOCKETS + PLAIN_CONNECTIONS + 5;
/// HTTP, for which there is no more than a hint.
const PLAIN_PORT: u16 = 80;
/// Connections at a time there, and how long each may take.
const PLAIN_CONNECTIONS: usize = 2;
const PLAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the network of this card for ever.
pub async fn run(boot: &'static Boot, vmkernel: &'static Vmkernel, world: World, card: Card, seed: u64) {
    let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
    let mac = card.address();
    // The settings say the rest, once they are read.
    let (stack, mut runner) = embassy_net::new(card, Config::default(), resources, seed);
    let tasks: FuturesUnordered<Task> = FuturesUnordered::new();
    let server: &'static Server = Box::leak(Box::new(Server::new(boot, vmkernel, world)));
    let settings = &server.management().settings;
    settings.set_defaults(addresses::defaults(boot, vmkernel));
    let addresses: &'static Addresses = Box::leak(Box::new(Addresses::new(stack, mac)));
    tasks.push(Box::pin(server.manage()));
    tasks.push(Box::pin(async move { addresses.follow(settings, &world).await }));
    tasks.push(Box::pin(addresses.watch(settings)));
    tasks.push(Box::pin(server.identify(addresses)));
    tasks.push(Box::pin(name::run(stack, addresses, settings, vmkernel)));
    tasks.push(Box::pin(async move { clock::run(stack, server, &world, vmkernel).await }));
    (0..server::SOCKETS).for_each(|_| tasks.push(Box::pin(server.connections(stack))));
    (0..PLAIN_CONNECTIONS).for_each(|_| tasks.push(Box::pin(redirections(stack))));
    // Of its own: the sockets are looked through when something of theirs woke it, not whenever any task is.
    tasks.push(Box::pin(async move { runner.run().await }));
    tasks.collect::<()>().await;
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
