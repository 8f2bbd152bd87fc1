//! The host's name on its network: the socket of `management::mdns`.
//!
//! Called by: [`crate::network`]. A name is asked for before it is used; where another host has it this one says so on the
//! console and in the API, keeps silent, and asks again a minute later.

use crate::addresses::Addresses;
use crate::vmkernel::Vmkernel;
use alloc::vec;
use core::net::IpAddr;
use embassy_futures::select::{Either3, select, select3};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Instant, Timer, with_deadline};
use management::mdns::{GROUP_V4, GROUP_V6, Me, PACKET_MAX, PORT};
use management::settings::Settings;

/// Packets each way, and their bytes.
const PACKETS: usize = 8;
const BYTES: usize = 8192;
/// RFC 6762, 8.1 and 8.3: three questions, then two announcements.
const PROBES: u32 = 3;
const PROBE: Duration = Duration::from_millis(250);
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCE: Duration = Duration::from_secs(1);
/// Until a name that another host has is asked for again.
const TAKEN: Duration = Duration::from_secs(60);

/// Answers for ever.
pub async fn run(stack: Stack<'static>, addresses: &Addresses, settings: &Settings, vmkernel: &Vmkernel) {
    // The tables have room for both.
    let _ = (stack.join_multicast_group(GROUP_V4), stack.join_multicast_group(GROUP_V6));
    let (mut heard, mut said) = ([PacketMetadata::EMPTY; PACKETS], [PacketMetadata::EMPTY; PACKETS]);
    let (mut incoming, mut outgoing) = (vec![0; BYTES], vec![0; BYTES]);
    let mut socket = UdpSocket::new(stack, &mut heard, &mut incoming, &mut said, &mut outgoing);
    socket.set_hop_limit(Some(255));
    if socket.bind(PORT).is_err() {
        return;
    }
    let mut current = settings.differ_from(None).await;
    loop {
        let own = addresses.all();
        let me = Me::new(&current.name, &own);
        let end = select3(
            speak(&socket, &me),
            addresses.differ_from(&own),
            settings.name_differs_from(&current.name),
        )
        .await;
        let taken = matches!(end, Either3::First(()));
        settings.network.borrow_mut().name_is_taken = taken;
        if taken {
            vmkernel
                .log(format_args!("another host answers to {}.local: this one keeps silent", current.name));
            let _ = select(Timer::after(TAKEN), settings.name_differs_from(&current.name)).await;
        } else {
            tell(&socket, &me.goodbye()).await;
        }
        current = settings.current();
    }
}

/// Asks for the name, announces it and answers; is done when another host has it.
async fn speak(socket: &UdpSocket<'_>, me: &Me) {
    let mut packet = vec![0; PACKET_MAX];
    let mut round = 0;
    let mut next = Instant::now();
    loop {
        if round < PROBES + ANNOUNCEMENTS && Instant::now() >= next {
            let is_probe = round < PROBES;
            tell(socket, &if is_probe { me.probe() } else { me.announcement() }).await;
            next = Instant::now() + if is_probe { PROBE } else { ANNOUNCE };
            round += 1;
        }
        let receive = socket.recv_from(&mut packet);
        let received = if round < PROBES + ANNOUNCEMENTS {
            match with_deadline(next, receive).await {
                Ok(received) => received,
                Err(_) => continue,
            }
        } else {
            receive.await
        };
        // One that is longer than a frame was not sent to this group.
        let Ok((bytes, from)) = received else { continue };
        let message = &packet[..bytes];
        if me.is_taken(message) {
            return;
        }
        let reply = me.answer(message, IpAddr::from(from.endpoint.addr), from.endpoint.port);
        // Before the name is its own it is only asked for.
        let Some(reply) = reply.filter(|_| round >= PROBES) else { continue };
        if reply.is_unicast {
            let _ = socket.send_to(&reply.bytes, from.endpoint).await;
        } else {
            tell(socket, &reply.bytes).await;
        }
    }
}

/// To everyone, by both protocols as far as there is an address.
async fn tell(socket: &UdpSocket<'_>, packet: &[u8]) {
    for group in [IpAddress::Ipv4(GROUP_V4), IpAddress::Ipv6(GROUP_V6)] {
        let _ = socket.send_to(packet, (group, PORT)).await;
    }
}
