//! The Redistributors of GICv3: two frames of 64 KiB per vCPU, one after the other. No LPIs.
//!
//! Called by the exits for guest accesses to GICR. Standard: GICv3, IHI 0069, 12.11 "The GIC Redistributor register
//! descriptions". Any vCPU may access any frame.

use ports::Width;
use specs::VcpuIndex;
use specs::gic::gicr;

use crate::bits::VcpuSet;
use crate::distributor::{ID_V3, IIDR, id_register};
use crate::lr::Version;
use crate::vgic::Vgic;

/// PIDR0 of a Redistributor, otherwise identified as the Distributor.
const PIDR0: u64 = 0x93;

impl Vgic {
    /// A load from the Redistributors of what never changes, and is read often; `None`: ask [`Self::gicr_read`].
    #[inline]
    pub fn gicr_read_constant(&self, offset: u64, width: Width) -> Option<u64> {
        if offset & (gicr::STRIDE - 1) != gicr::TYPER || !matches!(width, Width::W32 | Width::W64) {
            return None;
        }
        self.redistributor(offset).map(|vcpu| width.truncate(self.gicr_typer(vcpu)))
    }

    /// A guest's load from the Redistributors at `offset`, counted from the first frame of vCPU 0.
    #[inline]
    pub fn gicr_read(&self, _me: VcpuIndex, offset: u64, width: Width) -> u64 {
        let Some(vcpu) = self.redistributor(offset) else { return 0 };
        let within = offset & (gicr::STRIDE - 1);
        self.read_redistributor(vcpu, within, width)
    }

    /// A guest's store to the Redistributors. Returns the vCPUs that must look (kick those that run elsewhere).
    #[inline]
    pub fn gicr_write(&self, _me: VcpuIndex, offset: u64, width: Width, value: u64) -> VcpuSet {
        let Some(vcpu) = self.redistributor(offset) else { return VcpuSet::NONE };
        let within = offset & (gicr::STRIDE - 1);
        self.write_redistributor(vcpu, within, width, value)
    }

    #[inline]
    fn redistributor(&self, offset: u64) -> Option<VcpuIndex> {
        let index = offset / gicr::STRIDE;
        let present = index < u64::from(self.vcpus) && self.version == Version::V3;
        if present { u8::try_from(index).ok().map(VcpuIndex) } else { None }
    }

    #[inline]
    fn gicr_typer(&self, vcpu: VcpuIndex) -> u64 {
        let index = u64::from(vcpu.0);
        let last = if vcpu.0 + 1 == self.vcpus { gicr::TYPER_LAST } else { 0 };
        index << gicr::TYPER_AFFINITY_SHIFT | index << gicr::TYPER_PROCESSOR_NUMBER_SHIFT | last
    }

    #[inline(never)]
    fn read_redistributor(&self, vcpu: VcpuIndex, within: u64, width: Width) -> u64 {
        if within == gicr::TYPER && width == Width::W64 {
            return self.gicr_typer(vcpu);
        }
        if within & (width.bytes() - 1) != 0 || matches!(width, Width::W16 | Width::W64) {
            return 0;
        }
        if within >= gicr::FRAME_BYTES {
            return self.read_private(vcpu, within - gicr::FRAME_BYTES, width);
        }
        if width != Width::W32 {
            return 0;
        }
        match within {
            gicr::IIDR => u64::from(IIDR),
            gicr::TYPER => self.gicr_typer(vcpu) & 0xffff_ffff,
            0x000c => self.gicr_typer(vcpu) >> 32,
            gicr::WAKER if self.bank(vcpu).waker.get() != 0 => {
                u64::from(gicr::WAKER_PROCESSOR_SLEEP | gicr::WAKER_CHILDREN_ASLEEP)
            }
            0xffe0 => PIDR0,
            0xffd0..0x1_0000 => id_register(&ID_V3, within - 0xffd0),
            _ => 0,
        }
    }

    #[inline(never)]
    fn write_redistributor(&self, vcpu: VcpuIndex, within: u64, width: Width, value: u64) -> VcpuSet {
        if within & (width.bytes() - 1) != 0 || matches!(width, Width::W16 | Width::W64) {
            return VcpuSet::NONE;
        }
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        let value = u32::from_le_bytes([v0, v1, v2, v3]);
        if within >= gicr::FRAME_BYTES {
            return self.write_private(vcpu, within - gicr::FRAME_BYTES, width, value);
        }
        if within == gicr::WAKER && width == Width::W32 {
            // The interface follows at once; interrupts are forwarded all the same, as a wake request would have it.
            self.bank(vcpu).waker.put(u32::from(value & gicr::WAKER_PROCESSOR_SLEEP != 0));
        }
        VcpuSet::NONE
    }
}
