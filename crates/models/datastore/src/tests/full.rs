//! A full store: whatever is asked for comes to an end, with room or without, and deleting frees.

use super::{BLOCKS, fresh, options, read, remount, request, settle, snapshot, volume, write};
use crate::sim::rig::MemoryPort;
use crate::{CheckOptions, Error, Op, Options, Store, Target, check, format, mount, run};

fn sound(store: Store<MemoryPort>) {
    let mut port = store.into_port();
    let options = CheckOptions { data: true, repair: false };
    run(check(&mut port, options, &mut |finding| panic!("{finding:?}"))).unwrap();
}

/// Fills it to the last block that it gives.
fn fill(store: &mut Store<MemoryPort>) -> Target {
    let ballast = volume(store, "ballast", 1 << 20);
    let mut at = 0;
    for count in [64, 8, 1] {
        while write(store, ballast, at, count, 9).is_ok() {
            at += u64::from(count);
        }
    }
    assert_eq!(write(store, ballast, at, 1, 9), Err(Error::NoSpace));
    assert_eq!(store.read_only(), None);
    ballast
}

/// Generations from short to endless.
const WEIGHTS: [usize; 3] = [700, 8192, 1 << 21];

fn with_weight(generation_weight: usize) -> Store<MemoryPort> {
    let mut port = MemoryPort::new(BLOCKS + 12000);
    run(format(&mut port, [3; 16])).expect("format");
    run(mount(port, Options { generation_weight, ..options() })).ok().unwrap()
}

/// A volume with a little in each of a thousand chunks.
fn sparse(store: &mut Store<MemoryPort>) -> Target {
    let v = volume(store, "v", 1000 * 508);
    for chunk in 0..1000 {
        write(store, v, chunk * 508, 2, 1).unwrap();
    }
    v
}

/// Deleting gives room again.
fn frees(mut store: Store<MemoryPort>, these: &[Target], weight: usize) {
    store.delete(these).unwrap();
    settle(&mut store);
    settle(&mut store);
    assert_eq!(store.read_only(), None, "{weight}");
    assert!(store.usage().available > 9000, "{weight} {:?}", store.usage());
    sound(store);
}

#[test]
fn a_discard_all_over_a_full_store_ends() {
    for weight in WEIGHTS {
        let mut store = with_weight(weight);
        let v = sparse(&mut store);
        settle(&mut store);
        let ballast = fill(&mut store);
        settle(&mut store);
        for chunk in 0..1000 {
            let op = Op::Discard { sector: chunk * 508 * 8, sectors: 8 };
            let result = request(&mut store, v, op, 0);
            assert!(matches!(result, Ok(_) | Err(Error::NoSpace)), "{weight} {chunk}: {result:?}");
        }
        settle(&mut store);
        assert_eq!(store.read_only(), None, "{weight}");
        assert_eq!(read(&mut store, v, 1), Ok(1));
        frees(store, &[ballast], weight);
    }
}

#[test]
fn a_discard_over_a_snapshot_of_a_full_store_ends() {
    for weight in WEIGHTS {
        let mut store = with_weight(weight);
        let v = sparse(&mut store);
        let s = snapshot(&mut store, v, "s");
        settle(&mut store);
        let ballast = fill(&mut store);
        settle(&mut store);
        let op = Op::Discard { sector: 0, sectors: 1000 * 508 * 8 };
        // With room or without.
        let _ = request(&mut store, v, op, 0);
        settle(&mut store);
        assert_eq!(store.read_only(), None, "{weight}");
        assert_eq!(read(&mut store, s, 1), Ok(1));
        frees(store, &[ballast, s], weight);
    }
}

#[test]
fn many_snapshots_of_a_full_store_are_deleted() {
    for weight in WEIGHTS {
        let mut store = with_weight(weight);
        let v = volume(&mut store, "v", 40 * 508);
        let mut all = std::vec::Vec::new();
        for n in 0..200 {
            for chunk in 0..20 {
                write(&mut store, v, chunk * 508 + n % 7, 1, 1).unwrap();
            }
            all.push(loop {
                let Target::Volume(id) = v else { panic!() };
                match store.snapshot(&[id], &std::format!("{n}"), 0, [1; 16]) {
                    Ok(id) => break Target::Snapshot(id),
                    Err(Error::Busy) => drop(store.poll()),
                    Err(error) => panic!("{error}"),
                }
            });
        }
        settle(&mut store);
        fill(&mut store);
        settle(&mut store);
        let mut random = crate::sim::Random(5);
        while !all.is_empty() {
            let at = random.below(all.len() as u64) as usize;
            match store.delete(&[all[at]]) {
                Ok(()) => drop(all.swap_remove(at)),
                Err(Error::Busy) => drop(store.poll()),
                Err(error) => panic!("{weight}: {} left: {error}", all.len()),
            }
        }
        settle(&mut store);
        assert_eq!(store.read_only(), None, "{weight}");
        sound(store);
    }
}

#[test]
fn what_a_transaction_took_in_vain_is_room_again() {
    let mut store = fresh(BLOCKS);
    let v = volume(&mut store, "v", 8192);
    let Target::Volume(id) = v else { panic!() };
    settle(&mut store);
    settle(&mut store);
    for round in 0..3 {
        let transaction = store.begin();
        let inside = Target::Transaction { id: transaction, volume: id };
        let fit =
            (0..8192).step_by(64).take_while(|at| write(&mut store, inside, *at, 64, 2).is_ok()).count();
        assert!(fit > 50, "{round}: {fit}");
        assert_eq!(write(&mut store, inside, 8000, 64, 1), Err(Error::NoSpace));
        store.abort(transaction);
        let fit = (0..64 * 50).step_by(64).take_while(|at| write(&mut store, v, *at, 64, 2).is_ok()).count();
        assert_eq!(fit, 50, "{round}");
        request(&mut store, v, Op::Discard { sector: 0, sectors: 8192 * 8 }, 0).unwrap();
        settle(&mut store);
        settle(&mut store);
    }
}

/// Each group has its turn: one that is opened while somebody asks once more is not passed over.
#[test]
fn a_checkpoint_takes_the_group_that_was_opened_for_it() {
    let mut store = fresh(3 * 32_512);
    let v = volume(&mut store, "v", 100);
    write(&mut store, v, 0, 1, 1).unwrap();
    settle(&mut store);
    write(&mut store, v, 0, 1, 2).unwrap();
    request(&mut store, v, Op::Flush, 0).unwrap();
    let mut store = remount(store.into_port());
    let reads = store.stats().blocks_read;
    settle(&mut store);
    assert!(store.root.tree.block < 32_512, "block {}", store.root.tree.block);
    assert!(store.stats().blocks_read - reads < 20, "{} blocks", store.stats().blocks_read - reads);
}
