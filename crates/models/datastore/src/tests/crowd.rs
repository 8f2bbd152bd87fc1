//! Many requests in flight at once, over each other, while volumes come, go and change beneath them.

use super::{fresh, options, request, volume, write};
use crate::sim::Random;
use crate::sim::disk::{Image, SimDisk};
use crate::sim::run::settle;
use crate::{CheckOptions, Entry, Error, Op, Options, Store, Target, check, format, mount, run};
use std::vec::Vec;

const BLOCKS: usize = 4096 + 256;

fn store(seed: u64, slots: usize) -> Store<SimDisk> {
    let mut disk = SimDisk::new(Image::new(BLOCKS), seed);
    run(format(&mut disk, [3; 16])).expect("format");
    let options = Options { slots, io_pages: 1200, ..options() };
    run(mount(disk, options)).ok().expect("mount")
}

fn sound(store: Store<SimDisk>) {
    let mut disk = store.into_port();
    let options = CheckOptions { data: true, repair: false };
    run(check(&mut disk, options, &mut |finding| panic!("{finding:?}"))).unwrap();
}

fn pick(store: &Store<SimDisk>, random: &mut Random, kind: u64) -> Option<Target> {
    let all: Vec<Target> = store
        .catalog()
        .iter()
        .filter_map(|(id, entry)| match (entry, kind) {
            (Entry::Volume { .. }, 0) => Some(Target::Volume(id)),
            (Entry::Snapshot { .. }, 1) => Some(Target::Snapshot(id)),
            _ => None,
        })
        .collect();
    all.get(random.below(all.len() as u64) as usize).copied()
}

/// Takes what has ended.
fn take(store: &mut Store<SimDisk>, refused: &mut usize) {
    while let Some(done) = store.completion() {
        match done.result {
            Ok(()) | Err(Error::NotFound) => {}
            Err(Error::NoSpace) => *refused += 1,
            Err(error) => panic!("{:?}: {error}", done.op),
        }
        store.recycle(done.pages);
    }
}

/// Something that a person or a guest asks for.
fn ask(store: &mut Store<SimDisk>, random: &mut Random, step: u64) -> Result<(), Error> {
    let name = std::format!("{step}");
    let Some(volume) = pick(store, random, 0) else { return store.create_volume(&name, 1200 * 8).map(drop) };
    let Target::Volume(id) = volume else { panic!() };
    let sector = random.below(1100 * 8);
    let sectors = 1 + random.below(600) as u32;
    let mut submit = |target, op| store.submit(step, target, op, &mut |_, _| {});
    match random.below(100) {
        0..50 => submit(volume, Op::Write { sector, sectors, durable: step.is_multiple_of(9) }),
        50..60 => submit(volume, Op::Read { sector, sectors }),
        60..70 => match pick(store, random, 1) {
            Some(snapshot) => store.submit(step, snapshot, Op::Read { sector, sectors }, &mut |_, _| {}),
            None => Ok(()),
        },
        70..78 => submit(volume, Op::Flush),
        78..84 => submit(volume, Op::Discard { sector, sectors: 3 * u64::from(sectors) }),
        84..86 => submit(volume, Op::Resize { sectors: (600 + random.below(900)) * 8 }),
        86..90 => store.snapshot(&[id], &name, 0, [1; 16]).map(drop),
        90..92 => store.clone_volume(volume, &name).map(drop),
        92..93 => match pick(store, random, 1) {
            Some(snapshot) => store.clone_volume(snapshot, &name).map(drop),
            None => Ok(()),
        },
        93..94 => store.revert(&[(id, None)]),
        _ => {
            let kind = random.below(5).min(1);
            pick(store, random, kind).map_or(Ok(()), |target| store.delete(&[target]))
        }
    }
}

/// Until nothing is in flight; then all is deleted, and all of the room comes back.
fn wind_up(mut store: Store<SimDisk>, at_first: u64, refused: &mut usize) {
    for polls in 0.. {
        store.poll();
        take(&mut store, refused);
        if store.in_flight() == 0 {
            break;
        }
        assert!(polls < 1_000_000, "a request hangs: {:?}", store.usage());
    }
    while let Some(target) = pick(&store, &mut Random(1), 0).or_else(|| pick(&store, &mut Random(1), 1)) {
        match store.delete(&[target]) {
            Err(Error::Busy) => drop(store.poll()),
            deleted => deleted.expect("a full store deletes"),
        }
    }
    settle(&mut store);
    settle(&mut store);
    let usage = store.usage();
    assert_eq!(usage.available + usage.freed, at_first, "{usage:?}");
    assert!(store.catalog().is_empty());
    sound(store);
}

/// Whatever is asked for ends, and nothing is read that was not written so.
#[test]
fn a_crowd_on_a_store_that_fills_up() {
    let mut refused = 0;
    for seed in 0..6 {
        let mut random = Random(seed + 1);
        let mut store = store(seed, 32);
        let at_first = store.usage().available;
        for step in 0..6000 {
            match ask(&mut store, &mut random, step) {
                Ok(()) | Err(Error::Busy | Error::OutOfRange) => {}
                Err(Error::NoSpace) => refused += 1,
                Err(error) => panic!("seed {seed}, step {step}: {error}"),
            }
            for _ in 0..random.below(20) {
                store.poll();
            }
            take(&mut store, &mut refused);
        }
        wind_up(store, at_first, &mut refused);
    }
    assert!(refused > 100, "it was not full: {refused}");
}

/// What a volume had before it was reverted does not come back with the rest of a block of which a part was being written.
#[test]
fn a_revert_beside_a_write_of_part_of_a_block() {
    for polls in 0..40 {
        let mut store = fresh(4096);
        let v = volume(&mut store, "v", 100);
        let Target::Volume(id) = v else { panic!() };
        write(&mut store, v, 0, 1, 1).unwrap();
        let part = Op::Write { sector: 0, sectors: 1, durable: false };
        store.submit(1, v, part, &mut |_, into| into.fill(2)).unwrap();
        for _ in 0..polls {
            store.poll();
        }
        while let Err(error) = store.revert(&[(id, None)]) {
            assert_eq!(error, Error::Busy);
            store.poll();
        }
        settle(&mut store);
        let written = store.completion().expect("the write has ended");
        store.recycle(written.pages);
        let bytes = request(&mut store, v, Op::Read { sector: 0, sectors: 8 }, 0).unwrap();
        assert!(bytes[512..].iter().all(|byte| *byte == 0), "after {polls} polls");
    }
}
