//! The loop of one PE: which vCPU runs, when it changes, when the PE sleeps.
//!
//! Called by exits and by the frame; a vCPU is touched by its own PE only. Others ask by [`PeShared`] and an SGI.
//! Waiting happens with the last vCPU still loaded: when it wakes nothing needs to be moved. The PE's timer is never
//! disarmed: a deadline that has become void costs one interrupt, at which the next is looked up.

mod balance;
mod idle;
mod pause;
mod shared;
mod slots;
mod switch;

pub use balance::place;
pub use idle::poll_later;
pub use pause::measure;
pub use shared::{Mail, PeShared, send};

use crate::alarms::Alarms;
use crate::host::Host;
use crate::lists;
use crate::signals::{Home, RunState};
use crate::vcpu::VcpuState;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use el2::gic::{Hardware, ListRegistersV2, ListRegistersV3};
use machine::DeviceKind;
use shared::{HOME, LOOK};
use slots::{Slot, Slots};
use specs::PeId;
use switch::{release_timer, run, run_on};

/// The vmkernel's part of a PE.
pub struct PeState {
    /// The host.
    pub host: &'static Host,
    shared: &'static PeShared,
    /// What the timer is set to.
    armed: u64,
    /// No deadline but the slice's is earlier.
    soonest: u64,
    /// When there is something to do that is no vCPU's.
    work_at: u64,
    /// When vCPUs may move to a PE that has others.
    next_balance: u64,
    later: VecDeque<(Arc<Vm>, DeviceKind)>,
    /// Not before then: until then vCPUs have the PE.
    later_at: u64,
    /// Alarms of guests' clocks.
    pub alarms: Alarms,
    is_first: bool,
    /// The datastore's home, on the first PE.
    pub home: Option<Box<crate::home::Home>>,
    slots: Slots,
}

impl PeState {
    /// For a PE that just came up.
    pub fn new(host: &'static Host, pe: PeId) -> Self {
        host.count_pe();
        Self {
            host,
            shared: host.pe(pe),
            armed: u64::MAX,
            soonest: u64::MAX,
            work_at: u64::MAX,
            next_balance: 0,
            later: VecDeque::new(),
            later_at: 0,
            alarms: Alarms::default(),
            is_first: pe == PeId(0),
            home: (pe == PeId(0)).then(Box::default),
            slots: Slots::new(el2::regs::counter_hz()),
        }
    }

    /// Looks at everything, deadlines included, at the end of this exit.
    pub fn look_soon(&self) {
        self.shared.look();
    }

    /// The home knows anew when it is to go on.
    pub fn home_changed(&mut self) {
        let due = self.home.as_ref().map_or(u64::MAX, |home| home.due());
        self.work_at = self.work_at.min(due);
        self.expect(due);
        self.arm();
    }

    /// Something is to happen at `at`.
    #[inline(always)]
    fn expect(&mut self, at: u64) {
        self.soonest = self.soonest.min(at);
    }

    /// Programs the EL2 timer for the next thing that happens by time, if it would come too late for that.
    #[inline(always)]
    fn arm(&mut self) {
        let mut next = self.soonest;
        if self.slots.queue.waiting() != 0 {
            next = next.min(self.slots.slice_end);
        }
        if next < self.armed {
            self.armed = next;
            el2::timer::set_deadline(next);
        }
    }

    /// Those that others woke wait for their turn; whether the one that runs, which is charged, is to make way.
    #[inline(never)]
    fn take_woken(&mut self, mut words: u32, now: u64) -> bool {
        let mut preempts = false;
        words &= !(LOOK | HOME);
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words.wrapping_sub(1);
            let mut woken = self.shared.take_woken(word);
            while woken != 0 {
                let slot = (word * 64 + woken.trailing_zeros()) & 0xffff;
                woken &= woken.wrapping_sub(1);
                preempts |= self.slots.wake(slot as u16, now);
            }
        }
        preempts
    }
}

/// The end of every exit: looks for work that others posted. Two loads when there is none.
#[inline(always)]
pub fn leave(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if vcpu.signals.vgic.posted(vcpu.index) {
        return look(pe, vcpu);
    }
    leave_flushed(pe, vcpu)
}

/// [`leave`] where nothing can have been posted but by other PEs, which send a [`gic::KICK`], too.
#[inline(always)]
pub fn leave_flushed(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if pe.state.shared.needs_attention() {
        return attend(pe, vcpu);
    }
    vcpu
}

#[inline(never)]
fn look(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    flush(&vcpu);
    leave_flushed(pe, vcpu)
}

/// Brings what was posted to the loaded vCPU into its list registers.
#[inline(always)]
fn flush(vcpu: &VcpuState) {
    vcpu.signals.wake(lists::flush(&vcpu.signals.vgic, vcpu.index));
}

/// Takes what others asked for, and goes on with the loaded vCPU unless it has to make way.
#[inline(never)]
fn attend(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    let what = pe.state.shared.take_attention();
    let now = el2::regs::counter();
    // Also before others come by mail: their clocks are set by the one that runs.
    pe.state.slots.charge(vcpu.home.slot(), now);
    let preempts = pe.state.take_woken(what, now);
    if what & (LOOK | HOME) != 0 {
        return reconsider(pe, vcpu, what, preempts);
    }
    if preempts {
        return make_way(pe, vcpu, now);
    }
    pe.state.arm();
    vcpu
}

#[cold]
#[inline(never)]
fn reconsider(pe: &mut Pe, mut vcpu: Loaded, what: u32, preempts: bool) -> Loaded {
    if what & HOME != 0 {
        crate::home::work(pe);
    }
    if what & LOOK != 0 {
        idle::look_around(pe);
        if vcpu.vm.is_stopping() {
            return retire(pe, vcpu);
        }
        tell_times(pe, &mut vcpu);
        guests_changed(&mut pe.state, Some(&mut vcpu));
        if vcpu.vm.is_paused() {
            return pause::stop_running(pe, vcpu);
        }
        pe.state.soonest = idle::soonest(&mut pe.state).min(vcpu.physical_deadline());
    }
    if preempts { yield_to_others(pe, vcpu) } else { go_on(pe, vcpu) }
}

/// How many guests' vCPUs there are decides whose WFI traps. `current` is loaded.
fn guests_changed(state: &mut PeState, current: Option<&mut Loaded>) {
    if let Some(vcpu) = current {
        let trap = state.slots.guests >= vcpu.wfi_traps_from;
        vcpu.trap_wfi(trap);
    }
    state.slots.set_traps();
}

/// The loaded vCPU's VM hears what it did so far.
fn tell_times(pe: &mut Pe, vcpu: &mut Loaded) {
    let (ran, waited) = pe.state.slots.times(vcpu.home.slot());
    vcpu.note_times(ran, waited);
    vcpu.tell_exits();
}

/// The loaded vCPU goes on after something else was done: deadlines and posts may have come of it.
fn go_on(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    pe.state.arm();
    if vcpu.signals.vgic.posted(vcpu.index) {
        flush(&vcpu);
    }
    vcpu
}

/// The loaded vCPU leaves for good: CPU_OFF, or its VM stops.
pub fn retire(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    let signals = vcpu.signals.clone();
    release_timer(&mut vcpu);
    lists::reset_vcpu(&signals.vgic, vcpu.index);
    vcpu.set_run(RunState::Off);
    let slot = vcpu.home.slot();
    pe.state.slots.charge(slot, el2::regs::counter());
    let (ran, waited) = pe.state.slots.times(slot);
    vcpu.note_times(ran, waited);
    let parked =
        if pe.has_gic_v3() { vcpu.unload::<ListRegistersV3>() } else { vcpu.unload::<ListRegistersV2>() };
    // Its VM may end with it.
    el2::vcpu::leave_empty();
    pe.state.slots.queue.block();
    pe.state.slots.vacate(slot);
    guests_changed(&mut pe.state, None);
    pe.state.shared.release();
    crate::vm::vcpu_is_gone(pe, parked);
    next(pe, None, el2::regs::counter())
}

/// The loaded vCPU waits for an interrupt.
pub fn block(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    let vgic = &vcpu.signals.vgic;
    if vgic.posted(vcpu.index) {
        flush(&vcpu);
    }
    if lists::deliverable(vgic, vcpu.index) {
        return leave(pe, vcpu);
    }
    vcpu.set_run(RunState::Blocked);
    // What was posted before others could see that it is blocked. Who woke it meanwhile has it queued.
    if vgic.posted(vcpu.index) && vcpu.take_blocked() {
        vcpu.set_run(RunState::Running);
        return look(pe, vcpu);
    }
    // While it stays loaded its virtual timer fires in hardware.
    let (wake_at, now) = (vcpu.physical_deadline(), el2::regs::counter());
    pe.state.slots.block(vcpu.home.slot(), wake_at, now);
    pe.state.expect(wake_at);
    next(pe, Some(vcpu), now)
}

/// Gives the PE to another vCPU, if one is ready.
pub fn yield_to_others(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if pe.state.slots.queue.waiting() == 0 {
        return go_on(pe, vcpu);
    }
    let now = el2::regs::counter();
    pe.state.slots.charge(vcpu.home.slot(), now);
    make_way(pe, vcpu, now)
}

/// Gives the PE to another vCPU, which is ready. This one was charged until `now`.
#[inline(always)]
fn make_way(pe: &mut Pe, vcpu: Loaded, now: u64) -> Loaded {
    vcpu.set_run(RunState::Ready);
    pe.state.slots.requeue(vcpu.home.slot(), now);
    let current = if now >= pe.state.slots.slice_end { balance::even_out(pe, vcpu, now) } else { Some(vcpu) };
    next(pe, current, now)
}

/// Chooses what runs next, from now, and sleeps while nothing can. `current` is loaded: ready (and queued) or blocked.
#[inline(always)]
pub fn next(pe: &mut Pe, current: Option<Loaded>, now: u64) -> Loaded {
    if !pe.state.shared.needs_attention()
        && let Some(turn) = pe.state.slots.pick(now)
    {
        return run(pe, current, turn);
    }
    wait(pe, current)
}

/// [`next`] where nothing is ready, or more is to be done.
fn wait(pe: &mut Pe, current: Option<Loaded>) -> Loaded {
    if pe.has_gic_v3() {
        wait_on::<ListRegistersV3>(pe, current)
    } else {
        wait_on::<ListRegistersV2>(pe, current)
    }
}

#[inline(never)]
fn wait_on<H: Hardware>(pe: &mut Pe, mut current: Option<Loaded>) -> Loaded {
    if current.is_none() {
        el2::vcpu::leave_empty();
    }
    loop {
        if pe.state.shared.needs_attention() {
            let what = pe.state.shared.take_attention();
            pe.state.take_woken(what, el2::regs::counter());
            if what & (LOOK | HOME) != 0 {
                current = idle::attend(pe, current, what);
                if let Some(vcpu) = current.take_if(|vcpu| vcpu.vm.is_stopping()) {
                    return retire(pe, vcpu);
                }
            }
        }
        if let Some(turn) = pe.state.slots.pick(el2::regs::counter()) {
            return run_on::<H>(pe, current, turn);
        }
        idle::wait::<H>(pe, current.as_deref());
    }
}

/// An interrupt of the host's came while the guest ran. Whoever it wakes lets that one have its turn first, or one who sees
/// to it that there always is such an interrupt would keep it from its first instruction.
#[inline(always)]
pub fn interrupted(pe: &mut Pe, vcpu: Loaded, handle: impl FnOnce(&mut Pe, Loaded) -> Loaded) -> Loaded {
    pe.state.slots.interrupted = true;
    let next = handle(pe, vcpu);
    pe.state.slots.interrupted = false;
    next
}

/// The PE's deadline came while the guest ran; whether one that it woke should run before this one.
pub fn fire_deadlines(pe: &mut Pe, vcpu: &Loaded) -> bool {
    pe.state.slots.charge(vcpu.home.slot(), el2::regs::counter());
    idle::fire_deadlines(pe)
}

/// After the PE's deadline: the next vCPU's turn, or the same goes on.
pub fn after_deadline(pe: &mut Pe, mut vcpu: Loaded, preempts: bool) -> Loaded {
    crate::exit::update_physical_timer(&mut vcpu);
    pe.state.expect(vcpu.physical_deadline());
    let slots = &pe.state.slots;
    if preempts || slots.queue.waiting() != 0 && el2::regs::counter() >= slots.slice_end {
        return yield_to_others(pe, vcpu);
    }
    pe.state.arm();
    leave(pe, vcpu)
}

/// A timer of the loaded vCPU changed: the PE's deadline may have, too.
pub fn rearm(pe: &mut Pe, vcpu: &Loaded) {
    pe.state.expect(vcpu.physical_deadline());
    pe.state.arm();
}

/// A place for a vCPU that came.
fn admit(pe: &mut Pe, mail: Mail) {
    let Mail { vcpu: mut unbound, share, moved } = mail;
    let home = Home::new(pe.id(), pe.state.slots.free());
    let state = unbound.state();
    state.home = home;
    // From now on who stops the VM finds it here; what follows sees whoever did before.
    state.set_run(RunState::Ready);
    if !moved {
        let index = state.index;
        state.vm.psci.entered(index);
    }
    let parked = unbound.bind(pe);
    let now = el2::regs::counter();
    pe.state.shared.arrived(now);
    pe.state.next_balance = balance::after(now);
    pe.state.slots.admit(home.slot(), Slot::new(parked, share), now);
}
