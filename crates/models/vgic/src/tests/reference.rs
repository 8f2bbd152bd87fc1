//! A GIC as the architecture describes it, without list registers: what the guest of a correct vGIC would see.
//!
//! Written to be obvious, not fast: a record per interrupt, and one rule for what is signalled.

use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use crate::Version;

/// The virtual timer's INTID, the one with a physical interrupt behind it.
pub(crate) const TIMER: u32 = 27;

#[derive(Clone, Debug, Default)]
pub(crate) struct Irq {
    pub(crate) enabled: bool,
    pub(crate) group1: bool,
    pub(crate) priority: u8,
    pub(crate) edge: bool,
    pub(crate) line: bool,
    /// Pending by an edge, a write or an SGI.
    pub(crate) latch: bool,
    /// GICv2: who sent the SGI.
    pub(crate) sources: BTreeSet<u8>,
    pub(crate) active: bool,
    /// SPIs.
    pub(crate) target: u8,
    /// The physical interrupt behind it is active.
    pub(crate) physical: bool,
    /// And what the guest acknowledged came from it.
    pub(crate) physical_taken: bool,
}

impl Irq {
    pub(crate) fn pending(&self) -> bool {
        self.latch || !self.sources.is_empty() || self.line && !self.edge
    }
}

/// Whose interrupt: private ones are keyed by vCPU, SPIs by `None`.
pub(crate) type Key = (Option<u8>, u32);

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    version: Version,
    pub(crate) ctlr: u8,
    pub(crate) irqs: BTreeMap<Key, Irq>,
    /// Acknowledged and not yet ended, by vCPU, most urgent last.
    pub(crate) running: Vec<Vec<(u32, u8)>>,
}

impl Reference {
    pub(crate) fn new(version: Version, vcpus: u8, intids: &[u32]) -> Self {
        let mut irqs = BTreeMap::new();
        for &intid in intids {
            let record = Irq { edge: intid < 16, ..Irq::default() };
            for vcpu in 0..vcpus {
                let key = if intid < 32 { (Some(vcpu), intid) } else { (None, intid) };
                irqs.insert(key, record.clone());
            }
        }
        Self { version, ctlr: 0, irqs, running: std::vec![Vec::new(); usize::from(vcpus)] }
    }

    /// What is pending or active, a line each.
    pub(crate) fn busy(&self) -> Vec<String> {
        let busy = self.irqs.iter().filter(|(_, irq)| irq.pending() || irq.active);
        busy.map(|(key, irq)| std::format!("{key:?} {irq:?}")).collect()
    }

    pub(crate) fn key(vcpu: u8, intid: u32) -> Key {
        if intid < 32 { (Some(vcpu), intid) } else { (None, intid) }
    }

    pub(crate) fn irq(&mut self, vcpu: u8, intid: u32) -> &mut Irq {
        self.irqs.get_mut(&Self::key(vcpu, intid)).unwrap()
    }

    pub(crate) fn drive(&mut self, vcpu: u8, intid: u32, high: bool) {
        let irq = self.irq(vcpu, intid);
        if high && !irq.line && irq.edge {
            irq.latch = true;
        }
        irq.line = high;
    }

    pub(crate) fn send(&mut self, from: u8, to: u8, sgi: u32) {
        let version = self.version;
        let irq = self.irq(to, sgi);
        match version {
            Version::V2 => {
                irq.sources.insert(from);
            }
            Version::V3 => irq.latch = true,
        }
    }

    fn deliverable(&self, key: &Key, irq: &Irq, vcpu: u8) -> bool {
        let here = key.0.unwrap_or(irq.target) == vcpu;
        let group = self.ctlr >> u8::from(irq.group1) & 1 != 0;
        here && irq.pending() && !irq.active && irq.enabled && group
    }

    /// Priority of what is signalled to `vcpu`.
    pub(crate) fn signalled(&self, vcpu: u8) -> Option<u8> {
        let ready = self.irqs.iter().filter(|(key, irq)| self.deliverable(key, irq, vcpu));
        let best = ready.map(|(_, irq)| irq.priority).min()?;
        let running = self.running[usize::from(vcpu)].last().map_or(0xff, |(_, priority)| *priority);
        (best < running).then_some(best)
    }

    /// The guest acknowledges `intid` from `source`: it must be one of the most urgent.
    pub(crate) fn acknowledge(&mut self, vcpu: u8, intid: u32, source: u8) {
        let expected = self.signalled(vcpu);
        let key = Self::key(vcpu, intid);
        assert!(self.deliverable(&key, &self.irqs[&key], vcpu), "invented: {intid} on vCPU {vcpu}");
        let version = self.version;
        let irq = self.irq(vcpu, intid);
        assert_eq!(Some(irq.priority), expected, "order: {intid} on vCPU {vcpu}");
        if version == Version::V2 && intid < 16 {
            assert!(irq.sources.remove(&source), "source {source} of {intid} on vCPU {vcpu}");
        }
        irq.latch = false;
        irq.physical_taken = irq.physical;
        irq.active = true;
        let priority = irq.priority;
        self.running[usize::from(vcpu)].push((intid, priority));
    }

    /// The guest ends what it acknowledged last: its priority is dropped.
    pub(crate) fn end(&mut self, vcpu: u8) -> Option<u32> {
        self.running[usize::from(vcpu)].pop().map(|(intid, _)| intid)
    }

    /// The guest deactivates `intid`.
    pub(crate) fn deactivate(&mut self, vcpu: u8, intid: u32) {
        let irq = self.irq(vcpu, intid);
        irq.active = false;
        irq.physical &= !irq.physical_taken;
        irq.physical_taken = false;
    }

    /// The physical timer interrupt fired.
    pub(crate) fn fire(&mut self, vcpu: u8) {
        let irq = self.irq(vcpu, TIMER);
        assert!(!irq.physical, "fired while active");
        irq.physical = true;
        irq.latch = true;
    }
}
