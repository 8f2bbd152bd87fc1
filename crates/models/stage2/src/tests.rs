//! Single cases, and the property: equal to the oracle whatever the operations.

use crate::fake::FakeTables;
use crate::{Access, Attributes, Level, Stage2, Stage2Error, oracle};
use proptest::prelude::*;
use specs::{Ipa, IpaRange, Pa};

const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4096;

fn empty() -> (Stage2<FakeTables>, FakeTables) {
    let tables = FakeTables::default();
    (Stage2::new(tables.clone()).unwrap(), tables)
}

fn range(start: u64, bytes: u64) -> IpaRange {
    IpaRange::new(Ipa(start), bytes).unwrap()
}

#[test]
fn the_largest_entries_that_fit_are_taken() {
    let (mut stage2, tables) = empty();
    stage2
        .map(Ipa(GIB - BLOCK - PAGE), Pa(3 * GIB - BLOCK - PAGE), GIB + BLOCK + PAGE, Attributes::RAM)
        .unwrap();
    let sizes: std::vec::Vec<u64> = tables.leaves().iter().map(|leaf| leaf.bytes).collect();
    assert_eq!(sizes, [PAGE, BLOCK, GIB]);
}

#[test]
fn a_first_touch_needs_no_table_and_no_invalidation() {
    let (mut stage2, tables) = empty();
    stage2.map(Ipa(GIB), Pa(GIB), BLOCK, Attributes::RAM).unwrap();
    let frames = tables.frames();
    stage2.map(Ipa(GIB + BLOCK), Pa(5 * BLOCK), BLOCK, Attributes::RAM).unwrap();
    assert_eq!((tables.frames(), tables.invalidations.get()), (frames, 0));
    let found = stage2.lookup(Ipa(GIB + BLOCK + 5)).unwrap();
    assert_eq!((found.ipa, found.pa, found.level), (Ipa(GIB + BLOCK), Pa(5 * BLOCK), Level::Two));
    assert_eq!(
        stage2.map(Ipa(GIB + BLOCK), Pa(5 * BLOCK), BLOCK, Attributes::RAM),
        Err(Stage2Error::AlreadyMapped(Ipa(GIB + BLOCK)))
    );
}

#[test]
fn one_page_out_of_a_gib_splits_twice_and_back() {
    let (mut stage2, tables) = empty();
    stage2.map(Ipa(GIB), Pa(GIB), GIB, Attributes::RAM).unwrap();
    stage2.unmap(range(GIB + 5 * PAGE, PAGE)).unwrap();
    assert_eq!(tables.frames(), 4);
    assert!(stage2.lookup(Ipa(GIB + 5 * PAGE)).is_none());
    assert_eq!(stage2.lookup(Ipa(GIB + 6 * PAGE)).unwrap().level, Level::Three);
    assert_eq!(stage2.lookup(Ipa(GIB + BLOCK)).unwrap().level, Level::Two);
    stage2.unmap(range(0, 1 << 40)).unwrap();
    assert_eq!(tables.frames(), 2);
}

#[test]
fn a_split_without_a_frame_changes_nothing() {
    let (mut stage2, tables) = empty();
    stage2.map(Ipa(GIB), Pa(GIB), GIB, Attributes::RAM).unwrap();
    for frames in 0..2 {
        tables.frames_left.set(frames);
        assert_eq!(stage2.protect(range(GIB, PAGE), Access::READ_ONLY), Err(Stage2Error::NoTable));
        assert!(stage2.lookup(Ipa(GIB)).unwrap().attributes.access.write);
        tables.check_at_rest();
    }
}

#[test]
fn protecting_a_range_takes_one_invalidation() {
    let (mut stage2, tables) = empty();
    stage2.map(Ipa(GIB), Pa(GIB), 8 * BLOCK, Attributes::RAM).unwrap();
    stage2.protect(range(GIB, 8 * BLOCK), Access::READ_EXECUTE).unwrap();
    assert_eq!(tables.invalidations.get(), 1);
    assert_eq!(stage2.lookup(Ipa(GIB)).unwrap().attributes, Attributes::ROM);
    stage2.protect(range(GIB, 8 * BLOCK), Access::READ_EXECUTE).unwrap();
    assert_eq!(tables.invalidations.get(), 1, "nothing changes, nothing is invalidated");
}

#[test]
fn bad_ranges_are_refused() {
    let (mut stage2, _) = empty();
    let mut map = |ipa, pa, bytes| stage2.map(Ipa(ipa), Pa(pa), bytes, Attributes::RAM);
    assert_eq!(map(1, 0, PAGE), Err(Stage2Error::Misaligned));
    assert_eq!(map(0, 1, PAGE), Err(Stage2Error::Misaligned));
    assert_eq!(map(0, 0, 0), Err(Stage2Error::Misaligned));
    assert_eq!(map((1 << 40) - PAGE, 0, 2 * PAGE), Err(Stage2Error::OutOfSpace));
    assert_eq!(map(1 << 40, 0, BLOCK), Err(Stage2Error::OutOfSpace));
    assert_eq!(map(0, 1 << 48, BLOCK), Err(Stage2Error::OutOfSpace));
    assert_eq!(map(u64::MAX - PAGE + 1, 0, PAGE), Err(Stage2Error::OutOfSpace));
    assert!(stage2.lookup(Ipa(1 << 40)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 400 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn equal_to_the_oracle(script in prop::collection::vec(any::<u8>(), 0..if cfg!(miri) { 18 } else { 240 })) {
        oracle::run(&script);
    }
}
