//! The Arm Generic Interrupt Controller: register offsets and bit layouts, version 2 and version 3.
//!
//! Used by `vgic` (what a guest sees, list-register packing) and `el2` (the host's own GIC).
//! Sources: GICv2, Arm IHI 0048B: 4.3 "Distributor register descriptions", 4.4 "CPU interface register
//! descriptions", 5.3 "Virtual interface control registers". GICv3, Arm IHI 0069: 12.9 "The GIC Distributor register
//! descriptions", 12.11 "The GIC Redistributor register descriptions", 12.4 "AArch64 virtualization control System
//! registers".

/// Distributor, `GICD_*`: byte offsets. Registers with a bit, two bits or a byte per INTID give the offset of the first.
pub mod gicd {
    /// Control.
    pub const CTLR: u64 = 0x0000;
    /// What the GIC has.
    pub const TYPER: u64 = 0x0004;
    /// Implementer.
    pub const IIDR: u64 = 0x0008;
    /// Group, a bit per INTID: 0 is Group 0.
    pub const IGROUPR: u64 = 0x0080;
    /// Set-enable, a bit per INTID.
    pub const ISENABLER: u64 = 0x0100;
    /// Clear-enable, a bit per INTID.
    pub const ICENABLER: u64 = 0x0180;
    /// Set-pending, a bit per INTID.
    pub const ISPENDR: u64 = 0x0200;
    /// Clear-pending, a bit per INTID.
    pub const ICPENDR: u64 = 0x0280;
    /// Set-active, a bit per INTID.
    pub const ISACTIVER: u64 = 0x0300;
    /// Clear-active, a bit per INTID.
    pub const ICACTIVER: u64 = 0x0380;
    /// Priority, a byte per INTID: the smaller the more urgent.
    pub const IPRIORITYR: u64 = 0x0400;
    /// Targets, a byte per INTID (version 2, or affinity routing off).
    pub const ITARGETSR: u64 = 0x0800;
    /// Configuration, two bits per INTID: the upper one says edge-triggered.
    pub const ICFGR: u64 = 0x0C00;
    /// Group modifier, a bit per INTID (version 3, two Security states).
    pub const IGRPMODR: u64 = 0x0D00;
    /// Software-generated interrupt (version 2).
    pub const SGIR: u64 = 0x0F00;
    /// SGI clear-pending, a byte of sources per SGI (version 2).
    pub const CPENDSGIR: u64 = 0x0F10;
    /// SGI set-pending, a byte of sources per SGI (version 2).
    pub const SPENDSGIR: u64 = 0x0F20;
    /// First identification register of version 2 (`PIDR4`); `PIDR0` is at 0xFE0, `CIDR3` at 0xFFC.
    pub const PIDR4_V2: u64 = 0x0FD0;
    /// Routing, 64 bits per INTID (version 3); those of INTIDs below 32 do not exist.
    pub const IROUTER: u64 = 0x6000;
    /// First identification register of version 3 (`PIDR4`); `PIDR0` is at 0xFFE0, `CIDR3` at 0xFFFC.
    pub const PIDR4_V3: u64 = 0xFFD0;

    /// `CTLR`: forward Group 0 interrupts.
    pub const CTLR_ENABLE_GRP0: u32 = 1 << 0;
    /// `CTLR`: forward Group 1 interrupts.
    pub const CTLR_ENABLE_GRP1: u32 = 1 << 1;
    /// `CTLR`, version 3: affinity routing.
    pub const CTLR_ARE: u32 = 1 << 4;
    /// `CTLR`, version 3: one Security state.
    pub const CTLR_DS: u32 = 1 << 6;
    /// `CTLR`, version 3: a write has not taken effect everywhere yet.
    pub const CTLR_RWP: u32 = 1 << 31;

    /// `TYPER`: `ITLinesNumber`; 32 × (it + 1) INTIDs.
    pub const TYPER_IT_LINES_SHIFT: u32 = 0;
    /// `TYPER`: number of PEs minus one, at most 7.
    pub const TYPER_CPU_NUMBER_SHIFT: u32 = 5;
    /// `TYPER`, version 3: bits of an INTID minus one.
    pub const TYPER_ID_BITS_SHIFT: u32 = 19;
    /// `TYPER`, version 3: "1 of N" routing is not supported.
    pub const TYPER_NO1N: u32 = 1 << 25;

    /// `SGIR`: INTID in bits 3:0.
    pub const SGIR_INTID_MASK: u32 = 0xf;
    /// `SGIR`: target list in bits 23:16.
    pub const SGIR_TARGET_LIST_SHIFT: u32 = 16;
    /// `SGIR`: filter in bits 25:24: 0 the list, 1 all but the writer, 2 the writer.
    pub const SGIR_FILTER_SHIFT: u32 = 24;

    /// `IROUTER`: "1 of N" instead of the affinity.
    pub const IROUTER_IRM: u64 = 1 << 31;
}

/// Redistributor of version 3, `GICR_*`: two frames of 64 KiB per PE. The second, `SGI_base`, holds the registers of
/// INTIDs 0–31 at the Distributor's offsets ([`gicd`]`::IGROUPR` to `ICFGR`).
pub mod gicr {
    /// Bytes of one frame.
    pub const FRAME_BYTES: u64 = 0x1_0000;
    /// Bytes of one Redistributor without virtual LPIs: `RD_base` and `SGI_base`.
    pub const STRIDE: u64 = 2 * FRAME_BYTES;
    /// Control.
    pub const CTLR: u64 = 0x0000;
    /// Implementer.
    pub const IIDR: u64 = 0x0004;
    /// What the Redistributor has, 64 bits.
    pub const TYPER: u64 = 0x0008;
    /// Power: whether the PE's interface sleeps.
    pub const WAKER: u64 = 0x0014;

    /// `TYPER`: the last Redistributor of its region.
    pub const TYPER_LAST: u64 = 1 << 4;
    /// `TYPER`: processor number.
    pub const TYPER_PROCESSOR_NUMBER_SHIFT: u32 = 8;
    /// `TYPER`: affinity, Aff3.Aff2.Aff1.Aff0.
    pub const TYPER_AFFINITY_SHIFT: u32 = 32;

    /// `WAKER`: the PE asks for sleep.
    pub const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
    /// `WAKER`: the interface sleeps.
    pub const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
}

/// `ICC_SGI0R_EL1`, `ICC_SGI1R_EL1`, `ICC_ASGI1R_EL1` of version 3.
pub mod sgir {
    /// Bits 15:0: target list, Aff0 relative to 16 × RS.
    pub const TARGET_LIST_MASK: u64 = 0xffff;
    /// Bits 27:24: INTID.
    pub const INTID_SHIFT: u32 = 24;
    /// Bit 40: all PEs but the writer.
    pub const IRM: u64 = 1 << 40;
    /// Aff3 (55:48), RS (47:44), Aff2 (39:32) and Aff1 (23:16).
    pub const AFFINITY_MASK: u64 = (0xff << 48) | (0xf << 44) | (0xff << 32) | (0xff << 16);
}

/// CPU interface of version 2, `GICC_*` (and `GICV_*`, which has the same layout): byte offsets.
pub mod gicc {
    /// Control.
    pub const CTLR: u64 = 0x0000;
    /// Priority mask.
    pub const PMR: u64 = 0x0004;
    /// Binary point.
    pub const BPR: u64 = 0x0008;
    /// Interrupt acknowledge.
    pub const IAR: u64 = 0x000C;
    /// End of interrupt.
    pub const EOIR: u64 = 0x0010;
    /// Running priority.
    pub const RPR: u64 = 0x0014;
    /// Highest priority pending interrupt.
    pub const HPPIR: u64 = 0x0018;
    /// Active priorities.
    pub const APR: u64 = 0x00D0;
    /// Implementer.
    pub const IIDR: u64 = 0x00FC;
    /// Deactivate; on a page of its own.
    pub const DIR: u64 = 0x1000;

    /// `CTLR`: signal Group 0.
    pub const CTLR_ENABLE_GRP0: u32 = 1 << 0;
    /// `CTLR`: signal Group 1.
    pub const CTLR_ENABLE_GRP1: u32 = 1 << 1;
    /// `CTLR`: EOIR drops the priority only, DIR deactivates (Non-secure or only view).
    pub const CTLR_EOI_MODE: u32 = 1 << 9;
    /// `IAR`: INTID in bits 9:0; for an SGI its source in bits 12:10.
    pub const IAR_INTID_MASK: u32 = 0x3ff;
}

/// Virtual interface control registers of version 2, `GICH_*`: byte offsets.
pub mod gich {
    /// Hypervisor control.
    pub const HCR: u64 = 0x0000;
    /// What the virtual interface has.
    pub const VTR: u64 = 0x0004;
    /// The guest's CPU interface as one word.
    pub const VMCR: u64 = 0x0008;
    /// Maintenance interrupt status.
    pub const MISR: u64 = 0x0010;
    /// End-of-interrupt status of list registers 0–31; 32–63 follow.
    pub const EISR0: u64 = 0x0020;
    /// Empty list registers 0–31; 32–63 follow.
    pub const ELRSR0: u64 = 0x0030;
    /// Active priorities.
    pub const APR: u64 = 0x00F0;
    /// First list register.
    pub const LR0: u64 = 0x0100;

    /// `VMCR`: priority mask, upper five bits, in 31:27.
    pub const VMCR_VPMR_SHIFT: u32 = 27;
    /// `VMCR`: the guest's EOIR drops the priority only.
    pub const VMCR_VEM: u32 = 1 << 9;
    /// `VMCR`: the guest takes Group 1.
    pub const VMCR_VENG1: u32 = 1 << 1;
    /// `VMCR`: the guest takes Group 0.
    pub const VMCR_VENG0: u32 = 1 << 0;
    /// `VTR`: number of list registers minus one, in 5:0.
    pub const VTR_LIST_REGS_MASK: u32 = 0x3f;
}

/// Bits that `GICH_HCR` (version 2) and `ICH_HCR_EL2` (version 3) share.
pub mod hcr {
    /// The virtual CPU interface works.
    pub const EN: u32 = 1 << 0;
    /// Maintenance interrupt while at most one list register is in use (underflow).
    pub const UIE: u32 = 1 << 1;
    /// Maintenance interrupt while `EOI_COUNT` is not zero.
    pub const LRENPIE: u32 = 1 << 2;
    /// Maintenance interrupt while no list register is pending.
    pub const NPIE: u32 = 1 << 3;
    /// EOIs (or deactivations) of interrupts that are in no list register, in 31:27.
    pub const EOI_COUNT_SHIFT: u32 = 27;
    /// Mask of `EOI_COUNT` in place.
    pub const EOI_COUNT_MASK: u32 = 0x1f << EOI_COUNT_SHIFT;
}

/// Fields of the version 3 virtualization control System registers that have no twin in version 2.
pub mod ich {
    /// `ICH_VTR_EL2`: number of list registers minus one, in 4:0.
    pub const VTR_LIST_REGS_MASK: u64 = 0x1f;
    /// `ICH_VTR_EL2`: priority bits minus one, in 31:29.
    pub const VTR_PRI_BITS_SHIFT: u32 = 29;
    /// `ICH_VMCR_EL2`: priority mask in 31:24.
    pub const VMCR_VPMR_SHIFT: u32 = 24;
    /// `ICH_VMCR_EL2`: the guest's EOIR drops the priority only.
    pub const VMCR_VEOIM: u64 = 1 << 9;
    /// `ICH_VMCR_EL2`: the guest takes Group 1.
    pub const VMCR_VENG1: u64 = 1 << 1;
    /// `ICH_VMCR_EL2`: the guest takes Group 0.
    pub const VMCR_VENG0: u64 = 1 << 0;
}

/// List register of version 2, `GICH_LR<n>`: 32 bits.
///
/// | bits | field |
/// |---|---|
/// | 9:0 | VirtualID |
/// | 19:10 | PhysicalID with HW = 1; else bit 19 EOI and, for an SGI, 12:10 CPUID |
/// | 27:23 | Priority, the upper five bits |
/// | 29:28 | State: 0 invalid, 1 pending, 2 active, 3 both |
/// | 30 | Grp1 |
/// | 31 | HW |
pub mod lr_v2 {
    /// VirtualID.
    pub const VIRTUAL_ID_MASK: u64 = 0x3ff;
    /// PhysicalID, where HW = 1.
    pub const PHYSICAL_ID_SHIFT: u32 = 10;
    /// CPUID, where HW = 0 and the interrupt is an SGI.
    pub const CPUID_SHIFT: u32 = 10;
    /// Mask of CPUID before shifting.
    pub const CPUID_MASK: u64 = 0x7;
    /// Maintenance interrupt on deactivation, where HW = 0.
    pub const EOI: u64 = 1 << 19;
    /// Priority, the upper five bits of eight.
    pub const PRIORITY_SHIFT: u32 = 23;
    /// State: pending.
    pub const PENDING: u64 = 1 << 28;
    /// State: active.
    pub const ACTIVE: u64 = 1 << 29;
    /// Group 1.
    pub const GRP1: u64 = 1 << 30;
    /// The guest's deactivation deactivates the physical interrupt too.
    pub const HW: u64 = 1 << 31;
}

/// List register of version 3, `ICH_LR<n>_EL2`: 64 bits.
///
/// | bits | field |
/// |---|---|
/// | 31:0 | vINTID |
/// | 44:32 | pINTID with HW = 1; else bit 41 EOI |
/// | 55:48 | Priority |
/// | 60 | Group |
/// | 61 | HW |
/// | 63:62 | State: 0 invalid, 1 pending, 2 active, 3 both |
pub mod lr_v3 {
    /// vINTID.
    pub const VINTID_MASK: u64 = 0xffff_ffff;
    /// pINTID, where HW = 1.
    pub const PINTID_SHIFT: u32 = 32;
    /// Maintenance interrupt on deactivation, where HW = 0.
    pub const EOI: u64 = 1 << 41;
    /// Priority.
    pub const PRIORITY_SHIFT: u32 = 48;
    /// Group 1.
    pub const GROUP: u64 = 1 << 60;
    /// The guest's deactivation deactivates the physical interrupt too.
    pub const HW: u64 = 1 << 61;
    /// State: pending.
    pub const PENDING: u64 = 1 << 62;
    /// State: active.
    pub const ACTIVE: u64 = 1 << 63;
}
