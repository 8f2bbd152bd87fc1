//! Time that stands still while anyone has something to do, and jumps to the next alarm when nobody has.

use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// The time, and who waits for it.
#[derive(Default)]
pub struct VirtualTime {
    now: Cell<Duration>,
    alarms: RefCell<Vec<(Duration, Waker)>>,
}

impl VirtualTime {
    /// The time.
    pub fn now(&self) -> Duration {
        self.now.get()
    }

    /// Is done when this much went by.
    pub async fn sleep(&self, time: Duration) {
        let end = self.now().saturating_add(time);
        poll_fn(|context| {
            if self.now() >= end {
                return Poll::Ready(());
            }
            self.alarms.borrow_mut().push((end, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Runs a future to its end. `None`: it waits for something that does not come in a day.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        loop {
            while woken.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(value);
                }
            }
            if self.now() > Duration::from_secs(86_400) {
                return None;
            }
            self.jump()?;
        }
    }

    /// To the next alarm; alarms whose sleeper is gone wake for nothing.
    fn jump(&self) -> Option<()> {
        let mut alarms = self.alarms.borrow_mut();
        let next = alarms.iter().map(|(end, _)| *end).min()?;
        self.now.set(self.now.get().max(next));
        alarms.retain(|(end, waker)| {
            if *end <= next {
                waker.wake_by_ref();
            }
            *end > next
        });
        Some(())
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
