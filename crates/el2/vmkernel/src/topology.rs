//! The switch as a world may see it: its ports, and the addresses that cards were seen to use.
//!
//! Called by: [`crate::desk`]. Calls: the switch, the list of VMs, the inventory. Every list is of the moment.

use crate::host::Host;
use crate::network::MANAGEMENT;
use abi::name::field;
use abi::record::{
    AddressRecord, FORGED_TRANSMITS, IPV4, IPV6, MAC_CHANGES, PROMISCUOUS, PortRecord, UPLINK, VM_CARD,
    WORLD_CARD,
};
use abi::{RequestKind, VmHandle};
use alloc::sync::Arc;
use alloc::vec::Vec;
use vswitch::MacAddress;
use vswitch::decide::Port;
use vswitch::seen::IpAddress;
use vswitch::switch::PortIndex;

/// Names of the two port groups that there are.
const GUESTS: &str = "default";
const HOST: &str = "management";

/// Whose a port is.
struct Card {
    port: PortIndex,
    /// The VM's handle; 0 for a world.
    vm: u64,
    index: u32,
}

fn cards(host: &Host) -> Vec<Card> {
    let vms: Vec<Arc<crate::vm::Vm>> = host.vms.lock().clone();
    let of = |vm: &Arc<crate::vm::Vm>| {
        let handle = match &vm.world {
            Some(_) => 0,
            None => host.inventory.handle_of(&vm.name).map_or(0, VmHandle::to_raw),
        };
        let ports = vm.ports.clone();
        ports.into_iter().zip(0..).map(move |(port, index)| Card { port, vm: handle, index })
    };
    let mut cards: Vec<Card> = vms.iter().flat_map(of).collect();
    cards.sort_by_key(|card| card.port);
    cards
}

fn mac(address: MacAddress) -> [u8; 8] {
    let [a, b, c, d, e, f] = address.0;
    [a, b, c, d, e, f, 0, 0]
}

/// Records from `skip` on that `room` bytes hold, and how many there are.
pub fn list(host: &Host, kind: RequestKind, skip: u64, room: u32) -> (u64, Vec<u8>) {
    let records: Vec<Vec<u8>> = match kind {
        RequestKind::ListPorts => ports(host).iter().map(|port| port.to_bytes().to_vec()).collect(),
        _ => addresses(host).iter().map(|address| address.to_bytes().to_vec()).collect(),
    };
    let count = records.len() as u64;
    let mut given = Vec::new();
    for record in records.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
        if given.len().saturating_add(record.len()) > room as usize {
            break;
        }
        given.extend_from_slice(record);
    }
    (count, given)
}

fn ports(host: &Host) -> Vec<PortRecord> {
    let uplink = host.devices.get().and_then(|devices| devices.uplink.as_ref());
    let uplinks = uplink.map(|uplink| {
        let record = PortRecord {
            kind: UPLINK,
            link: u32::from(uplink.is_link_up()),
            mac: mac(MacAddress(uplink.driver.lock().mac())),
            ..counted(host, uplink.port)
        };
        (uplink.port, record)
    });
    let cards = cards(host);
    let cards = cards.iter().filter_map(|card| {
        let Some(Port::Vnic { address, group }) = host.switch.port(card.port) else { return None };
        let policy = [
            (group.policy.promiscuous, PROMISCUOUS),
            (group.policy.mac_changes, MAC_CHANGES),
            (group.policy.forged_transmits, FORGED_TRANSMITS),
        ];
        let record = PortRecord {
            kind: if card.vm == 0 { WORLD_CARD } else { VM_CARD },
            vm: card.vm,
            card: card.index,
            vlan: group.vlan.get().into(),
            policy: policy.iter().filter(|(has, _)| *has).fold(0, |all, (_, bit)| all | bit),
            link: 1,
            mac: mac(address),
            group: field(if card.vm == 0 && group == MANAGEMENT { HOST } else { GUESTS }),
            ..counted(host, card.port)
        };
        Some((card.port, record))
    });
    let mut all: Vec<_> = uplinks.into_iter().chain(cards).collect();
    all.sort_by_key(|(port, _)| *port);
    all.into_iter().map(|(_, record)| record).collect()
}

/// A record with the port's number and counters.
fn counted(host: &Host, port: PortIndex) -> PortRecord {
    let counters = host.switch.counters(port);
    PortRecord {
        port: port.0.into(),
        frames_in: counters.frames_in,
        bytes_in: counters.bytes_in,
        frames_out: counters.frames_out,
        bytes_out: counters.bytes_out,
        undelivered: counters.undelivered,
        refused: counters.forged.saturating_add(counters.tagged).saturating_add(counters.filtered),
        ..PortRecord::from_bytes(&[0; PortRecord::BYTES])
    }
}

fn addresses(host: &Host) -> Vec<AddressRecord> {
    let cards = cards(host);
    let of = |card: &Card| {
        let own = match host.switch.port(card.port) {
            Some(Port::Vnic { address, .. }) => mac(address),
            _ => [0; 8],
        };
        let (vm, index) = (card.vm, card.index);
        host.switch.addresses(card.port).into_iter().map(move |seen| {
            let mut address = [0; 16];
            let (family, bytes): (u32, &[u8]) = match &seen.address {
                IpAddress::V4(bytes) => (IPV4, bytes),
                IpAddress::V6(bytes) => (IPV6, bytes),
            };
            address.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            let since = u64::from(seen.since).saturating_mul(1_000_000_000);
            AddressRecord { vm, card: index, family, address, mac: own, since, reserved: [0; 2] }
        })
    };
    cards.iter().flat_map(of).collect()
}
