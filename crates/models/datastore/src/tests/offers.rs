//! What the store offers beyond reading and writing: sizes of snapshots, differences, transactions, growing.

use super::{BLOCKS, fresh, read, remount, request, settle, snapshot, volume, write};
use crate::sim::rig::MemoryPort;
use crate::{Change, CheckOptions, Error, Op, Store, Target, check, run};
use std::vec::Vec;

fn exclusive(store: &mut Store<MemoryPort>, target: Target) -> u64 {
    let (mut from, mut blocks) = (0, 0);
    loop {
        match store.exclusive(target, from, &mut blocks) {
            Ok(Some(next)) => from = next,
            Ok(None) => return blocks,
            Err(Error::Busy) => drop(store.poll()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_snapshots_exclusive_size_is_what_deleting_it_frees() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 1200);
    write(&mut store, v, 0, 100, 1).unwrap();
    write(&mut store, v, 600, 20, 1).unwrap();
    let s1 = snapshot(&mut store, v, "1");
    write(&mut store, v, 0, 30, 2).unwrap();
    write(&mut store, v, 600, 5, 2).unwrap();
    let s2 = snapshot(&mut store, v, "2");
    write(&mut store, v, 10, 7, 3).unwrap();
    for round in 0..2 {
        assert_eq!(exclusive(&mut store, s1), 35, "round {round}: what 2 has overwritten");
        assert_eq!(exclusive(&mut store, s2), 7, "round {round}");
        assert_eq!(exclusive(&mut store, v), 7, "round {round}");
        // The same once it is in the tree.
        settle(&mut store);
        settle(&mut store);
    }
    let before = store.usage();
    store.delete(&[s1]).unwrap();
    settle(&mut store);
    settle(&mut store);
    let after = store.usage();
    let freed = (after.available + after.freed) - (before.available + before.freed);
    assert!((35..45).contains(&freed), "{freed}: 35 of data, and some metadata");
    assert_eq!(read(&mut store, s2, 50), Ok(1), "what 1 had and 2 had not");
}

#[test]
fn a_clones_source_counts_as_shared() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 50, 1).unwrap();
    let clone = Target::Volume(store.clone_volume(v, "clone").unwrap());
    write(&mut store, clone, 0, 10, 2).unwrap();
    assert_eq!(exclusive(&mut store, clone), 10);
    assert_eq!(exclusive(&mut store, v), 0);
    assert_eq!((read(&mut store, v, 0), read(&mut store, clone, 0)), (Ok(1), Ok(2)));
}

#[test]
fn changes_between_snapshots_are_just_those() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 1200);
    write(&mut store, v, 0, 100, 1).unwrap();
    let Target::Snapshot(s1) = snapshot(&mut store, v, "1") else { panic!() };
    write(&mut store, v, 20, 3, 2).unwrap();
    write(&mut store, v, 1100, 1, 2).unwrap();
    request(&mut store, v, Op::Discard { sector: 90 * 8, sectors: 16 }, 0).unwrap();
    let Target::Snapshot(s2) = snapshot(&mut store, v, "2") else { panic!() };
    let (mut from, mut changes) = (0, Vec::new());
    while from < 1200 {
        match store.changes(s2, Some(s1), from, &mut changes) {
            Ok(next) => from = next,
            Err(Error::Busy) => drop(store.poll()),
            Err(error) => panic!("{error}"),
        }
    }
    let data = |block| Change { block, data: true };
    let zero = |block| Change { block, data: false };
    assert_eq!(changes, [data(20), data(21), data(22), zero(90), zero(91), data(1100)]);
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let mut store = fresh(BLOCKS);
    let (a, b) = (volume(&mut store, "a", 100), volume(&mut store, "b", 100));
    for (commit, seen) in [(false, 0), (true, 7)] {
        let transaction = store.begin();
        for of in [a, b] {
            let Target::Volume(volume) = of else { panic!() };
            write(&mut store, Target::Transaction { id: transaction, volume }, 3, 2, 7).unwrap();
        }
        let staging = store.begin_object().unwrap();
        write(&mut store, staging, 0, 1, 7).unwrap();
        store.put_object(transaction, "config", staging, 4096).unwrap();
        assert_eq!((read(&mut store, a, 3), read(&mut store, b, 4)), (Ok(0), Ok(0)));
        assert_eq!(store.catalog().object("config"), None);
        if commit {
            store.commit_transaction(transaction).unwrap();
        } else {
            store.abort(transaction);
        }
        assert_eq!((read(&mut store, a, 3), read(&mut store, b, 4)), (Ok(seen), Ok(seen)));
        assert_eq!(store.catalog().object("config").is_some(), commit);
    }
}

#[test]
fn a_transaction_over_the_limit_is_refused_whole() {
    let mut store = fresh(BLOCKS);
    let a = volume(&mut store, "a", 200);
    let Target::Volume(volume) = a else { panic!() };
    settle(&mut store);
    settle(&mut store);
    let before = store.usage();
    let transaction = store.begin();
    let inside = Target::Transaction { id: transaction, volume };
    for block in (0..160).step_by(2) {
        write(&mut store, inside, block, 1, 7).unwrap();
    }
    assert_eq!(write(&mut store, inside, 170, 1, 7), Err(Error::Limit), "80 records fit");
    let staging = store.begin_object().unwrap();
    write(&mut store, staging, 0, 1, 7).unwrap();
    store.put_object(transaction, "config", staging, 4096).unwrap();
    assert_eq!(store.commit_transaction(transaction), Err(Error::Limit), "and no entry with them");
    assert_eq!((read(&mut store, a, 0), read(&mut store, a, 158)), (Ok(0), Ok(0)));
    assert_eq!(store.catalog().object("config"), None);
    settle(&mut store);
    settle(&mut store);
    let after = store.usage();
    assert_eq!(after.available + after.freed, before.available + before.freed, "{after:?}");
}

#[test]
fn it_grows_while_it_is_used() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 90_000);
    write(&mut store, v, 0, 200, 1).unwrap();
    let before = store.usage();
    store.port().blocks = 40_000;
    while store.grow() == Err(Error::Busy) {
        store.poll();
    }
    settle(&mut store);
    settle(&mut store);
    let after = store.usage();
    assert_eq!(after.total, 40_000);
    assert!(after.available > before.available + 35_000, "{after:?}");
    for block in (1000..21_000).step_by(200) {
        write(&mut store, v, block, 200, 2).unwrap();
    }
    settle(&mut store);
    let mut port = store.into_port();
    let options = CheckOptions { data: true, repair: false };
    let summary = run(check(&mut port, options, &mut |finding| panic!("{finding:?}"))).unwrap();
    assert_eq!(summary.data, 20_200);
    let mut store = remount(port);
    assert_eq!((read(&mut store, v, 20_999), read(&mut store, v, 199)), (Ok(2), Ok(1)));
}

#[test]
fn idle_stores_write_nothing() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 50, 1).unwrap();
    settle(&mut store);
    let before = store.stats();
    for _ in 0..100_000 {
        store.poll();
    }
    request(&mut store, v, Op::Flush, 0).unwrap();
    assert_eq!(store.stats().blocks_written, before.blocks_written);
    assert_eq!(store.stats().flushes, before.flushes, "a FLUSH of nothing needs none below");
}

#[test]
fn snapshots_and_clones_cost_few_blocks_whatever_the_size() {
    let mut store = fresh(60_000);
    let v = volume(&mut store, "v", 50_000);
    for block in (0..50_000).step_by(250) {
        write(&mut store, v, block, 250, 1).unwrap();
    }
    settle(&mut store);
    let before = store.stats().blocks_written;
    snapshot(&mut store, v, "s");
    settle(&mut store);
    let cost = store.stats().blocks_written - before;
    assert!(cost <= 20, "{cost} blocks for a snapshot");
    let before = store.stats().blocks_written;
    store.clone_volume(v, "clone").unwrap();
    settle(&mut store);
    let cost = store.stats().blocks_written - before;
    assert!(cost <= 20, "{cost} blocks for a clone");
}

#[test]
fn parts_of_a_block_within_a_transaction() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 100);
    let Target::Volume(volume) = v else { panic!() };
    write(&mut store, v, 0, 4, 1).unwrap();
    let transaction = store.begin();
    let inside = Target::Transaction { id: transaction, volume };
    let part = |sector, sectors| Op::Write { sector, sectors, durable: false };
    request(&mut store, inside, part(3, 1), 2).unwrap();
    request(&mut store, inside, part(5, 14), 3).unwrap();
    request(&mut store, inside, part(6, 1), 4).unwrap();
    store.commit_transaction(transaction).unwrap();
    let bytes = request(&mut store, v, Op::Read { sector: 0, sectors: 24 }, 0).unwrap();
    let seen: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
    assert_eq!(seen, [1, 1, 1, 2, 1, 3, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1]);
}

#[test]
fn a_volume_is_renamed() {
    let mut store = fresh(BLOCKS);
    let (v, w) = (volume(&mut store, "v", 10), volume(&mut store, "w", 10));
    write(&mut store, v, 3, 1, 7).unwrap();
    let Target::Volume(id) = v else { panic!() };
    assert_eq!(store.rename_volume(id, "w"), Err(Error::Exists));
    assert_eq!(store.rename_volume(id, "a/b"), Err(Error::BadName));
    store.rename_volume(id, "x").unwrap();
    settle(&mut store);
    let mut store = remount(store.into_port());
    assert_eq!((store.catalog().volume("v"), store.catalog().volume("x")), (None, Some(id)));
    assert_eq!((read(&mut store, v, 3), read(&mut store, w, 3)), (Ok(7), Ok(0)));
}
