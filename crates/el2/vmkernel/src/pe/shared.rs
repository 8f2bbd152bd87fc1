//! What other PEs may touch of a PE: who is awake, what to look at, and vCPUs that come to it.
//!
//! Called by every PE at any time; [`super`] takes what was asked for. Nothing here waits.

use crate::Unbound;
use crate::host::Host;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use el2::gic;
use sched::{CAPACITY, PeLoad, Share};
use specs::PeId;
use spin::Mutex;

/// In `attention`, above a bit for each word of `woken`: mail, or a VM that stops.
pub(super) const LOOK: u32 = 1 << 31;
/// In `attention`: the datastore's home has something to do.
pub(super) const HOME: u32 = 1 << 30;

const _: () = assert!(CAPACITY / 64 <= 30);

/// A PE as others see it.
#[derive(Debug, Default)]
pub struct PeShared {
    /// Not zero: look at the rest.
    attention: AtomicU32,
    woken: [AtomicU64; CAPACITY / 64],
    mail: Mutex<Vec<Mail>>,
    /// vCPUs that live here or are on their way here.
    vcpus: AtomicU16,
    /// Of those, who could run: as of the last change of what runs.
    runnable: AtomicU16,
    last_arrival: AtomicU64,
    /// How long it slept, and since when it does; 0: it is awake.
    slept: AtomicU64,
    asleep_since: AtomicU64,
}

/// A vCPU on its way to a PE.
pub struct Mail {
    /// Its owner, for now.
    pub vcpu: Unbound,
    /// Its account, relative to the PE that it left.
    pub share: Share,
    /// It ran on another PE before.
    pub moved: bool,
}

impl core::fmt::Debug for Mail {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mail")
    }
}

impl PeShared {
    /// The vCPU in `slot` is ready.
    #[inline]
    pub fn wake(&self, slot: u16) {
        let index = usize::from(slot / 64) % (CAPACITY / 64);
        if let Some(word) = self.woken.get(index) {
            word.fetch_or(1 << (slot % 64), Ordering::Release);
        }
        self.attention.fetch_or(1 << index, Ordering::SeqCst);
    }

    /// Something about its vCPUs changed: it looks at all of them.
    pub fn look(&self) {
        self.attention.fetch_or(LOOK, Ordering::SeqCst);
    }

    /// It is the datastore's home, and something is asked of it.
    pub fn call_home(&self) {
        self.attention.fetch_or(HOME, Ordering::SeqCst);
    }

    /// A place for one more vCPU; false where there is none.
    pub fn reserve(&self) -> bool {
        let more = |vcpus: u16| (usize::from(vcpus) < CAPACITY).then(|| vcpus.saturating_add(1));
        self.vcpus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// A place for one more vCPU, if there are still so many: of two PEs that choose at once one has to choose anew.
    pub fn reserve_if(&self, vcpus: u16) -> bool {
        let more = vcpus.saturating_add(1);
        self.vcpus.compare_exchange(vcpus, more, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A vCPU left.
    pub(super) fn release(&self) {
        self.vcpus.fetch_sub(1, Ordering::Relaxed);
    }

    /// How busy it is.
    pub fn load(&self) -> PeLoad {
        PeLoad {
            runnable: self.runnable.load(Ordering::Relaxed),
            vcpus: self.vcpus.load(Ordering::Relaxed),
            siblings: 0,
            last_arrival: self.last_arrival.load(Ordering::Relaxed),
        }
    }

    /// It has nothing to do from now on.
    pub(super) fn falls_asleep(&self, now: u64) {
        self.asleep_since.store(now, Ordering::Relaxed);
    }

    /// Something came. Others only read both words.
    pub(super) fn wakes_up(&self, now: u64) {
        let slept = now.wrapping_sub(self.asleep_since.load(Ordering::Relaxed));
        self.asleep_since.store(0, Ordering::Relaxed);
        self.slept.store(self.slept.load(Ordering::Relaxed).wrapping_add(slept), Ordering::Relaxed);
    }

    /// How long it slept so far. Of one that wakes up just now the last time may be missing.
    pub fn slept(&self, now: u64) -> u64 {
        let since = self.asleep_since.load(Ordering::Relaxed);
        let present = if since == 0 { 0 } else { now.saturating_sub(since) };
        self.slept.load(Ordering::Relaxed).wrapping_add(present)
    }

    #[inline(always)]
    pub(super) fn publish(&self, runnable: usize) {
        // At most CAPACITY and the one that runs.
        self.runnable.store((runnable as u64 & 0xffff) as u16, Ordering::Relaxed);
    }

    pub(super) fn arrived(&self, now: u64) {
        self.last_arrival.store(now, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn needs_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) != 0
    }

    /// What is asked for: bits as in `attention`.
    #[inline]
    pub(super) fn take_attention(&self) -> u32 {
        self.attention.swap(0, Ordering::SeqCst)
    }

    /// The slots of a word that woke.
    #[inline]
    pub(super) fn take_woken(&self, word: u32) -> u64 {
        self.woken.get(word as usize).map_or(0, |word| word.swap(0, Ordering::Acquire))
    }

    pub(super) fn take_mail(&self) -> Vec<Mail> {
        core::mem::take(&mut *self.mail.lock())
    }
}

/// Gives a vCPU to a PE that has a place for it ([`PeShared::reserve`]); there it runs as soon as it is its turn.
pub fn send(host: &Host, to: PeId, mail: Mail) {
    let shared = host.pe(to);
    shared.mail.lock().push(mail);
    shared.look();
    if to != el2::pe::current() {
        gic::kick(to);
    }
}
