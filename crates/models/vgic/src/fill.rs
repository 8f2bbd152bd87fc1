//! From the state into the list registers: what waits, the most urgent first.
//!
//! Called by `deliver` after `correct`. Invariant: afterwards, if something still waits, every list register is in use
//! by something at least as urgent or active, and a maintenance interrupt comes when that changes.

use crate::bank::SLOTS;
use crate::bits::Ones;
use crate::deliver::LONG_PATH;
use crate::lr::{Entry, Link, ListRegisters, Maintenance};
use crate::owner::{Field, Irq, Owner};

impl Owner<'_> {
    /// Gives list registers to what waits, and arms maintenance interrupts for what gets none.
    pub(crate) fn fill<L: ListRegisters>(&mut self, lrs: &mut L) {
        let mut left = false;
        let mut waiting = self.all_waiting();
        while let Some((irq, priority)) = self.best_of(&waiting) {
            let Some(slot) = self.free_slot(lrs).or_else(|| self.make_room(priority, lrs)) else {
                left = true;
                break;
            };
            if let Some(entry) = self.take(irq) {
                lrs.set(slot, entry.encode(L::VERSION));
                self.asks |= entry.eoi();
                self.occupy(slot, irq, entry);
            }
            irq.remove_from(&mut waiting);
            // What had to make room is less urgent than what is left, or waits now too: then all are looked at again.
            if self.free_slot(lrs).is_none() {
                waiting = self.all_waiting();
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
            self.evicts = true;
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
        if self.evicts && self.best_evicted().is_some() {
            wanted = wanted.union(Maintenance::EOI_COUNT);
        }
        let care = wanted.0 | if left || self.asks { LONG_PATH } else { 0 };
        if (care ^ self.bank.care.get()) & Maintenance::MASK != 0 {
            lrs.set_maintenance(wanted);
        }
        self.bank.care.put(care);
        self.bank.put_short(if care == 0 { self.bank.eligible(self.groups) } else { 0 });
    }

    /// What the short path would write for `irq` next time.
    pub(crate) fn fresh(&self, irq: Irq, entry: Entry) -> Entry {
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
}
