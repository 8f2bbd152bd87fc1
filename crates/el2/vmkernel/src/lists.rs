//! The vGIC's list registers are the hardware's of this PE.

use el2::gic::{ListRegistersV2, ListRegistersV3};
use specs::{Intid, VcpuIndex};
use vgic::{ListRegisters, Maintenance, VcpuSet, Version, Vgic};

/// ICH_VMCR_EL2.VEOIM and GICH_VMCR.VMEOIM, both bit 9.
const SPLIT_EOI: u64 = 1 << 9;
/// EOIcount, bits 31:27 of ICH_HCR_EL2 and GICH_HCR.
const EOI_COUNT: u64 = 0x1f << 27;

macro_rules! lists {
    ($name:ident, $inner:ty, $version:expr) => {
        struct $name($inner);

        impl ListRegisters for $name {
            const VERSION: Version = $version;

            #[inline(always)]
            fn count(&self) -> u32 {
                u32::try_from(self.0.count().min(16)).unwrap_or(16)
            }

            #[inline(always)]
            fn get(&self, index: u32) -> u64 {
                self.0.get(index as usize)
            }

            #[inline(always)]
            fn set(&mut self, index: u32, raw: u64) {
                self.0.set(index as usize, raw);
            }

            #[inline(always)]
            fn empty(&self) -> u32 {
                (self.0.empty() & 0xffff_ffff) as u32
            }

            #[inline(always)]
            fn set_maintenance(&mut self, wanted: Maintenance) {
                let control = self.0.control();
                let next = control & !u64::from(Maintenance::MASK) | u64::from(wanted.0);
                if next != control {
                    self.0.set_control(next);
                }
            }

            #[inline(always)]
            fn take_eoi_count(&mut self) -> u32 {
                let control = self.0.control();
                if control & EOI_COUNT == 0 {
                    return 0;
                }
                self.0.set_control(control & !EOI_COUNT);
                ((control & EOI_COUNT) >> 27) as u32
            }

            #[inline(always)]
            fn splits_eoi(&self) -> bool {
                self.0.vmcr() & SPLIT_EOI != 0
            }

            #[inline(always)]
            fn deactivate(&mut self, physical: Intid) {
                el2::gic::deactivate_private(physical);
            }
        }
    };
}

lists!(V2, ListRegistersV2, Version::V2);
lists!(V3, ListRegistersV3, Version::V3);

/// [`Vgic::flush`] with this PE's list registers.
#[inline(always)]
pub fn flush(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.flush(me, &mut V3(ListRegistersV3::here()))
    } else {
        vgic.flush(me, &mut V2(ListRegistersV2::here()))
    }
}

/// [`Vgic::fold`] with this PE's list registers.
pub fn fold(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.fold(me, &mut V3(ListRegistersV3::here()))
    } else {
        vgic.fold(me, &mut V2(ListRegistersV2::here()))
    }
}

/// [`Vgic::reset_vcpu`] with this PE's list registers.
pub fn reset_vcpu(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.reset_vcpu(me, &mut V3(ListRegistersV3::here()))
    } else {
        vgic.reset_vcpu(me, &mut V2(ListRegistersV2::here()))
    }
}

/// Whether an interrupt would end the WFI of the loaded vCPU.
pub fn deliverable(vgic: &Vgic, me: VcpuIndex) -> bool {
    if el2::gic::is_v3() {
        let here = ListRegistersV3::here();
        let mask = ((here.vmcr() >> 24) & 0xff) as u8;
        vgic.deliverable(me, &V3(here), mask)
    } else {
        let here = ListRegistersV2::here();
        let mask = ((here.vmcr() >> 27) & 0x1f) << 3;
        vgic.deliverable(me, &V2(here), (mask & 0xff) as u8)
    }
}
