//! The workload: what people and guests do with a store, chosen at random.

use super::super::observe::{BALLAST, Look, observe};
use super::super::oracle::Effect;
use super::{Pending, Run};
use crate::{Entry, Error, Op, Target};
use std::string::{String, ToString};
use std::vec::Vec;

type After<'a> = &'a mut dyn FnMut(&mut Run);

impl Run {
    /// One random operation.
    pub fn operate(&mut self, after: After<'_>) {
        let choice = self.random.below(100);
        let Some(volume) = self.pick("v/") else { return self.create(after) };
        let size = self.oracle.now[&volume].len();
        match choice {
            0..53 => self.write(&volume, size),
            53..55 => self.write_durably(&volume, size, after),
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
    pub(super) fn look(&mut self, after: After<'_>) {
        self.drain(after);
        let how = if self.errors_expected { Look::Refusals } else { Look::Reads };
        let count = self.oracle.count();
        let verdict = observe(&mut self.store, how).and_then(|state| self.oracle.judge(&state, count));
        if let Err(what) = verdict {
            self.found_wrong.get_or_insert(std::format!("alive: {what}"));
        }
    }

    /// A write with FUA: when it completes, it and all before it are promised.
    fn write_durably(&mut self, volume: &str, size: usize, after: After<'_>) {
        self.drain(after);
        if self.errors_expected {
            // One that fails may be there or not; the oracle has no "or".
            return;
        }
        let (before, full) = (self.oracle.now.clone(), self.full);
        let first = self.random.below(size as u64) as usize;
        let (count, id) = ((1 + self.random.below(16) as usize).min(size - first), self.token() as u32);
        let effect = Effect::Write { name: volume.to_string(), first, count, id };
        let op = Op::Write { sector: first as u64, sectors: count as u32, durable: true };
        if self.submit(self.target(volume), op, None, id) {
            // It may count long before it completes.
            self.oracle.push(effect);
        }
        self.drain(after);
        if self.full > full {
            self.oracle.effects.pop();
            self.oracle.now = before;
        }
        self.oracle.promise(self.oracle.count());
    }

    fn write(&mut self, volume: &str, size: usize) {
        let first = self.random.below(size as u64) as usize;
        // Now and then a long one, which a full store breaks into many runs.
        let most = if self.random.chance(50) { 256 * 8 } else { 24 };
        let mut count = 1 + self.random.below(most) as usize;
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
    fn quiet(&mut self, after: After<'_>, act: impl FnOnce(&mut Self) -> Result<Effect, Error>) {
        self.drain(after);
        match act(self) {
            Ok(effect) => self.oracle.push(effect),
            Err(Error::Busy) => {}
            Err(Error::NoSpace) => self.full += 1,
            Err(Error::ReadOnly(_)) if self.errors_expected => {}
            Err(error) => panic!("management failed: {error}"),
        }
    }

    fn create(&mut self, after: After<'_>) {
        let name = self.fresh();
        // Some have two chunks.
        let blocks =
            if self.random.chance(5) { 500 + self.random.below(100) } else { 8 + self.random.below(60) };
        if self.oracle.now.keys().filter(|k| k.starts_with("v/")).count() > 3 {
            return;
        }
        self.quiet(after, |run| {
            run.store.create_volume(&name, blocks * 8)?;
            Ok(Effect::Put { name: std::format!("v/{name}"), sectors: std::vec![0; blocks as usize * 8] })
        });
    }

    fn snapshot(&mut self, volume: &str, after: After<'_>) {
        let name = self.fresh();
        if self.oracle.now.len() > 10 {
            return self.delete(after);
        }
        self.quiet(after, |run| {
            let Target::Volume(id) = run.target(volume) else { unreachable!() };
            run.store.snapshot(&[id], &name, 0, [0; 16])?;
            Ok(Effect::Copy { from: volume.to_string(), to: std::format!("s/{name}") })
        });
    }

    fn clone_some(&mut self, after: After<'_>) {
        let Some(from) = self.pick(if self.random.clone().chance(2) { "v/" } else { "s/" }) else { return };
        let name = self.fresh();
        if self.oracle.now.len() > 8 {
            return;
        }
        self.quiet(after, |run| {
            run.store.clone_volume(run.target(&from), &name)?;
            Ok(Effect::Copy { from, to: std::format!("v/{name}") })
        });
    }

    fn delete(&mut self, after: After<'_>) {
        let prefix = ["s/", "s/", "v/", "o/"][self.random.below(4) as usize];
        let Some(name) = self.pick(prefix) else { return };
        let other = self.pick(prefix).filter(|other| *other != name);
        self.drain(after);
        let full = self.full;
        self.quiet(after, |run| {
            let names = [Some(name), other].into_iter().flatten();
            let targets: Vec<Target> = names.clone().map(|name| run.target(&name)).collect();
            run.store.delete(&targets)?;
            Ok(Effect::All(names.map(|name| Effect::Remove { name }).collect()))
        });
        if self.full > full {
            self.found_wrong.get_or_insert(String::from("a full store refused a deletion"));
        }
    }

    /// Fills the store with what is not looked at, but for some blocks at both ends.
    pub(super) fn fill_up(&mut self, spare: u64) {
        let mut nothing = |_: &mut Run| {};
        for n in 0.. {
            let id = loop {
                match self.store.create_volume(&std::format!("{BALLAST}{n}"), 512 * 8) {
                    Ok(id) => break id,
                    Err(Error::Busy) => drop(self.turn()),
                    Err(error) => panic!("no ballast: {error}"),
                }
            };
            for first in (0..512 * 8).step_by(64 * 8) {
                let available = self.store.usage().available;
                if available < spare / 2 + 64 {
                    let first = self.store.catalog().volume(&std::format!("{BALLAST}0")).expect("made");
                    let op = Op::Discard { sector: 0, sectors: spare / 2 * 8 };
                    while !self.submit(Target::Volume(first), op, None, 0) {
                        self.turn();
                    }
                    self.drain(&mut nothing);
                    return self.settle_or_say();
                }
                let op = Op::Write { sector: first, sectors: 64 * 8, durable: false };
                while !self.submit(Target::Volume(id), op, None, 1) {
                    self.turn();
                }
                self.drain(&mut nothing);
            }
        }
    }

    pub(super) fn settle_or_say(&mut self) {
        if !super::settle(&mut self.store) {
            self.found_wrong.get_or_insert(String::from("does not settle"));
        }
    }

    /// Deletes everything: all space has to come back.
    pub(super) fn delete_all(&mut self, after: After<'_>, at_first: u64) {
        self.drain(after);
        let all: Vec<Target> = self.store.catalog().iter().filter_map(|(id, e)| target_of(id, e)).collect();
        for target in all {
            let name = self.name_of(target);
            let done = loop {
                match self.store.delete(&[target]) {
                    Err(Error::Busy) => {
                        self.turn();
                        after(self);
                    }
                    other => break other,
                }
            };
            match (done, name) {
                (Ok(()), Some(name)) => self.oracle.push(Effect::Remove { name }),
                (Ok(()), None) => {}
                (Err(error), _) => {
                    self.found_wrong.get_or_insert(std::format!("a deletion failed: {error}"));
                }
            }
        }
        self.settle_or_say();
        // What the last checkpoint freed is spared for the older root; one more, and it is not.
        self.settle_or_say();
        let usage = self.store.usage();
        if usage.available + usage.freed != at_first {
            self.found_wrong.get_or_insert(std::format!("{usage:?} when empty, {at_first} at first"));
        }
    }

    fn name_of(&self, target: Target) -> Option<String> {
        self.oracle.now.keys().find(|name| self.target(name) == target).cloned()
    }

    /// One volume, or several at once, to a snapshot of theirs or, now and then, to nothing.
    fn revert(&mut self, volume: &str, after: After<'_>) {
        self.drain(after);
        let mut volumes: Vec<String> =
            self.oracle.now.keys().filter(|k| k.starts_with("v/")).cloned().collect();
        if self.random.chance(2) {
            volumes.retain(|name| name == volume);
        }
        let (mut parts, mut effects) = (Vec::new(), Vec::new());
        for to in volumes {
            let Target::Volume(id) = self.target(&to) else { unreachable!() };
            let of = |e: &Entry| match e {
                Entry::Snapshot { volume, name, .. } if *volume == id => Some(std::format!("s/{name}")),
                _ => None,
            };
            let found = self.store.catalog().iter().find_map(|(s, e)| of(e).map(|name| (s, name)));
            if let Some((snapshot, from)) = found {
                parts.push((id, Some(snapshot)));
                effects.push(Effect::Copy { from, to });
            } else if self.random.chance(10) {
                parts.push((id, None));
                effects.push(Effect::Put { sectors: std::vec![0; self.oracle.now[&to].len()], name: to });
            }
        }
        if !parts.is_empty() {
            self.quiet(after, |run| run.store.revert(&parts).map(|()| Effect::All(effects)));
        }
    }

    fn discard(&mut self, volume: &str, size: usize, after: After<'_>) {
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

    fn resize(&mut self, volume: &str, size: usize, after: After<'_>) {
        self.drain(after);
        let sectors = if self.random.chance(2) { size + 64 } else { (size - size / 8).max(8) / 8 * 8 };
        if size / 8 > 500 || self.errors_expected {
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

    fn fill_staging(&mut self, staging: Target, sectors: usize, id: u32, after: After<'_>) {
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

    /// An object's new contents, within a transaction.
    fn put_some(&mut self, transaction: u64, after: After<'_>) -> Option<Effect> {
        self.drain(after);
        let staging = self.store.begin_object().ok()?;
        let sectors = 8 * (1 + self.random.below(20) as usize);
        let (id, failures) = (self.token() as u32, self.full + self.errors);
        self.fill_staging(staging, sectors, id, after);
        if self.store.read_only().is_some() || self.full + self.errors > failures {
            self.store.drop_object(staging);
            return None;
        }
        let name = std::format!("{}", self.random.below(3));
        self.store.put_object(transaction, &name, staging, sectors as u64 * 512).expect("put");
        Some(Effect::Put { name: std::format!("o/{name}"), sectors: std::vec![id; sectors] })
    }

    fn object(&mut self, after: After<'_>) {
        let transaction = self.store.begin();
        match self.put_some(transaction, after) {
            Some(effect) => self.commit(transaction, effect, after),
            None => self.store.abort(transaction),
        }
    }

    /// Several volumes, and perhaps an object, at once.
    fn transaction(&mut self, after: After<'_>) {
        self.drain(after);
        let transaction = self.store.begin();
        let (mut effects, failures) = (Vec::new(), self.full + self.errors);
        // A large one takes several blocks of the log.
        let (writes, most) = if self.random.chance(6) { (40, 60 * 8) } else { (3, 8) };
        for _ in 0..writes {
            let Some(volume) = self.pick("v/") else { break };
            let size = self.oracle.now[&volume].len();
            let Target::Volume(id) = self.target(&volume) else { unreachable!() };
            // Parts of blocks, too, some of them of one that it has written before.
            let part = if self.random.chance(4) { 1 } else { 8 };
            let first = self.random.below(size as u64) as usize / part * part;
            let count = most.min(size - first);
            let write = self.token() as u32;
            let op = Op::Write { sector: first as u64, sectors: count as u32, durable: false };
            if self.submit(Target::Transaction { id: transaction, volume: id }, op, None, write) {
                effects.push(Effect::Write { name: volume, first, count, id: write });
            }
            self.drain(after);
        }
        if self.random.chance(2) {
            effects.extend(self.put_some(transaction, after));
        }
        if self.random.chance(4) || self.full + self.errors > failures {
            return self.store.abort(transaction);
        }
        self.commit(transaction, Effect::All(effects), after);
    }

    fn commit(&mut self, transaction: u64, effect: Effect, after: After<'_>) {
        for _ in 0..10_000 {
            match self.store.commit_transaction(transaction) {
                Ok(()) => return self.oracle.push(effect),
                Err(Error::Busy) => {}
                // The limit: a nearly full store gives out single blocks, and each is a record.
                Err(Error::NoSpace | Error::Limit) => {
                    self.full += 1;
                    return;
                }
                Err(Error::ReadOnly(_)) if self.errors_expected => return,
                Err(error) => panic!("commit failed: {error}"),
            }
            self.turn();
            after(self);
        }
        self.store.abort(transaction);
    }
}

fn target_of(id: u64, entry: &Entry) -> Option<Target> {
    match entry {
        Entry::Layer { .. } => None,
        Entry::Volume { .. } => Some(Target::Volume(id)),
        Entry::Snapshot { .. } => Some(Target::Snapshot(id)),
        Entry::Object { .. } => Some(Target::Object(id)),
    }
}
