//! Between the state and the list registers: flush (into them) and fold (back).
//!
//! Called by the owner of a vCPU: `flush` at an exit that finds the vCPU posted, `fold` on a maintenance interrupt,
//! before the vCPU is switched out, and before a guest reads pending or active state. Calls `inject` for the short path; `readback`, `correct` and `fill`, in this order, for the long one.
//! Standards: GICv2, IHI 0048B, 5.2 "Managing the GIC virtual CPU interface"; GICv3, IHI 0069, 6.3 "The virtual
//! interface: usage model for the List registers".
//!
//! Invariant: after a flush no interrupt that waits is more urgent than one that is pending in a list register.

use specs::{Intid, VcpuIndex};

use crate::bank::{RECONCILE, hardware_post};
use crate::bits::{Ones, VcpuSet};
use crate::lr::ListRegisters;
use crate::owner::Owner;
use crate::vgic::Vgic;

/// In `care`, beside the maintenance interrupts: some entry needs the long path when it is done.
pub(crate) const LONG_PATH: u32 = 1 << 31;

impl Vgic {
    /// Moves what is deliverable into the list registers, the most urgent first, and corrects those whose interrupt
    /// was disabled, rerouted, lowered or cleared. Owner only, with the vCPU's list registers in `lrs`. Returns other
    /// vCPUs that must be kicked.
    #[inline]
    pub fn flush<L: ListRegisters>(&self, me: VcpuIndex, lrs: &mut L) -> VcpuSet {
        match self.bank(me).take_inbox() {
            0 => VcpuSet::NONE,
            posted => self.deliver(me, posted, lrs),
        }
    }

    /// [`Self::pend_hardware`] and [`Self::flush`] in one, for an exit that the physical interrupt caused.
    #[inline]
    pub fn inject_hardware<L: ListRegisters>(&self, me: VcpuIndex, intid: Intid, lrs: &mut L) -> VcpuSet {
        if !(16..32).contains(&intid.0) {
            return VcpuSet::NONE;
        }
        let bank = self.bank(me);
        if !bank.posted() && bank.inject_hardware_again(intid.0, lrs) {
            return VcpuSet::NONE;
        }
        let inbox = bank.take_inbox();
        self.deliver_more(me, inbox | hardware_post(intid.0), lrs)
    }

    /// `posted` is not zero.
    #[inline]
    fn deliver<L: ListRegisters>(&self, me: VcpuIndex, posted: u64, lrs: &mut L) -> VcpuSet {
        if self.bank(me).inject_again(posted, lrs) {
            return VcpuSet::NONE;
        }
        self.deliver_more(me, posted, lrs)
    }

    #[cold]
    #[inline(never)]
    fn deliver_more<L: ListRegisters>(&self, me: VcpuIndex, posted: u64, lrs: &mut L) -> VcpuSet {
        match self.bank(me).inject(posted, lrs) {
            0 => VcpuSet::NONE,
            left => self.reconcile(me, left, lrs),
        }
    }

    /// Reads back what the guest made of the list registers: completed, acknowledged, still pending. What follows
    /// from it (a level still high, a list register free for what waits) is posted to `me`, for the next flush.
    /// Owner only. Returns other vCPUs that must be kicked.
    #[cold]
    #[inline(never)]
    pub fn fold<L: ListRegisters>(&self, me: VcpuIndex, lrs: &mut L) -> VcpuSet {
        let before = self.bank(me).used.get() | self.bank(me).care.get();
        let concerned = self.with_owner(me, |owner| owner.read_back(lrs));
        if before != 0 {
            self.bank(me).post(RECONCILE);
        }
        self.post_all(concerned)
    }

    /// `me` was switched off, its virtual CPU interface reset: what was pending in a list register waits in its
    /// Redistributor again, what was active stays so, and no physical interrupt is kept active for it. `lrs` are
    /// emptied. Owner only.
    #[cold]
    #[inline(never)]
    pub fn reset_vcpu<L: ListRegisters>(&self, me: VcpuIndex, lrs: &mut L) -> VcpuSet {
        let concerned = self.with_owner(me, |owner| {
            owner.read_back(lrs);
            owner.unload(lrs);
        });
        self.bank(me).post(RECONCILE);
        self.post_all(concerned)
    }

    /// The long path of [`Self::flush`].
    #[inline(never)]
    fn reconcile<L: ListRegisters>(&self, me: VcpuIndex, posted: u64, lrs: &mut L) -> VcpuSet {
        let concerned = self.with_owner(me, |owner| {
            owner.read_back(lrs);
            let requests = owner.take_requests(posted, lrs);
            for slot in Ones(owner.bank.used.get()) {
                owner.correct(slot, requests, lrs);
            }
            owner.fill(lrs);
        });
        self.post_all(concerned)
    }

    fn with_owner(&self, me: VcpuIndex, work: impl FnOnce(&mut Owner<'_>)) -> VcpuSet {
        let mut spis = self.spis.lock();
        let mut owner = Owner {
            version: self.version,
            me,
            bank: self.bank(me),
            spis: &mut spis,
            groups: self.groups(),
            concerned: VcpuSet::NONE,
            asks: false,
            evicts: false,
        };
        work(&mut owner);
        owner.concerned
    }
}
