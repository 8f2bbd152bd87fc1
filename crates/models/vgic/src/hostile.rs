//! A guest that does anything at all, from a script of bytes: the body of the fuzz target `vgic`.
//!
//! Whatever it does, nothing panics, no INTID is in two list registers, and the host gets out of its exits: after a
//! fold and a flush no maintenance interrupt is left.

use std::vec::Vec;

use ports::Width;
use specs::gic::gicd;
use specs::{Intid, VcpuIndex};

use crate::fake::{Interface, InterfaceV2, InterfaceV3};
use crate::{Line, ListRegisters, VcpuSet, Version, Vgic, needs_fold};

/// Reads the script; zeros follow its end.
struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn width(&mut self) -> Width {
        match self.byte() & 7 {
            0 => Width::W8,
            1 => Width::W16,
            2 => Width::W64,
            _ => Width::W32,
        }
    }

    /// Most of them where registers are.
    fn offset(&mut self) -> u64 {
        let offset = u64::from(u16::from_le_bytes([self.byte(), self.byte()]));
        match self.byte() & 7 {
            0 => offset,
            1 => gicd::IROUTER | offset & 0x7ff,
            2 => offset & 0xfff,
            _ => offset & 0xffc,
        }
    }
}

/// What [`run`] needs of either fake.
trait Fake: ListRegisters {
    fn interface(&mut self) -> &mut Interface;
}

impl Fake for InterfaceV2 {
    fn interface(&mut self) -> &mut Interface {
        &mut self.0
    }
}

impl Fake for InterfaceV3 {
    fn interface(&mut self) -> &mut Interface {
        &mut self.0
    }
}

/// Runs a script: its first byte chooses version, vCPUs and list registers.
pub fn run(script: &[u8]) {
    let mut script = Script(script.iter());
    let shape = script.byte();
    let vcpus = (shape >> 1 & 7) + 1;
    let count = usize::from(shape >> 4 & 3) + 1;
    let each = || 0..vcpus;
    if shape & 1 == 0 {
        play(Version::V2, each().map(|_| InterfaceV2::new(count)).collect(), &mut script);
    } else {
        play(Version::V3, each().map(|_| InterfaceV3::new(count)).collect(), &mut script);
    }
}

fn play<L: Fake>(version: Version, mut lrs: Vec<L>, script: &mut Script<'_>) {
    let Ok(vcpus) = u8::try_from(lrs.len()) else { return };
    let Some(vgic) = Vgic::new(version, vcpus) else { return };
    while script.0.len() != 0 {
        let me = VcpuIndex(script.byte() % vcpus);
        let Some(mine) = lrs.get_mut(usize::from(me.0)) else { return };
        let kicked = step(&vgic, me, mine, script).union(guest(&vgic, me, mine, script));
        exits(&vgic, &mut lrs, kicked.union(VcpuSet::one(me)));
    }
}

/// One access, or one event from outside.
fn step<L: Fake>(vgic: &Vgic, me: VcpuIndex, mine: &mut L, script: &mut Script<'_>) -> VcpuSet {
    let (offset, width, value) = (script.offset(), script.width(), script.number());
    let frame = value >> 40 & 0xf_0000;
    match script.byte() % 10 {
        0 | 1 => return vgic.gicd_write(me, offset, width, value),
        2 | 3 => return vgic.gicr_write(me, frame | offset, width, value),
        4 => {
            let concerned = if needs_fold(offset) { vgic.fold(me, mine) } else { VcpuSet::NONE };
            let read = vgic.gicd_read(me, offset, width);
            assert_eq!(read, width.truncate(read));
            assert_eq!(vgic.gicr_read(me, frame | offset, width) >> 32 & 0xffff_fff8, 0);
            return concerned;
        }
        5 => return vgic.sgi1r_write(me, value & 0xf0f_00ff | value >> 60 << 40),
        6 => return vgic.sgi0r_write(me, value),
        7 => {
            let intid = Intid(u32::from(offset.to_le_bytes()[0]));
            let vcpu = VcpuIndex(value.to_le_bytes()[0]);
            let line = if value & 0x100 == 0 { Line::Shared(intid) } else { Line::Private { intid, vcpu } };
            return vgic.set_line(line, value & 0x200 != 0);
        }
        8 => vgic.pend_hardware(me, Intid(27)),
        _ => return vgic.inject_hardware(me, Intid(u32::from(value.to_le_bytes()[0] & 31)), mine),
    }
    VcpuSet::NONE
}

/// What the guest does at its CPU interface.
fn guest<L: Fake>(vgic: &Vgic, me: VcpuIndex, mine: &mut L, script: &mut Script<'_>) -> VcpuSet {
    let what = script.byte();
    let interface = mine.interface();
    let any = interface.entries().first().map_or(u32::from(what), |(_, entry)| entry.intid);
    match what & 15 {
        0..4 => {
            interface.acknowledge();
        }
        4..7 => interface.end(any),
        7 => interface.end(u32::from(what)),
        8 => interface.deactivate_virtual(any),
        9 => interface.split = what & 16 != 0,
        10 => interface.mask = what,
        11 => return vgic.reset_vcpu(me, mine),
        12 => return vgic.fold(me, mine),
        _ => {}
    }
    VcpuSet::NONE
}

fn exits<L: Fake>(vgic: &Vgic, lrs: &mut [L], kicked: VcpuSet) {
    let mut left = kicked;
    for _ in 0..64 {
        let Some(vcpu) = left.next() else { return };
        let Some(mine) = lrs.get_mut(usize::from(vcpu.0)) else { continue };
        if mine.interface().maintenance() {
            left = left.union(vgic.fold(vcpu, mine));
        }
        if vgic.posted(vcpu) {
            left = left.union(vgic.flush(vcpu, mine));
        }
        assert!(!mine.interface().maintenance(), "a maintenance interrupt that nothing answers");
        let entries = mine.interface().entries();
        for (index, entry) in &entries {
            assert!(
                entries.iter().all(|(other, e)| other == index || e.intid != entry.intid),
                "one INTID twice"
            );
            assert!(vgic.in_use(vcpu) >> index & 1 != 0, "a list register nobody knows of");
        }
    }
    assert!(left.is_empty(), "vCPUs kick each other for ever");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 1 } else { 500 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn nothing_that_a_guest_does_panics(
            script in prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 200 } else { 4000 })
        ) {
            super::run(&script);
        }
    }
}
