//! Register by register: what a guest reads after reset, what sticks, what does not exist.

use std::vec::Vec;

use ports::Width;
use specs::gic::{gicd, gicr};
use specs::{Intid, VcpuIndex};

use super::{ME, OTHER};
use crate::fake::{InterfaceV2, InterfaceV3};
use crate::{Line, VcpuSet, Version, Vgic};

const SGI_FRAME: u64 = gicr::FRAME_BYTES;

struct Guest(Vgic);

impl Guest {
    fn new(version: Version, vcpus: u8) -> Self {
        Self(Vgic::new(version, vcpus).unwrap())
    }
    fn d(&self, offset: u64) -> u64 {
        self.0.gicd_read(ME, offset, Width::W32)
    }
    fn set_d(&self, offset: u64, value: u64) -> VcpuSet {
        self.0.gicd_write(ME, offset, Width::W32, value)
    }
    fn r(&self, offset: u64) -> u64 {
        self.0.gicr_read(ME, offset, Width::W32)
    }
    fn set_r(&self, offset: u64, value: u64) -> VcpuSet {
        self.0.gicr_write(ME, offset, Width::W32, value)
    }
}

#[test]
fn there_are_one_to_eight_vcpus() {
    assert!(Vgic::new(Version::V2, 0).is_none());
    assert!(Vgic::new(Version::V3, 9).is_none());
    assert!(Vgic::new(Version::V3, 8).is_some());
}

#[test]
fn typer_says_160_intids() {
    assert_eq!(Guest::new(Version::V2, 4).d(gicd::TYPER), 3 << 5 | 4);
    // IDbits 10, No1N; CPUNumber is for legacy operation only.
    assert_eq!(Guest::new(Version::V3, 4).d(gicd::TYPER), 1 << 25 | 9 << 19 | 4);
}

#[test]
fn ctlr_keeps_the_group_enables() {
    for (version, fixed) in [(Version::V2, 0), (Version::V3, 1 << 4 | 1 << 6)] {
        let guest = Guest::new(version, 2);
        assert_eq!(guest.d(gicd::CTLR), fixed);
        assert_eq!(guest.set_d(gicd::CTLR, 0xffff_ffff), VcpuSet(3));
        assert_eq!(guest.d(gicd::CTLR), fixed | 3);
        assert_eq!(guest.set_d(gicd::CTLR, 3), VcpuSet::NONE);
    }
}

#[test]
fn identification_is_where_each_version_has_it() {
    let v2 = Guest::new(Version::V2, 1);
    assert_eq!(v2.d(0xfe8) >> 4 & 0xf, 2);
    assert_eq!([0xff0, 0xff4, 0xff8, 0xffc].map(|o| v2.d(o)), [0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(v2.d(0xffe8), 0);
    assert_eq!(v2.d(gicd::IIDR) & 0xfff, 0x43b);
    let v3 = Guest::new(Version::V3, 1);
    assert_eq!(v3.d(0xffe8) >> 4 & 0xf, 3);
    assert_eq!(v3.d(0xfe8), 0);
    assert_eq!(v3.r(0xffe8) >> 4 & 0xf, 3);
    assert_eq!((v3.d(0xffe0), v3.r(0xffe0)), (0x92, 0x93));
    assert_eq!(v3.d(gicd::IIDR) & 0xfff, 0x43b);
    assert_eq!(v3.r(gicr::IIDR) & 0xfff, 0x43b);
}

#[test]
fn redistributors_say_who_they_are() {
    let guest = Guest::new(Version::V3, 3);
    let typer = |vcpu: u64| guest.0.gicr_read(ME, vcpu * gicr::STRIDE + gicr::TYPER, Width::W64);
    assert_eq!(typer(0), 0);
    assert_eq!(typer(1), 1 << 32 | 1 << 8);
    assert_eq!(typer(2), 2 << 32 | 2 << 8 | 1 << 4);
    assert_eq!(typer(3), 0);
    let upper = 2 * gicr::STRIDE + gicr::TYPER;
    assert_eq!((guest.r(upper), guest.r(upper + 4)), (2 << 8 | 1 << 4, 2));
    // GICv2 has none.
    assert_eq!(Guest::new(Version::V2, 1).0.gicr_read(ME, gicr::TYPER, Width::W64), 0);
}

#[test]
fn the_redistributor_wakes() {
    let guest = Guest::new(Version::V3, 1);
    assert_eq!(guest.r(gicr::WAKER), 6);
    guest.set_r(gicr::WAKER, 0);
    assert_eq!(guest.r(gicr::WAKER), 0);
    guest.set_r(gicr::WAKER, 2);
    assert_eq!(guest.r(gicr::WAKER), 6);
}

#[test]
fn enables_are_set_and_cleared_a_bit_each() {
    for version in [Version::V2, Version::V3] {
        let guest = Guest::new(version, 2);
        guest.set_d(gicd::ISENABLER + 4, 0x11);
        guest.set_d(gicd::ISENABLER + 4, 0x100);
        guest.set_d(gicd::ICENABLER + 4, 0x1);
        assert_eq!(guest.d(gicd::ISENABLER + 4), 0x110);
        assert_eq!(guest.d(gicd::ICENABLER + 4), 0x110);
        assert_eq!(guest.d(gicd::ISENABLER + 16), 0);
        guest.set_d(gicd::ISENABLER + 20, 1);
        assert_eq!(guest.d(gicd::ISENABLER + 20), 0, "there is no INTID 160");
    }
}

#[test]
fn private_registers_are_each_vcpus_own() {
    let v2 = Guest::new(Version::V2, 2);
    v2.set_d(gicd::ISENABLER, 0x8000_0001);
    assert_eq!(v2.d(gicd::ISENABLER), 0x8000_0001);
    assert_eq!(v2.0.gicd_read(OTHER, gicd::ISENABLER, Width::W32), 0);
    let v3 = Guest::new(Version::V3, 2);
    v3.set_d(gicd::ISENABLER, 1);
    assert_eq!((v3.d(gicd::ISENABLER), v3.r(SGI_FRAME + gicd::ISENABLER)), (0, 0));
    // Another's Redistributor is there to be written.
    assert_eq!(v3.set_r(gicr::STRIDE + SGI_FRAME + gicd::ISENABLER, 5), VcpuSet::one(OTHER));
    assert_eq!(v3.r(gicr::STRIDE + SGI_FRAME + gicd::ISENABLER), 5);
    assert_eq!(v3.r(SGI_FRAME + gicd::ISENABLER), 0);
}

#[test]
fn priorities_keep_five_bits_and_take_bytes() {
    let guest = Guest::new(Version::V2, 2);
    guest.set_d(gicd::IPRIORITYR + 40, 0xffa7_1080);
    assert_eq!(guest.d(gicd::IPRIORITYR + 40), 0xf8a0_1080);
    guest.0.gicd_write(ME, gicd::IPRIORITYR + 41, Width::W8, 0x5f);
    assert_eq!(guest.d(gicd::IPRIORITYR + 40), 0xf8a0_5880);
    assert_eq!(guest.0.gicd_read(ME, gicd::IPRIORITYR + 43, Width::W8), 0xf8);
    guest.set_d(gicd::IPRIORITYR + 4, 0x0102_03ff);
    assert_eq!(guest.d(gicd::IPRIORITYR + 4), 0xf8);
    let v3 = Guest::new(Version::V3, 1);
    v3.0.gicr_write(ME, SGI_FRAME + gicd::IPRIORITYR + 27, Width::W8, 0xa3);
    assert_eq!(v3.r(SGI_FRAME + gicd::IPRIORITYR + 24), 0xa000_0000);
    assert_eq!(v3.0.gicr_read(ME, SGI_FRAME + gicd::IPRIORITYR + 27, Width::W8), 0xa0);
}

#[test]
fn targets_are_those_that_exist() {
    let guest = Guest::new(Version::V2, 2);
    assert_eq!(guest.d(gicd::ITARGETSR), 0x0101_0101);
    assert_eq!(guest.0.gicd_read(OTHER, gicd::ITARGETSR + 28, Width::W32), 0x0202_0202);
    guest.set_d(gicd::ITARGETSR, 0x0202_0202);
    assert_eq!(guest.d(gicd::ITARGETSR), 0x0101_0101);
    guest.set_d(gicd::ITARGETSR + 48, 0xff02_0100);
    assert_eq!(guest.d(gicd::ITARGETSR + 48), 0x0302_0100);
    assert_eq!(guest.0.gicd_read(ME, gicd::ITARGETSR + 50, Width::W8), 2);
    // One PE: no register, everything goes there.
    let one = Guest::new(Version::V2, 1);
    one.set_d(gicd::ITARGETSR + 48, 0x0101_0101);
    assert_eq!((one.d(gicd::ITARGETSR), one.d(gicd::ITARGETSR + 48)), (0, 0));
    one.set_d(gicd::CTLR, 1);
    one.set_d(gicd::ISENABLER + 4, 1 << 16);
    assert_eq!(one.0.set_line(Line::Shared(Intid(48)), true), VcpuSet::one(ME));
    // GICv3: affinity routing is always on.
    let v3 = Guest::new(Version::V3, 2);
    v3.set_d(gicd::ITARGETSR + 48, 0x0101_0101);
    assert_eq!(v3.d(gicd::ITARGETSR + 48), 0);
}

#[test]
fn a_router_keeps_an_affinity_without_1_of_n() {
    let guest = Guest::new(Version::V3, 2);
    let router = gicd::IROUTER + 8 * 48;
    let read = || guest.0.gicd_read(ME, router, Width::W64);
    guest.0.gicd_write(ME, router, Width::W64, 0xffff_ffff_ffff_ffff);
    assert_eq!(read(), 0xff_00ff_ffff);
    guest.set_d(router, 1);
    assert_eq!(read(), 0xff_0000_0001);
    guest.set_d(router + 4, 0);
    assert_eq!((read(), guest.d(router), guest.d(router + 4)), (1, 1, 0));
    assert_eq!(guest.0.gicd_read(ME, gicd::IROUTER + 8 * 31, Width::W64), 0);
    guest.set_d(gicd::CTLR, 1);
    guest.set_d(gicd::ISENABLER + 4, 1 << 16);
    assert_eq!(guest.0.set_line(Line::Shared(Intid(48)), true), VcpuSet::one(OTHER));
    // To a PE that does not exist: pending, and nobody's.
    assert_eq!(guest.0.gicd_write(ME, router, Width::W64, 7), VcpuSet::NONE);
    assert_eq!(guest.0.gicd_write(ME, router, Width::W64, 0), VcpuSet::one(ME));
}

#[test]
fn only_spis_can_be_configured() {
    for version in [Version::V2, Version::V3] {
        let guest = Guest::new(version, 1);
        guest.set_d(gicd::ICFGR + 12, 0xffff_fffd);
        assert_eq!(guest.d(gicd::ICFGR + 12), 0xaaaa_aaa8);
        let private = |n: u64| match version {
            Version::V2 => guest.d(gicd::ICFGR + n),
            Version::V3 => guest.r(SGI_FRAME + gicd::ICFGR + n),
        };
        guest.set_d(gicd::ICFGR + 4, 0xffff_ffff);
        guest.set_r(SGI_FRAME + gicd::ICFGR + 4, 0xffff_ffff);
        assert_eq!((private(0), private(4)), (0xaaaa_aaaa, 0));
    }
}

#[test]
fn pending_is_read_where_it_was_written() {
    for version in [Version::V2, Version::V3] {
        let guest = Guest::new(version, 1);
        guest.set_d(gicd::ISPENDR + 8, 6);
        guest.set_d(gicd::ICPENDR + 8, 2);
        assert_eq!((guest.d(gicd::ISPENDR + 8), guest.d(gicd::ICPENDR + 8)), (4, 4));
        // A line that is high stays pending.
        guest.0.set_line(Line::Shared(Intid(64)), true);
        guest.set_d(gicd::ICPENDR + 8, 0xffff_ffff);
        assert_eq!(guest.d(gicd::ISPENDR + 8), 1);
        guest.set_d(gicd::ISACTIVER + 4, 3);
        guest.set_d(gicd::ICACTIVER + 4, 1);
        assert_eq!((guest.d(gicd::ISACTIVER + 4), guest.d(gicd::ICACTIVER + 4)), (2, 2));
    }
}

#[test]
fn private_pending_state_is_read_before_anyone_flushed() {
    let guest = Guest::new(Version::V3, 1);
    guest.set_r(SGI_FRAME + gicd::ISPENDR, 0x4000_0005);
    guest.set_r(SGI_FRAME + gicd::ICPENDR, 1);
    assert_eq!(guest.r(SGI_FRAME + gicd::ISPENDR), 0x4000_0004);
    guest.set_r(SGI_FRAME + gicd::ISACTIVER, 3);
    guest.set_r(SGI_FRAME + gicd::ICACTIVER, 1);
    assert_eq!(guest.r(SGI_FRAME + gicd::ISACTIVER), 2);
}

#[test]
fn v2_sgis_are_pending_by_source() {
    let guest = Guest::new(Version::V2, 3);
    guest.set_d(gicd::SPENDSGIR + 4, 0x0700_0200);
    assert_eq!(guest.d(gicd::SPENDSGIR + 4), 0x0700_0200);
    assert_eq!(guest.d(gicd::ISPENDR), 1 << 5 | 1 << 7);
    guest.0.gicd_write(ME, gicd::CPENDSGIR + 7, Width::W8, 0xfb);
    assert_eq!(guest.d(gicd::CPENDSGIR + 4), 0x0400_0200);
    // ISPENDR has no say, and sources that do not exist stay out.
    guest.set_d(gicd::ICPENDR, 0xffff);
    guest.set_d(gicd::SPENDSGIR, 0xff);
    assert_eq!(guest.d(gicd::ISPENDR), 1 << 5 | 1 << 7 | 1);
    assert_eq!(guest.d(gicd::SPENDSGIR), 7);
}

#[test]
fn every_source_of_a_v2_sgi_is_taken_once() {
    let vgic = super::ready(Version::V2, 3);
    let mut lrs = InterfaceV2::new(1);
    for from in [2, 0, 1, 2] {
        super::send(&vgic, VcpuIndex(from), ME, 4);
    }
    let mut sources = Vec::new();
    for _ in 0..5 {
        vgic.fold(ME, &mut lrs);
        vgic.flush(ME, &mut lrs);
        let Some((4, source)) = lrs.0.acknowledge() else { break };
        sources.push(source);
        lrs.0.end(4);
    }
    assert_eq!(sources, [0, 1, 2]);
}

#[test]
fn sgir_filters() {
    let guest = Guest::new(Version::V2, 3);
    assert_eq!(guest.set_d(gicd::SGIR, 0xff << 16 | 1), VcpuSet(7));
    assert_eq!(guest.set_d(gicd::SGIR, 1 << 24 | 0xff << 16), VcpuSet(6));
    assert_eq!(guest.set_d(gicd::SGIR, 2 << 24), VcpuSet(1));
    assert_eq!(guest.set_d(gicd::SGIR, 3 << 24 | 0xff << 16), VcpuSet::NONE);
    let v3 = Guest::new(Version::V3, 3);
    assert_eq!(v3.set_d(gicd::SGIR, 2 << 24), VcpuSet::NONE);
}

#[test]
fn sgi1r_targets_by_affinity() {
    let vgic = Vgic::new(Version::V3, 3).unwrap();
    assert_eq!(vgic.sgi1r_write(ME, 0xffff), VcpuSet(7));
    assert_eq!(vgic.sgi1r_write(OTHER, 1 << 40), VcpuSet(5));
    for elsewhere in [1 << 16, 1 << 32, 1 << 44, 1 << 48] {
        assert_eq!(vgic.sgi1r_write(ME, elsewhere | 1), VcpuSet::NONE);
    }
}

#[test]
fn sgi0r_reaches_group_0_only() {
    let vgic = Vgic::new(Version::V3, 2).unwrap();
    vgic.gicr_write(ME, SGI_FRAME + gicd::IGROUPR, Width::W32, 1 << 3);
    for write in [Vgic::sgi0r_write, Vgic::asgi1r_write] {
        assert_eq!(write(&vgic, ME, 3 << 24 | 3), VcpuSet::one(OTHER));
        assert_eq!(write(&vgic, ME, 4 << 24 | 3), VcpuSet(3));
    }
    assert_eq!(vgic.sgi1r_write(ME, 3 << 24 | 3), VcpuSet(3));
}

#[test]
fn a_group_that_is_off_is_not_delivered() {
    let vgic = super::ready(Version::V2, 1);
    let mut lrs = InterfaceV2::new(4);
    vgic.gicd_write(ME, gicd::IGROUPR, Width::W32, 1 << 2);
    vgic.gicd_write(ME, gicd::CTLR, Width::W32, 1);
    super::send(&vgic, ME, ME, 2);
    super::send(&vgic, ME, ME, 3);
    vgic.flush(ME, &mut lrs);
    assert_eq!(lrs.0.acknowledge(), Some((3, 0)));
    lrs.0.end(3);
    assert_eq!(lrs.0.acknowledge(), None);
    vgic.gicd_write(ME, gicd::CTLR, Width::W32, 2);
    vgic.flush(ME, &mut lrs);
    assert!(lrs.0.entries().iter().all(|(_, entry)| entry.group1 && entry.intid == 2));
    assert_eq!(lrs.0.acknowledge(), Some((2, 0)));
}

#[test]
fn widths_that_do_not_exist_are_lost() {
    for version in [Version::V2, Version::V3] {
        let guest = Guest::new(version, 2);
        for (offset, width) in [
            (gicd::ISENABLER + 4, Width::W8),
            (gicd::ISENABLER + 4, Width::W16),
            (gicd::ISENABLER + 8, Width::W64),
            (gicd::IPRIORITYR + 40, Width::W16),
            (gicd::IPRIORITYR + 41, Width::W32),
            (gicd::CTLR, Width::W8),
        ] {
            assert_eq!(guest.0.gicd_write(ME, offset, width, u64::MAX), VcpuSet::NONE);
            assert_eq!(guest.0.gicd_read(ME, offset, width), 0, "{offset:#x} {width:?}");
        }
        assert_eq!(guest.d(gicd::ISENABLER + 4), 0);
        assert_eq!(guest.d(gicd::IPRIORITYR + 40), 0);
    }
}

#[test]
fn reset_forgets_everything() {
    for version in [Version::V2, Version::V3] {
        let vgic = super::ready(version, 2);
        super::send(&vgic, ME, ME, 1);
        vgic.pend_hardware(ME, Intid(27));
        vgic.set_line(Line::Shared(Intid(50)), true);
        vgic.set_line(Line::Private { intid: Intid(30), vcpu: ME }, true);
        if version == Version::V2 {
            vgic.flush(ME, &mut InterfaceV2::new(4));
        } else {
            vgic.flush(ME, &mut InterfaceV3::new(4));
        }
        vgic.reset();
        let fresh = Vgic::new(version, 2).unwrap();
        assert!(!vgic.posted(ME));
        assert_eq!((vgic.live_hardware(ME), vgic.in_use(ME)), (0, 0));
        for offset in (0..0x1_0000).step_by(if cfg!(miri) { 0x1fc } else { 4 }) {
            let read = |vgic: &Vgic| vgic.gicd_read(ME, offset, Width::W32);
            assert_eq!(read(&vgic), read(&fresh), "GICD {offset:#x}");
            let read = |vgic: &Vgic| vgic.gicr_read(ME, SGI_FRAME + offset, Width::W32);
            assert_eq!(read(&vgic), read(&fresh), "GICR {offset:#x}");
        }
    }
}

#[test]
fn state_that_needs_a_fold_is_named() {
    for offset in [0x200, 0x280, 0x300, 0x3fc, 0xf10, 0xf2c, SGI_FRAME + 0x200, 3 * SGI_FRAME + 0x380] {
        assert!(crate::needs_fold(offset), "{offset:#x}");
    }
    for offset in [gicd::TYPER, 0x100, 0x1fc, 0x400, 0xf00, 0xf30, SGI_FRAME + 0x100] {
        assert!(!crate::needs_fold(offset), "{offset:#x}");
    }
}
