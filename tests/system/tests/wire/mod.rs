//! The other end of the host's cable: frames as they are, and a neighbour who sends what nobody's network stack would.
//!
//! QEMU's `-netdev dgram` carries each frame in a datagram on the loopback interface.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// The neighbour, and the host beside it.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
/// Protocols.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Tells a hung host from a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cable.
pub struct Wire {
    socket: UdpSocket,
    host: [u8; 6],
}

/// An IPv4 packet that came.
pub struct Packet {
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub payload: Vec<u8>,
}

impl Wire {
    /// A cable, and QEMU's arguments for the host's end of it.
    pub fn new() -> Result<(Self, Vec<OsString>)> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let here = socket.local_addr()?.port();
        let there = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        socket.connect(("127.0.0.1", there))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let netdev = format!(
            "dgram,id=uplink,local.type=inet,local.host=127.0.0.1,local.port={there},\
             remote.type=inet,remote.host=127.0.0.1,remote.port={here}"
        );
        let arguments = ["-netdev", &netdev, "-device", "virtio-net-device,netdev=uplink"];
        Ok((Self { socket, host: [0xff; 6] }, arguments.map(OsString::from).to_vec()))
    }

    /// Learns the host's MAC address, by ARP.
    pub fn find_host(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.host == [0xff; 6] {
            self.send([0xff; 6], ARP, &arp(1, [0; 6]));
            let _ = self.receive();
            if Instant::now() > end {
                bail!("nobody answers at {HOST}");
            }
        }
        Ok(())
    }

    /// Sends an IPv4 packet to the host; to a group where `to` is one.
    pub fn send_ipv4(&self, to: Ipv4Addr, protocol: u8, payload: &[u8]) {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 255, protocol, 0, 0];
        packet.extend(PEER.octets());
        packet.extend(to.octets());
        let bytes = (packet.len() + payload.len()) as u16;
        packet[2..4].copy_from_slice(&bytes.to_be_bytes());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        let [_, b, c, d] = to.octets();
        let mac = if to.is_multicast() { [1, 0, 0x5e, b & 0x7f, c, d] } else { self.host };
        self.send(mac, IPV4, &packet);
    }

    /// The next IPv4 packet, if one comes soon. ARP is answered on the way.
    pub fn receive(&mut self) -> Option<Packet> {
        let mut frame = [0; 2048];
        loop {
            let bytes = self.socket.recv(&mut frame).ok()?;
            let (Some(kind), Some(rest)) = (frame.get(12..14), frame.get(14..bytes)) else { continue };
            match u16::from_be_bytes([kind[0], kind[1]]) {
                ARP => self.hear_arp(rest),
                IPV4 => match packet(rest) {
                    Some(packet) => return Some(packet),
                    None => continue,
                },
                _ => {}
            }
        }
    }

    /// The host asks for us, or answers.
    fn hear_arp(&mut self, message: &[u8]) {
        let (Some(sender), Some(address), Some(target)) =
            (message.get(8..14), message.get(14..18), message.get(24..28))
        else {
            return;
        };
        if address == HOST.octets() {
            self.host.copy_from_slice(sender);
        }
        if message.get(6..8) == Some(&[0, 1]) && target == PEER.octets() {
            self.send(self.host, ARP, &arp(2, self.host));
        }
    }

    fn send(&self, to: [u8; 6], kind: u16, payload: &[u8]) {
        let mut frame = [&to[..], &PEER_MAC, &kind.to_be_bytes(), payload].concat();
        frame.resize(frame.len().max(60), 0);
        // A frame that is lost is sent again by who waits for its answer.
        let _ = self.socket.send(&frame);
    }
}

/// A segment that asks for a connection, or gives one up.
pub fn segment(from: u16, to: u16, flags: u8, sequence: u32) -> Vec<u8> {
    data(from, to, flags, [sequence, 0], &[])
}

/// A segment with bytes. `numbers`: of its first byte, and of the first that is expected.
pub fn data(from: u16, to: u16, flags: u8, numbers: [u32; 2], bytes: &[u8]) -> Vec<u8> {
    let [sequence, expected] = numbers.map(u32::to_be_bytes);
    let mut segment = [&from.to_be_bytes()[..], &to.to_be_bytes(), &sequence, &expected].concat();
    segment.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    segment.extend(bytes);
    let sum = checksum(&[&pseudo(HOST, TCP, segment.len())[..], &segment].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// A datagram.
pub fn datagram(to: Ipv4Addr, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let bytes = (8 + payload.len()) as u16;
    let mut datagram =
        [&from_port.to_be_bytes()[..], &to_port.to_be_bytes(), &bytes.to_be_bytes(), &[0; 2], payload]
            .concat();
    let sum = checksum(&[&pseudo(to, UDP, datagram.len())[..], &datagram].concat());
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn pseudo(to: Ipv4Addr, protocol: u8, bytes: usize) -> Vec<u8> {
    [&PEER.octets()[..], &to.octets(), &[0, protocol], &(bytes as u16).to_be_bytes()].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn packet(bytes: &[u8]) -> Option<Packet> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let address = |at: usize| Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?));
    Some(Packet {
        protocol: *bytes.get(9)?,
        source: address(12)?,
        destination: address(16)?,
        payload: bytes.get(header..length)?.to_vec(),
    })
}

fn arp(operation: u8, target: [u8; 6]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &PEER_MAC, &PEER.octets(), &target, &HOST.octets()].concat()
}

/// Two bytes in network order.
pub fn word(bytes: &[u8], at: usize) -> Result<u16> {
    let pair = bytes.get(at..at + 2).context("a packet that is cut")?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}
