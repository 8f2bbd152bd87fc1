//! List registers: what this crate asks of the PE's virtual CPU interface, and the two layouts.
//!
//! Used by `deliver`. Standards: GICv2, IHI 0048B, 5.3.10 "List Registers"; GICv3, IHI 0069, 12.4.11
//! `ICH_LR<n>_EL2`.

use specs::Intid;
use specs::gic::{hcr, lr_v2, lr_v3};

/// Which GIC a guest sees; the host has the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2 without Security Extensions.
    V2,
    /// GICv3, one Security state, affinity routing always on.
    V3,
}

/// Maintenance interrupts to enable, at their places in GICH_HCR and ICH_HCR_EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Maintenance(pub u32);

impl Maintenance {
    /// None.
    pub const NONE: Self = Self(0);
    /// While no list register is pending.
    pub const NO_PENDING: Self = Self(hcr::NPIE);
    /// While EOIs of interrupts outside the list registers are counted.
    pub const EOI_COUNT: Self = Self(hcr::LRENPIE);
    /// The bits of the control register that belong to [`ListRegisters::set_maintenance`].
    pub const MASK: u32 = hcr::UIE | hcr::NPIE | hcr::LRENPIE;

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The virtual CPU interface of the PE that runs the vCPU (or the saved copy of one that is switched out).
///
/// Together with the virtual machine control register (VMCR), the active priorities and the control register (HCR) it
/// is part of the vCPU's context: who switches vCPUs saves and restores it all as it is.
pub trait ListRegisters {
    /// Which layout the list registers have.
    const VERSION: Version;

    /// How many list registers there are, 1 to 16 (a GIC with more: 16).
    fn count(&self) -> u32;

    /// Contents of list register `index`, which is below `count`.
    fn get(&self, index: u32) -> u64;

    /// Writes list register `index`, which is below `count`.
    fn set(&mut self, index: u32, raw: u64);

    /// A bit for each list register that is neither pending nor active (ELRSR). Higher bits may be anything.
    fn empty(&self) -> u32;

    /// Enables these maintenance interrupts and disables the others ([`Maintenance::MASK`]).
    fn set_maintenance(&mut self, wanted: Maintenance);

    /// Reads EOIcount and sets it to zero.
    fn take_eoi_count(&mut self) -> u32;

    /// Whether the guest's EOIR only drops the priority (VMCR.VEOIM, VMCR.VEM).
    fn splits_eoi(&self) -> bool;

    /// Deactivates a physical interrupt of this PE.
    fn deactivate(&mut self, physical: Intid);
}

/// What a list register stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// HW = 1: the guest's deactivation deactivates this physical INTID.
    Physical(u32),
    /// HW = 0.
    Virtual {
        /// Maintenance interrupt when the guest deactivates it.
        eoi: bool,
        /// GICv2 SGIs: the vCPU that sent it. Zero for all others.
        source: u8,
    },
}

/// A list register, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The guest's INTID.
    pub intid: u32,
    /// State: pending.
    pub pending: bool,
    /// State: active.
    pub active: bool,
    /// Group 1, else Group 0.
    pub group1: bool,
    /// Priority; of the lower three bits GICv2 keeps none.
    pub priority: u8,
    /// HW and what goes with it.
    pub link: Link,
}

impl Entry {
    /// Packs it.
    #[inline]
    pub const fn encode(self, version: Version) -> u64 {
        match version {
            Version::V2 => self.encode_v2(),
            Version::V3 => self.encode_v3(),
        }
    }

    /// Unpacks it.
    #[inline]
    pub const fn decode(version: Version, raw: u64) -> Self {
        match version {
            Version::V2 => Self::decode_v2(raw),
            Version::V3 => Self::decode_v3(raw),
        }
    }

    /// Whether EOI asks for a maintenance interrupt.
    #[inline]
    pub const fn eoi(self) -> bool {
        matches!(self.link, Link::Virtual { eoi: true, .. })
    }

    /// The GICv2 source.
    #[inline]
    pub const fn source(self) -> u8 {
        match self.link {
            Link::Virtual { source, .. } => source,
            Link::Physical(_) => 0,
        }
    }

    #[inline]
    const fn encode_v2(self) -> u64 {
        let link = match self.link {
            Link::Physical(intid) => lr_v2::HW | ((intid as u64 & 0x3ff) << lr_v2::PHYSICAL_ID_SHIFT),
            Link::Virtual { eoi, source } => {
                flag(eoi, lr_v2::EOI) | ((source as u64 & lr_v2::CPUID_MASK) << lr_v2::CPUID_SHIFT)
            }
        };
        (self.intid as u64 & lr_v2::VIRTUAL_ID_MASK)
            | link
            | (((self.priority >> 3) as u64) << lr_v2::PRIORITY_SHIFT)
            | flag(self.pending, lr_v2::PENDING)
            | flag(self.active, lr_v2::ACTIVE)
            | flag(self.group1, lr_v2::GRP1)
    }

    #[inline]
    const fn decode_v2(raw: u64) -> Self {
        let link = if raw & lr_v2::HW != 0 {
            Link::Physical(low32(raw >> lr_v2::PHYSICAL_ID_SHIFT) & 0x3ff)
        } else {
            let source = low8((raw >> lr_v2::CPUID_SHIFT) & lr_v2::CPUID_MASK);
            Link::Virtual { eoi: raw & lr_v2::EOI != 0, source }
        };
        Self {
            intid: low32(raw & lr_v2::VIRTUAL_ID_MASK),
            pending: raw & lr_v2::PENDING != 0,
            active: raw & lr_v2::ACTIVE != 0,
            group1: raw & lr_v2::GRP1 != 0,
            priority: low8((raw >> lr_v2::PRIORITY_SHIFT) & 0x1f) << 3,
            link,
        }
    }

    #[inline]
    const fn encode_v3(self) -> u64 {
        let link = match self.link {
            Link::Physical(intid) => lr_v3::HW | ((intid as u64 & 0x1fff) << lr_v3::PINTID_SHIFT),
            Link::Virtual { eoi, .. } => flag(eoi, lr_v3::EOI),
        };
        (self.intid as u64 & lr_v3::VINTID_MASK)
            | link
            | ((self.priority as u64) << lr_v3::PRIORITY_SHIFT)
            | flag(self.pending, lr_v3::PENDING)
            | flag(self.active, lr_v3::ACTIVE)
            | flag(self.group1, lr_v3::GROUP)
    }

    #[inline]
    const fn decode_v3(raw: u64) -> Self {
        let link = if raw & lr_v3::HW != 0 {
            Link::Physical(low32(raw >> lr_v3::PINTID_SHIFT) & 0x1fff)
        } else {
            Link::Virtual { eoi: raw & lr_v3::EOI != 0, source: 0 }
        };
        Self {
            intid: low32(raw),
            pending: raw & lr_v3::PENDING != 0,
            active: raw & lr_v3::ACTIVE != 0,
            group1: raw & lr_v3::GROUP != 0,
            priority: low8(raw >> lr_v3::PRIORITY_SHIFT),
            link,
        }
    }
}

#[inline]
const fn flag(on: bool, bit: u64) -> u64 {
    if on { bit } else { 0 }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
const fn low32(value: u64) -> u32 {
    value as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest byte is what is asked for")]
const fn low8(value: u64) -> u8 {
    value as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(version: Version) -> impl Strategy<Value = Entry> {
        let link = prop_oneof![
            (16_u32..1020).prop_map(Link::Physical),
            (any::<bool>(), 0_u8..8).prop_map(move |(eoi, source)| Link::Virtual {
                eoi,
                source: if version == Version::V2 { source } else { 0 },
            }),
        ];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        (0_u32..1020, flags, 0_u8..32, link).prop_map(|(intid, (pending, active, group1), priority, link)| {
            Entry { intid, pending, active, group1, priority: priority << 3, link }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]
        #[test]
        fn both_layouts_come_back(v2 in entry(Version::V2), v3 in entry(Version::V3)) {
            prop_assert_eq!(Entry::decode(Version::V2, v2.encode(Version::V2)), v2);
            prop_assert_eq!(Entry::decode(Version::V3, v3.encode(Version::V3)), v3);
            prop_assert_eq!(v2.encode(Version::V2) >> 32, 0);
        }
    }

    #[test]
    fn layouts_are_the_manuals() {
        let timer = Entry {
            intid: 27,
            pending: true,
            active: false,
            group1: true,
            priority: 0xa0,
            link: Link::Physical(27),
        };
        assert_eq!(timer.encode(Version::V3), 0x70a0_001b_0000_001b);
        assert_eq!(timer.encode(Version::V2), 0xda00_6c1b);
        let sgi = Entry { intid: 3, group1: false, link: Link::Virtual { eoi: true, source: 5 }, ..timer };
        assert_eq!(sgi.encode(Version::V2), 0x1a08_1403);
        assert_eq!(sgi.encode(Version::V3), 0x40a0_0200_0000_0003);
    }
}
