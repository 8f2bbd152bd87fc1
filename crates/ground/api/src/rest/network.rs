//! The switch: uplinks, port groups, who is connected, and by which addresses.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The network of the host: one switch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Network {
    /// Its port groups, by name.
    pub port_groups: Vec<PortGroup>,
    /// Its ports, by number.
    pub ports: Vec<Port>,
}

/// Ports with one VLAN and one policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortGroup {
    /// Its name.
    pub name: String,
    /// 1–4094; 0: untagged.
    pub vlan: u32,
    /// Its ports get the frames of others, too.
    pub promiscuous: bool,
    /// Frames come to its ports by other addresses than their own.
    pub mac_changes: bool,
    /// Its ports may send from other addresses than their own.
    pub forged_transmits: bool,
}

/// What a port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PortKind {
    /// A network card of the host.
    Uplink,
    /// A card of a VM.
    Vm,
    /// The card of hostd: management.
    Hostd,
}

/// A port of the switch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Port {
    /// Its number.
    pub number: u32,
    /// What it is.
    pub kind: PortKind,
    /// The VM's name; none for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// Which of the VM's or the host's cards.
    pub card: u32,
    /// The name of its port group; none for an uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_group: Option<String>,
    /// The card's MAC address.
    pub mac: String,
    /// The link is up.
    pub is_up: bool,
    /// Addresses that the switch saw it use.
    pub addresses: Vec<Address>,
    /// Frames that came in by it: for an uplink from outside, else from the VM.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames that went out by it: for an uplink to the outside, else to the VM.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames to it that found no buffer.
    pub undelivered: u64,
    /// Frames that it might not send: a false address, a tag, addresses that no switch passes on.
    pub refused: u64,
}

/// An address that the switch saw a card use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Address {
    /// Which of the cards.
    pub card: u32,
    /// The card's MAC address.
    pub mac: String,
    /// IPv4 or IPv6, as text.
    pub address: String,
    /// When it was first seen, since the host started.
    pub since_ns: u64,
}
