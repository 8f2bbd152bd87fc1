//! `/api/v1/network`: the switch, its ports, and the addresses that it saw.

use super::{Call, Outcome};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{ask, inventory};
use abi::RequestKind;
use abi::record::{self, AddressRecord, PortRecord};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use api::rest::{Address, Network, Port as SwitchPort, PortGroup, PortKind};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) async fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let ports = ask::list(port, RequestKind::ListPorts, 0, &[], PortRecord::from_bytes).await?;
    let addresses = all_addresses(port).await?;
    let vms = inventory::list(port).map_err(super::refused)?;
    let name_of = |handle: u64| {
        let vm = vms.iter().find(|vm| vm.handle == handle);
        vm.map(|vm| ask::text(&vm.name))
    };
    let mut groups: Vec<PortGroup> = Vec::new();
    for group in ports.iter().filter(|port| port.kind != record::UPLINK).map(group_of) {
        if !groups.iter().any(|known| known.name == group.name) {
            groups.push(group);
        }
    }
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    let mut shown: Vec<SwitchPort> = ports
        .iter()
        .map(|port| SwitchPort { vm: name_of(port.vm).filter(|_| port.vm != 0), ..shown(port, &addresses) })
        .collect();
    shown.sort_by_key(|port| port.number);
    Ok(Response::json(200, &Network { port_groups: groups, ports: shown }).into())
}

/// Addresses of a VM's cards; none where the host can't tell.
pub(super) async fn addresses_of<P: Port>(port: &P, handle: u64) -> Vec<Address> {
    let all = all_addresses(port).await.unwrap_or_default();
    all.iter().filter(|record| record.vm == handle).map(address).collect()
}

async fn all_addresses<P: Port>(port: &P) -> Result<Vec<AddressRecord>, Problem> {
    ask::list(port, RequestKind::ListAddresses, 0, &[], AddressRecord::from_bytes).await
}

fn group_of(port: &PortRecord) -> PortGroup {
    PortGroup {
        name: ask::text(&port.group),
        vlan: port.vlan,
        promiscuous: port.policy & record::PROMISCUOUS != 0,
        mac_changes: port.policy & record::MAC_CHANGES != 0,
        forged_transmits: port.policy & record::FORGED_TRANSMITS != 0,
    }
}

/// A port without its VM's name.
fn shown(port: &PortRecord, addresses: &[AddressRecord]) -> SwitchPort {
    let kind = match port.kind {
        record::UPLINK => PortKind::Uplink,
        record::VM_CARD => PortKind::Vm,
        _ => PortKind::Hostd,
    };
    let is_its = |address: &&AddressRecord| {
        kind != PortKind::Uplink && address.vm == port.vm && address.card == port.card
    };
    SwitchPort {
        number: port.port,
        kind,
        vm: None,
        card: port.card,
        port_group: (kind != PortKind::Uplink).then(|| ask::text(&port.group)),
        mac: mac(&port.mac),
        is_up: port.link == 1,
        addresses: addresses.iter().filter(is_its).map(address).collect(),
        frames_in: port.frames_in,
        bytes_in: port.bytes_in,
        frames_out: port.frames_out,
        bytes_out: port.bytes_out,
        undelivered: port.undelivered,
        refused: port.refused,
    }
}

fn address(record: &AddressRecord) -> Address {
    let [a, b, c, d, ..] = record.address;
    let address = match record.family {
        record::IPV4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(record.address)),
    };
    Address { card: record.card, mac: mac(&record.mac), address: address.to_string(), since_ns: record.since }
}

fn mac(&[a, b, c, d, e, f, ..]: &[u8; 8]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
