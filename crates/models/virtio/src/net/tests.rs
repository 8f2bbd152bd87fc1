use super::*;
use crate::driver_queue::{Access, Segment};
use crate::rig::{self, Guest, Queue, Slot, wire::Wire};
use ports::fake::FakeLine;
use ports::{Offload, Span, Width};
use proptest::prelude::*;
use specs::virtio::{feature, mmio, status};
use specs::{Ipa, IpaRange};
use std::vec::Vec;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OFFLOADS: u64 = net::F_CSUM
    | net::F_HOST_TSO4
    | net::F_HOST_TSO6
    | net::F_GUEST_CSUM
    | net::F_GUEST_TSO4
    | net::F_GUEST_TSO6;
const ALL: u64 = OFFLOADS | net::F_MRG_RXBUF | net::F_MAC | net::F_STATUS | net::F_MTU | feature::EVENT_IDX;

type Card<'a, S> = Slot<'a, Net<S>>;

fn card<'a, S: FrameSink>(guest: &'a Guest, sink: S) -> Card<'a, S> {
    VirtioMmio::new(Net::new(MAC, 1500, sink), &guest.memory, &guest.line)
}

/// Negotiates; receive queue and transmit queue.
fn up<'a, S: FrameSink>(guest: &'a Guest, card: &Card<'a, S>, features: u64) -> (Queue<'a>, Queue<'a>) {
    assert!(rig::negotiate(card, features));
    let queues = (guest.queue(card, 0, 256, features), guest.queue(card, 1, 64, features));
    rig::driver_ok(card);
    queues
}

fn header(offload: Offload) -> Vec<u8> {
    let mut raw = std::vec![offload.flags, offload.gso_type];
    for half in [offload.header_bytes, offload.gso_bytes, offload.checksum_start, offload.checksum_offset, 0]
    {
        raw.extend_from_slice(&half.to_le_bytes());
    }
    raw
}

fn send<'a, S: FrameSink>(
    guest: &Guest,
    card: &Card<'a, S>,
    queue: &mut Queue<'_>,
    offload: Offload,
    frame: &[u8],
) {
    let segments = [guest.readable(&header(offload)), guest.readable(frame)];
    rig::send(card, 1, queue, &segments);
    assert_eq!(queue.pop_used().unwrap().expect("sent at once").written, 0);
}

fn bytes(len: usize) -> Vec<u8> {
    rig::pattern(len, 0)
}

/// Takes all that was received: header and frame of each.
fn received(guest: &Guest, queue: &mut Queue<'_>, buffers: &[(u16, Segment)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut frames = Vec::new();
    let take = |queue: &mut Queue<'_>| {
        let used = queue.pop_used().unwrap()?;
        let (_, segment) = buffers.iter().find(|(head, _)| *head == used.head.0).unwrap();
        Some(guest.bytes(Ipa(segment.address), used.written as usize))
    };
    while let Some(first) = take(queue) {
        let (header, rest) = first.split_at(12);
        let mut frame = rest.to_vec();
        for _ in 1..u16::from_le_bytes([header[10], header[11]]) {
            frame.extend(take(queue).expect("all buffers of a frame at once"));
        }
        frames.push((header.to_vec(), frame));
    }
    frames
}

fn fill(guest: &Guest, queue: &mut Queue<'_>, count: usize, bytes: usize) -> Vec<(u16, Segment)> {
    let buffers = (0..count)
        .map(|_| {
            let segment = guest.writable(bytes);
            (queue.submit(&[segment]).unwrap().0, segment)
        })
        .collect();
    queue.publish();
    buffers
}

/// A frame in the memory of `guest`, as an uplink would give it.
fn give<S: FrameSink>(guest: &Guest, card: &Card<'_, S>, bytes: &[u8], offload: Offload) -> Delivered {
    let spans = spans(guest, guest.readable(bytes));
    let frame = Frame { data: &spans, bytes: bytes.len() as u32, offload, memory: &guest.memory };
    card.deliver(&frame)
}

fn spans(guest: &Guest, segment: Segment) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut done = 0;
    while done < segment.bytes {
        let left = u64::from(segment.bytes - done);
        let rest = IpaRange::new(Ipa(segment.address + u64::from(done)), left).unwrap();
        let span = guest.memory.resolve(rest).unwrap();
        done += span.bytes;
        spans.push(span);
    }
    spans
}

#[test]
fn the_configuration_space_says_mac_mtu_and_link() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let mac: Vec<u8> = (0..6).map(|at| card.read(mmio::CONFIG + at, Width::W8) as u8).collect();
    assert_eq!(mac, MAC);
    assert_eq!(card.read(mmio::CONFIG + 6, Width::W16), 1);
    assert_eq!(card.read(mmio::CONFIG + 10, Width::W16), 1500);
    let generation = rig::read(&card, mmio::CONFIG_GENERATION);
    up(&guest, &card, ALL);
    card.set_link_up(false);
    assert_eq!(card.read(mmio::CONFIG + 6, Width::W16), 0);
    assert_eq!(rig::read(&card, mmio::INTERRUPT_STATUS), mmio::INTERRUPT_CONFIG);
    assert_ne!(rig::read(&card, mmio::CONFIG_GENERATION), generation);
}

#[test]
fn a_frame_goes_from_guest_to_guest_byte_for_byte() {
    let guest = Guest::new(4 << 20);
    let line = FakeLine::default();
    let b = VirtioMmio::new(Net::new(MAC, 1500, Wire::default()), &guest.memory, &line);
    let a = card(&guest, &b);
    let (mut receive, _) = up(&guest, &b, ALL);
    let (_, mut transmit) = up(&guest, &a, ALL);
    receive.arm();
    let buffers = fill(&guest, &mut receive, 8, 1536);
    let frame = bytes(1514);
    send(&guest, &a, &mut transmit, Offload::default(), &frame);
    assert!(line.high.get());
    let got = received(&guest, &mut receive, &buffers);
    assert_eq!(got, [(std::vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], frame)]);
    assert_eq!((a.device().transmit_counters().frames, b.device().receive_counters().frames), (1, 1));
}

#[test]
fn offloads_travel_along_and_a_long_frame_is_merged_from_buffers() {
    let guest = Guest::new(4 << 20);
    let line = FakeLine::default();
    let b = VirtioMmio::new(Net::new(MAC, 1500, Wire::default()), &guest.memory, &line);
    let a = card(&guest, &b);
    let (mut receive, _) = up(&guest, &b, ALL);
    let (_, mut transmit) = up(&guest, &a, ALL);
    let buffers = fill(&guest, &mut receive, 60, 1536);
    let frame = bytes(65_000);
    let offload = Offload {
        flags: 1,
        gso_type: net::GSO_TCPV4,
        header_bytes: 54,
        gso_bytes: 1448,
        checksum_start: 34,
        checksum_offset: 16,
        vlan: 0,
    };
    send(&guest, &a, &mut transmit, offload, &frame);
    let got = received(&guest, &mut receive, &buffers);
    assert_eq!(got.len(), 1);
    let mut expected = header(offload);
    expected[10] = 65_012_u32.div_ceil(1536) as u8;
    assert_eq!(got[0].0, expected);
    assert_eq!(got[0].1, frame);
}

#[test]
fn a_frame_that_finds_too_few_buffers_leaves_them_for_the_next() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, ALL);
    let buffers = fill(&guest, &mut receive, 3, 256);
    assert_eq!(give(&guest, &card, &bytes(1000), Offload::default()), Delivered::NoBuffer);
    assert_eq!(receive.pop_used(), Ok(None));
    let frame = bytes(3 * 256 - 12);
    assert_eq!(give(&guest, &card, &frame, Offload::default()), Delivered::Yes);
    let got = received(&guest, &mut receive, &buffers);
    assert_eq!((got.len(), got[0].0[10]), (1, 3));
    assert_eq!(got[0].1, frame);
    assert_eq!(card.device().receive_counters().no_buffer, 1);
}

#[test]
fn without_mergeable_buffers_a_frame_takes_one_or_none() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, 0);
    let buffers = fill(&guest, &mut receive, 2, 1526);
    assert_eq!(give(&guest, &card, &bytes(1515), Offload::default()), Delivered::Refused);
    let frame = bytes(1514);
    assert_eq!(give(&guest, &card, &frame, Offload::default()), Delivered::Yes);
    assert_eq!(give(&guest, &card, &frame, Offload::default()), Delivered::Yes);
    assert_eq!(give(&guest, &card, &frame, Offload::default()), Delivered::NoBuffer);
    let got = received(&guest, &mut receive, &buffers);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|(_, got)| *got == frame));
}

#[test]
fn a_link_that_is_down_carries_nothing() {
    let guest = Guest::new(1 << 20);
    let wire = Wire::default();
    let card = card(&guest, wire.clone());
    let (mut receive, mut transmit) = up(&guest, &card, ALL);
    fill(&guest, &mut receive, 2, 1526);
    card.set_link_up(false);
    send(&guest, &card, &mut transmit, Offload::default(), &bytes(60));
    assert_eq!(give(&guest, &card, &bytes(60), Offload::default()), Delivered::Refused);
    assert!(wire.0.borrow().is_empty());
    card.set_link_up(true);
    send(&guest, &card, &mut transmit, Offload::default(), &bytes(60));
    assert_eq!(wire.0.borrow().len(), 1);
}

#[test]
fn a_card_that_was_reset_takes_no_frame() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, ALL);
    fill(&guest, &mut receive, 2, 1526);
    rig::write(&card, mmio::STATUS, 0);
    assert_eq!(give(&guest, &card, &bytes(60), Offload::default()), Delivered::Refused);
    assert_eq!(receive.pop_used(), Ok(None));
}

#[test]
fn frames_that_no_driver_may_send_are_dropped_and_counted() {
    let guest = Guest::new(1 << 20);
    let wire = Wire::default();
    let card = card(&guest, wire.clone());
    let (_, mut transmit) = up(&guest, &card, net::F_CSUM | net::F_HOST_TSO4);
    let good = Offload { flags: 1, checksum_start: 14, checksum_offset: 4, ..Offload::default() };
    let bad = [
        (Offload::default(), 13),
        (Offload::default(), 1519),
        (Offload { checksum_offset: 45, ..good }, 60),
        (Offload { checksum_start: u16::MAX, checksum_offset: u16::MAX, ..good }, 60),
        (Offload { gso_type: net::GSO_TCPV6, gso_bytes: 1000, ..good }, 60),
        (Offload { gso_type: net::GSO_TCPV4, gso_bytes: 0, ..good }, 60),
        (Offload { gso_type: net::GSO_TCPV4, gso_bytes: 1000, flags: 0, ..good }, 60),
        (Offload { gso_type: 0x81, gso_bytes: 1000, ..good }, 60),
    ];
    for (offload, len) in bad {
        send(&guest, &card, &mut transmit, offload, &bytes(len));
    }
    assert!(wire.0.borrow().is_empty());
    assert_eq!(card.device().transmit_counters().malformed, bad.len() as u64);
    send(&guest, &card, &mut transmit, good, &bytes(60));
    assert_eq!(wire.0.borrow()[0], (bytes(60), good));
}

#[test]
fn a_receive_buffer_without_room_needs_a_reset() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, ALL);
    fill(&guest, &mut receive, 1, 11);
    assert_eq!(give(&guest, &card, &bytes(60), Offload::default()), Delivered::Refused);
    assert_ne!(rig::read(&card, mmio::STATUS) & status::DEVICE_NEEDS_RESET, 0);
    assert_eq!(card.link().faults(), 1);
}

/// Adds up 16-bit words, the slow way.
fn sum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut sum = 0_u32;
    for pair in all.chunks(2) {
        sum += (u32::from(pair[0]) << 8) | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

struct Tcp {
    frame: Vec<u8>,
    offload: Offload,
    ip: usize,
    tcp: usize,
}

/// An unsegmented TCP frame, its checksum field holding the sum of the pseudo-header.
fn tcp(v6: bool, tagged: bool, options: usize, payload: usize, gso_bytes: u16) -> Tcp {
    let mut frame = bytes(12);
    if tagged {
        frame.extend([0x81, 0, 0, 7]);
    }
    frame.extend(if v6 { [0x86, 0xdd] } else { [8, 0] });
    let ip = frame.len();
    if v6 {
        frame.extend([0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend(bytes(32));
    } else {
        frame.extend([0x45, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let tcp = frame.len();
    frame.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1]);
    frame.extend([((5 + options / 4) << 4) as u8, 0x99, 1, 0, 0, 0, 0, 0]);
    frame.extend(bytes(options));
    frame.extend(bytes(payload));
    let gso_type = if v6 { net::GSO_TCPV6 } else { net::GSO_TCPV4 };
    let offload = Offload {
        flags: 1,
        gso_type,
        header_bytes: (tcp + 20 + options) as u16,
        gso_bytes,
        checksum_start: tcp as u16,
        checksum_offset: 16,
        vlan: 0,
    };
    Tcp { frame, offload, ip, tcp }
}

/// What a receiver would check of a segment; its payload.
fn check_segment<'a>(sent: &Tcp, segment: &'a [u8], done: usize, is_last: bool, number: u16) -> &'a [u8] {
    let (ip, tcp) = (&segment[sent.ip..sent.tcp], &segment[sent.tcp..]);
    let addresses = if ip[0] >> 4 == 4 {
        assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), segment.len() - sent.ip);
        assert_eq!(u16::from_be_bytes([ip[4], ip[5]]), 0xfffe_u16.wrapping_add(number));
        assert_eq!(sum(&[ip]), 0xffff, "the sum of a good IPv4 header");
        &ip[12..20]
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), tcp.len());
        &ip[8..40]
    };
    let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
    assert_eq!(sequence, 0xffff_fff0_u32.wrapping_add(done as u32));
    let flags = 0x10 | if is_last { 0x09 } else { 0 } | if number == 0 { 0x80 } else { 0 };
    assert_eq!(tcp[13], flags);
    let length = (tcp.len() as u32).to_be_bytes();
    assert_eq!(sum(&[addresses, &length, &[0, 6], tcp]), 0xffff, "the sum of a good TCP segment");
    &tcp[usize::from(tcp[12] >> 4) * 4..]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 100 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_receiver_without_offloads_gets_good_segments(
        v6 in any::<bool>(), tagged in any::<bool>(), options in 0..10_usize,
        payload in 0..if cfg!(miri) { 3000 } else { 20_000_usize }, size in 400..1448_u16,
    ) {
        let guest = Guest::new(1 << 20);
        let card = card(&guest, Wire::default());
        let (mut receive, _) = up(&guest, &card, 0);
        let buffers = fill(&guest, &mut receive, 60, 1600);
        let sent = tcp(v6, tagged, options * 4, payload, size);
        prop_assert_eq!(give(&guest, &card, &sent.frame, sent.offload), Delivered::Yes);
        let got = received(&guest, &mut receive, &buffers);
        let mut together = Vec::new();
        for (number, (header, segment)) in got.iter().enumerate() {
            prop_assert_eq!(&header[..10], [0; 10]);
            let is_last = number + 1 == got.len();
            let part = check_segment(&sent, segment, together.len(), is_last, number as u16);
            prop_assert!(part.len() <= usize::from(size));
            together.extend_from_slice(part);
        }
        prop_assert_eq!(together, bytes(payload));
    }

    #[test]
    fn a_receiver_without_offloads_gets_good_checksums(len in 0..1400_usize, start in 14..40_usize) {
        let guest = Guest::new(1 << 20);
        let card = card(&guest, Wire::default());
        let (mut receive, _) = up(&guest, &card, 0);
        let buffers = fill(&guest, &mut receive, 1, 1600);
        let frame = bytes(start + 8 + len);
        let offload =
            Offload { flags: 1, checksum_start: start as u16, checksum_offset: 6, ..Offload::default() };
        prop_assert_eq!(give(&guest, &card, &frame, offload), Delivered::Yes);
        let (_, got) = received(&guest, &mut receive, &buffers).remove(0);
        let field = sum(&[&frame[start + 6..start + 8]]);
        // Complement, put where the pseudo-header's sum was: the whole adds up to that sum.
        prop_assert_eq!(sum(&[&field.to_be_bytes(), &got[start..]]), 0xffff);
        prop_assert_eq!(&got[..start + 6], &frame[..start + 6]);
        prop_assert_eq!(&got[start + 8..], &frame[start + 8..]);
    }

    /// Any framing on either side: frames arrive whole, in order, byte for byte.
    #[test]
    fn any_frames_into_any_buffers(
        frames in prop::collection::vec((14..1514_usize, 1..900_u32), 1..12),
        size in 12..4000_usize, cut in 1..2000_u32,
    ) {
        let guest = Guest::new(4 << 20);
        let line = FakeLine::default();
        let b = VirtioMmio::new(Net::new(MAC, 1500, Wire::default()), &guest.memory, &line);
        let a = card(&guest, &b);
        let (mut receive, _) = up(&guest, &b, ALL);
        let (_, mut transmit) = up(&guest, &a, ALL);
        let mut buffers = Vec::new();
        let pieces = |segment: Segment, cut: u32| -> Vec<Segment> {
            (0..segment.bytes).step_by(cut.max(segment.bytes / 20 + 1) as usize)
                .map(|at| Segment {
                    address: segment.address + u64::from(at),
                    bytes: (segment.bytes - at).min(cut.max(segment.bytes / 20 + 1)),
                    access: segment.access,
                }).collect()
        };
        for _ in 0..10 {
            let segment = guest.writable(size);
            buffers.push((receive.submit(&pieces(segment, cut)).unwrap().0, segment));
        }
        receive.publish();
        let mut expected = Vec::new();
        let mut room = 10;
        for (len, cut) in frames {
            let frame = bytes(len);
            let mut all = header(Offload::default());
            all.extend_from_slice(&frame);
            let chain = pieces(guest.readable(&all), cut);
            prop_assert!(chain.iter().all(|segment| segment.access == Access::Read));
            rig::send(&a, 1, &mut transmit, &chain);
            prop_assert!(transmit.pop_used().unwrap().is_some());
            let needed = (len + 12).div_ceil(size);
            if needed <= room {
                room -= needed;
                expected.push(frame);
            }
        }
        let got: Vec<_> =
            received(&guest, &mut receive, &buffers).into_iter().map(|(_, frame)| frame).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!((a.link().faults(), b.link().faults()), (0, 0));
    }
}

#[test]
fn what_cannot_be_finished_is_refused() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, 0);
    fill(&guest, &mut receive, 60, 1600);
    let good = tcp(false, false, 0, 3000, 1000);
    let mut refused = |change: &dyn Fn(&mut Tcp)| {
        let mut sent = tcp(false, false, 0, 3000, 1000);
        change(&mut sent);
        assert_eq!(give(&guest, &card, &sent.frame, sent.offload), Delivered::Refused);
        assert_eq!(receive.pop_used(), Ok(None));
    };
    refused(&|sent| sent.offload.gso_type = net::GSO_TCPV6);
    refused(&|sent| sent.offload.checksum_start += 4);
    refused(&|sent| sent.frame[good.ip] = 0x44);
    refused(&|sent| sent.frame[good.ip + 9] = 17);
    refused(&|sent| sent.frame[good.tcp + 12] = 0x40);
    refused(&|sent| sent.offload.gso_bytes = 2);
    refused(&|sent| sent.offload.gso_bytes = 0);
    refused(&|sent| sent.frame.truncate(40));
}

#[test]
fn a_tag_that_the_switch_asks_for_is_put_in() {
    let guest = Guest::new(1 << 20);
    let card = card(&guest, Wire::default());
    let (mut receive, _) = up(&guest, &card, ALL);
    let buffers = fill(&guest, &mut receive, 60, 1600);
    let plain = Offload { vlan: 0x123, ..Offload::default() };
    let checksum = Offload { flags: 1, checksum_start: 20, checksum_offset: 4, ..plain };
    let sent = tcp(false, false, 0, 3000, 1000);
    let long = Offload { vlan: 0x123, ..sent.offload };
    for (frame, offload, pieces) in [(bytes(60), plain, 1), (bytes(60), checksum, 1), (sent.frame, long, 3)] {
        assert_eq!(give(&guest, &card, &frame, offload), Delivered::Yes);
        let got = received(&guest, &mut receive, &buffers);
        assert_eq!(got.len(), pieces);
        for (_, got) in got {
            assert_eq!(got[..12], frame[..12]);
            assert_eq!(got[12..16], [0x81, 0, 1, 0x23]);
            assert_eq!(got[16..20], frame[12..16]);
        }
    }
}
