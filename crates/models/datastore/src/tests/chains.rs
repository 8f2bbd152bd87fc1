//! Long chains, families of clones, and what is left of them.

use super::{fresh, options, read, request, settle, snapshot, volume, write};
use crate::sim::Random;
use crate::sim::rig::MemoryPort;
use crate::{Change, CheckOptions, Error, Op, Options, Store, Target, check, format, mount, run};
use std::collections::BTreeMap;
use std::vec::Vec;

/// What each block of something is, by one byte.
type Model = Vec<u8>;

fn retry<T>(
    store: &mut Store<MemoryPort>,
    mut act: impl FnMut(&mut Store<MemoryPort>) -> Result<T, Error>,
) -> T {
    for _ in 0..1_000_000 {
        match act(store) {
            Err(Error::Busy) => drop(store.poll()),
            other => return other.expect("done"),
        }
    }
    panic!("it hangs");
}

fn delete(store: &mut Store<MemoryPort>, target: Target) {
    retry(store, |store| store.delete(&[target]));
}

fn look(store: &mut Store<MemoryPort>, target: Target, model: &Model) {
    for (block, byte) in model.iter().enumerate() {
        assert_eq!(read(store, target, block as u64), Ok(*byte), "{target:?} block {block}");
    }
}

/// Everything is deleted: the store is as it was, and sound.
fn all_comes_back(mut store: Store<MemoryPort>, at_first: u64) {
    settle(&mut store);
    settle(&mut store);
    assert!(store.catalog().is_empty());
    let usage = store.usage();
    assert_eq!(usage.available + usage.freed, at_first, "{usage:?}");
    let mut port = store.into_port();
    let options = CheckOptions { data: true, repair: false };
    run(check(&mut port, options, &mut |finding| panic!("{finding:?}"))).unwrap();
}

#[test]
fn names_alone_fill_no_log_for_good() {
    let mut store = fresh(20_000);
    let v = volume(&mut store, "v", 100);
    let Target::Volume(id) = v else { panic!() };
    for n in 0..3000 {
        retry(&mut store, |store| store.snapshot(&[id], &std::format!("{n:0>100}"), 0, [1; 16]));
    }
}

#[test]
fn a_chain_of_500_loses_its_links_in_any_order() {
    let mut store = fresh(20_000);
    let at_first = store.usage().available;
    let mut random = Random(7);
    // Some of it in a second chunk.
    let blocks = [0_u64, 1, 2, 3, 4, 5, 507, 508, 509, 1000];
    let v = volume(&mut store, "v", 1016);
    let Target::Volume(id) = v else { panic!() };
    let mut model: BTreeMap<u64, u8> = blocks.iter().map(|block| (*block, 0)).collect();
    let mut chain = Vec::new();
    for n in 0..500_u32 {
        for _ in 0..2 {
            let block = blocks[random.below(10) as usize];
            if random.chance(5) {
                request(&mut store, v, Op::Discard { sector: block * 8, sectors: 8 }, 0).unwrap();
                model.insert(block, 0);
            } else {
                write(&mut store, v, block, 1, n as u8 | 1).unwrap();
                model.insert(block, n as u8 | 1);
            }
        }
        let snapshot = retry(&mut store, |store| store.snapshot(&[id], &std::format!("{n}"), 0, [1; 16]));
        chain.push((Target::Snapshot(snapshot), model.clone()));
    }
    let look = |store: &mut Store<MemoryPort>, target, model: &BTreeMap<u64, u8>| {
        for (block, byte) in model {
            assert_eq!(read(store, target, *block), Ok(*byte), "{target:?} block {block}");
        }
    };
    while !chain.is_empty() {
        let (gone, _) = chain.swap_remove(random.below(chain.len() as u64) as usize);
        delete(&mut store, gone);
        for _ in 0..random.below(300) {
            store.poll();
        }
        if random.chance(8) {
            settle(&mut store);
        }
        if let Some((target, model)) = chain.get(random.below(chain.len() as u64) as usize) {
            look(&mut store, *target, model);
        }
        look(&mut store, v, &model);
    }
    delete(&mut store, v);
    all_comes_back(store, at_first);
}

#[test]
fn clones_of_clones_outlive_each_other() {
    for seed in 0..8 {
        let mut store = fresh(8000);
        let at_first = store.usage().available;
        let mut random = Random(seed + 100);
        let first = volume(&mut store, "first", 12);
        let mut family: Vec<(Target, Model)> = Vec::from([(first, std::vec![0; 12])]);
        for step in 0..300_u64 {
            let at = random.below(family.len() as u64) as usize;
            let (target, model) = family[at].clone();
            let name = std::format!("{step}");
            match (random.below(10), target) {
                (0..4, Target::Volume(_)) if !model.is_empty() => {
                    let block = random.below(model.len() as u64);
                    write(&mut store, target, block, 1, step as u8).unwrap();
                    family[at].1[block as usize] = step as u8;
                }
                (4..6, _) => {
                    let clone = retry(&mut store, |store| store.clone_volume(target, &name));
                    family.push((Target::Volume(clone), model));
                }
                (6, Target::Volume(id)) => {
                    let made = retry(&mut store, |store| store.snapshot(&[id], &name, 0, [1; 16]));
                    family.push((Target::Snapshot(made), model));
                }
                (7, Target::Volume(_)) => {
                    // Down over what snapshots still have, and up again: what was cut off is gone here, and only here.
                    let size = random.below(20) as usize;
                    request(&mut store, target, Op::Resize { sectors: size as u64 * 8 }, 0).unwrap();
                    family[at].1.resize(size, 0);
                }
                (8, _) if family.len() > 1 => {
                    delete(&mut store, target);
                    family.swap_remove(at);
                }
                _ => settle(&mut store).then_some(()).expect("settles"),
            }
            if step % 20 == 0 {
                family.iter().for_each(|(target, model)| look(&mut store, *target, model));
            }
        }
        family.iter().for_each(|(target, model)| look(&mut store, *target, model));
        family.iter().for_each(|(target, _)| delete(&mut store, *target));
        all_comes_back(store, at_first);
    }
}

/// What a stream carries, between any two of a chain: the older with the changes is the younger.
#[test]
fn changes_between_any_two_of_a_chain_lead_from_one_to_the_other() {
    let mut store = fresh(8000);
    let mut random = Random(3);
    let v = volume(&mut store, "v", 600);
    let mut model: Model = std::vec![0; 600];
    let mut chain = Vec::new();
    for n in 1..9 {
        for _ in 0..6 {
            let block = [random.below(12), 500 + random.below(16)][random.below(2) as usize];
            let discard = random.chance(3);
            if discard {
                request(&mut store, v, Op::Discard { sector: block * 8, sectors: 8 }, 0).unwrap();
            } else {
                write(&mut store, v, block, 1, n).unwrap();
            }
            model[block as usize] = if discard { 0 } else { n };
        }
        let Target::Snapshot(id) = snapshot(&mut store, v, &std::format!("{n}")) else { panic!() };
        chain.push((id, model.clone()));
    }
    for to in 0..chain.len() {
        for from in 0..=to {
            // From nothing, and from each before it.
            let base = from.checked_sub(1).map(|at| &chain[at]);
            let mut built = base.map_or(std::vec![0; 600], |(_, model)| model.clone());
            let (mut at, mut changes) = (0, Vec::<Change>::new());
            while at < 600 {
                at = retry(&mut store, |store| {
                    store.changes(chain[to].0, base.map(|(id, _)| *id), at, &mut changes)
                });
            }
            for change in changes {
                let byte = read(&mut store, Target::Snapshot(chain[to].0), change.block).unwrap();
                assert!(change.data || byte == 0);
                built[change.block as usize] = byte;
            }
            assert!(built == chain[to].1, "from {from} to {to}");
        }
        if to > 0 {
            let backwards = store.changes(chain[to - 1].0, Some(chain[to].0), 0, &mut Vec::new());
            assert_eq!(backwards, Err(Error::BadRequest), "a younger one is no base");
        }
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_one_or_the_other() {
    let mut seen = [false; 3];
    for polls in 0..60 {
        let mut store = fresh(4352);
        let stage = |store: &mut Store<MemoryPort>, byte: u8| {
            let staging = store.begin_object().unwrap();
            write(store, staging, 0, 40, byte).unwrap();
            let transaction = store.begin();
            store.put_object(transaction, "o", staging, 40 * 4096).unwrap();
            transaction
        };
        let first = stage(&mut store, 1);
        retry(&mut store, |store| store.commit_transaction(first));
        let second = stage(&mut store, 2);
        settle(&mut store);
        let object = Target::Object(store.catalog().object("o").unwrap());
        store.submit(1, object, Op::Read { sector: 0, sectors: 320 }, &mut |_, _| {}).unwrap();
        (0..polls).for_each(|_| _ = store.poll());
        retry(&mut store, |store| store.commit_transaction(second));
        let bytes = super::finish(&mut store).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "after {polls} polls");
        seen[usize::from(bytes[0])] = true;
        settle(&mut store);
        assert_eq!(read(&mut store, object, 39), Ok(2), "the name stays");
    }
    assert_eq!(seen, [false, true, true]);
}

#[test]
fn a_volume_is_discarded_under_32_requests() {
    let mut port = MemoryPort::new(8000);
    run(format(&mut port, [3; 16])).unwrap();
    let mut store = run(mount(port, Options { slots: 40, io_pages: 700, ..options() })).ok().unwrap();
    let v = volume(&mut store, "v", 3000);
    for block in (0..3000).step_by(60) {
        write(&mut store, v, block, 60, 1).unwrap();
    }
    for n in 0..16 {
        let sector = n * 1400;
        let op = Op::Write { sector, sectors: 13, durable: n % 2 == 0 };
        store.submit(n, v, op, &mut |_, into| into.fill(2)).unwrap();
        store.submit(100 + n, v, Op::Read { sector, sectors: 40 }, &mut |_, _| {}).unwrap();
    }
    store.submit(200, v, Op::Discard { sector: 0, sectors: 24_000 }, &mut |_, _| {}).unwrap();
    // Behind it, in the order of submission.
    store
        .submit(201, v, Op::Write { sector: 1400, sectors: 1, durable: false }, &mut |_, into| into.fill(3))
        .unwrap();
    let mut ended = 0;
    for _ in 0..200_000 {
        store.poll();
        if let Some(done) = store.completion() {
            done.result.expect("done");
            store.recycle(done.pages);
            ended += 1;
        }
    }
    assert_eq!(ended, 34);
    for block in 0..3000 {
        let bytes = request(&mut store, v, Op::Read { sector: block * 8, sectors: 8 }, 0).unwrap();
        let (written, rest) = bytes.split_at(if block == 175 { 512 } else { 0 });
        assert!(written.iter().all(|byte| *byte == 3) && rest.iter().all(|byte| *byte == 0), "{block}");
    }
    settle(&mut store);
    settle(&mut store);
    assert!(store.usage().available > 7000, "{:?}", store.usage());
}

#[test]
fn it_grows_beside_a_checkpoint_again_and_again() {
    let mut store = fresh(4352);
    let v = volume(&mut store, "v", 90_000);
    let sizes = [4400, 20_000, 32_500, 32_512 + 63, 32_512 + 64, 40_000, 65_024, 65_100, 70_000];
    for (n, size) in (0_u64..).zip(sizes) {
        // Changes that a checkpoint is busy with.
        write(&mut store, v, n * 2000, 200, n as u8 + 1).unwrap();
        store.request_checkpoint();
        (0..n * 3).for_each(|_| _ = store.poll());
        store.port().blocks = size;
        let total = retry(&mut store, |store| store.grow());
        assert_eq!(total, size);
        settle(&mut store);
        settle(&mut store);
        let usage = store.usage();
        assert!(usage.available + 3000 > size, "{usage:?}");
        let mut port = store.into_port();
        let options = CheckOptions { data: true, repair: false };
        run(check(&mut port, options, &mut |finding| panic!("{size}: {finding:?}"))).unwrap();
        store = super::remount(port);
        for earlier in 0..=n {
            assert_eq!(read(&mut store, v, earlier * 2000 + 199), Ok(earlier as u8 + 1));
        }
    }
    store.port().blocks = 100;
    assert_eq!(store.grow(), Ok(70_000), "never smaller");
}

/// The pages of a chain need not be in the cache all at once.
#[test]
fn a_chain_longer_than_the_cache_is_looked_through() {
    let mut store = fresh(20_000);
    let v = volume(&mut store, "v", 1016);
    let Target::Volume(id) = v else { panic!() };
    write(&mut store, v, 0, 32, 1).unwrap();
    for n in 0..300 {
        // Each layer has a page of its own for the chunk.
        write(&mut store, v, 100, 1, 1).unwrap();
        retry(&mut store, |store| store.snapshot(&[id], &std::format!("{n}"), 0, [1; 16]));
    }
    settle(&mut store);
    let mut store = super::remount(store.into_port());
    let bytes = request(&mut store, v, Op::Read { sector: 0, sectors: 300 }, 0).unwrap();
    assert!(
        bytes[..32 * 4096].iter().all(|byte| *byte == 1) && bytes[32 * 4096..].iter().all(|byte| *byte == 0)
    );
    let part = Op::Write { sector: 9, sectors: 1, durable: false };
    request(&mut store, v, part, 2).unwrap();
    let bytes = request(&mut store, v, Op::Read { sector: 8, sectors: 8 }, 0).unwrap();
    assert_eq!(bytes.iter().step_by(512).copied().collect::<Vec<u8>>(), [1, 2, 1, 1, 1, 1, 1, 1]);
    request(&mut store, v, Op::Discard { sector: 508 * 8, sectors: 508 * 8 }, 0).unwrap();
    let last = store.catalog().snapshot(id, "299").unwrap();
    let (mut at, mut changes) = (0, Vec::new());
    while at < 1016 {
        at = retry(&mut store, |store| store.changes(last, None, at, &mut changes));
    }
    assert_eq!(changes.len(), 33);
}

/// A read that is on its way down a chain gives no later read what was overwritten meanwhile.
#[test]
fn a_read_behind_a_write_sees_it_whatever_an_earlier_one_has_found() {
    for polls in 0..60 {
        let mut store = fresh(8000);
        let v = volume(&mut store, "v", 1016);
        let Target::Volume(id) = v else { panic!() };
        write(&mut store, v, 0, 8, 1).unwrap();
        for n in 0..12 {
            write(&mut store, v, 100, 1, 1).unwrap();
            retry(&mut store, |store| store.snapshot(&[id], &std::format!("{n}"), 0, [1; 16]));
        }
        settle(&mut store);
        let mut store = super::remount(store.into_port());
        let early = Op::Read { sector: 0, sectors: 64 };
        store.submit(1, v, early, &mut |_, _| {}).unwrap();
        (0..polls).for_each(|_| _ = store.poll());
        // Submitted and completed while the first one may still look.
        store
            .submit(2, v, Op::Write { sector: 16, sectors: 8, durable: false }, &mut |_, into| into.fill(2))
            .unwrap();
        let mut ended = [false; 3];
        while !ended[2] {
            store.poll();
            while let Some(done) = store.completion() {
                done.result.unwrap();
                ended[done.token as usize] = true;
                store.recycle(done.pages);
            }
        }
        store.submit(0, v, early, &mut |_, _| {}).unwrap();
        while !ended[0] {
            store.poll();
            while let Some(done) = store.completion() {
                ended[done.token as usize] = true;
                let mut bytes = Vec::new();
                done.for_each(|_, piece| bytes.extend_from_slice(piece));
                store.recycle(done.pages);
                assert!(done.token == 1 || bytes[2 * 4096] == 2, "after {polls} polls");
            }
        }
    }
}
