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
mod tests;
