//! Saves of a bank of flash, with power cuts and full stores between.

use super::{Pages, Save, Step, volume_name};
use crate::rig::{Disk, Rig, named, pattern};
use abi::{RequestKind, Status};
use datastore::{BLOCK_BYTES, Op, Progress, Store, Target};
use std::vec;
use std::vec::Vec;

const PAGES: usize = 512;
const BYTES: u64 = (PAGES * BLOCK_BYTES) as u64;

/// A bank of flash.
struct Bank {
    bytes: Vec<u8>,
    changed: Vec<bool>,
}

impl Bank {
    fn new() -> Self {
        Self { bytes: vec![0; PAGES * BLOCK_BYTES], changed: vec![false; PAGES] }
    }

    fn write(&mut self, page: usize, seed: u8) {
        self.bytes[page * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&pattern(BLOCK_BYTES, seed));
        self.changed[page] = true;
    }
}

impl Pages for Bank {
    fn take_changed(&mut self, most: u32) -> Option<(u32, u32)> {
        let first = self.changed.iter().position(|changed| *changed)?;
        let run = self.changed[first..].iter_mut().take(most as usize).take_while(|changed| **changed);
        let count = run.map(|changed| *changed = false).count();
        Some((first as u32, count as u32))
    }
    fn put_back(&mut self, first: u32, count: u32) {
        self.changed[first as usize..][..count as usize].fill(true);
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes[offset as usize..][..into.len()]);
    }
}

/// Does so many steps of a save at most, in the order of the store's owner, who sleeps when nothing moves; how it ended.
fn go_on(store: &mut Store<Disk>, save: &mut Save, bank: &mut Bank, steps: usize) -> Option<Step> {
    for _ in 0..steps {
        let mut moved = store.poll() == Progress::More;
        while let Some(completion) = store.completion() {
            assert!(save.complete(&completion));
            store.recycle(completion.pages);
            moved = true;
        }
        match save.step(store, bank) {
            done @ Step::Done(_) => return Some(done),
            step => assert!(moved || step == Step::On, "it would sleep for ever"),
        }
    }
    None
}

fn save_all(rig: &mut Rig, bank: &mut Bank) -> Step {
    let mut save = Save::new(volume_name("vm"), BYTES, 7);
    go_on(rig.store.as_mut().unwrap(), &mut save, bank, 10_000).unwrap()
}

/// What the volume holds; zeros where there is none.
fn kept(rig: &mut Rig) -> Vec<u8> {
    let store = rig.store.as_mut().unwrap();
    let mut all = vec![0; BYTES as usize];
    let Some(volume) = store.catalog().volume(&volume_name("vm")) else { return all };
    for (at, part) in all.chunks_mut(128 << 10).enumerate() {
        let op = Op::Read { sector: at as u64 * 256, sectors: 256 };
        store.submit(1, Target::Volume(volume), op, &mut |_, _| {}).unwrap();
        let completion = loop {
            store.poll();
            if let Some(completion) = store.completion() {
                break completion;
            }
        };
        completion.for_each(|at, bytes| part[at..][..bytes.len()].copy_from_slice(bytes));
        store.recycle(completion.pages);
    }
    all
}

#[test]
fn a_power_cut_leaves_the_flash_of_before_or_of_afterwards() {
    let (mut was_before, mut was_after) = (false, false);
    for steps in 0..60 {
        let (mut rig, mut bank) = (Rig::with_store(), Bank::new());
        (0..5).for_each(|page| bank.write(page, 1));
        assert_eq!(save_all(&mut rig, &mut bank), Step::Done(Ok(())));
        let before = bank.bytes.clone();
        [1, 2, 3, 64, 511].iter().for_each(|page| bank.write(*page, 2));
        let mut save = Save::new(volume_name("vm"), BYTES, 8);
        let done = go_on(rig.store.as_mut().unwrap(), &mut save, &mut bank, steps);
        rig.cut();
        let kept = kept(&mut rig);
        assert!(kept == bank.bytes || kept == before, "after {steps} steps: neither");
        assert!(done.is_none() || kept == bank.bytes, "it was said to be kept");
        was_before |= kept == before;
        was_after |= kept == bank.bytes;
    }
    assert!(was_before && was_after);
}

#[test]
fn what_the_guest_writes_meanwhile_is_of_the_same_moment() {
    let (mut rig, mut bank) = (Rig::with_store(), Bank::new());
    bank.write(9, 1);
    let mut save = Save::new(volume_name("vm"), BYTES, 1);
    go_on(rig.store.as_mut().unwrap(), &mut save, &mut bank, 2);
    bank.write(9, 2);
    bank.write(3, 2);
    assert_eq!(go_on(rig.store.as_mut().unwrap(), &mut save, &mut bank, 10_000), Some(Step::Done(Ok(()))));
    rig.cut();
    assert!(kept(&mut rig) == bank.bytes);
}

#[test]
fn all_of_a_bank_takes_a_few_saves() {
    let (mut rig, mut bank) = (Rig::with_store(), Bank::new());
    (0..PAGES).for_each(|page| bank.write(page, page as u8));
    let mut saves = 0;
    while bank.changed.contains(&true) {
        assert_eq!(save_all(&mut rig, &mut bank), Step::Done(Ok(())));
        saves += 1;
    }
    assert_eq!(saves, PAGES / super::PAGES_MAX as usize);
    rig.cut();
    assert!(kept(&mut rig) == bank.bytes);
}

#[test]
fn what_fails_or_is_abandoned_counts_as_changed_or_is_gone() {
    let (mut rig, mut bank) = (Rig::with_store(), Bank::new());
    bank.write(5, 1);
    rig.store.as_mut().unwrap().port().fails = 1;
    assert_eq!(save_all(&mut rig, &mut bank), Step::Done(Err(Status::Io)));
    assert!(bank.changed[5]);
    let mut save = Save::new(volume_name("vm"), BYTES, 2);
    let store = rig.store.as_mut().unwrap();
    go_on(store, &mut save, &mut bank, 2);
    save.abandon(store);
    rig.work();
    assert!(kept(&mut rig).iter().all(|byte| *byte == 0));
}

#[test]
fn no_world_names_them() {
    let (mut rig, mut bank) = (Rig::with_store(), Bank::new());
    bank.write(0, 1);
    assert_eq!(save_all(&mut rig, &mut bank), Step::Done(Ok(())));
    let name = volume_name("vm");
    let id = rig.store.as_ref().unwrap().catalog().volume(&name).unwrap();
    use RequestKind as Kind;
    assert_eq!(rig.ask(Kind::ListVolumes, 0, 0, b"", 4096).1, 0);
    let other = volume_name("other");
    assert_eq!(rig.ask(Kind::CreateVolume, 0, 1 << 20, &named(&other, b""), 0).0, Status::Denied);
    assert_eq!(rig.ask(Kind::CloneVolume, id, 0, &named("mine", b""), 0).0, Status::NotFound);
    for kind in [Kind::ReadVolume, Kind::WriteVolume, Kind::DeleteVolume, Kind::ResizeVolume] {
        let payload = if kind == Kind::WriteVolume { vec![0; 512] } else { Vec::new() };
        assert_eq!(rig.ask(kind, id, 4096, &payload, 512).0, Status::NotFound, "{kind:?}");
    }
}
