//! Port groups: what ports have in common. Access ports only: a guest neither sends nor sees tags.

/// A VLAN: 1 to 4094, or none (the frames that the uplink carries untagged).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VlanId(u16);

impl VlanId {
    /// Untagged on the uplink.
    pub const NONE: Self = Self(0);

    /// 0 is [`Self::NONE`]; above 4094 there is none.
    pub const fn new(id: u16) -> Option<Self> {
        if id <= 4094 { Some(Self(id)) } else { None }
    }

    /// The number in a tag; 0: no tag.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What ports may do. All is rejected unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Promiscuous mode: the port gets every frame of its VLAN.
    pub promiscuous: bool,
    /// MAC address changes: the port gets frames for other addresses than its own, learnt from what it sends.
    pub mac_changes: bool,
    /// Forged transmits: the port sends from other addresses than its own.
    pub forged_transmits: bool,
}

/// A port group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// The VLAN of its ports.
    pub vlan: VlanId,
    /// What they may do.
    pub policy: Policy,
}
