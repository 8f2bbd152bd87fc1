//! Delivery step by step, on both versions. The whole against a reference model: `model`.

mod posting;
mod property;
mod reference;
mod registers;

use ports::Width;
use specs::gic::{gicd, gicr};
use specs::{Intid, VcpuIndex};

use crate::fake::{Interface, InterfaceV2, InterfaceV3};
use crate::{Line, ListRegisters, VcpuSet, Version, Vgic};

pub(crate) const ME: VcpuIndex = VcpuIndex(0);
pub(crate) const OTHER: VcpuIndex = VcpuIndex(1);
pub(crate) const SPI: Intid = Intid(48);
const SGI_FRAME: u64 = gicr::FRAME_BYTES;

/// A guest that has switched everything on: all groups, all interrupts at priority 0xa0, SPIs to vCPU 0.
pub(crate) fn ready(version: Version, vcpus: u8) -> Vgic {
    let vgic = Vgic::new(version, vcpus).unwrap();
    let write = |offset, value| vgic.gicd_write(ME, offset, Width::W32, value);
    write(gicd::CTLR, 3);
    for word in 1..5 {
        write(gicd::ISENABLER + word * 4, 0xffff_ffff);
    }
    for offset in (32..160).step_by(4) {
        write(gicd::IPRIORITYR + offset, 0xa0a0_a0a0);
        write(gicd::ITARGETSR + offset, 0x0101_0101);
    }
    for vcpu in 0..vcpus {
        enable_private(&vgic, VcpuIndex(vcpu));
    }
    vgic
}

fn enable_private(vgic: &Vgic, vcpu: VcpuIndex) {
    let base = u64::from(vcpu.0) * gicr::STRIDE + SGI_FRAME;
    let write = |offset, value| match vgic.version {
        Version::V2 => vgic.gicd_write(vcpu, offset, Width::W32, value),
        Version::V3 => vgic.gicr_write(vcpu, base + offset, Width::W32, value),
    };
    write(gicd::ISENABLER, 0xffff_ffff);
    for offset in (0..32).step_by(4) {
        write(gicd::IPRIORITYR + offset, 0xa0a0_a0a0);
    }
}

/// Sends SGI `sgi` from `from` to `to`.
pub(crate) fn send(vgic: &Vgic, from: VcpuIndex, to: VcpuIndex, sgi: u32) -> VcpuSet {
    let list = u64::from(VcpuSet::one(to).0);
    match vgic.version {
        Version::V2 => vgic.gicd_write(from, gicd::SGIR, Width::W32, list << 16 | u64::from(sgi)),
        Version::V3 => vgic.sgi1r_write(from, u64::from(sgi) << 24 | list),
    }
}

/// vCPU 0 writes ICACTIVER0.
fn clear_active(vgic: &Vgic, bits: u64) {
    match vgic.version {
        Version::V2 => vgic.gicd_write(ME, gicd::ICACTIVER, Width::W32, bits),
        Version::V3 => vgic.gicr_write(ME, SGI_FRAME + gicd::ICACTIVER, Width::W32, bits),
    };
}

/// Both versions of the fake by one name.
pub(crate) trait Fake: ListRegisters {
    fn with(count: usize) -> Self;
    fn guest(&mut self) -> &mut Interface;
    fn peek(&self) -> &Interface;
}

impl Fake for InterfaceV2 {
    fn with(count: usize) -> Self {
        Self::new(count)
    }
    fn guest(&mut self) -> &mut Interface {
        &mut self.0
    }
    fn peek(&self) -> &Interface {
        &self.0
    }
}

impl Fake for InterfaceV3 {
    fn with(count: usize) -> Self {
        Self::new(count)
    }
    fn guest(&mut self) -> &mut Interface {
        &mut self.0
    }
    fn peek(&self) -> &Interface {
        &self.0
    }
}

/// Runs a test on both versions, with four list registers.
macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident($vgic:ident, $lrs:ident) $body:block)*) => { $(
        mod $name {
            use super::*;
            fn check<L: Fake>(#[allow(unused_mut)] mut $lrs: L, $vgic: Vgic) $body
            #[test]
            fn v2() {
                check(InterfaceV2::with(4), ready(Version::V2, 2));
            }
            #[test]
            fn v3() {
                check(InterfaceV3::with(4), ready(Version::V3, 2));
            }
        }
    )* };
}

both! {
    fn an_sgi_to_oneself_is_delivered_once(vgic, lrs) {
        vgic.flush(ME, &mut lrs);
        assert!(!vgic.posted(ME));
        for _ in 0..3 {
            assert_eq!(send(&vgic, ME, ME, 0), VcpuSet::one(ME));
            assert!(vgic.posted(ME));
            vgic.flush(ME, &mut lrs);
            assert_eq!(lrs.guest().acknowledge(), Some((0, 0)));
            assert_eq!(lrs.guest().acknowledge(), None);
            lrs.guest().end(0);
            vgic.flush(ME, &mut lrs);
            assert_eq!(lrs.guest().acknowledge(), None);
            assert_eq!(vgic.in_use(ME), 1, "the list register is used again");
        }
    }

    fn an_sgi_reaches_the_other_vcpu_only(vgic, lrs) {
        let mut others = lrs.with_same();
        assert_eq!(send(&vgic, OTHER, ME, 3), VcpuSet::one(ME));
        vgic.flush(OTHER, &mut others);
        assert_eq!(others.guest().acknowledge(), None);
        vgic.flush(ME, &mut lrs);
        let source = if vgic.version == Version::V2 { 1 } else { 0 };
        assert_eq!(lrs.guest().acknowledge(), Some((3, source)));
    }

    fn a_level_that_stays_high_comes_again(vgic, lrs) {
        assert_eq!(vgic.set_line(Line::Shared(SPI), true), VcpuSet::one(ME));
        assert_eq!(vgic.set_line(Line::Shared(SPI), true), VcpuSet::NONE);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        lrs.guest().end(48);
        assert!(lrs.guest().maintenance());
        vgic.fold(ME, &mut lrs);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        // Lowered while active: nothing more, and no maintenance interrupt either.
        vgic.set_line(Line::Shared(SPI), false);
        vgic.flush(ME, &mut lrs);
        lrs.guest().end(48);
        assert!(!lrs.guest().maintenance());
        vgic.fold(ME, &mut lrs);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), None);
    }

    fn a_lowered_line_is_withdrawn(vgic, lrs) {
        vgic.set_line(Line::Shared(SPI), true);
        vgic.flush(ME, &mut lrs);
        assert!(lrs.guest().signalled().is_some());
        assert_eq!(vgic.set_line(Line::Shared(SPI), false), VcpuSet::one(ME));
        vgic.flush(ME, &mut lrs);
        assert!(lrs.guest().signalled().is_none());
        assert_eq!(vgic.in_use(ME), 0);
    }

    fn an_edge_while_active_comes_again_once(vgic, lrs) {
        vgic.gicd_write(ME, gicd::ICFGR + 12, Width::W32, 2);
        for _ in 0..2 {
            vgic.set_line(Line::Shared(SPI), true);
            vgic.set_line(Line::Shared(SPI), false);
        }
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        vgic.set_line(Line::Shared(SPI), true);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), None);
        lrs.guest().end(48);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        lrs.guest().end(48);
        vgic.fold(ME, &mut lrs);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), None);
    }

    fn an_edge_after_a_clear_while_active_is_not_lost(vgic, lrs) {
        vgic.gicd_write(ME, gicd::ICFGR + 12, Width::W32, 2);
        vgic.set_line(Line::Shared(SPI), true);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        vgic.set_line(Line::Shared(SPI), false);
        // Nothing is pending: there is nothing to take, now or later.
        vgic.gicd_write(ME, gicd::ICPENDR + 4, Width::W32, 1 << 16);
        vgic.flush(ME, &mut lrs);
        vgic.set_line(Line::Shared(SPI), true);
        vgic.flush(ME, &mut lrs);
        lrs.guest().end(48);
        vgic.fold(ME, &mut lrs);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
    }

    fn the_timer_deactivates_its_physical_interrupt(vgic, lrs) {
        for round in 1..4 {
            vgic.pend_hardware(ME, Intid(27));
            assert_eq!(vgic.live_hardware(ME), 1 << 27);
            vgic.flush(ME, &mut lrs);
            assert_eq!(lrs.guest().acknowledge(), Some((27, 0)));
            lrs.guest().end(27);
            assert_eq!(lrs.guest().deactivated, std::vec![27; round]);
        }
        vgic.fold(ME, &mut lrs);
        assert_eq!(vgic.live_hardware(ME), 0);
    }

    /// Three times, since each time something else is left of the other vCPU.
    fn a_switch_keeps_nothing_of_a_timer_that_ended(vgic, lrs) {
        for round in 1..4 {
            vgic.inject_hardware(ME, Intid(27), &mut lrs);
            assert!(vgic.holds_hardware(ME, &lrs));
            assert_eq!(lrs.guest().acknowledge(), Some((27, 0)));
            assert!(vgic.holds_hardware(ME, &lrs));
            lrs.guest().end(27);
            assert!(!vgic.holds_hardware(ME, &lrs));
            lrs.guest().switch();
            vgic.fold(ME, &mut lrs);
            assert_eq!(vgic.live_hardware(ME), 0);
            vgic.flush(ME, &mut lrs);
            assert_eq!(lrs.guest().deactivated, std::vec![27; round]);
        }
    }

    fn a_more_urgent_one_takes_the_place_of_a_pending_one(vgic, lrs) {
        vgic.gicd_write(ME, gicd::IPRIORITYR + 60, Width::W8, 0x40);
        for intid in 50..55 {
            vgic.set_line(Line::Shared(Intid(intid)), true);
        }
        vgic.flush(ME, &mut lrs);
        vgic.set_line(Line::Shared(Intid(60)), true);
        vgic.flush(ME, &mut lrs);
        for expected in [60, 50, 51, 52, 53, 54] {
            let taken = lrs.guest().acknowledge().unwrap().0;
            assert_eq!(taken, expected);
            vgic.set_line(Line::Shared(Intid(taken)), false);
            lrs.guest().end(taken);
            if lrs.guest().maintenance() {
                vgic.fold(ME, &mut lrs);
            }
            vgic.flush(ME, &mut lrs);
        }
        assert_eq!(lrs.guest().acknowledge(), None);
        assert!(!lrs.guest().maintenance());
    }

    fn a_vcpu_switched_off_keeps_what_its_redistributor_has(vgic, lrs) {
        send(&vgic, ME, ME, 2);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((2, 0)));
        vgic.inject_hardware(ME, Intid(27), &mut lrs);
        send(&vgic, ME, ME, 3);
        vgic.flush(ME, &mut lrs);
        vgic.reset_vcpu(ME, &mut lrs);
        assert!(lrs.guest().entries().is_empty());
        assert_eq!((vgic.in_use(ME), vgic.live_hardware(ME)), (0, 0));
        assert_eq!(lrs.guest().deactivated, [27]);
        // On again: SGI 3 is still pending, SGI 2 still active, and the timer comes by itself if its line is high.
        let mut fresh = lrs.with_same();
        vgic.flush(ME, &mut fresh);
        assert_eq!(fresh.guest().acknowledge(), Some((3, 0)));
        fresh.guest().end(3);
        send(&vgic, ME, ME, 2);
        vgic.flush(ME, &mut fresh);
        assert_eq!(fresh.guest().acknowledge(), None);
        clear_active(&vgic, 1 << 2);
        vgic.flush(ME, &mut fresh);
        assert_eq!(fresh.guest().acknowledge(), Some((2, 0)));
    }

    fn clearing_the_active_timer_deactivates_the_physical_one(vgic, lrs) {
        vgic.inject_hardware(ME, Intid(27), &mut lrs);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((27, 0)));
        clear_active(&vgic, 1 << 27);
        vgic.flush(ME, &mut lrs);
        assert_eq!((vgic.live_hardware(ME), lrs.guest().deactivated.as_slice()), (0, [27].as_slice()));
        assert!(lrs.guest().entries().is_empty());
    }

    fn a_wfi_is_over_when_something_is_above_the_mask(vgic, lrs) {
        vgic.flush(ME, &mut lrs);
        assert!(!vgic.deliverable(ME, &lrs, 0xff));
        send(&vgic, ME, ME, 2);
        assert!(vgic.deliverable(ME, &lrs, 0xff), "posted");
        vgic.flush(ME, &mut lrs);
        assert!(vgic.deliverable(ME, &lrs, 0xff));
        assert!(!vgic.deliverable(ME, &lrs, 0xa0));
        assert!(vgic.deliverable(ME, &lrs, 0xa8));
        lrs.guest().acknowledge();
        assert!(!vgic.deliverable(ME, &lrs, 0xff), "active");
    }

    fn an_spi_made_active_after_its_end_stays_active(vgic, lrs) {
        let write = |register| vgic.gicd_write(ME, register + 4, Width::W32, 1 << 16);
        write(gicd::ISPENDR);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
        lrs.guest().end(48);
        // The list register still stands for it.
        write(gicd::ISACTIVER);
        vgic.flush(ME, &mut lrs);
        assert_eq!(vgic.gicd_read(ME, gicd::ISACTIVER + 4, Width::W32), 1 << 16);
        write(gicd::ISPENDR);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), None);
        write(gicd::ICACTIVER);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((48, 0)));
    }

    fn an_spi_moves_with_its_route(vgic, lrs) {
        let mut others = lrs.with_same();
        vgic.set_line(Line::Shared(SPI), true);
        vgic.flush(ME, &mut lrs);
        let kicked = match vgic.version {
            Version::V2 => vgic.gicd_write(ME, gicd::ITARGETSR + 48, Width::W8, 2),
            Version::V3 => vgic.gicd_write(ME, gicd::IROUTER + 48 * 8, Width::W64, 1),
        };
        assert_eq!(kicked, VcpuSet::one(ME), "who has it must give it up first");
        assert_eq!(vgic.flush(ME, &mut lrs), VcpuSet::one(OTHER));
        assert!(lrs.guest().entries().is_empty());
        vgic.flush(OTHER, &mut others);
        assert_eq!(others.guest().acknowledge(), Some((48, 0)));
    }

    fn a_disabled_one_leaves_its_list_register_and_comes_back(vgic, lrs) {
        send(&vgic, ME, ME, 1);
        vgic.flush(ME, &mut lrs);
        let base = if vgic.version == Version::V2 { 0 } else { SGI_FRAME };
        let write = |offset| match vgic.version {
            Version::V2 => vgic.gicd_write(ME, offset, Width::W32, 2),
            Version::V3 => vgic.gicr_write(ME, base + offset, Width::W32, 2),
        };
        write(gicd::ICENABLER);
        vgic.flush(ME, &mut lrs);
        assert!(lrs.guest().signalled().is_none());
        write(gicd::ISENABLER);
        vgic.flush(ME, &mut lrs);
        assert_eq!(lrs.guest().acknowledge(), Some((1, 0)));
    }
}

/// A second virtual CPU interface of the same kind.
pub(crate) trait Same {
    fn with_same(&self) -> Self;
}

impl<L: Fake> Same for L {
    fn with_same(&self) -> Self {
        let mut same = L::with(self.count() as usize);
        let (split, mask) = (self.peek().split, self.peek().mask);
        (same.guest().split, same.guest().mask) = (split, mask);
        same
    }
}
