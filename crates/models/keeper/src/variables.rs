//! Firmware variables: the pages of a VM's flash bank that changed go to a volume which only the host can name.
//!
//! Called by: the store's owner, one [`Save`] at a time; it gives back what ends with [`Save::complete`]. Calls: the store.
//! What a save takes, at most [`PAGES_MAX`] pages, is one transaction: after a power cut all of it is there or nothing.
//! While the guest goes on writing the save takes what has changed since, too; so what it keeps is the flash of one moment,
//! unless that is more than one save takes.

use crate::ask::status;
use crate::job::{Job, Next};
use crate::{Environment, Keeper, PRIVATE, TOKEN, job, snapshots, volumes};
use abi::Status;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use datastore::{BLOCK_BYTES, BlockPort, Completion, Error, Op, PageBytes, Store, Target};

/// Pages of 4 KiB that one save keeps at most: in the worst case each is a record of its transaction.
pub const PAGES_MAX: u32 = 64;
/// Pages that one step copies at most.
const RUN_MAX: u32 = 8;
/// Sectors of a page.
const SECTORS: u32 = 8;
/// Marks its requests to the store among those with [`TOKEN`].
const SAVE: u64 = 1 << 61;

/// The volume of a VM's variables.
pub fn volume_name(vm: &str) -> String {
    format!("{PRIVATE}nvram:{vm}")
}

/// The flash bank that is kept.
pub trait Pages {
    /// The next run of at most `most` pages that changed since they were taken: the first, and how many.
    fn take_changed(&mut self, most: u32) -> Option<(u32, u32)>;
    /// What was taken is not kept: it counts as changed again.
    fn put_back(&mut self, first: u32, count: u32);
    /// Its bytes from an offset on.
    fn read(&mut self, offset: u64, into: &mut [u8]);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    Writing { transaction: u64, volume: u64 },
    Flush,
    Durable,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The store, or this, has more to do at once.
    On,
    /// Something else has to come to its end first.
    Wait,
    /// All that was taken is on stable storage; or nothing of it is kept, and it counts as changed again.
    Done(Result<(), Status>),
}

/// Changed pages on their way to the volume.
#[derive(Debug)]
pub struct Save {
    name: String,
    bytes: u64,
    token: u64,
    stage: Stage,
    taken: Vec<(u32, u32)>,
    in_flight: bool,
    error: Option<Error>,
}

impl Save {
    /// For the volume of that name and size. `number`: another one for each save.
    pub fn new(name: String, bytes: u64, number: u32) -> Self {
        let token = TOKEN | SAVE | u64::from(number);
        Self { name, bytes, token, stage: Stage::Begin, taken: Vec::new(), in_flight: false, error: None }
    }

    /// Takes the end of a request to the store; false: it is another's.
    pub fn complete<Page: AsRef<PageBytes>>(&mut self, completion: &Completion<Page>) -> bool {
        let is_own = completion.token == self.token;
        if is_own {
            self.in_flight = false;
            self.error = self.error.or(completion.result.err());
        }
        is_own
    }

    /// Goes on.
    pub fn step<P: BlockPort>(&mut self, store: &mut Store<P>, pages: &mut impl Pages) -> Step {
        if self.in_flight {
            return Step::Wait;
        }
        if let Some(error) = self.error {
            return self.fail(store, pages, error);
        }
        let result = match self.stage {
            Stage::Begin => self.begin(store),
            Stage::Writing { transaction, volume } => self.write(store, pages, transaction, volume),
            Stage::Flush => self.submit(store, Target::Volume(0), Op::Flush, &mut |_, _| {}).map(|()| {
                self.stage = Stage::Durable;
                Step::On
            }),
            Stage::Durable => Ok(Step::Done(Ok(()))),
        };
        match result {
            Ok(step) => step,
            Err(Error::Busy) => Step::Wait,
            Err(error) => self.fail(store, pages, error),
        }
    }

    /// It is not wanted any more. What is in flight ends without an effect.
    pub fn abandon<P: BlockPort>(&mut self, store: &mut Store<P>) {
        if let Stage::Writing { transaction, .. } = self.stage {
            store.abort(transaction);
        }
        self.stage = Stage::Durable;
    }

    fn begin<P: BlockPort>(&mut self, store: &mut Store<P>) -> Result<Step, Error> {
        let volume = match store.catalog().volume(&self.name) {
            Some(volume) => volume,
            None => store.create_volume(&self.name, self.bytes / 512)?,
        };
        self.stage = Stage::Writing { transaction: store.begin(), volume };
        Ok(Step::On)
    }

    fn write<P: BlockPort>(
        &mut self,
        store: &mut Store<P>,
        pages: &mut impl Pages,
        transaction: u64,
        volume: u64,
    ) -> Result<Step, Error> {
        let count: u32 = self.taken.iter().map(|(_, count)| count).sum();
        let most = PAGES_MAX.saturating_sub(count).min(RUN_MAX);
        if most > 0
            && let Some((first, count)) = pages.take_changed(most)
        {
            self.taken.push((first, count));
            let op = Op::Write {
                sector: u64::from(first.saturating_mul(SECTORS)),
                sectors: count.saturating_mul(SECTORS),
                durable: false,
            };
            let start = u64::from(first).saturating_mul(BLOCK_BYTES as u64);
            let mut fill = |at: usize, into: &mut [u8]| pages.read(start.saturating_add(at as u64), into);
            let written = self.submit(store, Target::Transaction { id: transaction, volume }, op, &mut fill);
            if written == Err(Error::Busy) {
                self.taken.pop();
                pages.put_back(first, count);
            }
            return written.map(|()| Step::On);
        }
        store.commit_transaction(transaction)?;
        self.stage = Stage::Flush;
        Ok(Step::On)
    }

    fn submit<P: BlockPort>(
        &mut self,
        store: &mut Store<P>,
        target: Target,
        op: Op,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<(), Error> {
        store.submit(self.token, target, op, fill)?;
        self.in_flight = true;
        Ok(())
    }

    fn fail<P: BlockPort>(&mut self, store: &mut Store<P>, pages: &mut impl Pages, error: Error) -> Step {
        self.abandon(store);
        self.taken.drain(..).for_each(|(first, count)| pages.put_back(first, count));
        Step::Done(Err(status(error)))
    }
}

impl Keeper {
    /// A VM's variables are new. What its snapshots have of them stays.
    pub(crate) fn reset_variables<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> job::Step {
        let vm = world.vm(job.ask.target)?;
        if vm.is_running {
            return Err(Status::Conflict);
        }
        if vm.is_ending {
            return Ok(Next::Later);
        }
        let Some(volume) = store.catalog().volume(&volume_name(&vm.name)) else { return Ok(Next::ok(0)) };
        let reset = store.revert(&[(volume, None)]);
        job.then_flush(reset, |()| 0)
    }

    /// What the firmware of a VM that is to be made begins with: those of VM `target`, if that is not 0, or what its
    /// snapshot `argument` has of them; new ones where there are none. Only the host asks, and sends the VM's name.
    /// Those of another VM of that name, which a power cut left, go.
    pub(crate) fn begin_variables<P: BlockPort>(
        &self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> job::Step {
        let (name, _) = job.ask.named()?;
        if job.ask.generation != 0 {
            return Err(Status::Denied);
        }
        let (name, catalog) = (volume_name(&name), store.catalog());
        if let Some(old) = catalog.volume(&name) {
            return volumes::delete_part(store, old).map(|_| Next::On).or_else(job::busy_is_later);
        }
        let mut source = None;
        if job.ask.target != 0 {
            let vm = world.vm(job.ask.target)?;
            if vm.is_ending {
                return Ok(Next::Later);
            }
            source = catalog.volume(&volume_name(&vm.name)).map(Target::Volume);
        }
        if let (Some(Target::Volume(volume)), 1..) = (source, job.ask.argument) {
            source = snapshots::part(store, volume, job.ask.argument).ok();
        }
        let made = source.map_or(Ok(0), |source| store.clone_volume(source, &name));
        job.then_flush(made, |_| 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]
mod tests {
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
        assert_eq!(
            go_on(rig.store.as_mut().unwrap(), &mut save, &mut bank, 10_000),
            Some(Step::Done(Ok(())))
        );
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
}
