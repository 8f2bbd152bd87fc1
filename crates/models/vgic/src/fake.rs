//! A virtual CPU interface in software: it executes list registers as the hardware does, and plays the guest that
//! acknowledges and completes.
//!
//! For tests, of this crate and others. Standards: GICv3, IHI 0069, 4.8 "Interrupt prioritization" and 6.3; GICv2, IHI
//! 0048B, 5.2.

use std::vec::Vec;

use specs::Intid;
use specs::gic::hcr;

use crate::{Entry, Link, ListRegisters, Maintenance, Version};

/// State common to both versions.
#[derive(Clone, Debug)]
pub struct Interface {
    version: Version,
    lrs: Vec<u64>,
    /// HCR: maintenance enables and EOIcount.
    pub hcr: u32,
    /// VMCR.VPMR: only more urgent (smaller) priorities are signalled.
    pub mask: u8,
    /// VMCR.VEOIM.
    pub split: bool,
    /// Priorities of what was acknowledged and not yet dropped, most urgent last.
    pub running: Vec<u8>,
    /// Physical interrupts deactivated, by list registers or by request, oldest first.
    pub deactivated: Vec<u32>,
    switches: usize,
}

/// With the layout of GICv2.
#[derive(Clone, Debug)]
pub struct InterfaceV2(pub Interface);

/// With the layout of GICv3.
#[derive(Clone, Debug)]
pub struct InterfaceV3(pub Interface);

impl Interface {
    /// With `count` list registers, all priorities unmasked.
    pub fn new(version: Version, count: usize) -> Self {
        let lrs = std::vec![0; count];
        let (running, deactivated) = (Vec::new(), Vec::new());
        Self { version, lrs, hcr: 0, mask: 0xff, split: false, running, deactivated, switches: 0 }
    }

    /// The list registers that are in use, decoded.
    pub fn entries(&self) -> Vec<(usize, Entry)> {
        let all = self.lrs.iter().map(|raw| Entry::decode(self.version, *raw)).enumerate();
        all.filter(|(_, entry)| entry.pending || entry.active).collect()
    }

    /// The entry that would be signalled: pending, most urgent, above mask and running priority.
    pub fn signalled(&self) -> Option<(usize, Entry)> {
        let best =
            self.entries().into_iter().filter(|(_, entry)| !entry.active && !self.duplicate(entry.intid));
        let (index, entry) = best.min_by_key(|(_, entry)| (entry.priority, entry.intid))?;
        let running = self.running.last().copied().unwrap_or(0xff);
        (entry.priority < self.mask && entry.priority < running).then_some((index, entry))
    }

    /// Two list registers with one INTID are unpredictable: the tests that use this see nothing signalled.
    fn duplicate(&self, intid: u32) -> bool {
        self.entries().iter().filter(|(_, entry)| entry.intid == intid).count() > 1
    }

    /// The guest reads IAR. Gives INTID and GICv2 source.
    pub fn acknowledge(&mut self) -> Option<(u32, u8)> {
        let (index, mut entry) = self.signalled()?;
        entry.pending = false;
        entry.active = true;
        self.put(index, entry);
        self.running.push(entry.priority);
        Some((entry.intid, entry.source()))
    }

    /// The guest writes EOIR: drops the running priority and, without split, deactivates.
    pub fn end(&mut self, intid: u32) {
        if self.running.pop().is_some() && !self.split {
            self.deactivate_virtual(intid);
        }
    }

    /// The guest writes DIR.
    pub fn deactivate_virtual(&mut self, intid: u32) {
        let found = self.entries().into_iter().find(|(_, entry)| entry.active && entry.intid == intid);
        let Some((index, mut entry)) = found else {
            self.hcr = self.hcr.wrapping_add(1 << hcr::EOI_COUNT_SHIFT);
            return;
        };
        entry.active = false;
        self.put(index, entry);
        if let Link::Physical(physical) = entry.link {
            self.deactivated.push(physical);
        }
    }

    /// Whether the maintenance interrupt is asserted (MISR against the enables; EOI needs none).
    pub fn maintenance(&self) -> bool {
        let raw = self.lrs.iter().map(|raw| Entry::decode(self.version, *raw));
        let eoi = raw.into_iter().any(|entry| !entry.pending && !entry.active && entry.eoi());
        let entries = self.entries();
        let none_pending = !entries.iter().any(|(_, entry)| entry.pending);
        let counted = self.hcr & hcr::EOI_COUNT_MASK != 0;
        eoi || self.hcr & hcr::NPIE != 0 && none_pending
            || self.hcr & hcr::UIE != 0 && entries.len() <= 1
            || self.hcr & hcr::LRENPIE != 0 && counted
    }

    fn put(&mut self, index: usize, entry: Entry) {
        if let Some(place) = self.lrs.get_mut(index) {
            *place = entry.encode(self.version);
        }
    }

    fn empty(&self) -> u32 {
        let raw = self.lrs.iter().map(|raw| Entry::decode(self.version, *raw));
        let is_empty = |entry: Entry| !entry.pending && !entry.active && !entry.eoi();
        raw.enumerate().fold(0, |set, (index, entry)| set | u32::from(is_empty(entry)) << index)
    }

    /// The vCPU is switched out and in again: in empty list registers is what another left, or nothing.
    pub fn switch(&mut self) {
        let empty = self.empty();
        let link = [Link::Virtual { eoi: false, source: 0 }, Link::Physical(27)];
        let left = link.map(|link| {
            let (pending, active, group1, priority) = (false, false, true, 0x80);
            Entry { intid: 27, pending, active, group1, priority, link }.encode(self.version)
        });
        let left = [0, left[0], left[1]];
        for ((index, raw), left) in
            self.lrs.iter_mut().enumerate().zip(left.into_iter().cycle().skip(self.switches % 3))
        {
            if empty >> index & 1 != 0 {
                *raw = left;
            }
        }
        self.switches = self.switches.wrapping_add(1);
    }
}

macro_rules! list_registers {
    ($name:ident, $version:expr) => {
        impl $name {
            /// With `count` list registers.
            pub fn new(count: usize) -> Self {
                Self(Interface::new($version, count))
            }
        }

        impl ListRegisters for $name {
            const VERSION: Version = $version;

            fn count(&self) -> u32 {
                u32::try_from(self.0.lrs.len()).unwrap_or(0)
            }

            fn get(&self, index: u32) -> u64 {
                self.0.lrs.get(index as usize).copied().unwrap_or(0)
            }

            fn set(&mut self, index: u32, raw: u64) {
                if let Some(place) = self.0.lrs.get_mut(index as usize) {
                    *place = raw;
                }
            }

            fn empty(&self) -> u32 {
                self.0.empty()
            }

            fn set_maintenance(&mut self, wanted: Maintenance) {
                self.0.hcr = self.0.hcr & !Maintenance::MASK | wanted.0;
            }

            fn take_eoi_count(&mut self) -> u32 {
                let count = self.0.hcr >> hcr::EOI_COUNT_SHIFT;
                self.0.hcr &= !hcr::EOI_COUNT_MASK;
                count
            }

            fn splits_eoi(&self) -> bool {
                self.0.split
            }

            fn deactivate(&mut self, physical: Intid) {
                self.0.deactivated.push(physical.0);
            }
        }
    };
}

list_registers!(InterfaceV2, Version::V2);
list_registers!(InterfaceV3, Version::V3);
