//! Tables in a map, behind the worst TLB that the architecture allows: it holds every valid entry from the moment that a
//! walk could reach it until it is invalidated. It panics where break-before-make, ordering or ownership is violated.
//!
//! Decodes descriptors by itself, so that an encoding mistake of the crate is seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a violation must panic"
)]

use crate::{Level, Scope, Tables};
use specs::{IpaRange, Pa};
use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const PAGE: u64 = 4096;

/// What a walk finds: one leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First IPA.
    pub ipa: u64,
    /// Bytes that it translates.
    pub bytes: u64,
    /// First PA.
    pub pa: u64,
    /// The descriptor's attribute bits.
    pub attributes: u64,
}

/// A translation that a TLB may still hold although its entry is invalid.
struct Stale {
    start: u64,
    end: u64,
    table: Option<u64>,
}

#[derive(Default)]
struct State {
    frames: BTreeMap<u64, Vec<u64>>,
    next_frame: u64,
    /// Tables that walks can reach, or that a TLB may still know: level and first IPA.
    linked: BTreeMap<u64, (Level, u64)>,
    stale: Vec<Stale>,
    /// Tables with stores that a walk need not see yet.
    unpublished: BTreeSet<u64>,
}

/// See the module. Clones share the same tables.
#[derive(Clone)]
pub struct FakeTables {
    state: Rc<RefCell<State>>,
    /// How many more frames [`Tables::allocate`] gives.
    pub frames_left: Rc<Cell<u32>>,
    /// How often [`Tables::invalidate`] was called.
    pub invalidations: Rc<Cell<u32>>,
}

impl Default for FakeTables {
    fn default() -> Self {
        let state = State { next_frame: 0x8000_0000, ..State::default() };
        let frames_left = Rc::new(Cell::new(u32::MAX));
        Self { state: Rc::new(RefCell::new(state)), frames_left, invalidations: Rc::default() }
    }
}

fn level_below(level: Level) -> Level {
    if level == Level::One { Level::Two } else { Level::Three }
}

fn is_table(entry: u64, level: Level) -> bool {
    entry & 3 == 3 && level != Level::Three
}

impl State {
    fn allocate(&mut self) -> u64 {
        let frame = self.next_frame;
        self.next_frame += PAGE;
        self.frames.insert(frame, vec![0; 512]);
        self.unpublished.insert(frame);
        frame
    }

    fn place(&self, at: u64) -> Option<(Level, u64)> {
        let (level, base) = self.linked.get(&(at & !(PAGE - 1)))?;
        Some((*level, base + (at % PAGE / 8) * level.bytes()))
    }

    fn get(&self, at: u64) -> u64 {
        assert_eq!(at % 8, 0);
        self.frames[&(at & !(PAGE - 1))][(at % PAGE / 8) as usize]
    }

    /// Checks a store into a table that walks reach.
    fn store_linked(&mut self, old: u64, new: u64, level: Level, start: u64) {
        let end = start + level.bytes();
        let (was, is) = (old & 1 == 1, new & 1 == 1);
        assert!(!(was && is && old != new), "a valid entry changed without a break: {old:#x} → {new:#x}");
        if is && !was {
            let stale = self.stale.iter().any(|stale| stale.start < end && start < stale.end);
            assert!(!stale, "an entry was made before the TLBs forgot the old one ({start:#x})");
        }
        if is && !was && is_table(new, level) {
            let next = new & 0xffff_ffff_f000;
            assert!(!self.unpublished.contains(&next), "a table was linked before its contents were ordered");
            let contents = &self.frames[&next];
            assert!(contents.iter().all(|entry| !is_table(*entry, level_below(level))));
            assert!(self.linked.insert(next, (level_below(level), start)).is_none(), "linked twice");
        }
        if was && !is {
            let table = is_table(old, level).then_some(old & 0xffff_ffff_f000);
            self.stale.push(Stale { start, end, table });
        }
    }

    fn unlink(&mut self, table: u64) {
        let Some((level, _)) = self.linked.remove(&table) else { return };
        for entry in self.frames[&table].clone() {
            if is_table(entry | 1, level) && entry & 2 != 0 {
                self.unlink(entry & 0xffff_ffff_f000);
            }
        }
    }

    fn walk(&self, table: u64, into: &mut Vec<Leaf>) {
        let (level, base) = self.linked[&table];
        for (index, entry) in self.frames[&table].iter().enumerate() {
            if is_table(*entry, level) {
                self.walk(entry & 0xffff_ffff_f000, into);
            } else if entry & 1 == 1 {
                assert_eq!(entry & 2 != 0, level == Level::Three, "a reserved encoding");
                let ipa = base + index as u64 * level.bytes();
                let pa = entry & 0xffff_ffff_f000;
                assert_eq!(pa % level.bytes(), 0);
                into.push(Leaf { ipa, bytes: level.bytes(), pa, attributes: entry & !0xffff_ffff_f003 });
            }
        }
    }
}

impl FakeTables {
    fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Every leaf that walks find, in order.
    pub fn leaves(&self) -> Vec<Leaf> {
        let state = self.state();
        let mut leaves = Vec::new();
        for (table, _) in state.linked.iter().filter(|(_, (level, _))| *level == Level::One) {
            state.walk(*table, &mut leaves);
        }
        leaves
    }

    /// Frames that are out.
    pub fn frames(&self) -> usize {
        self.state().frames.len()
    }

    /// Panics unless all is as it must be between two operations.
    pub fn check_at_rest(&self) {
        let state = self.state();
        assert!(state.stale.is_empty(), "stale translations are left");
        assert!(state.unpublished.is_empty(), "stores are left that walks may not see");
        for (frame, entries) in &state.frames {
            let (level, _) = state.linked.get(frame).expect("a frame that is neither linked nor free");
            assert!(
                *level == Level::One || entries.iter().any(|entry| entry & 1 == 1),
                "an empty table is linked"
            );
            assert!(entries.iter().all(|entry| *entry == 0 || entry & 1 == 1), "a broken entry is left");
        }
    }
}

impl Tables for FakeTables {
    fn allocate(&mut self) -> Option<Pa> {
        self.frames_left.set(self.frames_left.get().checked_sub(1)?);
        Some(Pa(self.state.borrow_mut().allocate()))
    }

    fn allocate_root(&mut self) -> Option<Pa> {
        let mut state = self.state.borrow_mut();
        state.next_frame = state.next_frame.next_multiple_of(2 * PAGE);
        let root = state.allocate();
        let second = state.allocate();
        state.linked.insert(root, (Level::One, 0));
        state.linked.insert(second, (Level::One, 512 << 30));
        Some(Pa(root))
    }

    fn free(&mut self, table: Pa) {
        let mut state = self.state.borrow_mut();
        assert!(!state.linked.contains_key(&table.0), "a table was freed that a PE may still walk");
        state.unpublished.remove(&table.0);
        assert!(state.frames.remove(&table.0).is_some(), "freed twice");
    }

    fn free_root(&mut self, root: Pa) {
        let mut state = self.state.borrow_mut();
        for frame in [root.0, root.0 + PAGE] {
            state.linked.remove(&frame);
            assert!(state.frames.remove(&frame).is_some());
        }
    }

    fn read(&self, at: Pa) -> u64 {
        self.state().get(at.0)
    }

    fn write(&mut self, at: Pa, entry: u64) {
        let mut state = self.state.borrow_mut();
        let old = state.get(at.0);
        if let Some((level, start)) = state.place(at.0) {
            state.store_linked(old, entry, level, start);
        }
        let frame = at.0 & !(PAGE - 1);
        state.unpublished.insert(frame);
        state.frames.get_mut(&frame).unwrap()[(at.0 % PAGE / 8) as usize] = entry;
    }

    fn publish(&mut self) {
        self.state.borrow_mut().unpublished.clear();
    }

    fn invalidate(&mut self, range: IpaRange, scope: Scope) {
        self.publish();
        self.invalidations.set(self.invalidations.get() + 1);
        let mut state = self.state.borrow_mut();
        let (start, end) = (range.start().0, range.end().0);
        let all = start == 0 && end == 1 << 40;
        if all && scope == Scope::Tables {
            // The end of the VM: nothing may run any more, everything is forgotten.
            state.linked.retain(|_, (level, _)| *level == Level::One);
            state.stale.clear();
            return;
        }
        let (dropped, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.stale).into_iter().partition(|stale| match scope {
                Scope::Tables if stale.table.is_some() => start <= stale.start && stale.end <= end,
                Scope::Tables => start < stale.end && stale.start < end,
                // One TLBI for each step: an entry is met only where a step falls into it.
                Scope::Leaves(level) if stale.table.is_none() => {
                    let steps = stale.start.saturating_sub(start).div_ceil(level.bytes());
                    let at = start + steps * level.bytes();
                    at < end && at < stale.end
                }
                Scope::Leaves(_) => false,
            });
        state.stale = kept;
        dropped.iter().filter_map(|stale| stale.table).for_each(|table| state.unlink(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use specs::Ipa;

    const BLOCK: u64 = 0x4000_07fd;

    fn with_block() -> (FakeTables, Pa) {
        let mut tables = FakeTables::default();
        let root = tables.allocate_root().unwrap();
        tables.write(root, BLOCK);
        tables.publish();
        (tables, root)
    }

    #[test]
    #[should_panic(expected = "without a break")]
    fn sees_a_valid_entry_change() {
        let (mut tables, root) = with_block();
        tables.write(root, BLOCK & !0x80);
    }

    #[test]
    #[should_panic(expected = "before the TLBs forgot")]
    fn sees_a_missing_invalidation() {
        let (mut tables, root) = with_block();
        tables.write(root, 0);
        tables.write(root, BLOCK);
    }

    #[test]
    #[should_panic(expected = "before the TLBs forgot")]
    fn sees_an_invalidation_with_too_large_steps() {
        let mut tables = FakeTables::default();
        let root = tables.allocate_root().unwrap();
        let next = tables.allocate().unwrap();
        tables.publish();
        tables.write(root, next.0 | 3);
        tables.write(Pa(next.0 + 8), 0x20_07fd);
        tables.write(Pa(next.0 + 8), 0);
        tables.invalidate(IpaRange::new(Ipa(0), 1 << 30).unwrap(), Scope::Leaves(Level::One));
        tables.write(Pa(next.0 + 8), 0x20_07fd);
    }

    #[test]
    #[should_panic(expected = "before its contents were ordered")]
    fn sees_a_missing_publish() {
        let mut tables = FakeTables::default();
        let root = tables.allocate_root().unwrap();
        let next = tables.allocate().unwrap();
        tables.write(root, next.0 | 3);
    }

    #[test]
    #[should_panic(expected = "may still walk")]
    fn sees_a_table_freed_too_early() {
        let mut tables = FakeTables::default();
        let root = tables.allocate_root().unwrap();
        let next = tables.allocate().unwrap();
        tables.publish();
        tables.write(root, next.0 | 3);
        tables.write(root, 0);
        tables.invalidate(IpaRange::new(Ipa(0), 1 << 30).unwrap(), Scope::Leaves(Level::One));
        tables.free(next);
    }
}
