//! What hostd shows a neighbour on its cable: which ports are open, its name, that it asks for the time; and what a neighbour
//! does not keep it from.

mod wire;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use system::Board;
use system::Machine;
use system::scene::{BOOT, on};
use wire::{HOST, ICMP, PEER, Packet, TCP, UDP, Wire, data, datagram, segment, word};

/// TCP's flags.
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
/// Clients that keep the door.
const CROWD: u16 = 2_000;
/// More than the sockets that listen.
const HALF_OPEN: u16 = 60;
/// A client's first message.
const HELLO: &[u8] = include_bytes!("../../../fuzz/fuzz_targets/client_hello.bin");
/// Ports that are tried at once: fewer frames than the host's card has buffers.
const AT_ONCE: usize = 32;
/// Tells a hung host from a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// 2027-01-15 08:00 UTC, since 1970 and since 1900.
const UNIX: u64 = 1_800_000_000;
const NTP: u64 = UNIX + 2_208_988_800;

/// Those ports of these that take connections. Every port has to answer.
fn open_tcp(wire: &mut Wire, ports: impl IntoIterator<Item = u16>) -> Result<BTreeSet<u16>> {
    let mut open = BTreeSet::new();
    let ports: Vec<u16> = ports.into_iter().collect();
    for some in ports.chunks(AT_ONCE) {
        answered(
            wire,
            some,
            |wire, port| wire.send_ipv4(HOST, TCP, &segment(40_000, port, SYN, 1)),
            |packet| {
                let port = (packet.protocol == TCP).then(|| word(&packet.payload, 0).ok()).flatten()?;
                if packet.payload.get(13) == Some(&SYN_ACK) {
                    open.insert(port);
                }
                Some(port)
            },
        )?;
    }
    for port in &open {
        wire.send_ipv4(HOST, TCP, &segment(40_000, *port, RST, 2));
    }
    Ok(open)
}

/// Those ports of these whose datagrams are not sent back as undeliverable.
fn open_udp(wire: &mut Wire, ports: impl IntoIterator<Item = u16>) -> Result<()> {
    let ports: Vec<u16> = ports.into_iter().collect();
    for some in ports.chunks(AT_ONCE) {
        let ask = |wire: &Wire, port| wire.send_ipv4(HOST, UDP, &datagram(HOST, 40_000, port, b"ping"));
        answered(wire, some, ask, |packet| {
            // Destination unreachable, port unreachable; then the packet: its IPv4 header, its ports.
            let is_refusal = packet.protocol == ICMP && packet.payload.starts_with(&[3, 3]);
            is_refusal.then(|| word(&packet.payload, 8 + 20 + 2).ok()).flatten()
        })?;
    }
    Ok(())
}

/// Asks again until there is an answer of each.
fn answered(
    wire: &mut Wire,
    ports: &[u16],
    ask: impl Fn(&Wire, u16),
    mut of: impl FnMut(&Packet) -> Option<u16>,
) -> Result<()> {
    let mut left: BTreeSet<u16> = ports.iter().copied().collect();
    let end = Instant::now() + PATIENCE;
    while !left.is_empty() {
        left.iter().for_each(|port| ask(wire, *port));
        while let Some(packet) = wire.receive() {
            if let Some(port) = of(&packet) {
                left.remove(&port);
            }
            if left.is_empty() {
                break;
            }
        }
        ensure!(Instant::now() < end, "no answer from ports {left:?}");
    }
    Ok(())
}

/// Asks by mDNS for the host's address until it is told.
fn name_is_answered(wire: &mut Wire) -> Result<()> {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x07bramble\x05local\0\0\x01\0\x01");
    let end = Instant::now() + PATIENCE;
    loop {
        wire.send_ipv4(group, UDP, &datagram(group, 5353, 5353, &query));
        while let Some(packet) = wire.receive() {
            let is_answer = packet.protocol == UDP
                && (packet.source, packet.destination) == (HOST, group)
                && word(&packet.payload, 0)? == 5353
                // A response with its one record, which ends in the address.
                && packet.payload.get(10..12) == Some(&[0x84, 0])
                && packet.payload.get(14..16) == Some(&[0, 1])
                && packet.payload.ends_with(&HOST.octets());
            if is_answer {
                return Ok(());
            }
        }
        ensure!(Instant::now() < end, "bramble.local is not answered");
    }
}

/// Answers the host's next question for the time.
fn time_is_told(wire: &mut Wire) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let Some(packet) = wire.receive() else {
            ensure!(Instant::now() < end, "nobody asks for the time");
            continue;
        };
        if packet.protocol != UDP || word(&packet.payload, 2)? != 123 {
            continue;
        }
        let port = word(&packet.payload, 0)?;
        let request = packet.payload.get(8..56).context("a request")?;
        let mut answer = vec![0; 48];
        (answer[0], answer[1]) = (0b00_100_100, 2);
        answer[24..32].copy_from_slice(&request[40..48]);
        let now = (NTP << 32).to_be_bytes();
        answer[32..40].copy_from_slice(&now);
        answer[40..48].copy_from_slice(&now);
        wire.send_ipv4(HOST, UDP, &datagram(HOST, 123, port, &answer));
        return Ok(());
    }
}

/// A host, and its neighbour on the cable.
fn beside(name: &str, arguments: &str) -> Result<(Machine, Wire)> {
    let (mut wire, netdev) = Wire::new()?;
    let mut scene = on(Board::VirtGicv3, name).cpus(2).test_guest("steady", 1, "steady")?;
    scene.config.extra.extend(netdev);
    scene.config.append = format!("{} hostd.address={HOST}/24,{PEER} {arguments}", scene.config.append);
    let machine = scene.start()?;
    wire.find_host()?;
    Ok((machine, wire))
}

/// The next segment to this port of ours.
fn segment_to(wire: &mut Wire, port: u16) -> Option<Vec<u8>> {
    loop {
        let packet = wire.receive()?;
        if packet.protocol == TCP && word(&packet.payload, 2).ok() == Some(port) && packet.payload.len() >= 20
        {
            return Some(packet.payload);
        }
    }
}

/// Asks for a connection from a port: the number of the host's first byte, or none where nobody listens.
fn ask_for_connection(wire: &mut Wire, port: u16) -> Result<Option<u32>> {
    let end = Instant::now() + PATIENCE;
    loop {
        wire.send_ipv4(HOST, TCP, &segment(port, 443, SYN, 1));
        while let Some(answer) = segment_to(wire, port) {
            let number = u32::from_be_bytes([answer[4], answer[5], answer[6], answer[7]]);
            match answer[13] {
                SYN_ACK => return Ok(Some(number.wrapping_add(1))),
                flags if flags & RST != 0 => return Ok(None),
                _ => {}
            }
        }
        ensure!(Instant::now() < end, "no answer to port {port}");
    }
}

/// Connects from a port again and again until the host answers to TLS.
fn is_served(wire: &mut Wire, ports: std::ops::Range<u16>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for port in ports {
        ensure!(Instant::now() < end, "the host serves nobody");
        let Some(number) = ask_for_connection(wire, port)? else {
            std::thread::sleep(Duration::from_millis(500));
            continue;
        };
        wire.send_ipv4(HOST, TCP, &data(port, 443, ACK, [2, number], HELLO));
        while let Some(answer) = segment_to(wire, port) {
            // A record of the handshake: ServerHello.
            if answer[20..].starts_with(&[0x16, 3, 3]) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("the host serves nobody")
}

/// Clients that connect, say nothing or the start of a message, and answer nothing more, not even the end.
#[test]
fn idle_vanished_and_half_open_clients_keep_nobody_out() -> Result<()> {
    let (mut machine, mut wire) = beside("network-crowd", "")?;
    machine.expect(&format!("hostd: https://{HOST}/"), BOOT)?;
    for port in 10_000..10_000 + CROWD {
        let number =
            ask_for_connection(&mut wire, port)?.with_context(|| format!("port {port}: nobody listens"))?;
        let said: &[u8] = if port % 2 == 0 { &HELLO[..3] } else { &[] };
        wire.send_ipv4(HOST, TCP, &data(port, 443, ACK, [2, number], said));
    }
    is_served(&mut wire, 30_000..31_000)?;
    // Those who do not even complete the handshake of TCP may have every socket, but not for long.
    let mut refused = 0;
    for port in 40_000..40_000 + HALF_OPEN {
        refused += u16::from(ask_for_connection(&mut wire, port)?.is_none());
    }
    ensure!(refused > 0, "{HALF_OPEN} sockets listen");
    is_served(&mut wire, 50_000..51_000)
}

#[test]
fn a_neighbour_finds_three_open_ports_a_name_and_tells_the_time() -> Result<()> {
    let (mut machine, mut wire) = beside("network", &format!("hostd.ntp={PEER}"))?;
    time_is_told(&mut wire)?;
    machine.expect(&format!("hostd: https://{HOST}/"), BOOT)?;
    name_is_answered(&mut wire)?;
    // The ones that services are known by, and those that this host has.
    let open = open_tcp(&mut wire, (1..=10_000).chain([49_152, 65_535]))?;
    ensure!(open == BTreeSet::from([80, 443]), "open: {open:?}");
    open_udp(&mut wire, (1..=2_048).chain([5_352, 5_354, 5_355, 65_535]))?;
    // After all that it answers still.
    name_is_answered(&mut wire)
}
