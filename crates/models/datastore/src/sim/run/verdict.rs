//! The verdict on each power cut: what a mount finds, against what was promised.

use super::super::Random;
use super::super::disk::{Cut, Faults, Image, SimDisk};
use super::super::oracle::Oracle;
use super::{Report, Run, observe, open, options, settle};
use crate::{CheckOptions, Event, Finding, Store, check, run};
use std::string::String;

/// Whether findings are only what a cut in the middle of a root's write explains.
fn is_sound(image: &Image) -> Result<(), String> {
    let mut disk = SimDisk::new(image.clone(), 1);
    let mut bad = None;
    let result = run(check(&mut disk, CheckOptions::default(), &mut |finding| {
        if !matches!(finding, Finding::Root(_)) {
            bad.get_or_insert(finding);
        }
    }));
    match (result, bad) {
        (Err(error), _) => Err(std::format!("check: {error}")),
        (Ok(_), Some(finding)) => Err(std::format!("check: {finding:?}")),
        (Ok(_), None) => Ok(()),
    }
}

/// Overwrites the newest root of an image, if there is an older one.
fn destroy_newest_root(image: &mut Image) -> bool {
    let generation = |block| u64::from_le_bytes(image.get(block)[8..16].try_into().unwrap());
    let sealed = |block| crate::format::is_sealed(&image.get(block));
    let [a, b] = crate::format::ROOT_BLOCKS;
    if !sealed(a) || !sealed(b) {
        return false;
    }
    let newest = if generation(a) > generation(b) { a } else { b };
    image.set(newest, [0x5a; 4096]);
    true
}

/// Mounts what a cut left and judges it.
fn examine(
    cut: Cut,
    oracle: &Oracle,
    promised: usize,
    report: &mut Report,
) -> Option<(Store<SimDisk>, usize)> {
    report.cuts += 1;
    let mut random = Random(cut.seed);
    let mut image = cut.image;
    if let Err(what) = is_sound(&image) {
        report.leaks += 1;
        report.first.get_or_insert(what);
        return None;
    }
    let fallback = random.chance(8) && destroy_newest_root(&mut image);
    report.fallbacks += u64::from(fallback);
    let mut store = match open(image, cut.seed, options()) {
        Ok(store) => store,
        Err(what) => {
            report.lose(what);
            return None;
        }
    };
    let mut told = false;
    while let Some(event) = store.event() {
        told |= matches!(event, Event::OlderRoot { .. });
    }
    if fallback && !told {
        report.lose(String::from("the older root was used without a word"));
    }
    if let Some(why) = store.read_only() {
        report.lose(std::format!("read-only after a cut: {why}"));
        return None;
    }
    let judge = |store: &mut Store<SimDisk>| observe(store).and_then(|state| oracle.judge(&state, promised));
    let at = match judge(&mut store) {
        Ok(at) => at,
        Err(what) => {
            report.lose(std::format!("fallback {fallback}: {what}"));
            return None;
        }
    };
    if random.chance(16) {
        if !settle(&mut store) {
            report.lose(String::from("does not settle"));
            return None;
        }
        if let Err(what) = judge(&mut store) {
            report.lose(std::format!("after settling: {what}"));
        }
        let image = store.into_port().into_image();
        if let Err(what) = is_sound(&image) {
            report.leaks += 1;
            report.first.get_or_insert(std::format!("after settling: {what}"));
        }
        return Some((open(image, cut.seed, options()).ok()?, at));
    }
    Some((store, at))
}

/// Runs until `cuts` cuts were examined.
pub fn simulate(seed: u64, cuts: u64, faults: Faults) -> Report {
    let mut report = Report::default();
    let mut part = 0;
    while report.cuts < cuts && report.is_clean() {
        part += 1;
        life(seed.wrapping_mul(1_000_003).wrapping_add(part), cuts, faults, &mut report);
    }
    report
}

/// One store from its making until it has seen enough.
fn life(seed: u64, cuts: u64, faults: Faults, report: &mut Report) {
    let mut run = Run::new(seed, faults);
    run.store.port().cut_every = 1;
    let mut random = Random(seed ^ 0xc0ffee);
    for _ in 0..400 {
        let mut survivor = None;
        let mut after = |run: &mut Run| {
            let found = core::mem::take(&mut run.store.port().cuts);
            // A cut within one turn may have happened before what the turn promised: judge by what was promised then.
            for cut in found {
                if report.cuts >= cuts || !report.is_clean() {
                    break;
                }
                let promised = run.promised_before;
                let lived = examine(cut, &run.oracle, promised, report);
                if random.chance(400) && lived.is_some() {
                    survivor = lived;
                }
            }
            run.promised_before = run.oracle.promised;
            if run.oracle.effects.len() > 64 {
                run.oracle.compact();
            }
        };
        run.operate(&mut after);
        for _ in 0..run.random.below(12) {
            run.turn();
            after(&mut run);
        }
        report.operations += 1;
        if let Some(what) = run.found_wrong.take() {
            report.lose(what);
        }
        if report.cuts >= cuts || !report.is_clean() || run.store.read_only().is_some() {
            return;
        }
        if let Some((store, at)) = survivor {
            report.crashes_lived_on += 1;
            run.live_on(store, at, faults);
        }
    }
}
