//! The tables as boot makes them, read by a walk of the tests' own.

use super::*;
use drivers::board::MAX_PES;
use proptest::prelude::*;
use specs::Pa;
use std::collections::BTreeMap;
use std::vec::Vec;

const IMAGE: u64 = 0x4020_0000;

fn range(start: u64, bytes: u64) -> PaRange {
    PaRange { start: Pa(start), bytes }
}

/// As `boot` and `pe` do: the image, RAM around it, devices, stacks.
fn booted(pes: u64) -> Tables {
    let mut tables = Tables::new(Source::Heap);
    tables.map_same(range(IMAGE, 0x5_f000), Kind::Code);
    tables.map_same(range(IMAGE + 0x5_f000, 0x4_1000), Kind::Constant);
    tables.map_same(range(IMAGE + 0xa_0000, 0x8_0000), Kind::Data);
    tables.map_same(range(0x4000_0000, 0x4000_0000), Kind::Data);
    tables.map_same(range(0x0900_0000, 0x1000), Kind::Device);
    for index in 0..pes {
        // Memory of the heap, which is mapped where it lies, too.
        tables.map_stacks(index, 0x5000_0000 + index * (STACK_BYTES + EMERGENCY_BYTES));
    }
    tables
}

/// By the manual's table alone: leaves as (address, bytes, descriptor).
fn leaves(table: u64, level: u32, va: u64, found: &mut Vec<(u64, u64, u64)>) {
    for index in 0..512 {
        // SAFETY: pages of tables are memory of this process, by their address.
        let descriptor = unsafe { *(table as *const u64).add(index) };
        let bytes = 0x80_0000_0000 >> (9 * level);
        let va = va + index as u64 * bytes;
        match descriptor & 3 {
            0b11 if level < 3 => leaves(descriptor & 0xffff_ffff_f000, level + 1, va, found),
            0b11 => found.push((va, bytes, descriptor)),
            0b01 if level == 1 || level == 2 => found.push((va, bytes, descriptor)),
            0b01 => panic!("a block at level {level}"),
            _ => {}
        }
    }
}

fn all_leaves(tables: &Tables) -> Vec<(u64, u64, u64)> {
    let mut found = Vec::new();
    if tables.root() != 0 {
        leaves(tables.root(), 0, 0, &mut found);
    }
    found
}

fn protection(tables: &Tables) -> Protection {
    let mut walk = Walk::default();
    loop {
        if let Some(found) = walk.go_on(tables, 100) {
            return found;
        }
    }
}

#[test]
fn nothing_is_writable_and_executable() {
    let tables = booted(4);
    let mut executable = 0;
    for (va, bytes, descriptor) in all_leaves(&tables) {
        let (writes, executes) = (descriptor >> 7 & 1 == 0, descriptor >> 54 & 1 == 0);
        assert!(!(writes && executes), "{va:#x}: {descriptor:#x}");
        executable += if executes { bytes } else { 0 };
        // Access flag and AP[1] set; memory is inner shareable.
        assert_eq!(descriptor & (1 << 10 | 1 << 6), 1 << 10 | 1 << 6);
        assert!(descriptor >> 2 & 7 == 0 || descriptor >> 8 & 3 == 3);
    }
    assert_eq!(executable, 0x5_f000);
    let found = protection(&tables);
    assert_eq!((found.code_bytes, found.writable_code_bytes), (0x5_f000, 0));
    assert!(found.holds(4) && !found.holds(5));
}

#[test]
fn each_stack_has_a_guard_below() {
    let tables = booted(MAX_PES as u64);
    let mapped: BTreeMap<u64, u64> = all_leaves(&tables).iter().map(|leaf| (leaf.0, leaf.1)).collect();
    for index in 0..MAX_PES as u64 {
        for (top, bytes) in [(stack_top(index), STACK_BYTES), (emergency_top(index), EMERGENCY_BYTES)] {
            assert!((top - bytes..top).step_by(4096).all(|page| mapped.get(&page) == Some(&4096)));
            let guard = top - bytes - 4096;
            assert!(!mapped.contains_key(&guard) && is_stack_guard(guard + 4095) && !is_stack(guard + 4095));
            assert!(is_stack(top - 1) && is_stack(top - bytes) && !is_stack_guard(top - bytes));
        }
    }
    assert!(protection(&tables).holds(MAX_PES as u64));
    for elsewhere in [0, IMAGE, STACKS - 1, stack_top(MAX_PES as u64 - 1), u64::MAX] {
        assert!(!is_stack(elsewhere) && !is_stack_guard(elsewhere), "{elsewhere:#x}");
    }
}

#[test]
fn a_walk_sees_what_is_wrong() {
    let mut tables = booted(2);
    tables.map(stack_top(0) - STACK_BYTES - 4096, 0x6000_0000, 4096, Kind::Data);
    assert_eq!(protection(&tables).mapped_guard_bytes, 4096);
    let mut tables = booted(2);
    tables.map(STACKS + 16 * SLOT_BYTES, 0x6000_0000, 2 << 20, Kind::Data);
    assert_eq!(protection(&tables).mapped_guard_bytes, 2 << 20);
    let mut tables = booted(2);
    tables.map(0x1_0000_0000, 0x1_0000_0000, 1 << 30, Kind::Code);
    let (_, _, descriptor) = all_leaves(&tables).into_iter().find(|leaf| leaf.1 == 1 << 30).unwrap();
    set(&mut tables, 0x1_0000_0000, descriptor & !READ_ONLY);
    assert_eq!(protection(&tables).writable_code_bytes, 1 << 30);
    assert!(!protection(&tables).holds(2));
}

/// Changes a level-1 entry, which the crate never does.
fn set(tables: &mut Tables, va: u64, descriptor: u64) {
    // SAFETY: pages of tables are memory of this process, by their address; both indices are below 512.
    unsafe {
        let upper = *(tables.root() as *const u64).add((va >> 39) as usize & 511);
        *((upper & ADDRESS) as *mut u64).add((va >> 30) as usize & 511) = descriptor;
    }
}

/// The one test that takes pages of the image.
#[test]
fn the_first_pages_come_from_the_image() {
    let mut tables = Tables::new(Source::Image(0));
    tables.map_same(range(IMAGE, 0x1000), Kind::Code);
    let image = &raw const EARLY as u64..&raw const EARLY as u64 + size_of::<[Page; EARLY_PAGES]>() as u64;
    assert!(image.contains(&tables.root()) && tables.source == Source::Image(4));
    tables.take_from_heap();
    tables.map_same(range(0x80_0000_0000, 0x1000), Kind::Data);
    assert_eq!(all_leaves(&tables).len(), 2);
}

/// A place near others, or in the stacks; a length.
fn piece() -> impl Strategy<Value = (u64, u64, Kind)> {
    let place = (0..4u64, 0..4u64, prop::sample::select(&[0u64, 0x1000, 0x1f_f000][..]));
    let bytes = prop::sample::select(&[0x1000u64, 0x3000, 0x20_0000, 0x20_1000, 0x4000_0000][..]);
    (place, bytes, prop::sample::select(&[Kind::Code, Kind::Constant, Kind::Data, Kind::Device][..]))
        .prop_map(|((gib, block, page), bytes, kind)| (gib << 30 | block << 21 | page, bytes, kind))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// No break-before-make is owed: what is valid stays as it is, whatever is mapped over it.
    #[test]
    fn entries_only_become_valid(pieces in prop::collection::vec(piece(), 1..12)) {
        let mut tables = Tables::new(Source::Heap);
        let mut before = Vec::new();
        for (start, bytes, kind) in pieces {
            tables.map_same(range(start, bytes), kind);
            let after = all_leaves(&tables);
            for leaf in &before {
                prop_assert!(after.contains(leaf), "{leaf:x?} has changed");
            }
            for page in [start, start + bytes - 4096] {
                prop_assert!(tables.entry(page).is_mapped());
            }
            prop_assert_eq!(protection(&tables).writable_code_bytes, 0);
            before = after;
        }
    }
}

#[test]
fn a_device_is_mapped_in_whole_pages_and_none_that_wraps() {
    let mut tables = Tables::new(Source::Heap);
    assert!(tables.map_device(PaRange { start: Pa(0xfe21_5040), bytes: 0x40 }));
    let entry = tables.entry(0xfe21_5fff);
    assert_eq!((entry.start, entry.bytes), (0xfe21_5000, PAGE));
    assert!(entry.is_writable() && !entry.is_executable());
    assert!(!tables.entry(0xfe21_6000).is_mapped());
    assert!(!tables.map_device(PaRange { start: Pa(u64::MAX - 4096), bytes: 1 << 20 }));
}
