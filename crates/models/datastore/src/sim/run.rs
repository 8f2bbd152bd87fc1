//! A run: a random workload, a cut after one in so many writes, and what is found after each.

mod verdict;

use super::Random;
use super::disk::{Faults, Image, SimDisk};
use super::oracle::{Effect, Oracle, State, difference, pattern, recognize};
use crate::{Entry, Error, Op, Options, Progress, Store, Target, format, mount, run};
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

pub use verdict::simulate;

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub cuts: u64,
    pub losses: u64,
    pub leaks: u64,
    pub crashes_lived_on: u64,
    pub fallbacks: u64,
    pub operations: u64,
    pub first: Option<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.losses == 0 && self.leaks == 0
    }

    fn lose(&mut self, what: String) {
        self.losses += 1;
        self.first.get_or_insert(what);
    }
}

/// Blocks of the simulated store.
const BLOCKS: usize = 4096 + 256;

pub fn options() -> Options {
    Options { cache_pages: 64, io_pages: 64, slots: 12, generation_weight: 700, ..Options::default() }
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
    pub errors_expected: bool,
    promised_before: usize,
    found_wrong: Option<String>,
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

/// Everything that a store holds, as the oracle writes it.
pub fn observe(store: &mut Store<SimDisk>) -> Result<State, String> {
    let mut list = Vec::new();
    for (id, entry) in store.catalog().iter() {
        match entry {
            Entry::Layer { .. } => {}
            Entry::Volume { name, sectors, .. } => {
                list.push((std::format!("v/{name}"), Target::Volume(id), *sectors));
            }
            Entry::Snapshot { name, sectors, .. } => {
                list.push((std::format!("s/{name}"), Target::Snapshot(id), *sectors));
            }
            Entry::Object { name, bytes, .. } => {
                list.push((std::format!("o/{name}"), Target::Object(id), bytes / 512));
            }
        }
    }
    let mut state = State::new();
    for (name, target, sectors) in list {
        let found = read_all(store, target, sectors).map_err(|e| std::format!("{name}: {e}"))?;
        state.insert(name, found);
    }
    Ok(state)
}

fn read_all(store: &mut Store<SimDisk>, target: Target, sectors: u64) -> Result<Vec<u32>, String> {
    let mut found = Vec::new();
    while (found.len() as u64) < sectors {
        let sector = found.len() as u64;
        let count = (sectors - sector).min(32 * 8) as u32;
        read_some(store, target, sector, count, &mut found)?;
    }
    Ok(found)
}

fn read_some(
    store: &mut Store<SimDisk>,
    target: Target,
    sector: u64,
    count: u32,
    found: &mut Vec<u32>,
) -> Result<(), String> {
    let op = Op::Read { sector, sectors: count };
    for turn in 0.. {
        match store.submit(u64::MAX, target, op, &mut |_, _| {}) {
            Ok(()) => break,
            Err(Error::Busy) if turn < 100_000 => store.poll(),
            Err(error) => return Err(error.to_string()),
        };
    }
    for _ in 0..1_000_000 {
        store.poll();
        let Some(done) = store.completion() else { continue };
        assert_eq!(done.token, u64::MAX);
        done.result.map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        done.for_each(|_, piece| bytes.extend_from_slice(piece));
        store.recycle(done.pages);
        for (i, one) in bytes.chunks(512).enumerate() {
            let at = sector + i as u64;
            found.push(recognize(one, at).ok_or_else(|| std::format!("sector {at} is nobody's"))?);
        }
        return Ok(());
    }
    Err(String::from("a read hangs"))
}

impl Run {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut disk = SimDisk::new(Image::new(BLOCKS), seed);
        run(format(&mut disk, [seed as u8; 16])).expect("format");
        let image = disk.into_image();
        let mut store = open(image, seed, options()).expect("first mount");
        store.port().faults = faults;
        Self {
            store,
            oracle: Oracle::default(),
            random: Random(seed ^ 0x5eed),
            pending: BTreeMap::new(),
            next: 1,
            names: 0,
            promised_before: 0,
            found_wrong: None,
            errors_expected: faults.write_errors + faults.read_errors > 0,
        }
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
                .find(|(_, e)| matches!(e, Entry::Snapshot { name, .. } if name == rest))
                .map(|(id, _)| Target::Snapshot(id)),
        };
        found.expect("the store has what the oracle has")
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        self.names.to_string()
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
                Err(Error::NoSpace | Error::NotFound) => {}
                Err(error) => assert!(self.errors_expected, "a request failed: {error}"),
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
                pattern(id, first + (offset / 512 + i) as u64, sector);
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
    fn live_on(&mut self, mut store: Store<SimDisk>, at: usize, faults: Faults) {
        store.port().faults = faults;
        store.port().cut_every = 1;
        self.pending.clear();
        let oracle = &mut self.oracle;
        let mut base = oracle.base.clone();
        let count = at - oracle.dropped;
        oracle.effects[..count].iter().for_each(|effect| effect.apply(&mut base));
        self.oracle = Oracle { now: base.clone(), base, effects: Vec::new(), dropped: 0, promised: 0 };
        self.promised_before = 0;
        self.store = store;
    }

    /// One random operation.
    pub fn operate(&mut self, after: &mut dyn FnMut(&mut Self)) {
        let choice = self.random.below(100);
        let Some(volume) = self.pick("v/") else { return self.create(after) };
        let size = self.oracle.now[&volume].len();
        match choice {
            0..55 => self.write(&volume, size),
            55..75 => {
                self.submit(self.target(&volume), Op::Flush, None, 0);
            }
            75..80 => self.snapshot(&volume, after),
            80..83 => self.clone_some(after),
            83..85 => self.create(after),
            85..89 => self.delete(after),
            89..91 => self.revert(&volume, after),
            91..94 => self.discard(&volume, size, after),
            94..96 => self.object(after),
            96..98 => self.transaction(after),
            98..99 => self.resize(&volume, size, after),
            _ if self.random.chance(2) => self.look(after),
            _ => self.store.request_checkpoint(),
        }
    }

    /// What the running store holds is what the oracle says.
    fn look(&mut self, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        match observe(&mut self.store) {
            Ok(state) if state == self.oracle.now => {}
            Ok(state) => {
                self.found_wrong = Some(std::format!("alive: {}", difference(&self.oracle.now, &state)))
            }
            Err(what) => assert!(self.errors_expected, "alive: {what}"),
        }
    }

    fn write(&mut self, volume: &str, size: usize) {
        let first = self.random.below(size as u64) as usize;
        let mut count = 1 + self.random.below(24) as usize;
        let mut first = first;
        if !self.random.chance(4) {
            first &= !7;
            count = count.next_multiple_of(8);
        }
        let count = count.min(size - first);
        let id = self.token() as u32;
        let effect = Effect::Write { name: volume.to_string(), first, count, id };
        let op = Op::Write { sector: first as u64, sectors: count as u32, durable: false };
        self.submit(self.target(volume), op, Some(effect), id);
    }

    /// Management is exclusive here: the order in which effects count is then known.
    fn quiet(
        &mut self,
        after: &mut dyn FnMut(&mut Self),
        act: impl FnOnce(&mut Self) -> Result<Effect, Error>,
    ) {
        self.drain(after);
        match act(self) {
            Ok(effect) => self.oracle.push(effect),
            Err(Error::Busy | Error::NoSpace) => {}
            Err(Error::ReadOnly(_)) if self.errors_expected => {}
            Err(error) => panic!("management failed: {error}"),
        }
    }

    fn create(&mut self, after: &mut dyn FnMut(&mut Self)) {
        let name = self.fresh();
        let blocks =
            if self.random.chance(3) { 600 + self.random.below(600) } else { 8 + self.random.below(100) };
        if self.oracle.now.keys().filter(|k| k.starts_with("v/")).count() > 5 {
            return;
        }
        self.quiet(after, |run| {
            run.store.create_volume(&name, blocks * 8)?;
            Ok(Effect::Put { name: std::format!("v/{name}"), sectors: std::vec![0; blocks as usize * 8] })
        });
    }

    fn snapshot(&mut self, volume: &str, after: &mut dyn FnMut(&mut Self)) {
        let name = self.fresh();
        self.quiet(after, |run| {
            let Target::Volume(id) = run.target(volume) else { unreachable!() };
            run.store.snapshot(id, &name, 0, [0; 16])?;
            Ok(Effect::Copy { from: volume.to_string(), to: std::format!("s/{name}") })
        });
    }

    fn clone_some(&mut self, after: &mut dyn FnMut(&mut Self)) {
        let Some(from) = self.pick(if self.random.clone().chance(2) { "v/" } else { "s/" }) else { return };
        let name = self.fresh();
        if self.oracle.now.len() > 12 {
            return;
        }
        self.quiet(after, |run| {
            run.store.clone_volume(run.target(&from), &name)?;
            Ok(Effect::Copy { from, to: std::format!("v/{name}") })
        });
    }

    fn delete(&mut self, after: &mut dyn FnMut(&mut Self)) {
        let prefix = ["s/", "s/", "v/", "o/"][self.random.below(4) as usize];
        let Some(name) = self.pick(prefix) else { return };
        self.quiet(after, |run| {
            run.store.delete(run.target(&name))?;
            Ok(Effect::Remove { name })
        });
    }

    fn revert(&mut self, volume: &str, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        let Target::Volume(id) = self.target(volume) else { unreachable!() };
        let of = |e: &Entry| match e {
            Entry::Snapshot { volume, name, .. } if *volume == id => Some(name.clone()),
            _ => None,
        };
        let found = self.store.catalog().iter().find_map(|(s, e)| of(e).map(|name| (s, name)));
        let Some((snapshot, name)) = found else { return };
        self.quiet(after, |run| {
            run.store.revert(id, snapshot)?;
            Ok(Effect::Copy { from: std::format!("s/{name}"), to: volume.to_string() })
        });
    }

    fn discard(&mut self, volume: &str, size: usize, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        // Within one chunk a discard counts at once; over several, chunk by chunk.
        let chunk = self.random.below((size / 8 / 508 + 1) as u64) as usize;
        let first = chunk * 508 * 8;
        let count = (508 * 8).min(size - first);
        let (from, n) = if self.random.chance(2) {
            (first, count)
        } else {
            let from = first + self.random.below(count.max(1) as u64) as usize / 8 * 8;
            (from, ((first + count) - from).min(8 * (1 + self.random.below(40) as usize)) / 8 * 8)
        };
        if n == 0 {
            return;
        }
        let effect = Effect::Write { name: volume.to_string(), first: from, count: n, id: 0 };
        let op = Op::Discard { sector: from as u64, sectors: n as u64 };
        self.submit(self.target(volume), op, Some(effect), 0);
        self.drain(after);
    }

    fn resize(&mut self, volume: &str, size: usize, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        let sectors = if self.random.chance(2) { size + 64 } else { (size - size / 8).max(8) / 8 * 8 };
        if size / 8 > 500 {
            return;
        }
        let cut = size.saturating_sub(sectors);
        let blank = Effect::Write { name: volume.to_string(), first: sectors.min(size), count: cut, id: 0 };
        let target = self.target(volume);
        let token = self.token();
        if self.store.submit(token, target, Op::Resize { sectors: sectors as u64 }, &mut |_, _| {}).is_err() {
            return;
        }
        // Two effects: what is cut off is blanked, then the size changes.
        self.oracle.push(blank);
        let resize = Effect::Resize { name: volume.to_string(), sectors };
        self.pending.insert(token, Pending { effect: Some(resize), promise: None });
        self.drain(after);
    }

    fn fill_staging(&mut self, staging: Target, sectors: usize, id: u32, after: &mut dyn FnMut(&mut Self)) {
        for first in (0..sectors).step_by(64) {
            let count = (sectors - first).min(64) as u32;
            let op = Op::Write { sector: first as u64, sectors: count, durable: false };
            while !self.submit(staging, op, None, id) && self.store.read_only().is_none() {
                self.turn();
                after(self);
            }
            self.drain(after);
        }
    }

    fn object(&mut self, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        let Ok(staging) = self.store.begin_object() else { return };
        let sectors = 8 * (1 + self.random.below(20) as usize);
        let id = self.token() as u32;
        self.fill_staging(staging, sectors, id, after);
        let name = std::format!("{}", self.random.below(3));
        let transaction = self.store.begin();
        self.store.put_object(transaction, &name, staging, sectors as u64 * 512).expect("put");
        let effect = Effect::Put { name: std::format!("o/{name}"), sectors: std::vec![id; sectors] };
        self.commit(transaction, effect, after);
    }

    fn transaction(&mut self, after: &mut dyn FnMut(&mut Self)) {
        self.drain(after);
        let transaction = self.store.begin();
        let mut effects = Vec::new();
        for _ in 0..3 {
            let Some(volume) = self.pick("v/") else { return };
            let size = self.oracle.now[&volume].len();
            let Target::Volume(id) = self.target(&volume) else { unreachable!() };
            let first = self.random.below(size as u64) as usize / 8 * 8;
            let count = 8.min(size - first);
            let write = self.token() as u32;
            let op = Op::Write { sector: first as u64, sectors: count as u32, durable: false };
            if self.submit(Target::Transaction { id: transaction, volume: id }, op, None, write) {
                effects.push(Effect::Write { name: volume, first, count, id: write });
            }
            self.drain(after);
        }
        if self.random.chance(4) || self.errors_expected {
            return self.store.abort(transaction);
        }
        self.commit(transaction, Effect::All(effects), after);
    }

    fn commit(&mut self, transaction: u64, effect: Effect, after: &mut dyn FnMut(&mut Self)) {
        for _ in 0..10_000 {
            match self.store.commit_transaction(transaction) {
                Ok(()) => return self.oracle.push(effect),
                Err(Error::Busy) => {}
                Err(Error::NoSpace) => return,
                Err(Error::ReadOnly(_)) if self.errors_expected => return,
                Err(error) => panic!("commit failed: {error}"),
            }
            self.turn();
            after(self);
        }
        self.store.abort(transaction);
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, simulate};

    #[test]
    fn no_cut_loses_or_leaks() {
        let cuts = if cfg!(miri) { 2 } else { 700 };
        for seed in 1..4 {
            let report = simulate(seed, cuts, Faults::default());
            assert!(report.is_clean(), "seed {seed}: {report:?}");
        }
    }
}
