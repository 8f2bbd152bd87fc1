//! Between the state and the list registers: flush (into them) and fold (back).
//!
//! Called by the owner of a vCPU: `flush` at an exit that finds the vCPU posted, `fold` on a maintenance interrupt,
//! before the vCPU is switched out, and before a guest reads pending or active state. Calls `inject` for the short path, `owner` for the state.
//! Standards: GICv2, IHI 0048B, 5.2 "Managing the GIC virtual CPU interface"; GICv3, IHI 0069, 6.3 "The virtual
//! interface: usage model for the List registers".
//!
//! Invariant: after a flush no interrupt that waits is more urgent than one that is pending in a list register.

use specs::{Intid, VcpuIndex};

use crate::bank::{RECONCILE, SGIS, SLOTS, hardware_post, posted_hardware};
use crate::bits::{Ones, VcpuSet};
use crate::lr::{Entry, Link, ListRegisters, Maintenance};
use crate::owner::{Field, Irq, Owner};
use crate::vgic::Vgic;

/// In `care`, beside the maintenance interrupts: some entry needs the long path when it is done.
const LONG_PATH: u32 = 1 << 31;

impl Vgic {
    /// Moves what is deliverable into the list registers, the most urgent first, and corrects those whose interrupt
    /// was disabled, rerouted, lowered or cleared. Owner only, with the vCPU's list registers in `lrs`. Returns other
    /// vCPUs that must be kicked.
    #[inline]
    pub fn flush<L: ListRegisters>(&self, me: VcpuIndex, lrs: &mut L) -> VcpuSet {
        let posted = self.bank(me).take_inbox();
        self.deliver(me, posted, lrs)
    }

    /// [`Self::pend_hardware`] and [`Self::flush`] in one, for an exit that the physical interrupt caused.
    #[inline]
    pub fn inject_hardware<L: ListRegisters>(&self, me: VcpuIndex, intid: Intid, lrs: &mut L) -> VcpuSet {
        if !(16..32).contains(&intid.0) {
            return VcpuSet::NONE;
        }
        let bank = self.bank(me);
        let inbox = if bank.posted() { bank.take_inbox() } else { 0 };
        self.deliver(me, inbox | hardware_post(intid.0), lrs)
    }

    #[inline]
    fn deliver<L: ListRegisters>(&self, me: VcpuIndex, posted: u64, lrs: &mut L) -> VcpuSet {
        if self.bank(me).inject(posted, lrs) {
            return VcpuSet::NONE;
        }
        self.reconcile(me, posted, lrs)
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
        };
        work(&mut owner);
        owner.concerned
    }
}

/// What writes to ICPENDR, ISACTIVER and ICACTIVER ask of the private interrupts, and CPENDSGIR of the SGIs.
#[derive(Clone, Copy)]
struct Requests {
    clear_pending: u32,
    set_active: u32,
    clear_active: u32,
    clear_sources: [u32; 4],
}

impl Requests {
    /// Whether the token of an SGI from `source` in a list register is to be taken.
    fn clears_source(&self, sgi: u32, source: u8) -> bool {
        let word = self.clear_sources.get((sgi >> 2) as usize).copied().unwrap_or(0);
        word & crate::bank::source_mask(sgi, source) != 0
    }
}

impl Owner<'_> {
    fn entry<L: ListRegisters>(&self, slot: u32, lrs: &L) -> Entry {
        Entry::decode(L::VERSION, lrs.get(slot))
    }

    /// Brings the state up to what the list registers say.
    fn read_back<L: ListRegisters>(&mut self, lrs: &mut L) {
        for slot in Ones(self.bank.used.get()) {
            let entry = self.entry(slot, lrs);
            let irq = Irq::of(self.bank.slot_intid(slot));
            let held = entry.pending && self.carries_token(irq);
            self.put(Field::Held, irq, held);
            self.put(Field::Active, irq, entry.active);
            if !entry.pending && !entry.active {
                self.retire(slot, irq, entry, lrs);
            }
        }
        for _ in 0..lrs.take_eoi_count() {
            let Some((irq, _)) = self.best_evicted() else { break };
            self.put(Field::Evicted, irq, false);
            self.put(Field::Active, irq, false);
            self.release_demoted(irq, lrs);
            self.pass_on(irq);
        }
    }

    /// The guest is done with what list register `slot` had.
    fn retire<L: ListRegisters>(&mut self, slot: u32, irq: Irq, entry: Entry, lrs: &mut L) {
        if entry.eoi() {
            // Else its end-of-interrupt status would keep the maintenance interrupt up.
            lrs.set(slot, 0);
        }
        if matches!(entry.link, Link::Physical(_)) {
            self.bank.hardware.remove(irq.private_bit());
        }
        self.release_demoted(irq, lrs);
        self.vacate(slot, irq);
    }

    /// The token of `irq` is gone: deactivates the physical interrupt behind it, if there is one.
    fn release_hardware<L: ListRegisters>(&mut self, irq: Irq, lrs: &mut L) {
        if self.is_hardware(irq) {
            self.bank.hardware.remove(irq.private_bit());
            lrs.deactivate(Intid(irq.intid()));
        }
    }

    /// `irq` is not active any more: deactivates the physical interrupt that its list register did not.
    fn release_demoted<L: ListRegisters>(&mut self, irq: Irq, lrs: &mut L) {
        if self.is_demoted(irq) {
            self.bank.demoted.remove(irq.private_bit());
            lrs.deactivate(Intid(irq.intid()));
        }
    }

    /// The active `entry` loses HW = 1.
    fn demote(&mut self, irq: Irq, entry: Entry) {
        if matches!(entry.link, Link::Physical(_)) {
            self.bank.hardware.remove(irq.private_bit());
            self.bank.demoted.add(irq.private_bit());
        }
    }

    /// Takes the inbox and the requests, and does what concerns interrupts outside the list registers.
    fn take_requests<L: ListRegisters>(&mut self, posted: u64, lrs: &mut L) -> Requests {
        let bank = self.bank;
        let requests = Requests {
            clear_pending: bank.clear_pending.take(),
            set_active: bank.set_active.take(),
            clear_active: bank.clear_active.take(),
            clear_sources: [0, 1, 2, 3].map(|word| bank.clear_source_word(word).take()),
        };
        let [p0, p1, p2, p3, ..] = posted.to_le_bytes();
        let hardware = posted_hardware(posted);
        let posted = u32::from_le_bytes([p0, p1, p2, p3]) | hardware;
        // A hardware interrupt's line is sampled anew by deactivating it: if it is still high, it comes again.
        let outside = !bank.resident.get();
        for intid in Ones(requests.clear_pending & bank.latch.get() & bank.hardware.get()) {
            self.release_hardware(Irq::Private(intid), lrs);
        }
        bank.latch.put(bank.latch.get() & !requests.clear_pending | posted);
        bank.hardware.add(hardware);
        for intid in Ones(requests.clear_active & bank.active.get() & outside) {
            self.release_demoted(Irq::Private(intid), lrs);
        }
        bank.active.add(requests.set_active & outside);
        bank.active.remove(requests.clear_active & outside);
        bank.evicted.remove(requests.clear_active);
        requests
    }

    /// Brings list register `slot` to what the state allows.
    fn correct<L: ListRegisters>(&mut self, slot: u32, requests: Requests, lrs: &mut L) {
        let irq = Irq::of(self.bank.slot_intid(slot));
        let before = self.entry(slot, lrs);
        let mut entry = before;
        if entry.pending {
            self.correct_pending(irq, &mut entry, requests, lrs);
        }
        self.correct_active(irq, &mut entry, requests, lrs);
        if entry.pending || entry.active {
            self.merge(irq, &mut entry);
            if entry != before {
                lrs.set(slot, entry.encode(L::VERSION));
            }
            self.bank.put_slot(slot, self.fresh(irq, entry).encode(L::VERSION));
            self.put(Field::Active, irq, entry.active);
        } else {
            lrs.set(slot, 0);
            self.vacate(slot, irq);
        }
    }

    /// Withdraws what is pending in a list register if it was cleared, lowered, disabled or rerouted.
    fn correct_pending<L: ListRegisters>(
        &mut self,
        irq: Irq,
        entry: &mut Entry,
        requests: Requests,
        lrs: &mut L,
    ) {
        let cleared = match irq {
            Irq::Private(sgi) if self.has_sources(irq) => requests.clears_source(sgi, entry.source()),
            Irq::Private(intid) => requests.clear_pending & 1 << intid != 0,
            Irq::Shared(spi) => self.spis.revoke.contains(spi),
        };
        if let Irq::Shared(spi) = irq {
            self.spis.revoke.put(spi, false);
        }
        if cleared && self.carries_token(irq) {
            self.put(Field::Held, irq, false);
            self.release_hardware(irq, lrs);
            entry.pending = !self.is_token(irq);
        }
        let wanted = self.carries_token(irq) || self.is_pending(irq);
        if entry.pending && !(wanted && self.is_eligible(irq)) {
            entry.pending = false;
            self.put_back(irq, *entry);
        } else if !entry.active {
            entry.priority = self.priority(irq);
            entry.group1 = self.group1(irq);
        }
    }

    /// Does what ISACTIVER and ICACTIVER ask of what is in a list register. What ISACTIVER makes active leaves it: there
    /// it would never end, because the guest did not acknowledge it.
    fn correct_active<L: ListRegisters>(
        &mut self,
        irq: Irq,
        entry: &mut Entry,
        requests: Requests,
        lrs: &mut L,
    ) {
        let (set, clear) = match irq {
            Irq::Private(intid) => {
                (requests.set_active & 1 << intid != 0, requests.clear_active & 1 << intid != 0)
            }
            Irq::Shared(spi) => {
                let asked = (self.spis.activate.contains(spi), self.spis.deactivate.contains(spi));
                self.spis.activate.put(spi, false);
                self.spis.deactivate.put(spi, false);
                asked
            }
        };
        if clear && entry.active {
            entry.active = false;
            self.put(Field::Active, irq, false);
            self.demote(irq, *entry);
            self.release_demoted(irq, lrs);
        } else if set && !entry.active {
            if entry.pending {
                self.put_back(irq, *entry);
            }
            entry.pending = false;
            self.put(Field::Active, irq, true);
        }
    }

    /// Joins what became pending since with what the list register says, and decides about its EOI interrupt.
    fn merge(&mut self, irq: Irq, entry: &mut Entry) {
        if self.get(Field::Latch, irq) {
            if self.has_sources(irq) {
                self.merge_source(irq, *entry);
            } else {
                self.merge_token(irq, entry);
            }
        }
        // What is left in the latch, a level that is still high, a physical interrupt without HW = 1: must be looked
        // at after the deactivation.
        if let Link::Virtual { eoi, .. } = &mut entry.link {
            *eoi = self.is_pending(irq) || self.is_demoted(irq);
        }
    }

    /// The latch is set: a pending list register takes the token, an active one only if it can be both.
    fn merge_token(&mut self, irq: Irq, entry: &mut Entry) {
        let hardware = self.is_hardware(irq) && !matches!(entry.link, Link::Physical(_));
        let both = self.is_token(irq) && irq.private_bit() & !SGIS == 0 && self.is_eligible(irq);
        if entry.pending || both {
            entry.pending = true;
            self.put(Field::Latch, irq, false);
            self.put(Field::Held, irq, true);
            if hardware {
                entry.link = Link::Physical(irq.intid());
            }
        } else {
            self.demote(irq, *entry);
            entry.link = Link::Virtual { eoi: true, source: 0 };
        }
    }

    /// Gives list registers to what waits, and arms maintenance interrupts for what gets none.
    fn fill<L: ListRegisters>(&mut self, lrs: &mut L) {
        let mut left = false;
        while let Some((irq, priority)) = self.best_waiting() {
            let Some(slot) = self.free_slot(lrs).or_else(|| self.make_room(priority, lrs)) else {
                left = true;
                break;
            };
            if let Some(entry) = self.take(irq) {
                lrs.set(slot, entry.encode(L::VERSION));
                self.occupy(slot, irq, entry);
            }
        }
        self.arm(left, lrs);
    }

    fn free_slot<L: ListRegisters>(&self, lrs: &L) -> Option<u32> {
        let slot = (!self.bank.used.get()).trailing_zeros();
        (slot < lrs.count().min(SLOTS)).then_some(slot)
    }

    /// Frees a list register for something of `priority`: from something pending that is less urgent; or, where all
    /// are active and less urgent, from the least urgent of those, whose end is then counted.
    fn make_room<L: ListRegisters>(&mut self, priority: u8, lrs: &mut L) -> Option<u32> {
        let entries = || Ones(self.bank.used.get()).map(|slot| (slot, self.entry(slot, lrs)));
        let pending = entries().filter(|(_, entry)| entry.pending && !entry.active);
        if let Some((slot, entry)) = pending.max_by_key(|(_, entry)| (entry.priority, entry.intid)) {
            if entry.priority <= priority {
                return None;
            }
            self.evict(slot, entry, lrs);
            return Some(slot);
        }
        let most_urgent = entries().map(|(_, entry)| entry.priority).min()?;
        if lrs.splits_eoi() || most_urgent <= priority {
            return None;
        }
        let (slot, entry) = entries().max_by_key(|(_, entry)| entry.priority)?;
        self.evict(slot, entry, lrs);
        Some(slot)
    }

    /// Takes `entry` out of its list register.
    fn evict<L: ListRegisters>(&mut self, slot: u32, entry: Entry, lrs: &mut L) {
        let irq = Irq::of(entry.intid);
        lrs.set(slot, 0);
        if entry.pending {
            self.put_back(irq, entry);
        }
        if entry.active {
            self.put(Field::Evicted, irq, true);
            self.demote(irq, entry);
        }
        self.vacate(slot, irq);
    }

    /// Arms the maintenance interrupts: `left` says that something waits although all list registers are in use. It
    /// is not more urgent than what is pending there, so it is soon enough to look when all that was acknowledged.
    fn arm<L: ListRegisters>(&mut self, left: bool, lrs: &mut L) {
        let slots = Ones(self.bank.used.get());
        let mut wanted = Maintenance::NONE;
        if left {
            slots.into_iter().for_each(|slot| self.ask_for_eoi(slot, lrs));
            if slots.into_iter().any(|slot| self.entry(slot, lrs).pending) {
                wanted = Maintenance::NO_PENDING;
            }
        }
        if self.best_evicted().is_some() {
            wanted = wanted.union(Maintenance::EOI_COUNT);
        }
        let long = left || slots.into_iter().any(|slot| self.entry(slot, lrs).eoi());
        let care = wanted.0 | if long { LONG_PATH } else { 0 };
        if (care ^ self.bank.care.get()) & Maintenance::MASK != 0 {
            lrs.set_maintenance(wanted);
        }
        self.bank.care.put(care);
        self.bank.put_short(if care == 0 { self.bank.eligible(self.groups) } else { 0 });
    }

    /// What the short path would write for `irq` next time.
    fn fresh(&self, irq: Irq, entry: Entry) -> Entry {
        let (priority, group1) = (self.priority(irq), self.group1(irq));
        Entry { pending: true, active: false, priority, group1, ..entry }
    }

    /// Something waits: the end of what is active must be heard. With HW = 1 it could not ask, so it loses that; and
    /// what is pending too would hide from "none pending" on some implementations, so its token goes back.
    fn ask_for_eoi<L: ListRegisters>(&mut self, slot: u32, lrs: &mut L) {
        let mut entry = self.entry(slot, lrs);
        if !entry.active {
            return;
        }
        let irq = Irq::of(entry.intid);
        if entry.pending {
            entry.pending = false;
            self.put_back(irq, entry);
        }
        self.demote(irq, entry);
        entry.link = Link::Virtual { eoi: true, source: entry.source() };
        lrs.set(slot, entry.encode(L::VERSION));
    }

    /// Empties the list registers; see [`Vgic::reset_vcpu`].
    fn unload<L: ListRegisters>(&mut self, lrs: &mut L) {
        for slot in Ones(self.bank.used.get()) {
            let entry = self.entry(slot, lrs);
            let irq = Irq::of(entry.intid);
            lrs.set(slot, 0);
            if entry.pending {
                self.put_back(irq, entry);
            }
            self.vacate(slot, irq);
        }
        // Of an interrupt on its way here only the physical one is left, which is as good as never acknowledged.
        self.bank.hardware.add(self.bank.take_posted_hardware());
        for intid in Ones(self.bank.hardware.get() | self.bank.demoted.get()) {
            self.put(Field::Latch, Irq::Private(intid), false);
            self.release_hardware(Irq::Private(intid), lrs);
            self.release_demoted(Irq::Private(intid), lrs);
        }
        lrs.set_maintenance(Maintenance::NONE);
        self.bank.care.put(0);
        self.bank.put_short(0);
    }
}
