//! The short path of a flush: only SGIs and hardware interrupts were posted, list registers are free, nothing waits.
//!
//! Called by `deliver` and `vgic`. This is what a guest's SGI to itself and its timer cost, so each instruction
//! counts; whatever is not plain is left, untouched, to the long path.
//!
//! Invariant: `short` holds what was eligible at the last reconcile; whoever changes that posts
//! [`RECONCILE`](crate::bank::RECONCILE), which is never in `short`.

use crate::bank::{Bank, SGIS, hardware_post};
use crate::bits::{Ones, VcpuSet};
use crate::lr::{Entry, Link, ListRegisters, Version};

impl Bank {
    /// Delivers `posted`, not zero, if it is one interrupt whose list register of the last time can be used again; `false`, with
    /// nothing changed, else.
    #[inline]
    pub(crate) fn inject_again<L: ListRegisters>(&self, posted: u64, lrs: &mut L) -> bool {
        debug_assert_ne!(posted, 0);
        let intid = posted.trailing_zeros() & 31;
        posted & !self.short() == 0
            && posted & posted.wrapping_sub(1) == 0
            && self.resident.get() >> intid & 1 != 0
            && self.reuse(intid, lrs)
    }

    /// [`Self::inject_again`] for a hardware interrupt alone.
    #[inline]
    pub(crate) fn inject_hardware_again<L: ListRegisters>(&self, intid: u32, lrs: &mut L) -> bool {
        if self.short() & hardware_post(intid) == 0 || self.resident.get() >> intid & 1 == 0 {
            return false;
        }
        let slot = self.place(intid);
        let raw = self.slot(slot);
        let ready = lrs.empty() >> (slot & 31) & 1 != 0
            && matches!(Entry::decode(L::VERSION, raw).link, Link::Physical(_));
        if ready {
            lrs.set(slot, raw);
        }
        ready
    }

    /// Whether one of the hardware interrupts, which all are resident, has one of the list registers `live`.
    #[inline(never)]
    pub(crate) fn hardware_is_in(&self, live: u32) -> bool {
        Ones(self.hardware.get()).any(|intid| live >> (self.place(intid) & 31) & 1 != 0)
    }

    /// Delivers what is simple of `posted`; gives back what is left to the long path.
    #[inline]
    pub(crate) fn inject<L: ListRegisters>(&self, mut posted: u64, lrs: &mut L) -> u64 {
        if posted & !self.short() != 0 {
            return posted;
        }
        while posted != 0 {
            let intid = posted.trailing_zeros() & 31;
            let resident = self.resident.get() >> intid & 1 != 0;
            if !(if resident { self.reuse(intid, lrs) } else { self.inject_anew(intid, lrs) }) {
                break;
            }
            posted &= posted.wrapping_sub(1);
        }
        posted
    }

    /// The guest is done with the list register that still stands for `intid`: the same again.
    #[inline]
    fn reuse<L: ListRegisters>(&self, intid: u32, lrs: &mut L) -> bool {
        let slot = self.place(intid);
        if lrs.empty() >> (slot & 31) & 1 == 0 {
            return false;
        }
        let raw = self.slot(slot);
        let link = Entry::decode(L::VERSION, raw).link;
        // It may have been made pending by the guest's ISPENDR last time.
        if intid >= 16 && !matches!(link, Link::Physical(_)) {
            return false;
        }
        if let Link::Virtual { source, .. } = link
            && L::VERSION == Version::V2
        {
            if VcpuSet(self.sources(intid)) != VcpuSet(1 << (source & 7)) {
                return false;
            }
            self.remove_source(intid, source);
        }
        lrs.set(slot, raw);
        true
    }

    /// `intid` gets a free list register, or one that the guest is done with.
    #[inline]
    fn inject_anew<L: ListRegisters>(&self, intid: u32, lrs: &mut L) -> bool {
        let used = self.used.get();
        let done = used & lrs.empty();
        let tokens = SGIS | self.hardware.get();
        let bit = 1_u32 << intid;
        let slot = (!used | done).trailing_zeros();
        let Some(retired) = self.retirable(done, tokens) else { return false };
        let Some(link) = self.link::<L>(intid) else { return false };
        if slot >= lrs.count() || self.active.get() & !retired & bit != 0 {
            return false;
        }
        if let Link::Virtual { source, .. } = link
            && L::VERSION == Version::V2
        {
            self.remove_source(intid, source);
        }
        let (priority, group1) = (self.priority(intid), self.group.get() & bit != 0);
        let raw = Entry { intid, pending: true, active: false, group1, priority, link }.encode(L::VERSION);
        lrs.set(slot, raw);
        self.put_slot(slot, raw);
        self.put_place(intid, slot);
        self.used.put(used & !done | 1 << (slot & 31));
        self.resident.put(self.resident.get() & !retired | bit);
        self.held.put(self.held.get() & !retired | bit);
        self.active.remove(retired);
        self.hardware.put(self.hardware.get() & !retired | bit & !SGIS);
        true
    }

    /// The private interrupts of the list registers `done`, if all are tokens.
    #[inline]
    fn retirable(&self, done: u32, tokens: u32) -> Option<u32> {
        let mut retired = 0;
        for slot in Ones(done) {
            let intid = self.slot_intid(slot);
            if intid >= 32 || tokens >> intid & 1 == 0 {
                return None;
            }
            retired |= 1 << intid;
        }
        Some(retired)
    }

    /// What goes with `intid`; on GICv2 `None` where an SGI has not just one source.
    #[inline]
    fn link<L: ListRegisters>(&self, intid: u32) -> Option<Link> {
        if intid >= 16 {
            return Some(Link::Physical(intid));
        }
        let mut source = 0;
        if L::VERSION == Version::V2 {
            let mut sources = VcpuSet(self.sources(intid));
            source = sources.next()?.0;
            if !sources.is_empty() {
                return None;
            }
        }
        Some(Link::Virtual { eoi: false, source })
    }
}
