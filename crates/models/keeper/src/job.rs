//! A request on its way: the steps that all requests share.
//!
//! Called by: [`Keeper::step`]. Calls: the store, and the modules of the requests. Invariant: at most one request to the
//! store in flight for each job; a job whose request is in flight is not advanced.

use crate::ask::{Ask, status};
use crate::audit::Load;
use crate::{Environment, Keeper};
use abi::{Answer, RequestKind, Status};
use alloc::vec::Vec;
use datastore::{BlockPort, Completion, Error, Op, PageBytes, Store, Target};

/// A request being carried out.
#[derive(Debug)]
pub(crate) struct Job {
    pub ask: Ask,
    /// Names its request to the store.
    pub token: u64,
    pub stage: Stage,
    /// The keeper's own: nobody waits for its answer.
    pub is_internal: bool,
    waits: bool,
    /// How its request to the store ended, and what was read.
    ended: Result<(), Error>,
    pub bytes: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Nothing was done yet.
    Begin,
    /// Contents of an object are being written.
    Staging(Target),
    /// More of an upload is being written.
    Appending,
    /// Bytes are being read: how many of them are in front of those asked for, how many are asked for.
    Reading {
        skip: usize,
        bytes: usize,
        value: u64,
    },
    /// A transaction has everything that it is to have.
    Commit {
        transaction: u64,
        value: u64,
    },
    /// It is done when a request to the store is.
    Last {
        value: u64,
    },
    /// It is done when what was done is on stable storage.
    Flush {
        value: u64,
    },
    /// The end of the audit chain is being looked for.
    Loading(Load),
    /// An entry of the audit chain is being written, then its place in the index; within a transaction.
    Entry {
        transaction: u64,
    },
    Index {
        transaction: u64,
    },
    /// Entries of the audit chain are being read: the number of the one that is next, and where it starts.
    Entries {
        number: u64,
        sector: Option<u64>,
    },
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A request to the store is in flight.
    Wait,
    /// The next step can follow at once.
    On,
    /// Something is busy: try again after something else.
    Later,
    /// The end.
    Done(Answer, Vec<u8>),
}

impl Next {
    /// Done, with a value.
    pub const fn ok(value: u64) -> Self {
        Self::Done(Answer { status: Status::Ok as i64, value }, Vec::new())
    }

    /// Refused.
    pub const fn refused(status: Status) -> Self {
        Self::Done(Answer::of(status), Vec::new())
    }
}

/// What a step comes to: `Err` ends it with a status.
pub(crate) type Step = Result<Next, Status>;

/// Starts a request to the store; a write's bytes come from `from`, then zeros. `stage` becomes `then`.
pub(crate) fn start<P: BlockPort>(
    (token, stage): (u64, &mut Stage),
    store: &mut Store<P>,
    target: Target,
    op: Op,
    from: &[u8],
    then: Stage,
) -> Step {
    let mut fill = |offset: usize, into: &mut [u8]| {
        let rest = from.get(offset..).unwrap_or_default();
        let (data, zeros) = into.split_at_mut(rest.len().min(into.len()));
        data.copy_from_slice(rest.get(..data.len()).unwrap_or_default());
        zeros.fill(0);
    };
    match store.submit(token, target, op, &mut fill) {
        Ok(()) => {
            *stage = then;
            Ok(Next::Wait)
        }
        Err(Error::Busy) => Ok(Next::Later),
        Err(error) => Err(status(error)),
    }
}

impl Job {
    pub fn new(ask: Ask, token: u64) -> Self {
        Self {
            ask,
            token,
            stage: Stage::Begin,
            is_internal: false,
            waits: false,
            ended: Ok(()),
            bytes: Vec::new(),
        }
    }

    /// Where a request of this job is written down.
    pub fn place(&mut self) -> (u64, &mut Stage) {
        (self.token, &mut self.stage)
    }

    pub const fn is_waiting(&self) -> bool {
        self.waits
    }

    pub fn wait(&mut self) {
        self.waits = true;
    }

    pub fn complete<Page: AsRef<PageBytes>>(&mut self, completion: &Completion<Page>) {
        self.waits = false;
        self.ended = completion.result;
        self.bytes.clear();
        completion.for_each(|_, piece| self.bytes.extend_from_slice(piece));
    }

    /// Reads `bytes` bytes from `offset` on, wherever they start.
    pub fn read<P: BlockPort>(
        &mut self,
        store: &mut Store<P>,
        target: Target,
        offset: u64,
        bytes: usize,
        value: u64,
    ) -> Step {
        let skip = (offset % 512) as usize;
        let sectors = u32::try_from(skip.saturating_add(bytes).div_ceil(512)).map_err(|_| Status::Invalid)?;
        if bytes == 0 {
            return Ok(Next::ok(value));
        }
        let op = Op::Read { sector: offset / 512, sectors };
        start(self.place(), store, target, op, &[], Stage::Reading { skip, bytes, value })
    }

    /// A change of the catalog was made: it is done when it is on stable storage.
    pub fn then_flush<T>(&mut self, changed: Result<T, Error>, value: impl FnOnce(T) -> u64) -> Step {
        match changed {
            Ok(made) => {
                self.stage = Stage::Flush { value: value(made) };
                Ok(Next::On)
            }
            Err(error) => busy_is_later(error),
        }
    }
}

/// Where the log has no room, the store is asked again.
pub(crate) fn busy_is_later(error: Error) -> Step {
    if error == Error::Busy { Ok(Next::Later) } else { Err(status(error)) }
}

/// Sectors that `bytes` bytes take.
pub(crate) fn sectors(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(512)).unwrap_or(u32::MAX)
}

impl Keeper {
    /// One step of a job.
    pub(crate) fn advance<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: Option<&mut Store<P>>,
        world: &mut impl Environment,
    ) -> Next {
        let ended = core::mem::replace(&mut job.ended, Ok(()));
        let mut store = store;
        let step = match (ended, store.as_deref_mut()) {
            (Err(error), _) => Err(status(error)),
            _ if job.stage == Stage::Begin && job.ask.is_denied() => Err(Status::Denied),
            (Ok(()), Some(store)) => self.go_on(job, store, world),
            (Ok(()), None) => self.without_store(job, world),
        };
        step.unwrap_or_else(|status| {
            self.undo(job, store);
            Next::refused(status)
        })
    }

    fn go_on<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &mut impl Environment,
    ) -> Step {
        match job.stage {
            Stage::Begin => self.begin(job, store, world),
            Stage::Staging(target) => self.name_object(job, store, target),
            Stage::Appending => self.appended(job),
            Stage::Reading { skip, bytes, value } => {
                let end = skip.saturating_add(bytes);
                let given = job.bytes.get(skip..end).ok_or(Status::Io)?.to_vec();
                Ok(Next::Done(Answer { status: Status::Ok as i64, value }, given))
            }
            Stage::Commit { transaction, value } => {
                let committed = store.commit_transaction(transaction);
                job.then_flush(committed, |()| value)
            }
            Stage::Last { value } => Ok(Next::ok(value)),
            Stage::Flush { value } => {
                start(job.place(), store, Target::Volume(0), Op::Flush, &[], Stage::Last { value })
            }
            Stage::Loading(load) => self.load_audit(job, store, load),
            Stage::Entry { transaction } => self.entry_written(job, store, transaction),
            Stage::Index { transaction } => self.index_written(job, store, transaction),
            Stage::Entries { number, sector } => self.read_entries(job, store, number, sector),
        }
    }

    fn begin<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &mut impl Environment,
    ) -> Step {
        use RequestKind as Kind;
        crate::objects::may_change(&job.ask, world)?;
        match job.ask.kind {
            Kind::ListObjects => self.list_objects(job, Some(store)),
            Kind::ReadObject => self.read_object(job, store),
            Kind::WriteObject => self.write_object(job, store),
            Kind::AppendObject => self.append_object(job, store),
            Kind::DeleteObject => self.delete_object(job, store),
            Kind::RenameObject => self.rename_object(job, store),
            Kind::AppendAudit => self.append_audit(job, store, world),
            Kind::ReadAudit => self.read_audit(job, store),
            Kind::InspectDatastore => self.inspect(store, world),
            Kind::SnapshotVm => self.snapshot_vm(job, store, world),
            Kind::RevertVm => self.revert_vm(job, store, world),
            Kind::DeleteVmSnapshot => self.delete_vm_snapshot(job, store, world),
            Kind::ListVmSnapshots => self.list_vm_snapshots(job, store, world),
            Kind::ResetFirmwareVariables => self.reset_variables(job, store, world),
            Kind::CloneVm => self.begin_variables(job, store, world),
            _ => self.volumes(job, store, world),
        }
    }

    /// Without a datastore: objects and the audit chain are in RAM, and there is nothing else.
    fn without_store(&mut self, job: &mut Job, world: &impl Environment) -> Step {
        use RequestKind as Kind;
        match job.ask.kind {
            Kind::ListObjects => self.list_objects(job, None::<&mut Store<NoPort>>),
            Kind::ReadObject
            | Kind::WriteObject
            | Kind::AppendObject
            | Kind::DeleteObject
            | Kind::RenameObject => self.ram.carry_out(&job.ask),
            Kind::AppendAudit => self.audit.append_in_ram(&job.ask, world),
            Kind::ReadAudit => self.audit.read_in_ram(&job.ask),
            Kind::InspectDatastore => Ok(self.inspect_nothing()),
            Kind::ListVolumes | Kind::ListVmSnapshots => Ok(Next::ok(0)),
            _ => Err(Status::NoDatastore),
        }
    }

    /// A request failed: what was begun is undone.
    fn undo<P: BlockPort>(&mut self, job: &Job, store: Option<&mut Store<P>>) {
        match (job.stage, store) {
            (Stage::Staging(target), Some(store)) => store.drop_object(target),
            (Stage::Entry { transaction } | Stage::Index { transaction }, Some(store)) => {
                store.abort(transaction);
                self.audit.release();
            }
            (Stage::Loading(_), _) => self.audit.forget_place(),
            (Stage::Appending, _) => self.append_failed(job),
            _ => {}
        }
    }
}

/// For where there is no store.
enum NoPort {}

impl BlockPort for NoPort {
    type Page = alloc::boxed::Box<PageBytes>;

    fn blocks(&self) -> u64 {
        0
    }
    fn allocate(&mut self) -> Option<Self::Page> {
        None
    }
    fn submit(&mut self, io: datastore::Io<Self::Page>) -> Result<(), datastore::Io<Self::Page>> {
        Err(io)
    }
    fn complete(&mut self) -> Option<datastore::IoDone<Self::Page>> {
        None
    }
}
