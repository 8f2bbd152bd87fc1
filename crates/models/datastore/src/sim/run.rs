//! A store under a random workload, and the oracle beside it.

mod life;
pub(super) mod verdict;
mod workload;

use super::Random;
use super::disk::{Faults, Image, SimDisk};
use super::oracle::{Effect, Oracle, Tag, pattern};
use crate::{Defect, Error, Op, Options, Progress, Store, Target, format, mount, run};
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

pub use life::{Plan, simulate};

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Power cuts that were examined.
    pub cuts: u64,
    /// Promises that were not kept: something is missing, half there, wrong, or hangs.
    pub losses: u64,
    /// Findings of the offline check: blocks lost to nobody, used twice, or free while in use.
    pub leaks: u64,
    pub lives: u64,
    pub operations: u64,
    /// Mounts with the newest root destroyed.
    pub fallbacks: u64,
    /// Stores that went on with what a cut had left.
    pub lived_on: u64,
    /// Images with flipped bits that were mounted, read and scrubbed.
    pub damaged: u64,
    /// Of those, blocks that scrub restored from a copy.
    pub repaired: u64,
    /// Sectors that the store refused to give since they were not what was written.
    pub refused: u64,
    /// Writes that the disk lost or misdirected.
    pub astray: u64,
    /// Requests that the disk failed.
    pub errors: u64,
    /// Requests that found no space.
    pub full: u64,
    pub first: Option<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.losses == 0 && self.leaks == 0
    }

    pub(super) fn lose(&mut self, what: String) {
        self.losses += 1;
        self.first.get_or_insert(what);
    }

    fn leak(&mut self, what: String) {
        self.leaks += 1;
        self.first.get_or_insert(what);
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.losses += other.losses;
        self.leaks += other.leaks;
        self.lives += other.lives;
        self.operations += other.operations;
        self.fallbacks += other.fallbacks;
        self.lived_on += other.lived_on;
        self.damaged += other.damaged;
        self.repaired += other.repaired;
        self.refused += other.refused;
        self.astray += other.astray;
        self.errors += other.errors;
        self.full += other.full;
        self.first = self.first.take().or(other.first);
    }
}

/// Blocks of the simulated store.
pub(super) const BLOCKS: usize = 4096 + 256;

pub fn options(defect: Option<Defect>) -> Options {
    Options {
        cache_pages: 64,
        io_pages: 128,
        slots: 12,
        generation_weight: 700,
        defect,
        ..Options::default()
    }
}

struct Pending {
    effect: Option<Effect>,
    /// Effects that had counted when a FLUSH was submitted.
    promise: Option<usize>,
}

/// A store under a random workload.
pub struct Run {
    pub store: Store<SimDisk>,
    pub oracle: Oracle,
    random: Random,
    pending: BTreeMap<u64, Pending>,
    next: u32,
    names: u32,
    /// The disk fails requests, or has lost a write.
    errors_expected: bool,
    /// What was promised before the turn in which a cut fell.
    promised_before: usize,
    durable_before: u64,
    found_wrong: Option<String>,
    errors: u64,
    full: u64,
}

/// Mounts an image; a failure is a finding.
pub fn open(image: Image, seed: u64, options: Options) -> Result<Store<SimDisk>, String> {
    run(mount(SimDisk::new(image, seed), options)).map_err(|(_, error)| std::format!("mount: {error}"))
}

/// Does everything that can be done without a request.
pub fn settle<P: crate::BlockPort>(store: &mut Store<P>) -> bool {
    let mut rounds = 0u64;
    loop {
        store.request_checkpoint();
        let mut idle = 0;
        while idle < 50 {
            idle = if store.poll() == Progress::More { 0 } else { idle + 1 };
            rounds += 1;
            if rounds > 3_000_000 {
                return false;
            }
        }
        if store.read_only().is_some() || (!store.collecting() && store.is_settled()) {
            return true;
        }
    }
}

impl Run {
    pub fn new(seed: u64, blocks: usize, defect: Option<Defect>) -> Self {
        let mut disk = SimDisk::new(Image::new(blocks), seed);
        run(format(&mut disk, [seed as u8; 16])).expect("format");
        let store = open(disk.into_image(), seed, options(defect)).expect("first mount");
        Self {
            store,
            oracle: Oracle::default(),
            random: Random(seed ^ 0x5eed),
            pending: BTreeMap::new(),
            next: 1,
            names: 0,
            errors_expected: false,
            promised_before: 0,
            durable_before: 0,
            found_wrong: None,
            errors: 0,
            full: 0,
        }
    }

    /// From now on the disk has these faults.
    fn afflict(&mut self, faults: Faults) {
        self.store.port().faults = faults;
        self.errors_expected = faults.has_errors() || faults.astray.is_some();
    }

    fn token(&mut self) -> u64 {
        self.next += 1;
        u64::from(self.next)
    }

    fn pick(&mut self, prefix: &str) -> Option<String> {
        let names: Vec<&String> = self.oracle.now.keys().filter(|k| k.starts_with(prefix)).collect();
        let at = self.random.below(names.len() as u64) as usize;
        names.get(at).map(|name| (*name).clone())
    }

    fn target(&self, name: &str) -> Target {
        let catalog = self.store.catalog();
        let found = match name.split_at(2) {
            ("v/", rest) => catalog.volume(rest).map(Target::Volume),
            ("o/", rest) => catalog.object(rest).map(Target::Object),
            (_, rest) => catalog
                .iter()
                .find(|(_, e)| matches!(e, crate::Entry::Snapshot { name, .. } if name == rest))
                .map(|(id, _)| Target::Snapshot(id)),
        };
        found.expect("the store has what the oracle has")
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        std::format!("{}", self.names)
    }

    /// Polls once and takes what is finished.
    fn turn(&mut self) -> Progress {
        let progress = self.store.poll();
        while let Some(done) = self.store.completion() {
            let pending = self.pending.remove(&done.token).expect("asked for");
            self.store.recycle(done.pages);
            match done.result {
                Ok(()) => {
                    if let Some(effect) = pending.effect {
                        self.oracle.push(effect);
                    }
                    if let Some(count) = pending.promise {
                        self.oracle.promise(count);
                    }
                }
                Err(Error::NoSpace | Error::Limit) => self.full += 1,
                Err(Error::NotFound) => {}
                Err(error) => {
                    assert!(self.errors_expected, "a request failed: {error}");
                    self.errors += 1;
                }
            }
        }
        progress
    }

    /// Until nothing is in flight.
    pub fn drain(&mut self, after: &mut dyn FnMut(&mut Self)) {
        let mut turns = 0u64;
        while !self.pending.is_empty() {
            self.turn();
            after(self);
            turns += 1;
            assert!(turns < 3_000_000, "a request hangs: {:?}", self.store.usage());
        }
    }

    fn submit(&mut self, target: Target, op: Op, effect: Option<Effect>, id: u32) -> bool {
        let token = self.token();
        let promise = matches!(op, Op::Flush).then(|| self.oracle.count());
        let first = match op {
            Op::Write { sector, .. } => sector,
            _ => 0,
        };
        let mut fill = |offset: usize, into: &mut [u8]| {
            for (i, sector) in into.chunks_mut(512).enumerate() {
                pattern(Tag { id, sector: first as u32 + (offset / 512 + i) as u32 }, sector);
            }
        };
        match self.store.submit(token, target, op, &mut fill) {
            Ok(()) => {
                self.pending.insert(token, Pending { effect, promise });
                return true;
            }
            Err(Error::Busy) => {}
            Err(error) => assert!(self.errors_expected, "a submission failed: {error}"),
        }
        false
    }

    /// Goes on with what a cut left.
    fn live_on(&mut self, mut store: Store<SimDisk>, oracle: Oracle) {
        store.port().faults = self.store.port().faults;
        store.port().cut_every = self.store.port().cut_every;
        self.pending.clear();
        self.promised_before = oracle.promised;
        // What a mount found is on stable storage, even if the log does not say so yet.
        self.durable_before = store.log.next_seq;
        self.oracle = oracle;
        self.store = store;
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, simulate};
    use crate::Defect;

    #[test]
    fn no_cut_loses_or_leaks() {
        let cuts = if cfg!(miri) { 2 } else { 4000 };
        let report = simulate(Plan { seed: 1, cuts, ..Plan::default() });
        assert!(report.is_clean(), "{report:?}");
        assert!(report.cuts >= cuts, "{report:?}");
    }

    /// A block of the log that a power cut left over continues no chain of a later run.
    #[test]
    #[cfg_attr(miri, ignore = "long")]
    fn a_leftover_log_block_does_not_come_back() {
        let report = simulate(Plan { seed: 5, cuts: 1000, life: Some(9), ..Plan::default() });
        assert!(report.is_clean(), "{report:?}");
    }

    /// A simulator that finds nothing shows nothing: defects made on purpose have to be found.
    #[test]
    #[cfg_attr(miri, ignore = "long")]
    fn planted_defects_are_found() {
        for defect in Defect::ALL {
            let report = simulate(Plan { seed: 1, cuts: 100_000, defect: Some(defect), ..Plan::default() });
            assert!(!report.is_clean(), "{defect:?} was not found in {} cuts", report.cuts);
        }
    }
}
