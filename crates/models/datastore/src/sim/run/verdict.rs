//! The verdict on each power cut: what a mount finds, against what was promised.

use super::super::Random;
use super::super::disk::{Cut, Image, Page, SimDisk};
use super::super::observe::{Look, observe};
use super::super::oracle::Oracle;
use super::{Report, open, options, settle};
use crate::{CheckOptions, Defect, Event, Finding, Store, check, run};
use std::string::String;

/// What a cut is judged by.
pub(in crate::sim) struct Judge<'a> {
    pub oracle: &'a Oracle,
    pub promised: usize,
    /// The log was on stable storage up to here when that was promised.
    pub durable: u64,
    pub defect: Option<Defect>,
}

/// Whether findings are only what a cut in the middle of a root's write explains.
pub(super) fn is_sound(image: &Image) -> Result<(), String> {
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
    let generation = |block| u64::from_le_bytes(image.get(block).as_ref()[8..16].try_into().unwrap());
    let sealed = |block| image.get(block).is_sealed();
    let [a, b] = crate::format::ROOT_BLOCKS;
    if !sealed(a) || !sealed(b) {
        return false;
    }
    let newest = if generation(a) > generation(b) { a } else { b };
    image.set(newest, Page::new([0x5a; 4096]));
    true
}

/// Mounts what a cut left and judges it. Gives back the store and the effects that it holds.
pub(super) fn examine(cut: Cut, judge: &Judge<'_>, report: &mut Report) -> Option<(Store<SimDisk>, usize)> {
    report.cuts += 1;
    let mut random = Random(cut.seed);
    let mut image = cut.image;
    if let Err(what) = is_sound(&image) {
        report.leak(what);
        return None;
    }
    if random.chance(32) {
        super::super::damage::examine(&image, &mut random, judge, report);
    }
    let fallback = random.chance(8) && destroy_newest_root(&mut image);
    report.fallbacks += u64::from(fallback);
    let mut store = match open(image, cut.seed, options(judge.defect)) {
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
    let look = if random.chance(8) { Look::Reads } else { Look::Maps };
    let found = observe(&mut store, look).and_then(|state| judge.oracle.judge(&state, judge.promised));
    let at = match found {
        Ok(at) => at,
        Err(what) => {
            report.lose(std::format!("fallback {fallback}: {what}"));
            return None;
        }
    };
    if random.chance(16) {
        return Some((settled(store, at, judge, report, cut.seed)?, at));
    }
    Some((store, at))
}

/// Lets a mounted store do all that it has to do, and judges it again.
fn settled(
    mut store: Store<SimDisk>,
    at: usize,
    judge: &Judge<'_>,
    report: &mut Report,
    seed: u64,
) -> Option<Store<SimDisk>> {
    if !settle(&mut store) {
        report.lose(String::from("does not settle"));
        return None;
    }
    // Effects of nothing (an overwrite by the same) leave more than one answer: at least this much must be there.
    let found = observe(&mut store, Look::Reads).and_then(|state| judge.oracle.judge(&state, judge.promised));
    match found {
        Ok(now) if now == at => {}
        Ok(now) => report.lose(std::format!("settling moved the state from effect {at} to {now}")),
        Err(what) => report.lose(std::format!("after settling: {what}")),
    }
    let image = store.into_port().into_image();
    if let Err(what) = is_sound(&image) {
        report.leak(std::format!("after settling: {what}"));
    }
    open(image, seed, options(judge.defect)).ok()
}

/// Judges what a disk left that lost or misdirected a write: nothing wrong is given out, and what is missing is said.
pub(super) fn examine_astray(cut: &Cut, wrong: &[u32], judge: &Judge<'_>, report: &mut Report) {
    report.cuts += 1;
    super::super::damage::judge_damaged(cut.image.clone(), cut.seed, wrong, judge, report);
}
