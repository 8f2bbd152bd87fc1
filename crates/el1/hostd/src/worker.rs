//! vCPU 1: what takes long (signatures, password hashes, digests) is computed there, one job at a time, while vCPU 0
//! serves everyone else.
//!
//! Called by: tasks ([`compute`]). Concurrency: jobs wait in a list under a lock; a result is taken by who asked.

use crate::{interrupts, vmkernel};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Poll, Waker};
use el1::{Boot, cpus};
use embassy_time::Instant;
use spin::mutex::SpinMutex;

/// Which vCPU.
const INDEX: usize = 1;

/// Microseconds that jobs took so far; under QEMU's icount each is a thousand instructions.
static BUSY: AtomicU64 = AtomicU64::new(0);

/// Microseconds that jobs took so far.
pub fn busy() -> u64 {
    BUSY.load(Ordering::Relaxed)
}

type Job = Box<dyn FnOnce() + Send>;

static JOBS: SpinMutex<VecDeque<Job>> = SpinMutex::new(VecDeque::new());

/// Where a job's result is left, and who waits for it.
struct Slot<T> {
    result: Option<T>,
    waits: Option<Waker>,
}

/// Has vCPU 1 do `work`; its result. Dropped before the work was begun it is not done: connections that gave way leave
/// nothing to be computed.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let slot: Arc<SpinMutex<Slot<T>>> = Arc::new(SpinMutex::new(Slot { result: None, waits: None }));
    let place = slot.clone();
    JOBS.lock().push_back(Box::new(move || {
        // Whoever waits has the other one.
        if Arc::strong_count(&place) == 1 {
            return;
        }
        let result = work();
        let mut slot = place.lock();
        slot.result = Some(result);
        let waits = slot.waits.take();
        drop(slot);
        if let Some(waker) = waits {
            waker.wake();
        }
    }));
    interrupts::nudge(INDEX);
    poll_fn(|context| {
        let mut slot = slot.lock();
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waits = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Starts the vCPU.
pub fn start(boot: &'static Boot) {
    cpus::start(boot, INDEX, run, 0);
}

fn run(_: usize) {
    let Some(boot) = el1::boot::get() else { return };
    interrupts::start_cpu(boot, INDEX);
    loop {
        vmkernel::heartbeat();
        // The lock is given back before the job begins.
        let job = JOBS.lock().pop_front();
        match job {
            Some(job) => {
                let start = Instant::now();
                job();
                BUSY.fetch_add(start.elapsed().as_micros(), Ordering::Relaxed);
            }
            None => interrupts::sleep(),
        }
    }
}
