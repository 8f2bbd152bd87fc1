//! The vCPUs of one PE: where each is, its account, and when it is to be woken.
//!
//! Called by [`super`], on the PE that they belong to. Calls the policy (`sched::RunQueue`).
//!
//! Invariant: a vCPU is in the run queue at most once; its [`Standing`] says that it is there, or runs.

use crate::Parked;
use crate::signals::{Signals, VcpuSignals};
use alloc::sync::Arc;
use alloc::vec::Vec;
use sched::{RunQueue, Share, VcpuSlot, Woken};
use specs::VcpuIndex;

/// What a vCPU of this PE does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits until it is woken.
    Blocked,
    /// It waits in the run queue, or runs.
    Queued,
    /// Its VM is paused: nothing wakes it.
    Aside,
}

impl Standing {
    /// Of one that was to go to the queue.
    fn queued(there: bool) -> Self {
        if there { Self::Queued } else { Self::Blocked }
    }
}

/// A place for a vCPU of this PE.
pub(super) struct Slot {
    pub(super) signals: Arc<Signals>,
    pub(super) index: VcpuIndex,
    /// Which place this is.
    slot: VcpuSlot,
    /// None while it is loaded.
    pub(super) parked: Option<Parked>,
    /// When a timer of a blocked vCPU fires; u64::MAX: never.
    pub(super) wake_at: u64,
    pub(super) share: Share,
    pub(super) standing: Standing,
    /// Since when it waits for its turn.
    pub(super) since: u64,
    /// How long it ran and waited, as far as its flight recorder does not know yet.
    pub(super) ran: u64,
    pub(super) waited: u64,
    /// It is a world's, which no guest's WFI need trap for: when it wakes its PE is interrupted.
    pub(super) is_world: bool,
}

impl Slot {
    /// A vCPU that came to this PE.
    pub(super) fn new(parked: Parked, share: Share) -> Self {
        Self {
            signals: parked.signals.clone(),
            index: parked.index,
            slot: VcpuSlot(parked.home.slot()),
            is_world: parked.vm.world.is_some(),
            parked: Some(parked),
            wake_at: u64::MAX,
            share,
            standing: Standing::Blocked,
            since: 0,
            ran: 0,
            waited: 0,
        }
    }

    /// It is not loaded any more.
    #[inline(always)]
    pub(super) fn park(&mut self, parked: Parked) {
        // There was none here. To drop it in case would keep registers of the switch waiting for it.
        core::mem::forget(self.parked.replace(parked));
    }

    /// How long it ran and waited since this was asked last.
    pub(super) fn take_times(&mut self) -> (u64, u64) {
        (core::mem::take(&mut self.ran), core::mem::take(&mut self.waited))
    }

    fn guests(&self) -> u32 {
        u32::from(!self.is_world)
    }

    /// See [`Slots::wake`].
    #[inline(always)]
    fn wake(&mut self, queue: &mut RunQueue, slice_end: &mut u64, interrupted: bool, now: u64) -> bool {
        if self.standing != Standing::Blocked {
            return false;
        }
        start_slice(queue, slice_end, now);
        self.standing = Standing::Queued;
        self.since = now;
        self.wake_at = u64::MAX;
        match queue.wake(self.slot, &mut self.share) {
            Woken::Preempts => true,
            // Its own doing: it got somewhere.
            Woken::Soon(_) if !interrupted => true,
            Woken::Soon(left) => {
                *slice_end = (*slice_end).min(now.saturating_add(left));
                false
            }
            Woken::Waits | Woken::Full => false,
        }
    }
}

/// Whose turn it is.
pub(super) enum Turn {
    /// The one's that is in the hardware.
    Loaded,
    /// Another's.
    Parked(Parked),
}

/// Whoever waits first has to wait for a slice from now.
#[inline(always)]
fn start_slice(queue: &RunQueue, slice_end: &mut u64, now: u64) {
    if queue.waiting() == 0 {
        *slice_end = now.wrapping_add(queue.slice_ticks());
    }
}

/// All vCPUs of a PE, and whose turn it is.
pub(super) struct Slots {
    places: Vec<Option<Slot>>,
    pub(super) queue: RunQueue,
    /// How many of them are guests'.
    pub(super) guests: u32,
    /// Since when the vCPU that runs has not been charged.
    since: u64,
    /// When its turn is over, if others wait.
    pub(super) slice_end: u64,
    /// It made way for an interrupt of the host's: perhaps before its first instruction.
    pub(super) interrupted: bool,
}

impl Slots {
    pub(super) fn new(ticks_per_second: u64) -> Self {
        Self {
            places: Vec::new(),
            queue: RunQueue::new(ticks_per_second),
            guests: 0,
            since: 0,
            slice_end: u64::MAX,
            interrupted: false,
        }
    }

    #[inline(always)]
    pub(super) fn get(&mut self, slot: u16) -> Option<&mut Slot> {
        self.places.get_mut(usize::from(slot))?.as_mut()
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.places.len()).unwrap_or(u16::MAX)
    }

    /// The first place that is free.
    pub(super) fn free(&self) -> u16 {
        let free = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        u16::try_from(free).unwrap_or(u16::MAX)
    }

    /// A vCPU comes to this PE, and waits for its turn.
    pub(super) fn admit(&mut self, slot: u16, mut vcpu: Slot, now: u64) {
        start_slice(&self.queue, &mut self.slice_end, now);
        self.guests = self.guests.saturating_add(vcpu.guests());
        vcpu.since = now;
        vcpu.standing = Standing::queued(self.queue.arrive(VcpuSlot(slot), &mut vcpu.share));
        match self.places.get_mut(usize::from(slot)) {
            Some(free) => *free = Some(vcpu),
            None => self.places.push(Some(vcpu)),
        }
    }

    /// A vCPU leaves this PE for another: its account goes with it.
    pub(super) fn depart(&mut self, slot: u16) -> Option<(Parked, Share)> {
        let place = self.places.get_mut(usize::from(slot))?.as_mut()?;
        let mut parked = place.parked.take()?;
        let (ran, waited) = place.take_times();
        parked.note_times(ran, waited);
        let mut share = place.share;
        self.queue.depart(VcpuSlot(slot), &mut share);
        self.vacate(slot);
        Some((parked, share))
    }

    /// Forgets a vCPU that is gone.
    pub(super) fn vacate(&mut self, slot: u16) {
        let gone = self.places.get_mut(usize::from(slot)).and_then(Option::take);
        self.queue.remove(VcpuSlot(slot));
        self.guests = self.guests.saturating_sub(gone.map_or(0, |vcpu| vcpu.guests()));
    }

    /// Books what the vCPU that runs has had so far; its place.
    #[inline(always)]
    pub(super) fn charge(&mut self, running: u16, now: u64) -> Option<&mut Slot> {
        let ticks = now.wrapping_sub(self.since);
        self.since = now;
        let place = self.places.get_mut(usize::from(running))?.as_mut()?;
        self.queue.charge(&mut place.share, ticks);
        place.ran = place.ran.wrapping_add(ticks);
        Some(place)
    }

    /// What a vCPU ran and waited, for its flight recorder.
    pub(super) fn times(&mut self, slot: u16) -> (u64, u64) {
        self.get(slot).map_or((0, 0), Slot::take_times)
    }

    /// A vCPU that waits or is blocked gets no turn until [`Self::bring_back`].
    pub(super) fn set_aside(&mut self, slot: u16) {
        self.queue.remove(VcpuSlot(slot));
        if let Some(place) = self.get(slot) {
            (place.standing, place.wake_at) = (Standing::Aside, u64::MAX);
        }
    }

    /// It is ready again.
    pub(super) fn bring_back(&mut self, slot: u16, now: u64) {
        if let Some(place) = self.get(slot) {
            place.standing = Standing::Blocked;
        }
        self.wake(slot, now);
    }

    /// A blocked vCPU is ready; whether the one that runs, which is charged, is to make way. One that is not blocked
    /// stays as it is.
    #[inline]
    pub(super) fn wake(&mut self, slot: u16, now: u64) -> bool {
        let Self { places, queue, slice_end, interrupted, .. } = self;
        let place = places.get_mut(usize::from(slot)).and_then(Option::as_mut);
        place.is_some_and(|place| place.wake(queue, slice_end, *interrupted, now))
    }

    /// Those of the blocked vCPUs whose deadline has come are ready; the next deadline, `next` or one of theirs, and
    /// whether the one that runs is to make way.
    #[inline(always)]
    pub(super) fn fire(&mut self, now: u64, mut next: u64) -> (u64, bool) {
        let Self { places, queue, slice_end, interrupted, .. } = self;
        let mut preempts = false;
        for place in places.iter_mut().flatten() {
            if place.wake_at > now {
                next = next.min(place.wake_at);
                continue;
            }
            let vcpu = place.signals.vcpus.get(usize::from(place.index.0 & 7));
            if vcpu.is_some_and(VcpuSignals::take_blocked) {
                preempts |= place.wake(queue, slice_end, *interrupted, now);
            } else {
                place.wake_at = u64::MAX;
            }
        }
        (next, preempts)
    }

    /// The vCPU that ran waits until `wake_at`, or until it is woken.
    #[inline(always)]
    pub(super) fn block(&mut self, running: u16, wake_at: u64, now: u64) {
        if let Some(place) = self.charge(running, now) {
            place.standing = Standing::Blocked;
            place.wake_at = wake_at;
        }
        self.queue.block();
    }

    /// The vCPU that ran, and was charged, waits for its next turn.
    #[inline(always)]
    pub(super) fn requeue(&mut self, running: u16, now: u64) {
        if let Some(place) = self.places.get_mut(usize::from(running)).and_then(Option::as_mut) {
            place.standing = Standing::queued(self.queue.requeue(VcpuSlot(running), &place.share));
            place.since = now;
        }
    }

    /// Whose turn it is, from now: the vCPU, or `Turn::Loaded` where it is in the hardware.
    #[inline(always)]
    pub(super) fn pick(&mut self, now: u64) -> Option<Turn> {
        let VcpuSlot(slot) = self.queue.pick()?;
        self.since = now;
        if self.queue.waiting() != 0 {
            self.slice_end = now.wrapping_add(self.queue.slice_ticks());
        }
        let place = self.places.get_mut(usize::from(slot))?.as_mut()?;
        place.waited = place.waited.wrapping_add(now.wrapping_sub(place.since));
        Some(place.parked.take().map_or(Turn::Loaded, Turn::Parked))
    }

    /// Has the WFI of those that are not loaded trap, or not, by how many guests' vCPUs there are.
    pub(super) fn set_traps(&mut self) {
        for parked in self.places.iter_mut().flatten().filter_map(|place| place.parked.as_mut()) {
            parked.trap_wfi(self.guests >= parked.wfi_traps_from);
        }
    }

    /// The first deadline of those that are blocked.
    pub(super) fn next_wake(&self) -> u64 {
        self.places.iter().flatten().map(|place| place.wake_at).min().unwrap_or(u64::MAX)
    }
}
