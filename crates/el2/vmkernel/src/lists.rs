//! The vGIC's list registers are the hardware's of this PE.
//!
//! Called by exits and by [`crate::pe`]. Hot paths know the version of the GIC and name it; the others ask here.

use el2::gic::{Hardware, ListRegistersV2, ListRegistersV3};
use specs::{Intid, VcpuIndex};
use vgic::{ListRegisters, Maintenance, VcpuSet, Version, Vgic};

/// ICH_VMCR_EL2.VEOIM and GICH_VMCR.VMEOIM, both bit 9.
const SPLIT_EOI: u64 = 1 << 9;
/// EOIcount, bits 31:27 of ICH_HCR_EL2 and GICH_HCR.
const EOI_COUNT: u64 = 0x1f << 27;

/// This PE's list registers, as the vGIC wants them.
pub struct Lists<H>(H);

impl<H: Hardware> Lists<H> {
    /// Those of the PE that runs this.
    #[inline(always)]
    pub fn here() -> Self {
        Self(H::here())
    }
}

impl<H: Hardware> ListRegisters for Lists<H> {
    const VERSION: Version = if H::IS_V3 { Version::V3 } else { Version::V2 };

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

/// [`Vgic::flush`] with this PE's list registers.
#[inline(always)]
pub fn flush(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.flush(me, &mut Lists::<ListRegistersV3>::here())
    } else {
        vgic.flush(me, &mut Lists::<ListRegistersV2>::here())
    }
}

/// [`Vgic::fold`] with this PE's list registers.
pub fn fold(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.fold(me, &mut Lists::<ListRegistersV3>::here())
    } else {
        vgic.fold(me, &mut Lists::<ListRegistersV2>::here())
    }
}

/// [`Vgic::reset_vcpu`] with this PE's list registers.
pub fn reset_vcpu(vgic: &Vgic, me: VcpuIndex) -> VcpuSet {
    if el2::gic::is_v3() {
        vgic.reset_vcpu(me, &mut Lists::<ListRegistersV3>::here())
    } else {
        vgic.reset_vcpu(me, &mut Lists::<ListRegistersV2>::here())
    }
}

/// Whether an interrupt would end the WFI of the loaded vCPU.
#[inline(always)]
pub fn deliverable(vgic: &Vgic, me: VcpuIndex) -> bool {
    if el2::gic::is_v3() {
        let lists = Lists::<ListRegistersV3>::here();
        let mask = lists.0.vmcr() >> 24;
        vgic.deliverable(me, &lists, (mask & 0xff) as u8)
    } else {
        let lists = Lists::<ListRegistersV2>::here();
        let mask = (lists.0.vmcr() >> 27 & 0x1f) << 3;
        vgic.deliverable(me, &lists, (mask & 0xff) as u8)
    }
}

/// [`Vgic::holds_hardware`] with this PE's list registers, which are an `H`.
#[inline(always)]
pub fn hold_hardware<H: Hardware>(vgic: &Vgic, me: VcpuIndex) -> bool {
    vgic.holds_hardware(me, &Lists::<H>::here())
}
