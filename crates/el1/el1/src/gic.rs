//! The GIC as one vCPU's program sees it: CPU interface (GICv2: GICC, GICv3: ICC registers), SGIs, and where the
//! registers of private and shared interrupts are.
//!
//! Called by: programs, from interrupt handlers too. GICv2 (IHI 0048) 4.3–4.4; GICv3 (IHI 0069) 12.2, 12.8–12.11.
//! GICv2 uses group 0 (a guest without the Security Extensions), GICv3 group 1.

use crate::boot::{Boot, Gic, MAX_CPUS};
use crate::registers::{self, *};
use crate::window::Window;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Distributor registers; those from IGROUPR on are also in a Redistributor's SGI frame.
pub mod offset {
    #![allow(missing_docs)]
    pub const CTLR: usize = 0x000;
    pub const TYPER: usize = 0x004;
    pub const IIDR: usize = 0x008;
    pub const IGROUPR: usize = 0x080;
    pub const ISENABLER: usize = 0x100;
    pub const ICENABLER: usize = 0x180;
    pub const ISPENDR: usize = 0x200;
    pub const ICPENDR: usize = 0x280;
    pub const ISACTIVER: usize = 0x300;
    pub const ICACTIVER: usize = 0x380;
    pub const IPRIORITYR: usize = 0x400;
    pub const ITARGETSR: usize = 0x800;
    pub const ICFGR: usize = 0xC00;
    pub const SGIR: usize = 0xF00;
    pub const IROUTER: usize = 0x6000;
    pub const GICR_TYPER: usize = 0x008;
    pub const GICR_WAKER: usize = 0x014;
    pub const GICC_CTLR: usize = 0x000;
    pub const GICC_PMR: usize = 0x004;
    pub const GICC_BPR: usize = 0x008;
    pub const GICC_IAR: usize = 0x00C;
    pub const GICC_EOIR: usize = 0x010;
    pub const GICC_RPR: usize = 0x014;
    pub const GICC_HPPIR: usize = 0x018;
    pub const GICC_DIR: usize = 0x1000;
}
use offset as at;

/// INTIDs from here on are special: nothing to handle.
pub const SPECIAL: u32 = 1020;
/// Nothing pending.
pub const SPURIOUS: u32 = 1023;
/// Both frames of a Redistributor.
const REDISTRIBUTOR_BYTES: usize = 0x2_0000;
/// A Redistributor's second frame.
const SGI_FRAME: usize = 0x1_0000;
/// The vCPU wants interrupts; priorities above this value are masked.
pub const OPEN_MASK: u32 = 0xf0;

/// 0 for GICv3; else the address of GICC. Handlers read it first.
static CPU_INTERFACE: AtomicUsize = AtomicUsize::new(0);
/// Bytes of GICC that may be accessed.
static CPU_INTERFACE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// SGI target bit of each vCPU (GICv2: what its ITARGETSR0 reads).
static TARGETS: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];

/// Where an SGI goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SgiTarget {
    /// The vCPUs of this mask (bit n: index n).
    Mask(u8),
    /// All but the sender.
    Others,
}

pub(crate) fn remember(boot: &Boot) {
    if let Gic::V2 { cpu_interface, .. } = boot.gic {
        CPU_INTERFACE_BYTES.store(cpu_interface.bytes(), Ordering::Relaxed);
        CPU_INTERFACE.store(cpu_interface.base(), Ordering::Relaxed);
    }
}

/// GICC, or `None` where the CPU interface is in system registers.
#[inline(always)]
fn cpu_interface() -> Option<Window> {
    match CPU_INTERFACE.load(Ordering::Relaxed) {
        0 => None,
        // SAFETY: `remember` stored a device window's range.
        base => Some(unsafe { Window::new(base, 0x2000) }),
    }
}

impl Gic {
    /// 2 or 3.
    pub const fn version(&self) -> u8 {
        match self {
            Self::V2 { .. } => 2,
            Self::V3 { .. } => 3,
        }
    }

    /// GICD.
    pub const fn distributor(&self) -> Window {
        match *self {
            Self::V2 { distributor, .. } | Self::V3 { distributor, .. } => distributor,
        }
    }

    /// The first frame of vCPU `index`'s Redistributor (GICv3).
    pub fn redistributor(&self, index: usize) -> Option<Window> {
        match self {
            Self::V2 { .. } => None,
            Self::V3 { redistributors, .. } => {
                Some(redistributors.part(index * REDISTRIBUTOR_BYTES, REDISTRIBUTOR_BYTES))
            }
        }
    }

    /// The registers of SGIs and PPIs: the Redistributor's SGI frame, or the banked part of GICv2's Distributor, which
    /// shows the vCPU that asks (`index` is then its own).
    pub fn private(&self, index: usize) -> Window {
        match self.redistributor(index) {
            Some(redistributor) => redistributor.part(SGI_FRAME, SGI_FRAME),
            None => self.distributor(),
        }
    }

    /// The registers of interrupt `intid` as vCPU `index` has them.
    pub fn registers_of(&self, index: usize, intid: u32) -> Window {
        if intid < 32 { self.private(index) } else { self.distributor() }
    }

    /// Turns the Distributor on. Once per machine.
    pub fn start_distributor(&self) {
        // GICv3: ARE_NS and EnableGrp1; GICv2: Enable.
        self.distributor().write32(at::CTLR, if self.version() == 3 { 0x12 } else { 1 });
    }

    /// Readies this vCPU's interface: SGIs and both timers enabled, all private priorities 0x80, mask open.
    pub fn start_cpu(&self, index: usize) {
        if let Some(redistributor) = self.redistributor(index) {
            icc_sre_el1::write(7);
            registers::isb();
            let waker = redistributor.read32(at::GICR_WAKER);
            redistributor.write32(at::GICR_WAKER, waker & !2);
            while redistributor.read32(at::GICR_WAKER) & 4 != 0 {}
        }
        let private = self.private(index);
        private.write32(at::IGROUPR, if self.version() == 3 { u32::MAX } else { 0 });
        private.write32(at::ISENABLER, 0xffff | (1 << 27) | (1 << 30));
        for register in 0..8 {
            private.write32(at::IPRIORITYR + 4 * register, 0x8080_8080);
        }
        match cpu_interface() {
            Some(gicc) => {
                let target = self.distributor().read32(at::ITARGETSR) as u8;
                TARGETS[index].store(target.max(1), Ordering::Relaxed);
                gicc.write32(at::GICC_PMR, OPEN_MASK);
                gicc.write32(at::GICC_CTLR, 1);
            }
            None => {
                icc_pmr_el1::write(u64::from(OPEN_MASK));
                icc_ctlr_el1::write(0);
                icc_igrpen1_el1::write(1);
                registers::isb();
            }
        }
    }
}

/// Takes the highest pending interrupt: its INTID, with the source vCPU in bits 12:10 for an SGI on GICv2.
#[inline(always)]
pub fn acknowledge() -> u32 {
    match cpu_interface() {
        None => icc_iar1_el1::read() as u32,
        Some(gicc) => gicc.read32(at::GICC_IAR),
    }
}

/// Ends an interrupt: the value that [`acknowledge`] gave.
#[inline(always)]
pub fn end(acknowledged: u32) {
    match cpu_interface() {
        None => icc_eoir1_el1::write(u64::from(acknowledged)),
        Some(gicc) => gicc.write32(at::GICC_EOIR, acknowledged),
    }
}

/// Ends an interrupt that was only dropped in priority (EOImode 1).
pub fn deactivate(acknowledged: u32) {
    match cpu_interface() {
        None => icc_dir_el1::write(u64::from(acknowledged)),
        Some(gicc) => gicc.write32(at::GICC_DIR, acknowledged),
    }
}

/// Whether [`end`] only drops the priority and [`deactivate`] is to follow.
pub fn set_split_end(split: bool) {
    match cpu_interface() {
        None => icc_ctlr_el1::write(u64::from(split) << 1),
        Some(gicc) => gicc.write32(at::GICC_CTLR, 1 | (u32::from(split) << 9)),
    }
    registers::isb();
}

/// Sends SGI `id`, after all stores before it.
#[inline(always)]
pub fn send(id: u32, target: SgiTarget, gic: &Gic) {
    registers::dsb();
    match (gic, target) {
        (Gic::V3 { .. }, SgiTarget::Mask(mask)) => {
            icc_sgi1r_el1::write((u64::from(id) << 24) | u64::from(mask));
            registers::isb();
        }
        (Gic::V3 { .. }, SgiTarget::Others) => {
            icc_sgi1r_el1::write((u64::from(id) << 24) | (1 << 40));
            registers::isb();
        }
        (Gic::V2 { distributor, .. }, SgiTarget::Mask(mask)) => {
            distributor.write32(at::SGIR, (u32::from(mask) << 16) | id);
        }
        (Gic::V2 { distributor, .. }, SgiTarget::Others) => {
            distributor.write32(at::SGIR, (1 << 24) | id);
        }
    }
}

/// Priorities at or above this value (less urgent) wait.
pub fn set_priority_mask(mask: u32) {
    match cpu_interface() {
        None => icc_pmr_el1::write(u64::from(mask)),
        Some(gicc) => gicc.write32(at::GICC_PMR, mask),
    }
    registers::isb();
}

/// The binary point: how many low bits of a priority do not preempt.
pub fn set_binary_point(point: u32) {
    match cpu_interface() {
        None => icc_bpr1_el1::write(u64::from(point)),
        Some(gicc) => gicc.write32(at::GICC_BPR, point),
    }
    registers::isb();
}

/// Priority of what is being handled, 0xff when nothing is.
pub fn running_priority() -> u32 {
    match cpu_interface() {
        None => icc_rpr_el1::read() as u32 & 0xff,
        Some(gicc) => gicc.read32(at::GICC_RPR) & 0xff,
    }
}

/// INTID of what would be acknowledged next.
pub fn highest_pending() -> u32 {
    match cpu_interface() {
        None => icc_hppir1_el1::read() as u32 & 0xff_ffff,
        Some(gicc) => gicc.read32(at::GICC_HPPIR) & 0x3ff,
    }
}

/// Forgets every active priority of this vCPU (ICC_AP1R0, GICC_APR0 and GICC_NSAPR0): for a program that does not know
/// what was acknowledged. The active bits are the Distributor's.
pub fn drop_priorities() {
    match cpu_interface() {
        None => {
            icc_ap0r0_el1::write(0);
            icc_ap1r0_el1::write(0);
        }
        Some(gicc) => {
            gicc.write32(0xd0, 0);
            gicc.write32(0xe0, 0);
        }
    }
    registers::isb();
}
