//! What is in the list registers against what is allowed now: requests, withdrawals, merges.
//!
//! Called by `deliver` after `readback`. Invariant: afterwards what is pending in a list register is enabled, in an
//! enabled group and routed here.

use crate::bank::{SGIS, posted_hardware};
use crate::bits::Ones;
use crate::lr::{Entry, Link, ListRegisters, Version};
use crate::owner::{Field, Irq, Owner};

/// What writes to ICPENDR, ISACTIVER and ICACTIVER ask of the private interrupts, and CPENDSGIR of the SGIs.
#[derive(Clone, Copy)]
pub(crate) struct Requests {
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
    /// Takes the inbox and the requests, and does what concerns interrupts outside the list registers.
    pub(crate) fn take_requests<L: ListRegisters>(&mut self, posted: u64, lrs: &mut L) -> Requests {
        let bank = self.bank;
        let requests = Requests {
            clear_pending: bank.clear_pending.take(),
            set_active: bank.set_active.take(),
            clear_active: bank.clear_active.take(),
            clear_sources: if self.version == Version::V2 { bank.take_clear_sources() } else { [0; 4] },
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
    pub(crate) fn correct<L: ListRegisters>(&mut self, slot: u32, requests: Requests, lrs: &mut L) {
        let irq = Irq::of(self.bank.slot_intid(slot));
        let before = self.entry(slot, lrs);
        let mut entry = before;
        let cleared = self.take_clear(irq, entry, requests);
        if entry.pending {
            self.correct_pending(irq, &mut entry, cleared, lrs);
        }
        self.correct_active(irq, &mut entry, requests, lrs);
        if entry.pending || entry.active {
            self.merge(irq, &mut entry);
            if entry != before {
                lrs.set(slot, entry.encode(L::VERSION));
            }
            self.asks |= entry.eoi();
            self.bank.put_slot(slot, self.fresh(irq, entry).encode(L::VERSION));
            self.put(Field::Active, irq, entry.active);
        } else {
            lrs.set(slot, 0);
            self.vacate(slot, irq);
        }
    }

    /// Whether the guest cleared the pending state of `irq`. It counts once, and also where nothing is pending: what
    /// becomes pending later is not meant.
    fn take_clear(&mut self, irq: Irq, entry: Entry, requests: Requests) -> bool {
        match irq {
            Irq::Private(sgi) if self.has_sources(irq) => requests.clears_source(sgi, entry.source()),
            Irq::Private(intid) => requests.clear_pending & 1 << intid != 0,
            Irq::Shared(spi) => {
                let cleared = self.spis.revoke.contains(spi);
                self.spis.revoke.put(spi, false);
                cleared
            }
        }
    }

    /// Withdraws what is pending in a list register if it was cleared, lowered, disabled or rerouted.
    fn correct_pending<L: ListRegisters>(&mut self, irq: Irq, entry: &mut Entry, cleared: bool, lrs: &mut L) {
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
}
