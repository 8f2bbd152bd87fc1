//! The switch as a whole: known cases, and any course of frames against a slow, plain reading of the rules.

use crate::switch::PortIndex;
use crate::table::AGEING_SECONDS;
use crate::{ConnectError, Group, MacAddress, Policy, Switch, VlanId};
use ports::fake::FakeMemory;
use ports::{Delivered, Frame, FrameSink, GuestMemory, Offload, Span};
use proptest::prelude::*;
use specs::{Ipa, IpaRange};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::vec::Vec;

#[derive(Default)]
struct Tap {
    got: RefCell<Vec<(Vec<u8>, Offload)>>,
    is_full: Cell<bool>,
}

/// The switch's end of a tap.
struct Plug(Rc<Tap>);

impl FrameSink for &Plug {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        let tap = &self.0;
        if tap.is_full.get() {
            return Delivered::NoBuffer;
        }
        let mut bytes = Vec::new();
        for span in frame.data {
            let mut part = std::vec![0; span.bytes as usize];
            frame.memory.read_span(*span, &mut part);
            bytes.extend(part);
        }
        assert_eq!(bytes.len(), frame.bytes as usize);
        tap.got.borrow_mut().push((bytes, frame.offload));
        Delivered::Yes
    }
}

struct Net {
    switch: Switch<Plug>,
    taps: BTreeMap<PortIndex, Rc<Tap>>,
    now: Cell<u32>,
}

const fn mac(last: u8) -> MacAddress {
    MacAddress([0x02, 0, 0, 0, 0, last])
}

const BROADCAST: MacAddress = MacAddress([0xff; 6]);
const OUTSIDE: MacAddress = mac(0xee);

fn group(vlan: u16) -> Group {
    Group { vlan: VlanId::new(vlan).unwrap(), policy: Policy::default() }
}

impl Net {
    fn new() -> Self {
        Self { switch: Switch::new(), taps: BTreeMap::new(), now: Cell::new(1) }
    }

    fn vnic(&mut self, last: u8, group: Group) -> PortIndex {
        let port = self.switch.connect(mac(last), group).unwrap();
        self.plug(port)
    }

    fn uplink(&mut self) -> PortIndex {
        let port = self.switch.connect_uplink().unwrap();
        self.plug(port)
    }

    fn plug(&mut self, port: PortIndex) -> PortIndex {
        let tap = Rc::new(Tap::default());
        self.switch.plug(port, Plug(tap.clone()));
        self.taps.insert(port, tap);
        port
    }

    /// Sends; the ports that got the frame, and what the sender was told.
    fn send(&self, from: PortIndex, bytes: &[u8]) -> (Vec<PortIndex>, Delivered) {
        let memory = FakeMemory::new(Ipa(0), 4096);
        memory.write(Ipa(0), bytes).unwrap();
        // In pieces, so that a header lies in several spans.
        let spans: Vec<Span> = (0..bytes.len())
            .step_by(7)
            .map(|at| {
                let len = (bytes.len() - at).min(7) as u64;
                memory.resolve(IpaRange::new(Ipa(at as u64), len).unwrap()).unwrap()
            })
            .collect();
        let data =
            Frame { data: &spans, bytes: bytes.len() as u32, offload: Offload::default(), memory: &memory };
        let before: Vec<_> = self.taps.values().map(|tap| tap.got.borrow().len()).collect();
        let delivered = self.switch.forward(from, &data, self.now.get());
        let got = self.taps.iter().zip(before).filter(|((_, tap), before)| tap.got.borrow().len() != *before);
        (got.map(|((port, _), _)| *port).collect(), delivered)
    }

    fn last(&self, port: PortIndex) -> (Vec<u8>, Offload) {
        self.taps[&port].got.borrow().last().unwrap().clone()
    }
}

fn frame(destination: MacAddress, source: MacAddress, tag: Option<u16>) -> Vec<u8> {
    let mut bytes = [destination.0, source.0].concat();
    if let Some(tag) = tag {
        bytes.extend([0x81, 0]);
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend([8, 0]);
    bytes.extend(0..50);
    bytes
}

#[test]
fn two_guests_of_the_default_group_and_the_uplink_just_work() {
    let mut net = Net::new();
    let (a, b, up) = (net.vnic(1, Group::default()), net.vnic(2, Group::default()), net.uplink());
    assert_eq!(net.send(a, &frame(BROADCAST, mac(1), None)).0, [b, up]);
    assert_eq!(net.send(a, &frame(mac(2), mac(1), None)), (std::vec![b], Delivered::Yes));
    assert_eq!(net.last(b).0, frame(mac(2), mac(1), None));
    assert_eq!(net.send(b, &frame(mac(1), mac(2), None)).0, [a]);
    assert_eq!(net.send(a, &frame(OUTSIDE, mac(1), None)).0, [up]);
    assert_eq!(net.send(up, &frame(mac(1), OUTSIDE, None)).0, [a]);
    assert_eq!(net.send(up, &frame(BROADCAST, OUTSIDE, None)).0, [a, b]);
    assert_eq!(net.send(up, &frame(mac(0x77), OUTSIDE, None)).0, [], "unknown, and not ours");
    let counters = net.switch.counters(a);
    assert_eq!((counters.frames_in, counters.frames_out), (3, 3));
    assert_eq!(counters.bytes_in, 3 * 64);
}

#[test]
fn vlans_do_not_meet_and_the_uplink_carries_tags() {
    let mut net = Net::new();
    let (a, b) = (net.vnic(1, group(10)), net.vnic(2, group(20)));
    let (c, up) = (net.vnic(3, group(10)), net.uplink());
    assert_eq!(net.send(a, &frame(BROADCAST, mac(1), None)).0, [c, up]);
    assert_eq!((net.last(up).1.vlan, net.last(c).1.vlan), (10, 0));
    assert_eq!(net.send(a, &frame(mac(2), mac(1), None)).0, [up], "its VLAN knows no such address");
    assert_eq!(net.send(up, &frame(BROADCAST, OUTSIDE, Some(20))).0, [b]);
    assert_eq!(net.last(b).0, frame(BROADCAST, OUTSIDE, None), "without its tag");
    assert_eq!(net.send(up, &frame(BROADCAST, OUTSIDE, Some(0x600a))).0, [a, c], "priority bits are no VLAN");
    assert_eq!(net.send(up, &frame(BROADCAST, OUTSIDE, None)).0, []);
    assert_eq!(net.send(up, &frame(BROADCAST, OUTSIDE, Some(4095))).1, Delivered::Refused);
    // The same address in two VLANs is two stations.
    let twin = net.vnic(1, group(20));
    assert_eq!(net.send(up, &frame(mac(1), OUTSIDE, Some(20))).0, [twin]);
}

#[test]
fn a_guest_s_own_tag_is_refused() {
    let mut net = Net::new();
    let (a, up) = (net.vnic(1, Group::default()), net.uplink());
    for tag in [0, 10] {
        assert_eq!(net.send(a, &frame(BROADCAST, mac(1), Some(tag))), (std::vec![], Delivered::Refused));
    }
    let mut service_tag = frame(BROADCAST, mac(1), Some(10));
    service_tag[12..14].copy_from_slice(&[0x88, 0xa8]);
    assert_eq!(net.send(a, &service_tag).1, Delivered::Refused);
    assert_eq!(net.send(up, &service_tag).1, Delivered::Refused);
    assert_eq!(net.switch.counters(a).tagged, 3);
}

#[test]
fn policies_reject_unless_told_otherwise() {
    let mut net = Net::new();
    let (a, b, up) = (net.vnic(1, Group::default()), net.vnic(2, Group::default()), net.uplink());
    assert_eq!(net.send(a, &frame(mac(2), mac(9), None)), (std::vec![], Delivered::Refused));
    assert_eq!(net.switch.counters(a).forged, 1);
    let with = |promiscuous, mac_changes, forged_transmits| Group {
        vlan: VlanId::NONE,
        policy: Policy { promiscuous, mac_changes, forged_transmits },
    };
    // Forged transmits alone: it may send, but gets no answer.
    net.switch.set_group(a, with(false, false, true)).unwrap();
    assert_eq!(net.send(a, &frame(mac(2), mac(9), None)).0, [b]);
    assert_eq!(net.send(b, &frame(mac(9), mac(2), None)).0, [up]);
    // With MAC address changes the answer comes, and unknown addresses are asked for there.
    net.switch.set_group(a, with(false, true, true)).unwrap();
    assert_eq!(net.send(b, &frame(mac(9), mac(2), None)).0, [a, up]);
    assert_eq!(net.send(a, &frame(mac(2), mac(9), None)).0, [b]);
    assert_eq!(net.send(b, &frame(mac(9), mac(2), None)).0, [a]);
    // Revoked: what was learnt is forgotten.
    net.switch.set_group(a, with(false, false, true)).unwrap();
    assert_eq!(net.send(b, &frame(mac(9), mac(2), None)).0, [up]);
    // Promiscuous: all of its VLAN.
    net.switch.set_group(a, with(true, false, false)).unwrap();
    assert_eq!(net.send(b, &frame(OUTSIDE, mac(2), None)).0, [a, up]);
    assert_eq!(net.send(up, &frame(mac(2), OUTSIDE, None)).0, [a, b]);
    net.switch.set_group(a, Group { vlan: VlanId::new(5).unwrap(), ..with(true, true, true) }).unwrap();
    assert_eq!(net.send(b, &frame(OUTSIDE, mac(2), None)).0, [up]);
}

#[test]
fn an_address_of_a_vnic_cannot_be_claimed() {
    let mut net = Net::new();
    let (a, b, up) = (net.vnic(1, Group::default()), net.vnic(2, Group::default()), net.uplink());
    let policy = Policy { mac_changes: true, forged_transmits: true, promiscuous: false };
    net.switch.set_group(a, Group { policy, ..Group::default() }).unwrap();
    assert_eq!(net.send(a, &frame(OUTSIDE, mac(2), None)).0, [up]);
    assert_eq!(net.send(up, &frame(mac(2), OUTSIDE, None)).0, [b]);
    // Our own broadcast comes back by the wire: it is not forwarded again.
    assert_eq!(net.send(up, &frame(BROADCAST, mac(2), None)), (std::vec![], Delivered::Refused));
    assert_eq!(net.switch.counters(up).filtered, 1);
    // Nor was it learnt for the time after.
    net.switch.disconnect(b);
    assert_eq!(net.send(up, &frame(mac(2), OUTSIDE, None)).0, [a]);
    let c = net.vnic(3, Group::default());
    assert_eq!(net.send(c, &frame(mac(2), mac(3), None)).0, [a, up], "unknown");
}

#[test]
fn reserved_and_short_frames_go_nowhere() {
    let mut net = Net::new();
    let (a, _up) = (net.vnic(1, Group::default()), net.uplink());
    let spanning_tree = MacAddress([1, 0x80, 0xc2, 0, 0, 0]);
    assert_eq!(net.send(a, &frame(spanning_tree, mac(1), None)).1, Delivered::Refused);
    assert_eq!(net.send(a, &frame(mac(2), BROADCAST, None)).1, Delivered::Refused);
    assert_eq!(net.send(a, &frame(mac(2), mac(1), None)[..13]).1, Delivered::Refused);
    assert_eq!(net.send(PortIndex(99), &frame(mac(2), mac(1), None)).1, Delivered::Refused);
    assert_eq!(net.switch.counters(a).filtered, 3);
}

#[test]
fn what_has_no_room_is_dropped_and_counted() {
    let mut net = Net::new();
    let (a, b, up) = (net.vnic(1, Group::default()), net.vnic(2, Group::default()), net.uplink());
    net.taps[&b].is_full.set(true);
    assert_eq!(net.send(a, &frame(mac(2), mac(1), None)).1, Delivered::NoBuffer);
    assert_eq!(net.send(a, &frame(BROADCAST, mac(1), None)), (std::vec![up], Delivered::Yes));
    assert_eq!(net.switch.counters(b).undelivered, 2);
}

#[test]
fn connecting_refuses_what_would_confuse() {
    let mut net = Net::new();
    let a = net.vnic(1, Group::default());
    assert_eq!(net.switch.connect(mac(1), Group::default()), Err(ConnectError::DuplicateAddress(a)));
    assert_eq!(net.switch.connect(BROADCAST, Group::default()), Err(ConnectError::BadAddress));
    assert_eq!(net.switch.connect(MacAddress([0; 6]), Group::default()), Err(ConnectError::BadAddress));
    net.uplink();
    assert_eq!(net.switch.connect_uplink(), Err(ConnectError::SecondUplink));
    let other = net.vnic(1, group(7));
    assert_eq!(net.switch.set_group(other, Group::default()), Err(ConnectError::DuplicateAddress(a)));
    assert_eq!(net.switch.set_group(PortIndex(50), Group::default()), Err(ConnectError::NoPort));
    assert_eq!((VlanId::new(4095), VlanId::new(4094).is_some()), (None, true));
    // Slow under Miri, and nothing but counting.
    for last in 0..if cfg!(miri) { 4 } else { 255_u8 } {
        let port = net.switch.connect(MacAddress([2, 1, 0, 0, 0, last]), Group::default());
        assert_eq!(port.is_ok(), last < 253, "{last}");
    }
}

#[test]
fn a_port_that_was_freed_gets_nothing() {
    let mut net = Net::new();
    let (a, b, up) = (net.vnic(1, Group::default()), net.vnic(2, Group::default()), net.uplink());
    assert!(net.switch.disconnect(b).is_some());
    assert_eq!(net.send(a, &frame(mac(2), mac(1), None)).0, [up]);
    assert_eq!(net.send(a, &frame(BROADCAST, mac(1), None)).0, [up]);
    assert_eq!(net.send(b, &frame(mac(1), mac(2), None)).1, Delivered::Refused);
    assert_eq!(net.vnic(3, Group::default()), b, "the port is free again");
    assert_eq!(net.send(a, &frame(mac(3), mac(1), None)).0, [b]);
    assert_eq!(net.switch.counters(b).frames_out, 1);
}

#[test]
fn a_learnt_address_ages_and_moves() {
    let mut net = Net::new();
    let open = Policy { mac_changes: true, forged_transmits: true, promiscuous: false };
    let open = Group { policy: open, ..Group::default() };
    let (a, b, c) = (net.vnic(1, open), net.vnic(2, open), net.vnic(3, open));
    net.send(a, &frame(BROADCAST, mac(9), None));
    assert_eq!(net.send(c, &frame(mac(9), mac(3), None)).0, [a]);
    net.send(b, &frame(BROADCAST, mac(9), None));
    assert_eq!(net.send(c, &frame(mac(9), mac(3), None)).0, [b], "it moved");
    net.now.set(1 + AGEING_SECONDS);
    assert_eq!(net.send(c, &frame(mac(9), mac(3), None)).0, [b]);
    net.now.set(2 + AGEING_SECONDS);
    assert_eq!(net.send(c, &frame(mac(9), mac(3), None)).0, [a, b], "forgotten");
}

#[test]
fn a_flood_of_addresses_costs_other_learnt_ones_only() {
    let mut net = Net::new();
    let (a, up) = (net.vnic(1, Group::default()), net.uplink());
    for n in 0..if cfg!(miri) { 20_u16 } else { 5000 } {
        let [high, low] = n.to_be_bytes();
        net.send(up, &frame(mac(1), MacAddress([4, 0, 0, 0, high, low]), None));
    }
    assert_eq!(net.send(up, &frame(mac(1), OUTSIDE, None)).0, [a]);
    assert_eq!(net.send(a, &frame(OUTSIDE, mac(1), None)).0, [up]);
}

/// The rules once more, without speed.
struct Reference {
    vnics: Vec<(PortIndex, MacAddress, Group)>,
    up: Option<PortIndex>,
    learnt: BTreeMap<(u16, MacAddress), (PortIndex, u32)>,
}

impl Reference {
    fn send(
        &mut self,
        from: PortIndex,
        to: MacAddress,
        source: MacAddress,
        tag: Option<u16>,
        now: u32,
    ) -> BTreeSet<PortIndex> {
        let mut got = BTreeSet::new();
        let owner = |vlan: u16, address| {
            self.vnics.iter().find(|vnic| vnic.2.vlan.get() == vlan && vnic.1 == address).map(|vnic| vnic.0)
        };
        let sender = self.vnics.iter().find(|vnic| vnic.0 == from);
        let vlan = match sender {
            Some((_, own, group)) => {
                if tag.is_some() || source != *own && !group.policy.forged_transmits {
                    return got;
                }
                group.vlan.get()
            }
            None => tag.unwrap_or(0),
        };
        let owned = owner(vlan, source).is_some();
        let may_learn = sender.is_none_or(|vnic| vnic.2.policy.mac_changes);
        if sender.is_none() && owned {
            return got;
        }
        let members: Vec<_> = self.vnics.iter().filter(|vnic| vnic.2.vlan.get() == vlan).collect();
        let known = owner(vlan, to).or_else(|| {
            let (port, seen) = self.learnt.get(&(vlan, to))?;
            (now - seen <= AGEING_SECONDS).then_some(*port)
        });
        if to == BROADCAST {
            got.extend(members.iter().map(|vnic| vnic.0).chain(self.up));
        } else if let Some(port) = known {
            got.insert(port);
        } else {
            let open = |policy: Policy| policy.mac_changes && policy.forged_transmits;
            got.extend(members.iter().filter(|vnic| open(vnic.2.policy)).map(|vnic| vnic.0).chain(self.up));
        }
        got.extend(members.iter().filter(|vnic| vnic.2.policy.promiscuous).map(|vnic| vnic.0));
        got.remove(&from);
        if may_learn && !owned {
            self.learnt.insert((vlan, source), (from, now));
        }
        got
    }
}

fn any_group() -> impl Strategy<Value = Group> {
    (prop_oneof![Just(0_u16), Just(10), Just(4094)], any::<[bool; 3]>()).prop_map(|(vlan, policy)| Group {
        vlan: VlanId::new(vlan).unwrap(),
        policy: Policy { promiscuous: policy[0], mac_changes: policy[1], forged_transmits: policy[2] },
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_course_of_frames_follows_the_rules(
        groups in prop::collection::vec(any_group(), 1..6),
        has_uplink in any::<bool>(),
        frames in prop::collection::vec(
            (0..7_usize, 0..12_u8, 0..10_u8, 0..5_usize, prop_oneof![5 => 0..3_u32, 1 => 290..310_u32]),
            1..if cfg!(miri) { 10 } else { 60 },
        ),
    ) {
        let mut net = Net::new();
        let mut reference = Reference { vnics: Vec::new(), up: None, learnt: BTreeMap::new() };
        for (group, last) in groups.iter().zip(1..) {
            let port = net.vnic(last, *group);
            reference.vnics.push((port, mac(last), *group));
        }
        if has_uplink {
            reference.up = Some(net.uplink());
        }
        let ports: Vec<_> = net.taps.keys().copied().collect();
        for (from, to, source, tag, later) in frames {
            net.now.set(net.now.get() + later);
            let to = if to == 0 { BROADCAST } else { mac(to) };
            // Mostly from the sender's own address.
            let from = ports[from % ports.len()];
            let source = if source > 7 { mac(from.0 + 1) } else { mac(source) };
            let tag = [None, None, Some(0), Some(10), Some(4094)][tag];
            let expected = reference.send(from, to, source, tag, net.now.get());
            let (got, _) = net.send(from, &frame(to, source, tag));
            prop_assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
