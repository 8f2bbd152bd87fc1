//! Questions and answers, and packets that are neither.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));

fn me() -> Me {
    let v6 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
    Me::new("esx0", &[(Ipv4Addr::new(10, 0, 2, 15).into(), 24), (v6.into(), 64)])
}

fn question(labels: &[&str], kind: u16) -> Question {
    Question { name: Name::of(labels), kind, class: IN, wants_unicast: false }
}

fn query(questions: &[Question], known: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(77, 0, [questions.len(), known.len(), 0, 0]);
    questions.iter().for_each(|question| writer.question(question));
    known.iter().for_each(|record| writer.record(record));
    writer.0
}

fn ask(labels: &[&str], kind: u16) -> Option<Reply> {
    me().answer(&query(&[question(labels, kind)], &[]), PEER, PORT)
}

fn answers(reply: &Reply) -> Vec<Record> {
    let message = Message::read(&reply.bytes).unwrap();
    assert!(message.is_response);
    message.answers
}

#[test]
fn its_name_has_its_addresses() {
    // Letters of either case are the same.
    let reply = ask(&["ESX0", "Local"], A).unwrap();
    let found = answers(&reply);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].ttl, &found[0].data), (120, &Data::Bytes(vec![10, 0, 2, 15])));
    assert!(!reply.is_unicast);
    let found = answers(&ask(&["esx0", "local"], ANY).unwrap());
    assert_eq!(found.iter().map(|record| record.kind).collect::<Vec<_>>(), [A, AAAA]);
}

#[test]
fn what_the_name_does_not_have_is_said() {
    let only_v4 = Me::new("esx0", &[(Ipv4Addr::new(10, 0, 2, 15).into(), 24)]);
    let reply = only_v4.answer(&query(&[question(&["esx0", "local"], AAAA)], &[]), PEER, PORT).unwrap();
    let found = answers(&reply);
    assert_eq!(found[0].kind, NSEC);
    // Its own name, window 0, one byte, the bit of A.
    assert_eq!(found[0].data, Data::Bytes(b"\x04esx0\x05local\0\0\x01\x40".to_vec()));
}

#[test]
fn what_it_offers_leads_to_its_port() {
    let reply = ask(&SERVICE, PTR).unwrap();
    assert_eq!(answers(&reply)[0].data, Data::Name(me().instance()));
    // Port, address and text come along.
    let counts = &reply.bytes[4..12];
    assert_eq!(counts, [0, 0, 0, 1, 0, 0, 0, 4]);
    let service = answers(&ask(&["esx0", "_https", "_tcp", "local"], SRV).unwrap());
    assert_eq!(service[0].data, Data::Bytes(b"\0\0\0\0\x01\xbb\x04esx0\x05local\0".to_vec()));
    let kinds = answers(&ask(&["_services", "_dns-sd", "_udp", "local"], PTR).unwrap());
    assert_eq!(kinds[0].data, Data::Name(Name::of(&SERVICE)));
}

#[test]
fn what_is_not_asked_for_here_has_no_answer() {
    assert_eq!(ask(&["esx1", "local"], A), None);
    assert_eq!(ask(&["esx0", "example"], A), None);
    assert_eq!(ask(&["_http", "_tcp", "local"], PTR), None);
    let far = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    assert_eq!(me().answer(&query(&[question(&["esx0", "local"], A)], &[]), far, PORT), None);
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
    assert!(me().answer(&query(&[question(&["esx0", "local"], A)], &[]), v6, PORT).is_some());
    assert_eq!(me().answer(&me().announcement(), PEER, PORT), None, "a response");
}

#[test]
fn who_knows_it_is_not_told_again() {
    let known = |ttl| Record {
        name: Name::of(&SERVICE),
        kind: PTR,
        class: IN,
        ttl,
        data: Data::Name(me().instance()),
    };
    let asked = [question(&SERVICE, PTR)];
    assert_eq!(me().answer(&query(&asked, &[known(2250)]), PEER, PORT), None);
    assert!(me().answer(&query(&asked, &[known(2249)]), PEER, PORT).is_some());
}

#[test]
fn who_asks_from_another_port_is_answered_as_by_a_server() {
    let reply = me().answer(&query(&[question(&["esx0", "local"], A)], &[]), PEER, 40_000).unwrap();
    let message = Message::read(&reply.bytes).unwrap();
    assert!(reply.is_unicast);
    assert_eq!((message.id, message.questions.len()), (77, 1));
    assert_eq!(message.answers[0].ttl, 10);
    assert_eq!(reply.bytes.windows(4).filter(|four| *four == [0, 1, 0x80, 1]).count(), 0, "no flush");
    let polite = Question { wants_unicast: true, ..question(&["esx0", "local"], A) };
    assert!(me().answer(&query(&[polite], &[]), PEER, PORT).unwrap().is_unicast);
}

#[test]
fn a_probe_is_answered_by_who_has_the_name_and_shows_it_as_taken() {
    let newcomer = Me::new("esx0", &[(Ipv4Addr::new(10, 0, 2, 99).into(), 24)]);
    let defence = me().answer(&newcomer.probe(), PEER, PORT).unwrap();
    assert!(newcomer.is_taken(&defence.bytes));
    assert!(!me().is_taken(&defence.bytes), "its own words");
    assert!(newcomer.is_taken(&me().announcement()));
    assert!(!newcomer.is_taken(&me().goodbye()));
    assert!(!Me::new("esx1", &[]).is_taken(&me().announcement()));
}

#[test]
fn pointers_lead_backwards_only() {
    let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let message = |name: &[u8]| Message::read(&[&header[..], name, &[0, 1, 0, 1]].concat());
    assert!(message(b"\x04esx0\x05local\0").is_some());
    for bad in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\xff", b"\x40a\0", b"\x05a", b""] {
        assert_eq!(message(bad), None, "{bad:?}");
    }
    // Two questions, the second by a pointer into the first.
    let mut packet = query(&[question(&["esx0", "local"], A)], &[]);
    packet[5] = 2;
    packet.extend(b"\x01a\xc0\x11\0\x01\0\x01");
    assert_eq!(Message::read(&packet).unwrap().questions[1].name, Name::of(&["a", "local"]));
    // A name of 256 bytes is none.
    assert_eq!(
        message(
            &[&b"\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(4)[..], b"\0"]
                .concat()
        ),
        None
    );
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..600), port in any::<u16>()) {
        let _ = (me().answer(&packet, PEER, port), me().is_taken(&packet));
    }

    #[test]
    fn questions_that_are_nearly_right_are_answered_in_a_frame(
        at in 0..60_usize, byte in any::<u8>(), port in any::<u16>(),
    ) {
        let asked = [question(&SERVICE, PTR), question(&["esx0", "local"], ANY)];
        let mut packet = query(&asked, &[]);
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        if let Some(reply) = me().answer(&packet, PEER, port) {
            prop_assert!(reply.bytes.len() <= PACKET_MAX);
        }
        let _ = me().is_taken(&packet);
    }
}
