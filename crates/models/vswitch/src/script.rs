//! Fuzzing: bytes as a course of ports that come and go and frames between them. Whatever they are, no frame leaves its
//! VLAN, comes back to where it came from, or carries an address that its sender may not use.

use crate::decide::{Port, Topology};
use crate::frame::{HEADER_BYTES, Header, MacAddress};
use crate::group::{Group, Policy, VlanId};
use crate::switch::PortIndex;
use crate::table::Table;

/// Runs a script.
pub fn run(script: &[u8]) {
    let (mut topology, table, mut now) = (Topology::default(), Table::default(), 1_u32);
    let (steps, _) = script.as_chunks::<{ HEADER_BYTES + 2 }>();
    for [op, port, rest @ ..] in steps {
        let port = PortIndex(port % 8);
        match op % 4 {
            0 => change(&mut topology, port, rest),
            1 => now = now.saturating_add(u32::from(rest[0])),
            _ => send(&topology, &table, port, rest, now),
        }
    }
}

fn change(topology: &mut Topology, at: PortIndex, with: &[u8; HEADER_BYTES]) {
    let [kind, vlan, policy, last, ..] = *with;
    let group = Group {
        vlan: VlanId::new(u16::from(vlan % 3)).unwrap(),
        policy: Policy {
            promiscuous: policy & 1 != 0,
            mac_changes: policy & 2 != 0,
            forged_transmits: policy & 4 != 0,
        },
    };
    let address = MacAddress([2, 0, 0, 0, 0, last % 16]);
    let port = match kind % 4 {
        0 => None,
        1 if topology.uplink().is_none_or(|uplink| uplink == at) => Some(Port::Uplink),
        // The switch refuses a second owner before it comes here.
        _ if topology.owner(group.vlan, address).is_none_or(|owner| owner == at) => {
            Some(Port::Vnic { address, group })
        }
        _ => return,
    };
    topology.set(at, port);
}

fn send(topology: &Topology, table: &Table, from: PortIndex, bytes: &[u8; HEADER_BYTES], now: u32) {
    let mut bytes = *bytes;
    // Addresses that hit: both from the few that vNICs have, mostly.
    if bytes[0] & 3 != 1 {
        bytes[..5].copy_from_slice(&[2, 0, 0, 0, 0]);
        bytes[5] %= 20;
    }
    bytes[6..11].copy_from_slice(&[2, 0, 0, 0, 0]);
    bytes[11] %= 20;
    let Some(header) = Header::parse(&bytes) else { return };
    let Ok(decision) = topology.decide(table, from, &header, now) else { return };
    assert!(!decision.to.contains(from), "a frame comes back");
    for port in decision.to.iter() {
        match topology.port(port) {
            Some(Port::Vnic { group, .. }) => {
                assert_eq!(group.vlan, decision.vlan, "a frame leaves its VLAN")
            }
            Some(Port::Uplink) => {}
            None => panic!("a frame to no port"),
        }
    }
    match topology.port(from) {
        Some(Port::Vnic { address, group }) => {
            assert_eq!(group.vlan, decision.vlan);
            assert!(header.tag.is_none());
            assert!(header.source == address || group.policy.forged_transmits);
        }
        Some(Port::Uplink) => assert_eq!(decision.vlan.get(), header.tag.map_or(0, |tag| tag.vlan)),
        None => panic!("a frame from no port"),
    }
    if decision.learn {
        table.learn(decision.vlan, header.source, from, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 2 } else { 200 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_script_keeps_frames_where_they_belong(
            script in prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 400 } else { 4000 }),
        ) {
            super::run(&script);
        }
    }
}
