//! Bits that flip on the disk, and writes that it lost or misdirected: nothing wrong is ever given out as data; where
//! there is a copy nothing is missing, and scrub restores it.

use super::Random;
use super::disk::{Image, SimDisk};
use super::observe::{Look, observe};
use super::run::verdict::Judge;
use super::run::{Report, open, options, settle};
use crate::format::{LOG_START, ROOT_BLOCKS, SUPER_BLOCKS};
use crate::{CheckOptions, Finding, ReadOnly, Store, check, run};

/// A block worth damaging: superblocks, roots and the log often, else whatever holds something.
fn choose(image: &Image, random: &mut Random) -> u32 {
    let log = (image.blocks() / 64).max(64);
    match random.below(12) {
        0 => SUPER_BLOCKS[random.below(2) as usize],
        1 => ROOT_BLOCKS[random.below(2) as usize],
        2 => 2 + random.below(6) as u32,
        3..5 => LOG_START + random.below(u64::from(log)) as u32,
        _ => {
            let start = u64::from(LOG_START + log);
            let holds = |block: &u32| image.get(*block).as_ref().iter().any(|byte| *byte != 0);
            let mut some = (0..64).map(|_| (start + random.below(u64::from(image.blocks()) - start)) as u32);
            some.find(holds).unwrap_or(8)
        }
    }
}

fn flip(image: &mut Image, block: u32, random: &mut Random) {
    let mut page = image.get(block).clone();
    for _ in 0..1 + random.below(4) {
        let bit = random.below(4096 * 8) as usize;
        page.as_mut()[bit / 8] ^= 1 << (bit % 8);
    }
    image.set(block, page);
}

/// Flips bits of one block of a cut's image, and judges what comes of it.
pub(super) fn examine(image: &Image, random: &mut Random, judge: &Judge<'_>, report: &mut Report) {
    let mut image = image.clone();
    let block = choose(&image, random);
    if ROOT_BLOCKS.contains(&block) && ROOT_BLOCKS.iter().any(|at| !image.get(*at).is_sealed()) {
        // The cut took one root already.
        return;
    }
    flip(&mut image, block, random);
    report.damaged += 1;
    judge_damaged(image, random.next(), &[block], judge, report);
}

/// Mounts a damaged image, reads all of it, and settles it.
pub(super) fn judge_damaged(image: Image, seed: u64, wrong: &[u32], judge: &Judge<'_>, report: &mut Report) {
    let what = std::format!("blocks {wrong:?} damaged");
    let mut store = match open(image, seed, options(judge.defect)) {
        Ok(store) => store,
        // Two damaged blocks may be too many; it was said.
        Err(_) if wrong.len() > 1 => return,
        Err(error) => return report.lose(std::format!("{what}: {error}")),
    };
    let log_end = store.log.next_seq;
    let found = match observe(&mut store, Look::Refusals) {
        Ok(found) => found,
        Err(error) => return report.lose(std::format!("{what}: {error}")),
    };
    report.refused +=
        found.values().flat_map(|s| s.iter()).filter(|s| **s == super::oracle::REFUSED).count() as u64;
    // What was logged last counts only while its blocks are whole (it looks like an earlier power cut then), and a hole
    // in the log is reported: an older state, but one that was.
    let older = store.read_only() == Some(ReadOnly::LogDamaged) || log_end < judge.durable;
    let verdict =
        if older { judge.oracle.judge_old(&found) } else { judge.oracle.judge(&found, judge.promised) };
    if let Err(error) = verdict {
        return report.lose(std::format!("{what}: {error}"));
    }
    if !settle(&mut store) {
        return report.lose(std::format!("{what}: does not settle"));
    }
    scrub(store, &what, report);
}

/// Scrubs, and looks whether every block that has a copy is whole afterwards.
fn scrub(mut store: Store<SimDisk>, what: &str, report: &mut Report) {
    store.scrub();
    let mut polls = 0;
    while store.scrubbed().1 {
        store.poll();
        polls += 1;
        if polls > 1_000_000 {
            return report.lose(std::format!("{what}: scrub hangs"));
        }
    }
    report.repaired += store.scrubbed().0.repaired;
    if store.read_only().is_some() {
        return;
    }
    let mut disk = SimDisk::new(store.into_port().into_image(), 1);
    let mut left = None;
    let checked = run(check(&mut disk, CheckOptions::default(), &mut |finding| {
        if matches!(finding, Finding::Copy(_) | Finding::Superblock(_) | Finding::Page(..) | Finding::Node(_))
        {
            left.get_or_insert(finding);
        }
    }));
    match (checked, left) {
        (Err(error), _) => report.lose(std::format!("{what}: check after scrub: {error}")),
        (_, Some(finding)) => report.lose(std::format!("{what}: scrub left {finding:?}")),
        _ => {}
    }
}
