//! The network: guests' cards and the host's uplink on one switch.
//!
//! A frame from guest A to B: A's QueueNotify → transmit half → [`SwitchPort`] → `Switch::forward` → [`Sink`] → B's
//! receive half, on A's PE, with one copy.

use crate::host::Host;
use crate::self_test::Probe;
use crate::signals::Wire;
use crate::uplink::Uplink;
use alloc::sync::Arc;
use el2::ram::GuestRam;
use ports::{Delivered, Frame, FrameSink};
use virtio::{Net, VirtioMmio};
use vswitch::switch::PortIndex;
use vswitch::{Group, MacAddress};

/// The switch of this host.
pub type Switch = vswitch::Switch<Sink>;

/// A guest's network card.
pub type NetCard = VirtioMmio<Net<SwitchPort>, Arc<GuestRam>, Wire>;

/// The port group of hostd's card. Its own VLAN, once hosts can be told one; all policies reject.
pub const MANAGEMENT: Group = Group {
    vlan: vswitch::VlanId::NONE,
    policy: vswitch::Policy { promiscuous: false, mac_changes: false, forged_transmits: false },
};

/// Where a port's frames go.
pub enum Sink {
    /// A guest's card.
    Card(Arc<NetCard>),
    /// The host's card.
    Uplink(Arc<Uplink>),
    /// The self-test, for a moment.
    Probe(Arc<Probe>),
}

impl FrameSink for &Sink {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        match self {
            Sink::Card(card) => card.deliver(frame),
            Sink::Uplink(uplink) => uplink.driver.lock().deliver(frame),
            Sink::Probe(probe) => probe.deliver(frame),
        }
    }
}

/// A port of the switch, from the side of a guest's card.
pub struct SwitchPort {
    host: &'static Host,
    /// The port.
    pub port: PortIndex,
    /// The card's address.
    pub address: MacAddress,
}

impl SwitchPort {
    /// Takes a port of a group for a card.
    pub fn connect(
        host: &'static Host,
        address: MacAddress,
        group: Group,
    ) -> Result<Self, vswitch::ConnectError> {
        let port = host.switch.connect(address, group)?;
        Ok(Self { host, port, address })
    }
}

impl FrameSink for SwitchPort {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        self.host.switch.forward(self.port, frame, self.host.uptime_seconds())
    }
}
