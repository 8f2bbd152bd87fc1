//! Changing what is mapped: unmap and protect, by break-before-make.
//!
//! Called by the vmkernel; calls the port [`Tables`]. Each operation has three steps over its whole range, so that one
//! invalidation serves all: break (clear the valid bits; the rest of an entry stays and tells the last step what was
//! there), invalidate, make. Blocks that straddle an end are split first, which changes no translation; so a failed
//! split leaves every translation as it was.

use crate::descriptor::{Access, Entry, Level};
use crate::port::{Scope, Tables};
use crate::tree::{Part, Slot, Stage2, Stage2Error, checked_end};
use specs::{IpaRange, Pa};

const ENTRIES: u64 = 512;

/// The scope that covers two changes.
fn widen(scope: &mut Option<Scope>, more: Scope) {
    *scope = Some(match (*scope, more) {
        (None, more) => more,
        (Some(Scope::Leaves(a)), Scope::Leaves(b)) => Scope::Leaves(a.max(b)),
        _ => Scope::Tables,
    });
}

impl<T: Tables> Stage2<T> {
    /// Unmaps whatever is mapped in `range`. Tables that this leaves empty are given back.
    ///
    /// Fails only on a bad range, or where a block must be split and there is no frame for its table.
    pub fn unmap(&mut self, range: IpaRange) -> Result<(), Stage2Error> {
        let end = checked_end(range.start(), range.bytes())?;
        let start = range.start().0;
        self.split_ends(start, end, |_| true)?;
        let whole = self.whole(start, end);
        let mut scope = None;
        self.break_all(whole, &mut scope);
        if let Some(scope) = scope {
            self.tables.invalidate(range, scope);
            self.clear(whole);
            self.prune(whole);
        }
        self.tables.publish();
        Ok(())
    }

    /// Gives what is mapped in `range` another access, keeping address and memory type. What is not mapped stays so.
    ///
    /// Fails as [`Stage2::unmap`] does.
    pub fn protect(&mut self, range: IpaRange, access: Access) -> Result<(), Stage2Error> {
        let end = checked_end(range.start(), range.bytes())?;
        let start = range.start().0;
        self.split_ends(start, end, |leaf| leaf.attributes().access != access)?;
        let whole = self.whole(start, end);
        let mut scope = None;
        self.break_leaves(whole, access, &mut scope);
        if let Some(scope) = scope {
            self.tables.invalidate(range, scope);
            self.mend(whole, access);
        }
        self.tables.publish();
        Ok(())
    }

    fn split_ends(
        &mut self,
        start: u64,
        end: u64,
        needed: impl Fn(Entry) -> bool,
    ) -> Result<(), Stage2Error> {
        self.split_at(start, &needed)?;
        self.split_at(end, &needed)
    }

    /// Splits the leaves that straddle `boundary`, where `needed` says so of them.
    fn split_at(&mut self, boundary: u64, needed: &impl Fn(Entry) -> bool) -> Result<(), Stage2Error> {
        let mut table = self.root;
        let mut level = Level::One;
        while boundary & (level.bytes() - 1) != 0 {
            let Some(below) = level.below() else { break };
            let start = boundary & !(level.bytes() - 1);
            let slot = Slot { at: level.entry_address(table, boundary), start, level };
            let entry = self.entry(slot.at);
            table = match entry.next_table(level) {
                Some(next) => next,
                None if entry.is_valid() && needed(entry) => self.split(slot, entry, below)?,
                None => break,
            };
            level = below;
        }
        Ok(())
    }

    /// Puts a table of equal translations in the place of a leaf.
    fn split(&mut self, slot: Slot, leaf: Entry, below: Level) -> Result<Pa, Stage2Error> {
        let next = self.tables.allocate().ok_or(Stage2Error::NoTable)?;
        for offset in (0..ENTRIES).map(|index| index * below.bytes()) {
            self.store(below.entry_address(next, offset), leaf.part(slot.level, below, offset));
        }
        self.store(slot.at, leaf.broken());
        // Orders the new table's contents, too, before the store that links it.
        self.tables.invalidate(slot.range(), Scope::Leaves(slot.level));
        self.store(slot.at, Entry::table(next));
        self.tables.publish();
        Ok(next)
    }

    /// Breaks what lies in `part`: leaves, and tables as a whole.
    fn break_all(&mut self, part: Part, scope: &mut Option<Scope>) {
        for slot in part.slots() {
            let entry = self.entry(slot.at);
            let next = entry.next_table(slot.level);
            if entry.is_valid() && slot.lies_in(part) {
                self.store(slot.at, entry.broken());
                widen(scope, if next.is_some() { Scope::Tables } else { Scope::Leaves(slot.level) });
            } else if let Some(below) = next.and_then(|next| part.below(slot, next)) {
                self.break_all(below, scope);
            }
        }
    }

    /// Clears what [`Self::break_all`] broke, and frees the tables among it.
    fn clear(&mut self, part: Part) {
        for slot in part.slots() {
            let entry = self.entry(slot.at);
            if entry.is_valid() {
                if let Some(below) = entry.next_table(slot.level).and_then(|next| part.below(slot, next)) {
                    self.clear(below);
                }
                continue;
            }
            if entry == Entry::NONE {
                continue;
            }
            self.store(slot.at, Entry::NONE);
            if let (Some(next), Some(below)) = (entry.mended().next_table(slot.level), slot.level.below()) {
                self.free_tables(next, below);
            }
        }
    }

    /// Breaks the leaves in `part` that have another access.
    fn break_leaves(&mut self, part: Part, access: Access, scope: &mut Option<Scope>) {
        for slot in part.slots() {
            let entry = self.entry(slot.at);
            if let Some(next) = entry.next_table(slot.level) {
                if let Some(below) = part.below(slot, next) {
                    self.break_leaves(below, access, scope);
                }
            } else if entry.is_valid() && entry.attributes().access != access {
                self.store(slot.at, entry.broken());
                widen(scope, Scope::Leaves(slot.level));
            }
        }
    }

    /// Makes the leaves again that [`Self::break_leaves`] broke.
    fn mend(&mut self, part: Part, access: Access) {
        for slot in part.slots() {
            let entry = self.entry(slot.at);
            if let Some(below) = entry.next_table(slot.level).and_then(|next| part.below(slot, next)) {
                self.mend(below, access);
            } else if entry != Entry::NONE && !entry.is_valid() {
                self.store(slot.at, entry.with_access(access).mended());
            }
        }
    }

    /// Unlinks and frees the tables that `part` touches and that are empty.
    pub(crate) fn prune(&mut self, part: Part) {
        for slot in part.slots() {
            let Some(next) = self.entry(slot.at).next_table(slot.level) else { continue };
            let Some(below) = part.below(slot, next) else { continue };
            self.prune(below);
            if self.is_empty(next) {
                self.store(slot.at, Entry::NONE);
                self.tables.invalidate(slot.range(), Scope::Tables);
                self.tables.free(next);
            }
        }
    }

    fn is_empty(&self, table: Pa) -> bool {
        (0..ENTRIES).all(|index| self.entry(Pa(table.0 + index * 8)) == Entry::NONE)
    }
}
