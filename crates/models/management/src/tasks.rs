//! Long work: what is being done, what was done. Tasks outlive hostd in `run:tasks`; what it was at when it ended is
//! told as interrupted.
//!
//! An operation makes a task by [`Management::begin`] and answers with it; [`Management::run`] works on it.

use crate::auth::Caller;
use crate::bell::Bell;
use crate::jobs::Job;
use crate::kept::Kept;
use crate::port::Port;
use crate::problem::Problem;
use crate::{Management, audit, secret, unix_seconds};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{Task, TaskState};
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;

/// Most tasks that are remembered.
const REMEMBERED: usize = 64;
/// Most that are worked on at once.
const RUNNING_MAX: usize = 16;

/// Watchers hear of progress so often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The tasks.
pub struct Tasks {
    /// The newest last.
    pub kept: Kept<Vec<Task>>,
    waiting: RefCell<Vec<Work>>,
    cancelled: RefCell<Vec<(String, Rc<Cell<bool>>)>>,
    bell: Bell,
}

/// Work that was asked for.
struct Work {
    task: String,
    job: Job,
    is_cancelled: Rc<Cell<bool>>,
}

/// What work can say while it is done.
pub struct Progress<'m, P> {
    management: &'m Management<P>,
    task: String,
    is_cancelled: Rc<Cell<bool>>,
    told: Cell<u8>,
    /// When watchers were last told.
    told_at: Cell<Duration>,
}

type Running<'m> = Pin<Box<dyn Future<Output = ()> + 'm>>;

impl Default for Tasks {
    fn default() -> Self {
        let (waiting, cancelled) = (RefCell::default(), RefCell::default());
        Self { kept: Kept::new("run:tasks"), waiting, cancelled, bell: Bell::default() }
    }
}

impl Tasks {
    /// Reads the tasks of generations before: what was running was interrupted.
    pub async fn open<P: Port>(&self, port: &P) {
        if self.kept.load(port).await.is_err() {
            self.kept.forget();
        }
        let now = unix_seconds(port);
        let interrupt = |tasks: &mut Vec<Task>| {
            for task in tasks.iter_mut().filter(|task| task.state == TaskState::Running) {
                task.state = TaskState::Interrupted;
                task.ended_at = Some(now);
                task.can_cancel = false;
            }
            Ok(())
        };
        // Where it can't be written it is as true in memory.
        if self.kept.change(port, interrupt).await.is_err() {
            let _ = self.kept.touch(interrupt);
        }
    }

    /// A task.
    pub fn find(&self, id: &str) -> Option<Task> {
        self.kept.read(|tasks| tasks.iter().find(|task| task.id == id).cloned())
    }

    /// Asks a task to end; whether it can.
    pub fn cancel(&self, id: &str) -> bool {
        let cancelled = self.cancelled.borrow();
        let found = cancelled.iter().find(|(task, _)| task == id);
        found.is_some_and(|(_, flag)| {
            flag.set(true);
            true
        })
    }
}

impl<P: Port> Progress<'_, P> {
    /// It is so far, per cent; watchers are told once a second.
    pub fn tell(&self, done: u64, all: u64) {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0).min(100);
        let percent = u8::try_from(percent).unwrap_or(100);
        if percent != self.told.replace(percent) {
            self.management.tasks.kept.touch(|tasks| {
                if let Some(task) = tasks.iter_mut().find(|task| task.id == self.task) {
                    task.progress = percent;
                }
            });
            let now = self.management.port.now();
            if now.saturating_sub(self.told_at.get()) >= TELL_EVERY {
                self.told_at.set(now);
                let task = self.management.tasks.find(&self.task);
                self.management.tell("task", &self.task, task.as_ref().and_then(audit::value));
            }
        }
    }

    /// Whether it was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
    }
}

impl<P: Port> Management<P> {
    /// Begins a task.
    pub(crate) async fn begin(
        &self,
        caller: &Caller,
        what: &str,
        target: &str,
        job: Job,
    ) -> Result<Task, Problem> {
        let [a, b, c, d, e, f, g, h] = secret::random::<P, 8>(&self.port)?;
        let task = Task {
            id: secret::hex(&[a, b, c, d, e, f, g, h]),
            what: String::from(what),
            target: String::from(target),
            user: caller.user.clone(),
            state: TaskState::Running,
            progress: 0,
            started_at: unix_seconds(&self.port),
            ended_at: None,
            can_cancel: job.can_cancel(),
            result: None,
            problem: None,
        };
        let add = |tasks: &mut Vec<Task>| {
            let running = tasks.iter().filter(|task| task.state == TaskState::Running).count();
            if running >= RUNNING_MAX {
                let detail = "as many tasks are running as can";
                return Err(Problem::new(503, "too-many-tasks", detail, "wait until one has ended").after(5));
            }
            if tasks.len() >= REMEMBERED {
                let ended = tasks.iter().position(|task| task.state != TaskState::Running);
                ended.map(|at| tasks.remove(at));
            }
            tasks.push(task.clone());
            Ok(())
        };
        self.tasks.kept.change(&self.port, add).await?;
        let is_cancelled = Rc::new(Cell::new(false));
        if task.can_cancel {
            self.tasks.cancelled.borrow_mut().push((task.id.clone(), is_cancelled.clone()));
        }
        self.tasks.waiting.borrow_mut().push(Work { task: task.id.clone(), job, is_cancelled });
        self.tasks.bell.ring();
        self.tell("task", &task.id, audit::value(&task));
        Ok(task)
    }

    /// Works on tasks; it never ends.
    pub(crate) async fn work(&self) -> ! {
        let mut running: Vec<Running<'_>> = Vec::new();
        let mut heard = self.tasks.bell.rings();
        loop {
            let waiting = core::mem::take(&mut *self.tasks.waiting.borrow_mut());
            running.extend(waiting.into_iter().map(|work| -> Running<'_> { Box::pin(self.carry(work)) }));
            let mut more = core::pin::pin!(self.tasks.bell.after(heard));
            poll_fn(|context| {
                running.retain_mut(|work| work.as_mut().poll(context).is_pending());
                if more.as_mut().poll(context).is_ready() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            heard = self.tasks.bell.rings();
        }
    }

    async fn carry(&self, work: Work) {
        let Work { task: id, job, is_cancelled } = work;
        let told_at = Cell::new(self.port.now());
        let progress =
            Progress { management: self, task: id.clone(), is_cancelled, told: Cell::new(0), told_at };
        let result = job.carry_out(self, &progress).await;
        self.look_at_vms();
        self.tasks.cancelled.borrow_mut().retain(|(task, _)| *task != id);
        let now = unix_seconds(&self.port);
        let was_cancelled = progress.is_cancelled();
        let end = |tasks: &mut Vec<Task>| {
            let task = tasks.iter_mut().find(|task| task.id == id)?;
            task.can_cancel = false;
            task.ended_at = Some(now);
            match &result {
                Ok(made) => {
                    task.state = TaskState::Done;
                    task.progress = 100;
                    task.result.clone_from(made);
                }
                Err(_) if was_cancelled => task.state = TaskState::Cancelled,
                Err(problem) => {
                    task.state = TaskState::Failed;
                    task.problem = Some(problem.details().clone());
                }
            }
            Some(task.clone())
        };
        let ended = self.tasks.kept.change(&self.port, |tasks| Ok(end(tasks))).await;
        let ended = ended.unwrap_or_else(|_| self.tasks.kept.touch(end));
        self.tell("task", &id, ended.as_ref().and_then(audit::value));
    }
}
