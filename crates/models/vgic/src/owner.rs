//! The whole state as one vCPU's owner sees it: its own private interrupts and the SPIs, by one set of verbs.
//!
//! Used by `deliver`, under the SPI lock, on the long path. Word 0 are the private interrupts, words 1 to 4 the SPIs.

use specs::VcpuIndex;

use crate::bank::{Bank, Groups, SGIS, SLOTS};
use crate::bits::{Ones, Spi, SpiBits, VcpuSet, WORDS};
use crate::lr::{Entry, Link, Version};
use crate::spi::Spis;

/// A bit that each interrupt has.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Latch,
    Active,
    Resident,
    Held,
    Evicted,
}

/// An interrupt that this GIC has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Irq {
    Private(u32),
    Shared(Spi),
}

impl Irq {
    pub(crate) fn of(intid: u32) -> Self {
        Spi::of(intid).map_or(Self::Private(intid & 31), Self::Shared)
    }

    /// The INTID.
    pub(crate) fn intid(self) -> u32 {
        match self {
            Self::Private(intid) => intid,
            Self::Shared(spi) => 32 + u32::try_from(spi.index()).unwrap_or(0),
        }
    }

    /// Takes it out of a set of all.
    pub(crate) fn remove_from(self, set: &mut [u32; WORDS]) {
        let (word, mask) = match self {
            Self::Private(intid) => (0, 1 << intid),
            Self::Shared(spi) => (spi.word() + 1, spi.mask()),
        };
        if let Some(word) = set.get_mut(word) {
            *word &= !mask;
        }
    }

    /// Its bit in the private words; zero for an SPI.
    pub(crate) fn private_bit(self) -> u32 {
        match self {
            Self::Private(intid) => 1 << intid,
            Self::Shared(_) => 0,
        }
    }
}

/// One vCPU's owner at work.
pub(crate) struct Owner<'a> {
    pub(crate) version: Version,
    pub(crate) me: VcpuIndex,
    pub(crate) bank: &'a Bank,
    pub(crate) spis: &'a mut Spis,
    pub(crate) groups: Groups,
    /// Others that must look.
    pub(crate) concerned: VcpuSet,
    /// A list register asks for an EOI interrupt.
    pub(crate) asks: bool,
    /// Something active is, or was until now, outside the list registers.
    pub(crate) evicts: bool,
}

impl Owner<'_> {
    pub(crate) fn get(&self, field: Field, irq: Irq) -> bool {
        match irq {
            Irq::Private(intid) => self.private_field(field).get() & 1 << intid != 0,
            Irq::Shared(spi) => self.spi_field(field).contains(spi),
        }
    }

    pub(crate) fn put(&mut self, field: Field, irq: Irq, on: bool) {
        match irq {
            Irq::Private(intid) if on => self.private_field(field).add(1 << intid),
            Irq::Private(intid) => self.private_field(field).remove(1 << intid),
            Irq::Shared(spi) => self.spi_field_mut(field).put(spi, on),
        }
    }

    /// Whether its pending state is a token rather than a level: SGIs, hardware interrupts, edge-triggered SPIs.
    pub(crate) fn is_token(&self, irq: Irq) -> bool {
        match irq {
            Irq::Private(intid) => (SGIS | self.bank.hardware.get()) & 1 << intid != 0,
            Irq::Shared(spi) => self.spis.edge.contains(spi),
        }
    }

    /// Whether a list register where it is pending has its token (or, of a level, one that ISPENDR made).
    pub(crate) fn carries_token(&self, irq: Irq) -> bool {
        self.is_token(irq) || self.get(Field::Held, irq)
    }

    /// Whether it is enabled, in an enabled group and routed here.
    pub(crate) fn is_eligible(&self, irq: Irq) -> bool {
        match irq {
            Irq::Private(intid) => self.bank.eligible(self.groups) & 1 << intid != 0,
            Irq::Shared(spi) => {
                let word = spi.word();
                self.spis.eligible(word, self.groups) & self.spis.routed(self.me, word) & spi.mask() != 0
            }
        }
    }

    /// Whether it is pending beside what a list register holds: latch, or level.
    pub(crate) fn is_pending(&self, irq: Irq) -> bool {
        match irq {
            Irq::Private(intid) => self.bank.pending() & 1 << intid != 0,
            Irq::Shared(spi) => self.spis.pending(spi.word()) & spi.mask() != 0,
        }
    }

    pub(crate) fn is_hardware(&self, irq: Irq) -> bool {
        self.bank.hardware.get() & irq.private_bit() != 0
    }

    /// Whether its physical interrupt is active although no list register with HW = 1 will deactivate it.
    pub(crate) fn is_demoted(&self, irq: Irq) -> bool {
        self.bank.demoted.get() & irq.private_bit() != 0
    }

    pub(crate) fn priority(&self, irq: Irq) -> u8 {
        match irq {
            Irq::Private(intid) => self.bank.priority(intid),
            Irq::Shared(spi) => self.spis.priority(spi),
        }
    }

    pub(crate) fn group1(&self, irq: Irq) -> bool {
        match irq {
            Irq::Private(intid) => self.bank.group.get() & 1 << intid != 0,
            Irq::Shared(spi) => self.spis.group.contains(spi),
        }
    }

    /// Whether it is an SGI with sources.
    pub(crate) fn has_sources(&self, irq: Irq) -> bool {
        self.version == Version::V2 && matches!(irq, Irq::Private(0..=15))
    }

    /// Interrupts that wait for a list register.
    pub(crate) fn all_waiting(&self) -> [u32; WORDS] {
        core::array::from_fn(|word| self.waiting(word))
    }

    /// The most urgent of `waiting`; of equals the lowest INTID.
    pub(crate) fn best_of(&self, waiting: &[u32; WORDS]) -> Option<(Irq, u8)> {
        let mut best: Option<(Irq, u8)> = None;
        let [private, shared @ ..] = waiting;
        for intid in Ones(*private) {
            let irq = Irq::Private(intid);
            best = more_urgent(best, irq, self.priority(irq));
        }
        for (word, bits) in shared.iter().enumerate() {
            for spi in Ones(*bits).filter_map(|bit| Spi::at(word, bit)) {
                best = more_urgent(best, Irq::Shared(spi), self.spis.priority(spi));
            }
        }
        best
    }

    /// Interrupts of a word that could be delivered here and are in no list register.
    fn waiting(&self, word: usize) -> u32 {
        match word.checked_sub(1) {
            None => {
                let bank = self.bank;
                bank.pending() & bank.eligible(self.groups) & !bank.active.get() & !bank.resident.get()
            }
            Some(word) => {
                let spis = &self.spis;
                spis.pending(word)
                    & spis.eligible(word, self.groups)
                    & spis.routed(self.me, word)
                    & !spis.active.word(word)
                    & !spis.resident.word(word)
            }
        }
    }

    /// The most urgent of the interrupts that were pushed out while active.
    pub(crate) fn best_evicted(&self) -> Option<(Irq, u8)> {
        let mine = |spi: &Spi| self.spis.holder(*spi) == self.me;
        let private = Ones(self.bank.evicted.get()).map(Irq::Private);
        let shared = (0..WORDS - 1)
            .flat_map(|word| Ones(self.spis.evicted.word(word)).filter_map(move |bit| Spi::at(word, bit)));
        let all = private.chain(shared.filter(mine).map(Irq::Shared));
        all.map(|irq| (irq, self.priority(irq))).min_by_key(|(_, priority)| *priority)
    }

    /// Takes the token (or repeats the level) for a list register; `None` where there is nothing to take.
    pub(crate) fn take(&mut self, irq: Irq) -> Option<Entry> {
        let priority = self.priority(irq);
        let group1 = self.group1(irq);
        let link = if self.has_sources(irq) { self.take_source(irq)? } else { self.take_latch(irq) };
        Some(Entry { intid: irq.intid(), pending: true, active: false, group1, priority, link })
    }

    /// Takes the token, if it is not only the level that is pending: then it must be looked at when it ends.
    fn take_latch(&mut self, irq: Irq) -> Link {
        let token = self.get(Field::Latch, irq);
        self.put(Field::Latch, irq, false);
        self.put(Field::Held, irq, token);
        if self.is_hardware(irq) {
            return Link::Physical(irq.intid());
        }
        Link::Virtual { eoi: self.is_pending(irq), source: 0 }
    }

    /// An SGI that is in a list register came again: if pending, and from the same source, the two are one.
    pub(crate) fn merge_source(&mut self, irq: Irq, entry: Entry) {
        if entry.pending {
            self.bank.remove_source(irq.intid(), entry.source());
        }
        let more = self.bank.sources(irq.intid()) != 0;
        self.put(Field::Latch, irq, more);
    }

    /// Takes the token of one source of an SGI; more sources leave the latch set and ask for an EOI interrupt.
    fn take_source(&mut self, irq: Irq) -> Option<Link> {
        let sources = VcpuSet(self.bank.sources(irq.intid()));
        let mut rest = sources;
        let source = rest.next();
        self.put(Field::Latch, irq, !rest.is_empty());
        self.put(Field::Held, irq, source.is_some());
        let source = source?.0;
        self.bank.remove_source(irq.intid(), source);
        Some(Link::Virtual { eoi: !rest.is_empty(), source })
    }

    /// Puts the token of a list register back into the latch. A level needs nothing.
    pub(crate) fn put_back(&mut self, irq: Irq, entry: Entry) {
        if self.has_sources(irq) {
            self.bank.add_source(irq.intid(), entry.source());
        }
        if self.carries_token(irq) {
            self.put(Field::Latch, irq, true);
        }
        self.put(Field::Held, irq, false);
    }

    /// Records that list register `slot` has `irq`.
    pub(crate) fn occupy(&mut self, slot: u32, irq: Irq, entry: Entry) {
        self.bank.used.add(1 << slot);
        self.bank.put_slot(slot, entry.encode(self.version));
        if let Irq::Private(intid) = irq {
            self.bank.put_place(intid, slot);
        }
        self.put(Field::Resident, irq, true);
        if let Irq::Shared(spi) = irq {
            self.spis.put_holder(spi, self.me);
        }
    }

    /// Records that list register `slot` has nothing any more. An SPI that another vCPU may now have is its concern.
    pub(crate) fn vacate(&mut self, slot: u32, irq: Irq) {
        self.bank.used.remove(1 << (slot & (SLOTS - 1)));
        self.put(Field::Resident, irq, false);
        self.put(Field::Held, irq, false);
        if let Irq::Shared(spi) = irq {
            self.spis.settle_requests(spi);
        }
        self.pass_on(irq);
    }

    /// An SPI of ours became free: if it is another's now, that one must look.
    pub(crate) fn pass_on(&mut self, irq: Irq) {
        if let Irq::Shared(spi) = irq {
            let set = self.spis.concerned_by(spi, self.groups);
            self.concerned = self.concerned.union(set.without(self.me));
        }
    }

    fn private_field(&self, field: Field) -> &crate::bank::Owned {
        match field {
            Field::Latch => &self.bank.latch,
            Field::Active => &self.bank.active,
            Field::Resident => &self.bank.resident,
            Field::Held => &self.bank.held,
            Field::Evicted => &self.bank.evicted,
        }
    }

    fn spi_field(&self, field: Field) -> &SpiBits {
        match field {
            Field::Latch => &self.spis.latch,
            Field::Active => &self.spis.active,
            Field::Resident => &self.spis.resident,
            Field::Held => &self.spis.held,
            Field::Evicted => &self.spis.evicted,
        }
    }

    fn spi_field_mut(&mut self, field: Field) -> &mut SpiBits {
        match field {
            Field::Latch => &mut self.spis.latch,
            Field::Active => &mut self.spis.active,
            Field::Resident => &mut self.spis.resident,
            Field::Held => &mut self.spis.held,
            Field::Evicted => &mut self.spis.evicted,
        }
    }
}

/// `best`, or `irq` if that is more urgent.
fn more_urgent(best: Option<(Irq, u8)>, irq: Irq, priority: u8) -> Option<(Irq, u8)> {
    match best {
        Some((_, least)) if least <= priority => best,
        _ => Some((irq, priority)),
    }
}
