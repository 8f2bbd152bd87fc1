//! From the list registers into the state: what the guest acknowledged and completed.
//!
//! Called by `deliver`. Invariant: afterwards every list register in use is pending or active, and the state says so.

use specs::Intid;

use crate::bits::Ones;
use crate::lr::{Entry, Link, ListRegisters, Maintenance};
use crate::owner::{Field, Irq, Owner};

impl Owner<'_> {
    pub(crate) fn entry<L: ListRegisters>(&self, slot: u32, lrs: &L) -> Entry {
        Entry::decode(L::VERSION, lrs.get(slot))
    }

    /// Brings the state up to what the list registers say.
    pub(crate) fn read_back<L: ListRegisters>(&mut self, lrs: &mut L) {
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
        self.evicts = self.bank.care.get() & Maintenance::EOI_COUNT.0 != 0;
        for _ in 0..lrs.take_eoi_count() {
            let Some((irq, _)) = self.best_evicted() else { break };
            self.put(Field::Evicted, irq, false);
            self.put(Field::Active, irq, false);
            self.release_demoted(irq, lrs);
            self.pass_on(irq);
        }
    }

    /// The guest is done with what list register `slot` had.
    pub(crate) fn retire<L: ListRegisters>(&mut self, slot: u32, irq: Irq, entry: Entry, lrs: &mut L) {
        if entry.eoi() {
            // Else its end-of-interrupt status would keep the maintenance interrupt up.
            lrs.set(slot, 0);
        } else if matches!(Entry::decode(L::VERSION, self.bank.slot(slot)).link, Link::Physical(_)) {
            // The record says it, since a switch keeps nothing of an empty list register: it may hold what is left of
            // another vCPU. What lost HW = 1 meanwhile asks for an EOI interrupt, and is not empty then.
            self.bank.hardware.remove(irq.private_bit());
        }
        self.release_demoted(irq, lrs);
        self.vacate(slot, irq);
    }

    /// The token of `irq` is gone: deactivates the physical interrupt behind it, if there is one.
    pub(crate) fn release_hardware<L: ListRegisters>(&mut self, irq: Irq, lrs: &mut L) {
        if self.is_hardware(irq) {
            self.bank.hardware.remove(irq.private_bit());
            lrs.deactivate(Intid(irq.intid()));
        }
    }

    /// `irq` is not active any more: deactivates the physical interrupt that its list register did not.
    pub(crate) fn release_demoted<L: ListRegisters>(&mut self, irq: Irq, lrs: &mut L) {
        if self.is_demoted(irq) {
            self.bank.demoted.remove(irq.private_bit());
            lrs.deactivate(Intid(irq.intid()));
        }
    }

    /// The active `entry` loses HW = 1.
    pub(crate) fn demote(&mut self, irq: Irq, entry: Entry) {
        if matches!(entry.link, Link::Physical(_)) {
            self.bank.hardware.remove(irq.private_bit());
            self.bank.demoted.add(irq.private_bit());
        }
    }

    /// Empties the list registers; see [`Vgic::reset_vcpu`].
    pub(crate) fn unload<L: ListRegisters>(&mut self, lrs: &mut L) {
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
