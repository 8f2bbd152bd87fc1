//! A VM's tables: reading them, mapping into them, and giving them back.
//!
//! Called by the vmkernel; calls the port [`Tables`]. What changes existing entries is in `change`.

use crate::descriptor::{Attributes, Entry, Level};
use crate::port::Tables;
use crate::registers::{IPA_BITS, Vmid, vttbr};
use specs::{Ipa, IpaRange, Pa};

/// First IPA that does not exist.
const IPA_END: u64 = 1 << IPA_BITS;
/// First PA that a descriptor can't hold.
const PA_END: u64 = 1 << 48;
const PAGE: u64 = Level::Three.bytes();
const BLOCK: u64 = Level::Two.bytes();

/// Why an operation was refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage2Error {
    /// An address or length is no multiple of 4 KiB, or the length is 0.
    Misaligned,
    /// Beyond the 40-bit IPA space, or beyond 48 bits of PA.
    OutOfSpace,
    /// Something is mapped already, at or a little after this address.
    AlreadyMapped(Ipa),
    /// No frame for a table.
    NoTable,
}

/// An entry that translates: what [`Stage2::lookup`] finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First IPA of the entry.
    pub ipa: Ipa,
    /// Where it goes.
    pub pa: Pa,
    /// What it allows.
    pub attributes: Attributes,
    /// 4 KiB, 2 MiB or 1 GiB.
    pub level: Level,
}

/// An entry's place: its address, and the first IPA that it translates.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) at: Pa,
    pub(crate) start: u64,
    pub(crate) level: Level,
}

impl Slot {
    pub(crate) const fn end(self) -> u64 {
        self.start + self.level.bytes()
    }

    pub(crate) const fn lies_in(self, part: Part) -> bool {
        part.start <= self.start && self.end() <= part.end
    }

    pub(crate) fn range(self) -> IpaRange {
        // Never wraps: slots lie below IPA_END.
        IpaRange::new(Ipa(self.start), self.level.bytes()).unwrap_or_default()
    }
}

/// A part of one table's IPAs.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) table: Pa,
    pub(crate) level: Level,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Part {
    /// The entries of this part, whole or touched.
    pub(crate) fn slots(self) -> impl Iterator<Item = Slot> {
        let bytes = self.level.bytes();
        let mut start = self.start & !(bytes - 1);
        core::iter::from_fn(move || {
            if start >= self.end {
                return None;
            }
            let slot = Slot { at: self.level.entry_address(self.table, start), start, level: self.level };
            start += bytes;
            Some(slot)
        })
    }

    /// What this part covers of `next`, the table that `slot` links.
    pub(crate) fn below(self, slot: Slot, next: Pa) -> Option<Part> {
        let level = slot.level.below()?;
        Some(Part { table: next, level, start: self.start.max(slot.start), end: self.end.min(slot.end()) })
    }
}

/// What [`Stage2::map`] is to write: PA minus IPA, and attributes.
#[derive(Clone, Copy)]
struct Wanted {
    delta: u64,
    attributes: Attributes,
}

impl Wanted {
    fn pa(self, slot: Slot) -> u64 {
        slot.start.wrapping_add(self.delta)
    }

    fn is_leaf(self, slot: Slot, part: Part) -> bool {
        slot.lies_in(part) && self.pa(slot) & (slot.level.bytes() - 1) == 0
    }
}

/// The stage-2 translations of one VM.
///
/// Dropping it gives back every table. Before that no PE may have this root in VTTBR_EL2 any more; what the TLBs still hold
/// is invalidated here.
pub struct Stage2<T: Tables> {
    pub(crate) tables: T,
    pub(crate) root: Pa,
}

impl<T: Tables> Stage2<T> {
    /// An address space in which nothing is mapped.
    pub fn new(mut tables: T) -> Result<Self, Stage2Error> {
        let root = tables.allocate_root().ok_or(Stage2Error::NoTable)?;
        tables.publish();
        Ok(Self { tables, root })
    }

    /// VTTBR_EL2 for this address space under `vmid`.
    #[inline]
    pub const fn vttbr(&self, vmid: Vmid) -> u64 {
        vttbr(self.root, vmid)
    }

    /// The port.
    pub const fn tables(&self) -> &T {
        &self.tables
    }

    /// The port, to change what it does (a new VMID, a memory budget). Tables change by this type's operations only.
    pub const fn tables_mut(&mut self) -> &mut T {
        &mut self.tables
    }

    /// Gives back every table. The same as dropping, by name.
    pub fn destroy(self) {}

    /// The entry that translates `ipa`, if any.
    pub fn lookup(&self, ipa: Ipa) -> Option<Mapping> {
        if ipa.0 >= IPA_END {
            return None;
        }
        let mut table = self.root;
        let mut level = Level::One;
        loop {
            let entry = self.entry(level.entry_address(table, ipa.0));
            if let Some(next) = entry.next_table(level) {
                table = next;
                level = level.below()?;
                continue;
            }
            let start = ipa.0 & !(level.bytes() - 1);
            let pa = Pa(entry.output(level));
            return entry.is_valid().then_some(Mapping {
                ipa: Ipa(start),
                pa,
                attributes: entry.attributes(),
                level,
            });
        }
    }

    /// Maps `bytes` bytes from `ipa` on to host memory from `pa` on, with the largest entries that fit.
    ///
    /// A 2 MiB block below an existing level-2 table, the case of a first touch, takes a fast path.
    pub fn map(&mut self, ipa: Ipa, pa: Pa, bytes: u64, attributes: Attributes) -> Result<(), Stage2Error> {
        if bytes == BLOCK && (ipa.0 | pa.0) & (BLOCK - 1) == 0 && self.map_block(ipa, pa, attributes) {
            return Ok(());
        }
        let end = checked_end(ipa, bytes)?;
        if pa.0 & (PAGE - 1) != 0 {
            return Err(Stage2Error::Misaligned);
        }
        if pa.checked_add(bytes).is_none_or(|end| end.0 > PA_END) {
            return Err(Stage2Error::OutOfSpace);
        }
        let wanted = Wanted { delta: pa.0.wrapping_sub(ipa.0), attributes };
        let whole = self.whole(ipa.0, end);
        if let Err(error) = self.link_tables(whole, wanted) {
            self.prune(whole);
            return Err(error);
        }
        self.fill(whole, wanted);
        self.tables.publish();
        Ok(())
    }

    /// The part of the root for a range.
    pub(crate) const fn whole(&self, start: u64, end: u64) -> Part {
        Part { table: self.root, level: Level::One, start, end }
    }

    #[inline]
    pub(crate) fn entry(&self, at: Pa) -> Entry {
        Entry(self.tables.read(at))
    }

    #[inline]
    pub(crate) fn store(&mut self, at: Pa, entry: Entry) {
        self.tables.write(at, entry.0);
    }

    /// Maps one aligned block where a level-2 table with a free entry is; else changes nothing.
    fn map_block(&mut self, ipa: Ipa, pa: Pa, attributes: Attributes) -> bool {
        if ipa.0 >= IPA_END || pa.0 >= PA_END {
            return false;
        }
        let upper = self.entry(Level::One.entry_address(self.root, ipa.0));
        let Some(table) = upper.next_table(Level::One) else { return false };
        let at = Level::Two.entry_address(table, ipa.0);
        if self.entry(at) != Entry::NONE {
            return false;
        }
        self.store(at, Entry::leaf(Level::Two, pa.0, attributes));
        self.tables.publish();
        true
    }

    /// First pass of a mapping: links the tables that are missing, and finds what is in the way. Translates nothing yet.
    fn link_tables(&mut self, part: Part, wanted: Wanted) -> Result<(), Stage2Error> {
        for slot in part.slots() {
            let entry = self.entry(slot.at);
            let free = entry == Entry::NONE;
            let leaf = wanted.is_leaf(slot, part);
            let next = match entry.next_table(slot.level) {
                None if free && leaf => continue,
                None if free => self.link(slot)?,
                Some(next) if !leaf => next,
                // A leaf is in the way, or a table where a leaf should come: tables are never empty.
                _ => return Err(Stage2Error::AlreadyMapped(Ipa(slot.start))),
            };
            if let Some(below) = part.below(slot, next) {
                self.link_tables(below, wanted)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, slot: Slot) -> Result<Pa, Stage2Error> {
        let next = self.tables.allocate().ok_or(Stage2Error::NoTable)?;
        self.tables.publish();
        self.store(slot.at, Entry::table(next));
        Ok(next)
    }

    /// Second pass: writes the leaves, all into entries that are [`Entry::NONE`].
    fn fill(&mut self, part: Part, wanted: Wanted) {
        for slot in part.slots() {
            if wanted.is_leaf(slot, part) {
                self.store(slot.at, Entry::leaf(slot.level, wanted.pa(slot), wanted.attributes));
            } else if let Some(next) = self.entry(slot.at).next_table(slot.level)
                && let Some(below) = part.below(slot, next)
            {
                self.fill(below, wanted);
            }
        }
    }

    /// Frees `table` and every table below it. `level` is that of its entries.
    pub(crate) fn free_tables(&mut self, table: Pa, level: Level) {
        self.free_below(Part { table, level, start: 0, end: level.bytes() << 9 });
        self.tables.free(table);
    }

    fn free_below(&mut self, part: Part) {
        let Some(below) = part.level.below() else { return };
        for slot in part.slots() {
            if let Some(next) = self.entry(slot.at).next_table(part.level) {
                self.free_tables(next, below);
            }
        }
    }
}

impl<T: Tables> Drop for Stage2<T> {
    fn drop(&mut self) {
        if let Some(all) = IpaRange::new(Ipa(0), IPA_END) {
            self.tables.invalidate(all, crate::Scope::Tables);
        }
        self.free_below(self.whole(0, IPA_END));
        self.tables.free_root(self.root);
    }
}

/// The end of a range that an operation may name.
pub(crate) fn checked_end(ipa: Ipa, bytes: u64) -> Result<u64, Stage2Error> {
    if (ipa.0 | bytes) & (PAGE - 1) != 0 || bytes == 0 {
        return Err(Stage2Error::Misaligned);
    }
    match ipa.checked_add(bytes) {
        Some(end) if end.0 <= IPA_END => Ok(end.0),
        _ => Err(Stage2Error::OutOfSpace),
    }
}
