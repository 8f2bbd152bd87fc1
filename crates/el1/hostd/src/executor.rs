//! Runs hostd's tasks on vCPU 0: futures, each polled when something woke it. With none to poll the vCPU sleeps in WFI.
//!
//! Called by: `main`. Calls: [`crate::interrupts`], [`el1::time`]. ADR: `docs/adr/0042-hostds-executor-and-network.md`.
//! Concurrency: tasks live on vCPU 0 and need no `Send`; wakers may be used by any vCPU.

use crate::interrupts;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};
use el1::{cpus, time};
use futures_util::stream::{FuturesUnordered, StreamExt};

/// What hostd does beside others.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Some task wants to be polled.
static READY: AtomicBool = AtomicBool::new(true);

struct Nudge;

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        READY.store(true, Ordering::Release);
        // vCPU 0 looks before it sleeps; another one has to wake it.
        if cpus::index() != 0 {
            interrupts::nudge(0);
        }
    }
}

/// Runs all of these for ever; `alive` is called each time that there is something to do.
pub fn run(tasks: Vec<Task>, alive: impl Fn()) -> ! {
    let mut tasks: FuturesUnordered<Task> = tasks.into_iter().collect();
    let waker = Waker::from(Arc::new(Nudge));
    let mut context = Context::from_waker(&waker);
    loop {
        interrupts::pass_on();
        time::wake_due();
        if READY.swap(false, Ordering::Acquire) {
            alive();
            // A task that has ended is dropped; none that is ready stays behind without setting `READY`.
            while tasks.poll_next_unpin(&mut context).is_ready() && !tasks.is_empty() {}
        } else {
            interrupts::sleep();
        }
    }
}
