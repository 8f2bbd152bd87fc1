//! The clock of futures: `embassy-time` over the virtual timer, in microseconds.
//!
//! Called by: futures that wait for a time (through `embassy-time`), on vCPU 0; its program calls [`wake_due`] before it
//! sleeps and whenever the virtual timer's interrupt came. Generic Timer: Arm ARM D12.
//! The resource: the two symbols by which `embassy-time` finds its driver, and the virtual timer of vCPU 0.
//! Concurrency: interrupt handlers take no part in it; the lock is never held while a waker runs.

use crate::registers::{cntfrq_el0, cntv_ctl_el0, cntv_cval_el0, isb, now};
use alloc::vec::Vec;
use core::task::Waker;
use embassy_time_driver::{Driver, time_driver_impl};
use spin::mutex::SpinMutex;

/// INTID of the virtual timer.
pub const TIMER: u32 = 27;
/// Microseconds of a second.
const MICROS: u128 = 1_000_000;
/// CNTV_CTL_EL0: enabled; disabled and masked.
const ON: u64 = 1;
const OFF: u64 = 2;

struct Clock {
    waiting: SpinMutex<Vec<(u64, Waker)>>,
}

time_driver_impl!(static CLOCK: Clock = Clock { waiting: SpinMutex::new(Vec::new()) });

impl Driver for Clock {
    fn now(&self) -> u64 {
        (u128::from(now()) * MICROS / u128::from(cntfrq_el0::read())) as u64
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        match waiting.iter_mut().find(|entry| entry.1.will_wake(waker)) {
            // Who waits for two times is woken at the first and asks again.
            Some(entry) => entry.0 = entry.0.min(at),
            None => waiting.push((at, waker.clone())),
        }
    }
}

/// Wakes everyone whose time has come, and sets the timer for the next.
pub fn wake_due() {
    loop {
        let now = CLOCK.now();
        let mut waiting = CLOCK.waiting.lock();
        match waiting.iter().position(|entry| entry.0 <= now) {
            Some(due) => {
                let (_, waker) = waiting.swap_remove(due);
                drop(waiting);
                waker.wake();
            }
            None => return set(waiting.iter().map(|entry| entry.0).min()),
        }
    }
}

/// The timer's interrupt is not raised any more until the next [`wake_due`]: for the interrupt handler.
pub fn quiet() {
    cntv_ctl_el0::write(OFF);
    isb();
}

fn set(next: Option<u64>) {
    let Some(next) = next else { return quiet() };
    let ticks = (u128::from(next) * u128::from(cntfrq_el0::read())).div_ceil(MICROS);
    cntv_cval_el0::write(u64::try_from(ticks).unwrap_or(u64::MAX));
    cntv_ctl_el0::write(ON);
    isb();
}
