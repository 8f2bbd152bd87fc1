//! The virtual GIC of one VM: its parts, its wires, its reset.
//!
//! Called by the vmkernel (assembly, timers) and device models. The registers are in `distributor`, `redistributor`
//! and `sgi`, the list registers in `deliver`.

use core::sync::atomic::{AtomicU32, Ordering};

use specs::gic::gicd;
use specs::{Intid, VcpuIndex};
use spin::Mutex;

use crate::bank::{Bank, Groups, RECONCILE, element, hardware_post, posted_hardware};
use crate::bits::{Spi, VcpuSet};
use crate::lr::{ListRegisters, Version};
use crate::spi::Spis;

/// vCPUs of a VM at most: GICv2's limit.
pub const MAX_VCPUS: u8 = 8;

/// GICD_TYPER.ITLinesNumber: INTIDs 0–159.
const IT_LINES: u32 = 4;

/// A device's wire into the GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// A PPI of one vCPU.
    Private {
        /// 16–31.
        intid: Intid,
        /// Whose.
        vcpu: VcpuIndex,
    },
    /// An SPI.
    Shared(
        /// 32–159.
        Intid,
    ),
}

/// The virtual GIC of one VM.
pub struct Vgic {
    pub(crate) version: Version,
    pub(crate) vcpus: u8,
    all: VcpuSet,
    /// GICD_TYPER.
    pub(crate) typer: u32,
    /// GICD_CTLR's group enables.
    pub(crate) ctlr: AtomicU32,
    banks: [Bank; 8],
    pub(crate) spis: Mutex<Spis>,
}

impl Vgic {
    /// A GIC after reset for 1 to [`MAX_VCPUS`] vCPUs; `None` for any other number.
    pub fn new(version: Version, vcpus: u8) -> Option<Self> {
        if vcpus == 0 || vcpus > MAX_VCPUS {
            return None;
        }
        let lines = IT_LINES << gicd::TYPER_IT_LINES_SHIFT;
        let typer = match version {
            Version::V2 => lines | u32::from(vcpus - 1) << gicd::TYPER_CPU_NUMBER_SHIFT,
            Version::V3 => lines | 9 << gicd::TYPER_ID_BITS_SHIFT | gicd::TYPER_NO1N,
        };
        let vgic = Self {
            version,
            vcpus,
            all: VcpuSet::first(vcpus),
            typer,
            ctlr: AtomicU32::new(0),
            banks: core::array::from_fn(|_| Bank::default()),
            spis: Mutex::new(Spis::new(version, vcpus)),
        };
        vgic.reset();
        Some(vgic)
    }

    /// Back to the state of [`Self::new`], lines included. No vCPU of the VM is running, and no list register of
    /// theirs is kept.
    pub fn reset(&self) {
        self.ctlr.store(0, Ordering::Relaxed);
        *self.spis.lock() = Spis::new(self.version, self.vcpus);
        for bank in &self.banks {
            bank.reset();
            bank.waker.put(1);
        }
    }

    /// Drives a line. On an edge-triggered INTID a change from low to high makes it pending. Any PE.
    #[inline]
    pub fn set_line(&self, line: Line, high: bool) -> VcpuSet {
        match line {
            Line::Private { intid, vcpu } => self.set_private_line(intid, vcpu, high),
            Line::Shared(intid) => self.set_shared_line(intid, high),
        }
    }

    fn set_private_line(&self, intid: Intid, vcpu: VcpuIndex, high: bool) -> VcpuSet {
        if !(16..32).contains(&intid.0) || vcpu.0 >= self.vcpus {
            return VcpuSet::NONE;
        }
        let bank = self.bank(vcpu);
        let bit = 1 << intid.0;
        let changed = if high { bank.line.add(bit) } else { bank.line.remove(bit) };
        if changed == 0 {
            return VcpuSet::NONE;
        }
        // Posted even where it is disabled: whether it is may be changing on another PE.
        bank.post(RECONCILE);
        if (bank.enable.get() | bank.resident.get()) & bit == 0 {
            return VcpuSet::NONE;
        }
        VcpuSet::one(vcpu)
    }

    fn set_shared_line(&self, intid: Intid, high: bool) -> VcpuSet {
        let Some(spi) = Spi::of(intid.0) else { return VcpuSet::NONE };
        let mut spis = self.spis.lock();
        if !spis.drive(spi, high) {
            return VcpuSet::NONE;
        }
        let set = spis.concerned_by(spi, self.groups());
        self.post_all(set)
    }

    /// The physical interrupt `intid` (a PPI that belongs to the guest, such as its virtual timer's) was acknowledged
    /// by this PE and its priority dropped: it stays active until the guest's own deactivation reaches it through a
    /// list register. Owner only; flush before the guest runs again.
    #[inline]
    pub fn pend_hardware(&self, me: VcpuIndex, intid: Intid) {
        if (16..32).contains(&intid.0) {
            self.bank(me).post(hardware_post(intid.0));
        }
    }

    /// The PPIs (bit n: INTID n) whose physical interrupt must be active on the PE that runs `me`. Who switches the
    /// vCPU out after [`Self::fold`] deactivates these on this PE (by ICACTIVER) so that its next vCPU can have them,
    /// and makes active exactly these (by ISACTIVER) where it switches it in. Owner only.
    #[inline]
    pub fn live_hardware(&self, me: VcpuIndex) -> u32 {
        let bank = self.bank(me);
        bank.hardware.get() | bank.demoted.get() | posted_hardware(bank.peek_inbox())
    }

    /// Whether a physical interrupt is active for `me`, whose list registers are in `lrs`: then who switches it out must
    /// fold, and hand over what [`Self::live_hardware`] names. Else it may switch as it is, and need keep only the list
    /// registers that are not empty. Owner only.
    #[inline]
    pub fn holds_hardware<L: ListRegisters>(&self, me: VcpuIndex, lrs: &L) -> bool {
        let bank = self.bank(me);
        let hardware = bank.hardware.get();
        if bank.demoted.get() | hardware & !bank.resident.get() != 0 || bank.has_posted_hardware() {
            return true;
        }
        let live = if hardware == 0 { 0 } else { bank.used.get() & !lrs.empty() };
        live != 0 && bank.hardware_is_in(live)
    }

    /// The list registers in use (bit n: list register n): those that a switch must save and restore. Owner only.
    #[inline]
    pub fn in_use(&self, me: VcpuIndex) -> u32 {
        self.bank(me).used.get()
    }

    /// Whether something was posted to `me` since its last flush: a single load, for each exit.
    #[inline]
    pub fn posted(&self, me: VcpuIndex) -> bool {
        self.bank(me).posted()
    }

    /// Whether an interrupt would be signalled to `me` (whose list registers are `lrs`, flushed) under the priority
    /// mask `mask` (VMCR.VPMR as eight bits), so that its WFI is over. True also while something is posted: flush and
    /// ask again. Owner only.
    #[inline]
    pub fn deliverable<L: ListRegisters>(&self, me: VcpuIndex, lrs: &L, mask: u8) -> bool {
        let bank = self.bank(me);
        let held = bank.used.get() & !lrs.empty();
        bank.posted() || held != 0 && pends(held, lrs, mask)
    }

    #[inline]
    pub(crate) fn bank(&self, vcpu: VcpuIndex) -> &Bank {
        element(&self.banks, usize::from(vcpu.0))
    }

    #[inline]
    pub(crate) fn groups(&self) -> Groups {
        Groups::of(self.ctlr.load(Ordering::Relaxed))
    }

    /// All vCPUs of the VM.
    #[inline]
    pub(crate) fn all(&self) -> VcpuSet {
        self.all
    }

    /// Posts to each of `set`; gives it back.
    pub(crate) fn post_all(&self, set: VcpuSet) -> VcpuSet {
        for vcpu in set {
            self.bank(vcpu).post(RECONCILE);
        }
        set
    }
}

/// Whether one of the list registers `held` is pending and above `mask`.
#[inline(never)]
fn pends<L: ListRegisters>(held: u32, lrs: &L, mask: u8) -> bool {
    crate::bits::Ones(held).any(|slot| {
        let entry = crate::lr::Entry::decode(L::VERSION, lrs.get(slot));
        entry.pending && entry.priority < mask
    })
}

/// Whether a read at `offset` (in GICD, or in the `SGI_base` frame of a Redistributor) shows pending or active state,
/// which is exact only after a [`Vgic::fold`]. ISPENDR, ICPENDR, ISACTIVER, ICACTIVER, CPENDSGIR, SPENDSGIR.
#[inline]
pub const fn needs_fold(offset: u64) -> bool {
    let frame = offset & 0xffff;
    (frame >= gicd::ISPENDR && frame < gicd::IPRIORITYR)
        || (frame >= gicd::CPENDSGIR && frame < gicd::SPENDSGIR + 0x10)
}
