//! Scheduling policy: which vCPU a PE runs next, for how long, and on which PE a vCPU lives; and, in [`supervise`], when
//! a world that ended runs again.
//!
//! Place in the path: the vmkernel's loop of each PE calls [`RunQueue`] on every wake-up, block and end of a slice, and
//! [`place`] and [`balance`] rarely. Calls nothing; holds no vCPU, only slot numbers. Time is ticks of the generic timer.
//!
//! The policy is fair queueing by virtual runtime: each vCPU's clock runs with its time on the PE, slower the higher its
//! weight, and the vCPU whose clock is furthest behind runs next. Whoever wakes is set to `max(own, floor − bonus)`: sleep
//! earns a small lead, never a hoard.
//!
//! Invariants: the floor of a queue never goes back; a vCPU that stays runnable falls behind another by no more than a
//! slice (scaled by weight) while both are on one PE; a vCPU is in one queue at most (the caller's part: it wakes only who
//! is blocked, and requeues only who ran).
//!
//! Concurrency: a queue belongs to its PE; others post wake-ups to that PE. [`balance`] works on a snapshot, which may be
//! a little old.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod balance;
mod queue;
mod share;
pub mod supervise;
#[cfg(test)]
mod tests;

pub use balance::{Move, PeLoad, balance, place};
pub use queue::{CAPACITY, RunQueue, VcpuSlot, Woken};
pub use share::{Share, Weight};

/// Length of a slice. A switch costs some 300 instructions and a cold first-level cache, so at 2 ms it stays below 0.1 % of
/// the time; and a vCPU that spins for a lock whose holder was put aside waits no longer than the other vCPUs' slices.
pub const SLICE_MICROSECONDS: u64 = 2_000;

/// What a vCPU has for itself before one that wakes takes the PE: ten switches' worth, so that who wakes again and again
/// after less than a switch takes leaves the others most of the time, and waits no longer than that.
pub const TURN_MICROSECONDS: u64 = 30;

/// Time between two looks at the balance of the PEs: 16 slices, so that a vCPU that moves pays for its cold caches with
/// less than 1 % of its time, and three hogs on two PEs have had equal time after a tenth of a second.
pub const BALANCE_MICROSECONDS: u64 = 16 * SLICE_MICROSECONDS;
