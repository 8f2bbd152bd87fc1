//! The keeper: it carries out what a world asks of the datastore, and keeps what must survive hostd.
//!
//! Called by: the store's owner (the PE that is the datastore's home; a fake vmkernel on a PC). Calls: [`Store`].
//! A request is a small state machine ([`Job`]) with at most one request to the store in flight, so that nothing here
//! waits. Without a datastore objects and the audit chain live in RAM ([`ram`]); when one is made they move there.
//!
//! | module | what |
//! |---|---|
//! | [`ask`] | requests, answers, and what is asked of the world around |
//! | [`job`] | the steps that all requests share |
//! | `objects`, `volumes`, `snapshots`, `audit` | the requests, by what they are about |
//! | [`ram`] | objects in RAM |
//! | [`variables`] | VMs' firmware variables |
//!
//! Concurrency: one owner. Source of the requests: `abi::request`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "rig"))]
extern crate std;

pub mod ask;
mod audit;
mod job;
mod objects;
mod ram;
#[cfg(any(test, feature = "rig"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[allow(clippy::cast_possible_truncation, missing_docs)]
pub mod rig;
mod snapshots;
#[cfg(test)]
mod tests;
pub mod variables;
mod volumes;

pub use ask::{Ask, Environment, Finished, Use, VmView};

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use datastore::{BlockPort, Completion, PageBytes, Store};
use job::{Job, Next};

/// Set in the tokens of the keeper's requests to the store: whoever owns the store gives their completions to
/// [`Keeper::complete`].
pub const TOKEN: u64 = 1 << 63;

/// Start of the names of objects and volumes that are the host's own: a world (generation 0 is the host) can't name them, and no list
/// for it has them.
pub const PRIVATE: &str = "vmkernel:";

/// Requests that are being carried out at a time; the others wait.
const JOBS: usize = 8;

/// Carries requests out.
#[derive(Default)]
pub struct Keeper {
    waiting: VecDeque<Job>,
    jobs: Vec<Job>,
    next_token: u64,
    done: VecDeque<Finished>,
    ram: ram::Objects,
    uploads: BTreeMap<String, objects::Upload>,
    audit: audit::Chain,
}

impl Keeper {
    /// With nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a request; [`Self::finished`] gives its answer, sometime after [`Self::step`].
    pub fn submit(&mut self, ask: Ask) {
        let job = self.job(ask);
        self.waiting.push_back(job);
    }

    /// Does a little of what there is to do; whether to call again at once. `store`: `None` where there is no datastore,
    /// and none is being looked for.
    pub fn step<P: BlockPort>(
        &mut self,
        mut store: Option<&mut Store<P>>,
        world: &mut impl Environment,
    ) -> bool {
        while self.jobs.len() < JOBS
            && let Some(job) = self.waiting.pop_front()
        {
            self.jobs.push(job);
        }
        // The oldest first, and each at most once: one that waits for another must not keep it from going on.
        for at in 0..self.jobs.len() {
            if self.jobs.get(at).is_none_or(Job::is_waiting) {
                continue;
            }
            let mut job = self.jobs.remove(at);
            let next = self.advance(&mut job, store.as_deref_mut(), world);
            match next {
                Next::Done(answer, payload) => {
                    if !job.is_internal {
                        self.done.push_back(Finished { id: job.ask.id, answer, payload });
                    }
                    return true;
                }
                Next::Wait => job.wait(),
                Next::On | Next::Later => {}
            }
            self.jobs.insert(at, job);
            if !matches!(next, Next::Later) {
                return true;
            }
        }
        false
    }

    /// A request to the store with [`TOKEN`] has ended.
    pub fn complete<Page: AsRef<PageBytes>>(&mut self, completion: &Completion<Page>) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.token == completion.token) {
            job.complete(completion);
        }
    }

    /// The next answer.
    pub fn finished(&mut self) -> Option<Finished> {
        self.done.pop_front()
    }

    /// Whether nothing is being carried out.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.waiting.is_empty() && self.done.is_empty()
    }

    /// A datastore was made, and is empty: what was kept in RAM for want of one moves there.
    pub fn adopt(&mut self) {
        self.adopt_objects();
        self.adopt_audit();
    }

    fn job(&mut self, ask: Ask) -> Job {
        self.next_token = self.next_token.wrapping_add(1) & !TOKEN;
        Job::new(ask, TOKEN | self.next_token)
    }
}
