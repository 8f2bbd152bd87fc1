//! Software-generated interrupts: GICD_SGIR (v2), ICC_SGI1R, ICC_ASGI1R and ICC_SGI0R (v3).
//!
//! Called by the exits. Standards: GICv2, IHI 0048B, 4.3.15 "GICD_SGIR"; GICv3, IHI 0069, 12.2.20 "ICC_SGI1R_EL1"
//! and "Forwarding an SGI to a target PE".

use specs::VcpuIndex;
use specs::gic::{gicd, sgir};

use crate::bits::VcpuSet;
use crate::vgic::Vgic;

impl Vgic {
    /// A guest's write to ICC_SGI1R_EL1. With one Security state it reaches SGIs of either group.
    #[inline]
    pub fn sgi1r_write(&self, me: VcpuIndex, value: u64) -> VcpuSet {
        let targets = self.targets(me, value);
        let post = 1 << (value >> sgir::INTID_SHIFT & 0xf);
        for vcpu in targets {
            self.bank(vcpu).post(post);
        }
        targets
    }

    /// A guest's write to ICC_ASGI1R_EL1: with one Security state it reaches SGIs of Group 0.
    #[cold]
    #[inline(never)]
    pub fn asgi1r_write(&self, me: VcpuIndex, value: u64) -> VcpuSet {
        self.sgi0r_write(me, value)
    }

    /// A guest's write to ICC_SGI0R_EL1: it reaches SGIs of Group 0.
    #[cold]
    #[inline(never)]
    pub fn sgi0r_write(&self, me: VcpuIndex, value: u64) -> VcpuSet {
        let sgi = 1_u32 << (value >> sgir::INTID_SHIFT & 0xf);
        let mut reached = VcpuSet::NONE;
        for vcpu in self.targets(me, value).filter(|vcpu| self.bank(*vcpu).group.get() & sgi == 0) {
            self.bank(vcpu).post(u64::from(sgi));
            reached = reached.union(VcpuSet::one(vcpu));
        }
        reached
    }

    /// A guest's write to GICD_SGIR.
    #[inline]
    pub(crate) fn sgir_write(&self, me: VcpuIndex, value: u32) -> VcpuSet {
        let sgi = value & gicd::SGIR_INTID_MASK;
        let [_, _, list, _] = value.to_le_bytes();
        let targets = match value >> gicd::SGIR_FILTER_SHIFT & 3 {
            0 => VcpuSet(list).intersection(self.all()),
            1 => self.all().without(me),
            2 => VcpuSet::one(me),
            _ => VcpuSet::NONE,
        };
        for vcpu in targets {
            let bank = self.bank(vcpu);
            bank.add_source(sgi, me.0);
            bank.post(1 << sgi);
        }
        targets
    }

    /// The vCPUs that an ICC_SGI*R value means: affinity 0.0.0.n is vCPU n; no range above 15 (GICD_TYPER.RSS = 0).
    #[inline]
    fn targets(&self, me: VcpuIndex, value: u64) -> VcpuSet {
        if value & sgir::IRM != 0 {
            return self.all().without(me);
        }
        if value & sgir::AFFINITY_MASK != 0 {
            return VcpuSet::NONE;
        }
        let [list, ..] = value.to_le_bytes();
        VcpuSet(list).intersection(self.all())
    }
}
