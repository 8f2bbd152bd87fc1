//! One vCPU's private interrupts (SGIs and PPIs) and the record of its list registers.
//!
//! Used by every module of the crate. Standard: GIC architecture, IHI 0069, 2.2.1 "Special INTIDs" and 4.1.2
//! "Interrupt handling states".
//!
//! Concurrency: three kinds of words, told apart in [`Bank`]. Words that any PE writes change by atomic
//! read-modify-write and are followed by a post. Words that only the owner writes are plain loads and stores (relaxed
//! atomics, because others read them). The inbox joins the two.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Inbox flag: look at everything. The bits below it are private interrupts that became pending, bits 63:48 the
/// hardware interrupts among INTIDs 16–31.
pub(crate) const RECONCILE: u64 = 1 << 32;

/// The inbox bit of hardware interrupt `intid`, 16–31.
#[inline]
pub(crate) const fn hardware_post(intid: u32) -> u64 {
    1 << (32 + (intid & 31))
}

/// The hardware interrupts in `posted`, at their INTIDs' places.
#[inline]
pub(crate) const fn posted_hardware(posted: u64) -> u32 {
    let [_, _, _, _, _, _, low, high] = posted.to_le_bytes();
    u32::from_le_bytes([0, 0, low, high])
}

/// SGIs: always edge-triggered. PPIs are level-triggered (ICFGR1 is read-only, as IHI 0069 allows).
pub(crate) const SGIS: u32 = 0xffff;

/// List registers that are used at most.
pub(crate) const SLOTS: u32 = 16;

/// A word that only the owner writes.
#[derive(Default)]
pub(crate) struct Owned(AtomicU32);

impl Owned {
    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn put(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, bits: u32) {
        self.put(self.get() | bits);
    }

    #[inline]
    pub(crate) fn remove(&self, bits: u32) {
        self.put(self.get() & !bits);
    }
}

/// A word that any PE writes; each write is followed by a post.
#[derive(Default)]
pub(crate) struct Shared(AtomicU32);

impl Shared {
    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets bits that the owner never clears; says which were clear.
    #[inline]
    pub(crate) fn add(&self, bits: u32) -> u32 {
        if self.get() & bits == bits {
            return 0;
        }
        bits & !self.0.fetch_or(bits, Ordering::Release)
    }

    /// Sets bits that the owner takes. Even one that looks set is set again: the owner may be taking it now, and must
    /// then see all that the sender wrote before, or find it set at its next look.
    #[inline]
    pub(crate) fn request(&self, bits: u32) {
        self.0.fetch_or(bits, Ordering::Release);
    }

    /// Clears bits; says which were set.
    #[inline]
    pub(crate) fn remove(&self, bits: u32) -> u32 {
        if self.get() & bits == 0 {
            return 0;
        }
        bits & self.0.fetch_and(!bits, Ordering::AcqRel)
    }

    /// Replaces the bits of `mask`; says which changed.
    #[inline]
    pub(crate) fn replace(&self, mask: u32, bits: u32) -> u32 {
        let old =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old & !mask | bits & mask));
        (old.unwrap_or_else(|old| old) ^ bits) & mask
    }

    /// Takes all bits out.
    #[inline]
    pub(crate) fn take(&self) -> u32 {
        if self.get() == 0 { 0 } else { self.0.swap(0, Ordering::Acquire) }
    }

    #[inline]
    pub(crate) fn put(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Private state of one vCPU. Cache lines of its own, so that vCPUs do not disturb each other; a power of two, so that
/// finding one takes a shift.
#[derive(Default)]
#[repr(align(512))]
pub(crate) struct Bank {
    /// Posts; see [`RECONCILE`].
    inbox: AtomicU64,
    // The owner only: posts that the short path may deliver, being eligible when last reconciled, and nothing else to
    // take care of.
    short: AtomicU64,

    // Any PE: what the guest configured.
    pub(crate) enable: Shared,
    pub(crate) group: Shared,
    priority: [AtomicU8; 32],
    /// GICR_WAKER.ProcessorSleep.
    pub(crate) waker: Shared,
    // Any PE: wires and requests.
    /// Levels of the PPIs' lines.
    pub(crate) line: Shared,
    /// GICv2: a byte of sources for each SGI.
    sources: [Shared; 4],
    /// ICPENDR: take the token, wherever it is.
    pub(crate) clear_pending: Shared,
    /// ISACTIVER.
    pub(crate) set_active: Shared,
    /// ICACTIVER.
    pub(crate) clear_active: Shared,
    /// GICv2: sources of SGIs cleared by CPENDSGIR, for the one in the list register.
    clear_sources: [Shared; 4],

    // The owner only: state of the interrupts.
    /// Tokens that are in no list register.
    pub(crate) latch: Owned,
    /// Active, in a list register (as last folded) or not.
    pub(crate) active: Owned,
    /// In a list register.
    pub(crate) resident: Owned,
    /// A token is in a list register, as last folded.
    pub(crate) held: Owned,
    /// Active, and pushed out of the list registers while the guest handled it.
    pub(crate) evicted: Owned,
    /// The physical interrupt of the same INTID is active for the token, or for the list register with HW = 1.
    pub(crate) hardware: Owned,
    /// The same, for what is active without HW = 1: it must be deactivated for the guest.
    pub(crate) demoted: Owned,
    // The owner only: the list registers.
    /// Those in use.
    pub(crate) used: Owned,
    /// Maintenance interrupts enabled, and whether one of the list registers needs the long path.
    pub(crate) care: Owned,
    /// What each stands for: its contents at delivery, pending, with today's priority and group.
    slots: [AtomicU64; 16],
    /// The list register of each private interrupt that is resident.
    places: [AtomicU8; 32],
}

impl Bank {
    /// Posts that the short path may deliver.
    #[inline]
    pub(crate) fn short(&self) -> u64 {
        self.short.load(Ordering::Relaxed)
    }

    /// Leaves SGIs and hardware interrupts among `eligible` to the short path.
    pub(crate) fn put_short(&self, eligible: u32) {
        let hardware = u64::from(eligible & !SGIS) << 32;
        self.short.store(u64::from(eligible & SGIS) | hardware, Ordering::Relaxed);
    }

    /// Whether something was posted since the last flush.
    #[inline]
    pub(crate) fn posted(&self) -> bool {
        self.inbox.load(Ordering::Relaxed) != 0
    }

    /// Posts.
    #[inline]
    pub(crate) fn post(&self, what: u64) {
        self.inbox.fetch_or(what, Ordering::Release);
    }

    /// What is posted, left there.
    #[inline]
    pub(crate) fn peek_inbox(&self) -> u64 {
        self.inbox.load(Ordering::Relaxed)
    }

    /// Whether a hardware interrupt is posted.
    #[inline]
    pub(crate) fn has_posted_hardware(&self) -> bool {
        self.peek_inbox() >> 48 != 0
    }

    /// Takes a posted pending bit back; the inbox may be on its way to the owner already.
    #[inline]
    pub(crate) fn unpost(&self, bits: u32) {
        if self.peek_inbox() & u64::from(bits) != 0 {
            self.inbox.fetch_and(!u64::from(bits), Ordering::Relaxed);
        }
    }

    /// Takes the hardware interrupts out of the inbox.
    pub(crate) fn take_posted_hardware(&self) -> u32 {
        posted_hardware(self.inbox.fetch_and(0xffff_ffff_ffff, Ordering::Acquire))
    }

    /// Takes all posts. What their senders wrote before is visible after.
    #[inline]
    pub(crate) fn take_inbox(&self) -> u64 {
        self.inbox.swap(0, Ordering::Acquire)
    }

    /// Priority of a private interrupt.
    #[inline]
    pub(crate) fn priority(&self, intid: u32) -> u8 {
        element(&self.priority, intid as usize).load(Ordering::Relaxed)
    }

    /// Sets the priority of a private interrupt; says whether that changed it.
    pub(crate) fn put_priority(&self, intid: u32, priority: u8) -> bool {
        element(&self.priority, intid as usize).swap(priority, Ordering::Relaxed) != priority
    }

    /// The sources of an SGI that are pending outside the list registers.
    #[inline]
    pub(crate) fn sources(&self, sgi: u32) -> u8 {
        byte_of(&self.sources, sgi)
    }

    /// The sources of four SGIs.
    #[inline]
    pub(crate) fn source_word(&self, word: usize) -> &Shared {
        element(&self.sources, word)
    }

    /// Sources of four SGIs whose token in a list register is to be taken.
    #[inline]
    pub(crate) fn clear_source_word(&self, word: usize) -> &Shared {
        element(&self.clear_sources, word)
    }

    /// Takes all of those.
    pub(crate) fn take_clear_sources(&self) -> [u32; 4] {
        core::array::from_fn(|word| self.clear_source_word(word).take())
    }

    /// Adds a source to an SGI.
    #[inline]
    pub(crate) fn add_source(&self, sgi: u32, source: u8) {
        self.source_word(word_of(sgi)).request(source_mask(sgi, source));
    }

    /// Removes a source from an SGI.
    #[inline]
    pub(crate) fn remove_source(&self, sgi: u32, source: u8) {
        self.source_word(word_of(sgi)).remove(source_mask(sgi, source));
    }

    /// What a list register stands for: its contents at delivery.
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> u64 {
        element(&self.slots, slot as usize).load(Ordering::Relaxed)
    }

    /// The INTID that a list register stands for: in both layouts its lowest bits.
    #[inline]
    pub(crate) fn slot_intid(&self, slot: u32) -> u32 {
        let [low, high, ..] = self.slot(slot).to_le_bytes();
        u32::from(u16::from_le_bytes([low, high]) & 0x3ff)
    }

    /// Records what a list register stands for.
    #[inline]
    pub(crate) fn put_slot(&self, slot: u32, raw: u64) {
        element(&self.slots, slot as usize).store(raw, Ordering::Relaxed);
    }

    /// The list register of a private interrupt that is resident.
    #[inline]
    pub(crate) fn place(&self, intid: u32) -> u32 {
        u32::from(element(&self.places, intid as usize).load(Ordering::Relaxed))
    }

    /// Records the list register of a private interrupt.
    #[inline]
    pub(crate) fn put_place(&self, intid: u32, slot: u32) {
        let [slot, ..] = slot.to_le_bytes();
        element(&self.places, intid as usize).store(slot, Ordering::Relaxed);
    }

    /// Private interrupts that may be signalled: enabled, in an enabled group.
    #[inline]
    pub(crate) fn eligible(&self, groups: Groups) -> u32 {
        self.enable.get() & groups.allow(self.group.get())
    }

    /// Private interrupts that are pending outside the list registers.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        self.latch.get() | self.line.0.load(Ordering::Acquire)
    }

    /// Back to what it was when new. The vCPU is not running.
    pub(crate) fn reset(&self) {
        self.inbox.store(0, Ordering::Relaxed);
        let shared = [&self.enable, &self.group, &self.waker, &self.line, &self.clear_pending];
        let requests = [&self.set_active, &self.clear_active];
        let bytes = self.sources.iter().chain(&self.clear_sources);
        self.priority.iter().for_each(|priority| priority.store(0, Ordering::Relaxed));
        shared.into_iter().chain(requests).chain(bytes).for_each(|word| word.put(0));
        let owned = [&self.latch, &self.active, &self.resident, &self.held, &self.evicted, &self.hardware];
        let owned = owned.into_iter().chain([&self.demoted]);
        owned.chain([&self.used, &self.care]).for_each(|word| word.put(0));
        self.put_short(0);
    }
}

/// GICD_CTLR's group enables as masks.
#[derive(Clone, Copy)]
pub(crate) struct Groups {
    group0: u32,
    group1: u32,
}

impl Groups {
    /// From GICD_CTLR.
    #[inline]
    pub(crate) const fn of(ctlr: u32) -> Self {
        Self { group0: (ctlr & 1).wrapping_neg(), group1: (ctlr >> 1 & 1).wrapping_neg() }
    }

    /// Of the interrupts whose IGROUPR word is `group`, those in an enabled group.
    #[inline]
    pub(crate) const fn allow(self, group: u32) -> u32 {
        group & self.group1 | !group & self.group0
    }
}

/// The bit of `source` in the word of sources of `sgi`.
#[inline]
pub(crate) const fn source_mask(sgi: u32, source: u8) -> u32 {
    1 << ((sgi & 3) * 8 + (source as u32 & 7))
}

#[inline]
fn word_of(intid: u32) -> usize {
    (intid >> 2) as usize
}

#[inline]
fn byte_of<const N: usize>(words: &[Shared; N], intid: u32) -> u8 {
    let [byte, ..] = (element(words, word_of(intid)).get() >> (8 * (intid & 3))).to_le_bytes();
    byte
}

/// The `index`th element; the index wraps at N, a power of two, so that there is always one and no check remains.
#[inline]
#[expect(clippy::indexing_slicing, reason = "the index is masked by the length, a power of two")]
pub(crate) fn element<T, const N: usize>(array: &[T; N], index: usize) -> &T {
    const { assert!(N.is_power_of_two()) };
    &array[index & (N - 1)]
}
