//! From a port and a frame's header to the ports that get the frame: the rules, without side effects.
//!
//! Called by: [`crate::switch`]. Calls: [`Table::find`]. Source: IEEE 802.1Q-2018, 8.6 "The Forwarding Process".
//!
//! 1. A vNIC's frame is of its group's VLAN and untagged; the uplink's is of its tag's VLAN.
//! 2. A vNIC sends from its own address, unless forged transmits are accepted.
//! 3. A frame goes to the vNIC that has the address, else to where the address was learnt, else to the uplink and to
//!    those ports of the VLAN that may have other addresses behind them. Group addresses go to the whole VLAN.
//! 4. Promiscuous ports of the VLAN get it, too; the port that it came from never does.

use crate::frame::{Header, MacAddress};
use crate::group::{Group, VlanId};
use crate::switch::PortIndex;
use crate::table::Table;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The most ports of a switch.
pub const PORTS_MAX: usize = 256;

/// A set of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortSet([u64; PORTS_MAX / 64]);

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: PortIndex) {
        if let Some(word) = self.0.get_mut(usize::from(port.0 / 64)) {
            *word |= 1 << (port.0 % 64);
        }
    }

    /// Takes a port out.
    pub fn remove(&mut self, port: PortIndex) {
        if let Some(word) = self.0.get_mut(usize::from(port.0 / 64)) {
            *word &= !(1 << (port.0 % 64));
        }
    }

    /// Whether a port is in it.
    pub fn contains(&self, port: PortIndex) -> bool {
        self.0.get(usize::from(port.0 / 64)).is_some_and(|word| word >> (port.0 % 64) & 1 != 0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; PORTS_MAX / 64]
    }

    /// The ports, lowest first.
    pub fn iter(self) -> impl Iterator<Item = PortIndex> {
        self.0.into_iter().zip([0_u8, 64, 128, 192]).flat_map(|(word, first)| {
            let mut left = word;
            core::iter::from_fn(move || {
                let bit = u8::try_from(left.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                left &= left.wrapping_sub(1);
                Some(PortIndex(first | bit))
            })
        })
    }
}

/// What is at the other end of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// A vNIC with its address.
    Vnic {
        /// Its own.
        address: MacAddress,
        /// VLAN and policy.
        group: Group,
    },
    /// The wire: a host NIC, with tags.
    Uplink,
}

/// The ports as the rules see them.
#[derive(Default)]
pub struct Topology {
    ports: Vec<Option<Port>>,
    /// vNICs by address.
    addresses: BTreeMap<(VlanId, MacAddress), PortIndex>,
    uplink: Option<PortIndex>,
    promiscuous: PortSet,
    /// Ports that may have more addresses behind them than their own.
    open: PortSet,
}

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// To these ports.
    pub to: PortSet,
    /// It is of this VLAN.
    pub vlan: VlanId,
    /// The source address is to be learnt.
    pub learn: bool,
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such port.
    NoPort,
    /// From an address that is not the vNIC's.
    Forged,
    /// Tagged by a guest, or with a tag of a kind that is not forwarded.
    Tagged,
    /// To a link-local address, or from a group address.
    Reserved,
    /// From the uplink, but with the address of a vNIC: our own frame, sent back by a loop.
    Reflected,
}

impl Topology {
    /// What is at a port.
    pub fn port(&self, port: PortIndex) -> Option<Port> {
        self.ports.get(usize::from(port.0)).copied().flatten()
    }

    /// The uplink's port.
    pub const fn uplink(&self) -> Option<PortIndex> {
        self.uplink
    }

    /// The port of the vNIC with this address.
    pub fn owner(&self, vlan: VlanId, address: MacAddress) -> Option<PortIndex> {
        self.addresses.get(&(vlan, address)).copied()
    }

    /// The lowest port that is free.
    pub(crate) fn free(&self) -> Option<PortIndex> {
        let place = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        u8::try_from(place).ok().map(PortIndex)
    }

    /// Puts something at a port, or nothing; what was there is gone.
    pub(crate) fn set(&mut self, at: PortIndex, port: Option<Port>) {
        match self.port(at) {
            Some(Port::Vnic { address, group }) => {
                self.addresses.remove(&(group.vlan, address));
            }
            Some(Port::Uplink) => self.uplink = None,
            None => {}
        }
        self.promiscuous.remove(at);
        self.open.remove(at);
        match port {
            Some(Port::Vnic { address, group }) => {
                self.addresses.insert((group.vlan, address), at);
                if group.policy.promiscuous {
                    self.promiscuous.insert(at);
                }
                if group.policy.mac_changes && group.policy.forged_transmits {
                    self.open.insert(at);
                }
            }
            Some(Port::Uplink) => self.uplink = Some(at),
            None => {}
        }
        let place = usize::from(at.0);
        if self.ports.len() <= place {
            self.ports.resize(place.saturating_add(1), None);
        }
        if let Some(slot) = self.ports.get_mut(place) {
            *slot = port;
        }
    }

    /// Where a frame with this header goes that came from this port.
    pub fn decide(
        &self,
        table: &Table,
        from: PortIndex,
        header: &Header,
        now: u32,
    ) -> Result<Decision, Refusal> {
        let port = self.port(from).ok_or(Refusal::NoPort)?;
        if header.source.is_multicast() || header.destination.is_link_local() {
            return Err(Refusal::Reserved);
        }
        let (vlan, learn) = match port {
            Port::Vnic { address, group } => (group.vlan, self.admit(from, address, group, header)?),
            Port::Uplink => (self.admit_wire(header)?, true),
        };
        let mut to = self.destinations(table, vlan, header.destination, now);
        for port in self.promiscuous.iter().filter(|port| self.is_member(*port, vlan)) {
            to.insert(port);
        }
        to.remove(from);
        Ok(Decision { to, vlan, learn })
    }

    /// Rules 1 and 2 for a vNIC; whether the source is to be learnt.
    fn admit(
        &self,
        from: PortIndex,
        address: MacAddress,
        group: Group,
        header: &Header,
    ) -> Result<bool, Refusal> {
        if header.tag.is_some() {
            return Err(Refusal::Tagged);
        }
        if header.source == address {
            return Ok(false);
        }
        if !group.policy.forged_transmits {
            return Err(Refusal::Forged);
        }
        Ok(self.open.contains(from) && self.owner(group.vlan, header.source).is_none())
    }

    /// Rule 1 for the uplink.
    fn admit_wire(&self, header: &Header) -> Result<VlanId, Refusal> {
        let vlan = match header.tag {
            None => VlanId::NONE,
            Some(tag) if tag.is_customer => VlanId::new(tag.vlan).ok_or(Refusal::Tagged)?,
            Some(_) => return Err(Refusal::Tagged),
        };
        match self.owner(vlan, header.source) {
            None => Ok(vlan),
            Some(_) => Err(Refusal::Reflected),
        }
    }

    /// Rule 3.
    fn destinations(&self, table: &Table, vlan: VlanId, destination: MacAddress, now: u32) -> PortSet {
        let mut to = PortSet::default();
        if destination.is_multicast() {
            let members = (0..=u8::MAX).map(PortIndex).take(self.ports.len());
            members.filter(|port| self.is_member(*port, vlan)).for_each(|port| to.insert(port));
            self.uplink.iter().for_each(|port| to.insert(*port));
            return to;
        }
        let known = self.owner(vlan, destination).or_else(|| {
            // A port may have changed its group since.
            let learnt = table.find(vlan, destination, now)?;
            let is_there = self.uplink == Some(learnt) || self.is_member(learnt, vlan);
            Some(learnt).filter(|_| is_there)
        });
        if let Some(port) = known {
            to.insert(port);
            return to;
        }
        let open = self.open.iter().filter(|port| self.is_member(*port, vlan));
        open.chain(self.uplink).for_each(|port| to.insert(port));
        to
    }

    /// Whether a vNIC of this VLAN is at the port.
    fn is_member(&self, port: PortIndex, vlan: VlanId) -> bool {
        matches!(self.port(port), Some(Port::Vnic { group, .. }) if group.vlan == vlan)
    }
}
