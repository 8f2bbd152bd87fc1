//! The run queue of one PE: a binary heap in a fixed array, least virtual runtime on top.
//!
//! Called by the vmkernel's loop of that PE. With two vCPUs every operation is a few comparisons; with 256 it takes at
//! most eight levels. Virtual runtimes are compared by their wrapped difference, so no counter can overflow.

use crate::Share;

/// vCPUs that one PE can have.
pub const CAPACITY: usize = 256;

/// A vCPU's place in the vmkernel's table of vCPUs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct VcpuSlot(pub u16);

/// What a wake-up means for the vCPU that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Woken {
    /// The woken vCPU waits for its turn.
    Waits,
    /// The running vCPU should give way: charge and requeue it, and pick.
    Preempts,
    /// As [`Woken::Preempts`], in so many ticks where the running vCPU has perhaps not come to run yet: it was just picked.
    Soon(u64),
    /// The queue has no place: more than [`CAPACITY`] vCPUs were placed here. A bug of the caller.
    Full,
}

#[derive(Clone, Copy, Default)]
struct Queued {
    vruntime: u64,
    arrival: u32,
    slot: VcpuSlot,
}

/// Whether clock `a` is behind clock `b`.
#[inline]
const fn behind(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// The vCPUs of one PE that could run and don't, and the clock that new ones are set by.
pub struct RunQueue {
    heap: [Queued; CAPACITY],
    len: usize,
    /// No vCPU that stays runnable is behind this by more than the bonus; never goes back.
    floor: u64,
    /// The clock of the vCPU that runs, as of its last charge.
    running: Option<u64>,
    /// Its clock when it was picked.
    picked: u64,
    slice: u64,
    turn: u64,
    arrivals: u32,
}

impl RunQueue {
    /// An empty queue on a PE whose timer counts so fast.
    pub const fn new(ticks_per_second: u64) -> Self {
        let ticks = ticks_per_second / 1_000_000;
        let (slice, turn) = (ticks * crate::SLICE_MICROSECONDS, ticks * crate::TURN_MICROSECONDS);
        let heap = [Queued { vruntime: 0, arrival: 0, slot: VcpuSlot(0) }; CAPACITY];
        Self { heap, len: 0, floor: 0, running: None, picked: 0, slice, turn, arrivals: 0 }
    }

    /// vCPUs that wait.
    #[inline]
    pub const fn waiting(&self) -> usize {
        self.len
    }

    /// Ticks after which the running vCPU gives way if others wait.
    #[inline]
    pub const fn slice_ticks(&self) -> u64 {
        self.slice
    }

    /// A blocked vCPU of this PE becomes runnable. Charge the running vCPU first.
    #[inline]
    pub fn wake(&mut self, slot: VcpuSlot, share: &mut Share) -> Woken {
        let least = self.floor.wrapping_sub(self.slice / 2);
        if behind(share.vruntime, least) {
            share.vruntime = least;
        }
        if !self.push(slot, share) {
            return Woken::Full;
        }
        // A lead of less than an eighth of a slice isn't worth a switch.
        match self.running {
            Some(running) if behind(share.vruntime.wrapping_add(self.slice / 8), running) => {
                match self.turn.saturating_sub(running.wrapping_sub(self.picked)) {
                    0 => Woken::Preempts,
                    left => Woken::Soon(left),
                }
            }
            _ => Woken::Waits,
        }
    }

    /// The vCPU that ran is still runnable and goes back. Charge it first. False if the queue is full.
    #[inline]
    pub fn requeue(&mut self, slot: VcpuSlot, share: &Share) -> bool {
        self.running = None;
        self.push(slot, share)
    }

    /// The vCPU that ran is blocked, or gone. Charge it first.
    #[inline]
    pub const fn block(&mut self) {
        self.running = None;
    }

    /// Takes out the vCPU that is to run, the one furthest behind.
    #[inline]
    pub fn pick(&mut self) -> Option<VcpuSlot> {
        let last = self.len.checked_sub(1)?;
        let next = *self.heap.first()?;
        match last {
            0 => self.len = 0,
            1 => {
                let [first, second, ..] = &mut self.heap;
                *first = *second;
                self.len = 1;
            }
            _ => self.remove_at(0),
        }
        self.running = Some(next.vruntime);
        self.picked = next.vruntime;
        self.raise_floor(next.vruntime);
        Some(next.slot)
    }

    /// Books `ticks` to the vCPU that runs.
    #[inline]
    pub fn charge(&mut self, share: &mut Share, ticks: u64) {
        share.vruntime = share.vruntime.wrapping_add(share.scale(ticks));
        self.running = Some(share.vruntime);
        let least = match self.heap.first() {
            Some(top) if self.len != 0 && behind(top.vruntime, share.vruntime) => top.vruntime,
            _ => share.vruntime,
        };
        self.raise_floor(least);
    }

    /// Takes out a waiting vCPU that stops existing or being runnable. False if it does not wait here.
    pub fn remove(&mut self, slot: VcpuSlot) -> bool {
        let found = self.heap.iter().take(self.len).position(|queued| queued.slot == slot);
        if let Some(at) = found {
            self.remove_at(at);
        }
        found.is_some()
    }

    /// A vCPU comes to this PE, new or after [`RunQueue::depart`], and waits. False if the queue is full.
    pub fn arrive(&mut self, slot: VcpuSlot, share: &mut Share) -> bool {
        // A lead that it had where it was is kept up to the bonus, a lag in full: moving wins nothing.
        let bonus = self.slice / 2;
        let relative =
            if behind(share.vruntime, bonus.wrapping_neg()) { bonus.wrapping_neg() } else { share.vruntime };
        share.vruntime = self.floor.wrapping_add(relative);
        self.arrivals = self.arrivals.wrapping_add(1);
        share.arrival = self.arrivals;
        self.push(slot, share)
    }

    /// A vCPU leaves this PE, waiting or blocked.
    pub fn depart(&mut self, slot: VcpuSlot, share: &mut Share) {
        self.remove(slot);
        share.vruntime = share.vruntime.wrapping_sub(self.floor);
    }

    /// The waiting vCPU that came to this PE before all others: the one to move, so that places are held in turn.
    pub fn eldest(&self) -> Option<VcpuSlot> {
        let age = |queued: &&Queued| self.arrivals.wrapping_sub(queued.arrival);
        self.heap.iter().take(self.len).max_by_key(age).map(|queued| queued.slot)
    }

    #[inline]
    const fn raise_floor(&mut self, to: u64) {
        if behind(self.floor, to) {
            self.floor = to;
        }
    }

    #[inline]
    fn push(&mut self, slot: VcpuSlot, share: &Share) -> bool {
        let at = self.len;
        if at >= CAPACITY {
            return false;
        }
        self.len = at + 1;
        self.sift_up(at, Queued { vruntime: share.vruntime, arrival: share.arrival, slot });
        true
    }

    /// Takes out what is at `at`, one of those that wait; the last one takes its place.
    #[inline(never)]
    fn remove_at(&mut self, at: usize) {
        let Some(last) = self.len.checked_sub(1) else { return };
        self.len = last;
        let Some(moved) = self.heap.get(last).copied().filter(|_| at < last) else { return };
        if at != 0 && self.is_above(at, moved) { self.sift_up(at, moved) } else { self.sift_down(at, moved) }
    }

    /// Whether `queued` at `at` would be behind the one above it.
    fn is_above(&self, at: usize, queued: Queued) -> bool {
        self.heap.get((at - 1) / 2).is_some_and(|above| behind(queued.vruntime, above.vruntime))
    }

    #[inline]
    fn put(&mut self, at: usize, queued: Queued) {
        if let Some(place) = self.heap.get_mut(at) {
            *place = queued;
        }
    }

    /// Puts `queued` at `at`, which is free, or above.
    #[inline]
    fn sift_up(&mut self, mut at: usize, queued: Queued) {
        while at != 0 {
            let parent = (at - 1) / 2;
            match self.heap.get(parent).copied() {
                Some(above) if behind(queued.vruntime, above.vruntime) => self.put(at, above),
                _ => break,
            }
            at = parent;
        }
        self.put(at, queued);
    }

    /// Puts `queued` at `at`, which is free, or below.
    fn sift_down(&mut self, mut at: usize, queued: Queued) {
        while let Some((below, least)) = self.least_below(at)
            && behind(least.vruntime, queued.vruntime)
        {
            self.put(at, least);
            at = below;
        }
        self.put(at, queued);
    }

    /// The one of the two below `at` that is further behind, and where it is.
    fn least_below(&self, at: usize) -> Option<(usize, Queued)> {
        let first = 2 * at + 1;
        let pair = self.heap.get(first..self.len.min(first + 2))?;
        let below = (first..).zip(pair.iter().copied());
        below.reduce(|left, right| if behind(right.1.vruntime, left.1.vruntime) { right } else { left })
    }
}
