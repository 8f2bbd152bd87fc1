//! The switch: learning, port groups, VLAN, policy. ESXi's words and function.
//!
//! A vNIC's transmit half calls [`Switch::forward`]; the switch calls the sinks of the ports that the frame goes to: the
//! receive halves of vNICs, and the uplink. It holds no frame: what has no room at the receiver is dropped and counted.
//!
//! | module | what |
//! |---|---|
//! | [`mod@frame`] | the header of a frame; taking a tag out |
//! | [`table`] | which port an address is behind |
//! | [`group`] | port groups: VLAN and policy |
//! | [`seen`] | which addresses of IP a port uses |
//! | [`decide`] | from port and header to the set of ports, without side effects |
//! | [`switch`] | ports, sinks, counters |
//!
//! Source: IEEE 802.1Q-2018, 8.6 "The Forwarding Process", 8.7 "The Learning Process", 9.6 "VLAN Tag Control
//! Information"; the policies as VMware's vSphere Networking guide describes them.
//!
//! Lock order: transmit half → ports (for reading) → receive halves, one at a time → interrupt line. The address table
//! is read without a lock; an address that moved or is new takes its short lock, and so do neighbours that tell theirs.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;

pub mod decide;
pub mod frame;
pub mod group;
#[cfg(any(test, feature = "rig"))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it stops the test that it serves"
)]
pub mod script;
pub mod seen;
pub mod switch;
pub mod table;

pub use frame::MacAddress;
pub use group::{Group, Policy, VlanId};
pub use switch::{ConnectError, PortCounters, Switch};
