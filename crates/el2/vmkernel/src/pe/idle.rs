//! What a PE does beside running a vCPU: sleeping, deadlines, mail, and VMs that stop.
//!
//! Called by [`super`] and by exits.

use super::PeState;
use super::shared::{HOME, LOOK};
use crate::signals::RunState;
use crate::vcpu::VcpuState;
use crate::vm::Vm;
use crate::{Loaded, Pe, lists};
use alloc::sync::Arc;
use el2::gic::{self, HYP_TIMER, Hardware, KICK, MAINTENANCE, VIRTUAL_TIMER};
use machine::DeviceKind;
use virtio::Progress;

/// Nothing is to run: prepares memory, or sleeps until an interrupt; then takes those that came.
#[inline(always)]
pub(super) fn wait<H: Hardware>(pe: &mut Pe, current: Option<&VcpuState>) {
    let shared = pe.state.shared;
    shared.publish(0);
    if !pe.state.later.is_empty() {
        // No vCPU wants the time that it was to have.
        put_off(pe, 0);
    }
    pe.state.arm();
    if !el2::memory::prepare_step() && !shared.needs_attention() {
        shared.falls_asleep(el2::regs::counter());
        pe.sleep();
        shared.wakes_up(el2::regs::counter());
    }
    take_interrupts::<H>(pe, current);
}

/// Physical interrupts while no guest runs. `current` is loaded but blocked.
#[inline(always)]
fn take_interrupts<H: Hardware>(pe: &mut Pe, current: Option<&VcpuState>) {
    loop {
        let interrupt = H::acknowledge();
        if interrupt.is(HYP_TIMER) {
            H::drop_priority(interrupt);
            fire_deadlines(pe);
            H::deactivate(interrupt);
            // The least urgent: no other waits.
            return;
        }
        if !take_interrupt(pe, current, interrupt) {
            return;
        }
    }
}

/// Takes one that is not the PE's own timer; false if there was none.
#[inline(never)]
fn take_interrupt(pe: &mut Pe, current: Option<&VcpuState>, interrupt: gic::Acknowledged) -> bool {
    let Some(intid) = interrupt.intid() else { return false };
    gic::settle();
    gic::drop_priority(interrupt);
    match (intid, current) {
        (VIRTUAL_TIMER, Some(vcpu)) => {
            vcpu.signals.vgic.pend_hardware(vcpu.index, VIRTUAL_TIMER);
            wake_current(pe, vcpu);
            // It stays active until the guest's own EOI.
            return true;
        }
        (MAINTENANCE, Some(vcpu)) => {
            vcpu.signals.wake(lists::fold(&vcpu.signals.vgic, vcpu.index));
            wake_current(pe, vcpu);
        }
        (KICK | VIRTUAL_TIMER | MAINTENANCE, _) => {}
        (spi, _) => crate::start::device_interrupt(pe, spi),
    }
    gic::deactivate(interrupt);
    true
}

/// The loaded vCPU is blocked, and may have something to take now.
fn wake_current(pe: &mut Pe, vcpu: &VcpuState) {
    if vcpu.signals.vgic.posted(vcpu.index) && vcpu.take_blocked() {
        pe.state.slots.wake(vcpu.home.slot(), el2::regs::counter());
    }
}

/// Does what is due, and looks up the next deadline: work put off, guests' clocks, host devices, blocked vCPUs. Whether
/// one that woke should run before the one that runs.
#[inline(always)]
pub(super) fn fire_deadlines(pe: &mut Pe) -> bool {
    pe.state.armed = u64::MAX;
    el2::timer::clear_deadline();
    let now = el2::regs::counter();
    if pe.state.work_at <= now {
        work(pe, now);
    }
    let (soonest, preempts) = pe.state.slots.fire(now, pe.state.work_at);
    pe.state.soonest = soonest;
    preempts
}

/// What was asked for while nothing runs. `current` is loaded but blocked; what is left of it.
#[cold]
pub(super) fn attend(pe: &mut Pe, mut current: Option<Loaded>, what: u32) -> Option<Loaded> {
    if what & HOME != 0 {
        crate::home::work(pe);
    }
    if what & LOOK == 0 {
        return current;
    }
    look_around(pe);
    pe.state.soonest = soonest(&mut pe.state);
    if let Some(vcpu) = &mut current {
        super::tell_times(pe, vcpu);
    }
    super::guests_changed(&mut pe.state, current.as_mut());
    if let Some(vcpu) = current.take_if(|vcpu| vcpu.vm.is_paused() && !vcpu.vm.is_stopping()) {
        super::pause::stop_waiting(pe, vcpu);
    }
    current
}

/// What is due and is no vCPU's: work put off, guests' clocks, host devices.
#[cold]
fn work(pe: &mut Pe, now: u64) {
    if !pe.state.later.is_empty() && pe.state.later_at <= now {
        catch_up(pe, now);
    }
    while let Some(vm) = pe.state.alarms.take_due(now) {
        crate::devices::ring(pe, &vm);
    }
    let host = pe.state.host;
    if pe.state.is_first
        && let Some(devices) = host.devices.get().filter(|devices| devices.look_at() <= now)
    {
        devices.look(pe);
    }
    if pe.state.home.as_ref().is_some_and(|home| home.due() <= now) {
        crate::home::work(pe);
    }
    pe.state.work_at = soonest_work(&pe.state);
}

/// Goes on with what was put off. Then vCPUs have as long as it took, since a guest can see to it that its device always
/// has more to do; one that has the PE for itself, and may as well sleep, a quarter of that.
fn catch_up(pe: &mut Pe, now: u64) {
    for _ in 0..pe.state.later.len() {
        if let Some((vm, device)) = pe.state.later.pop_front()
            && crate::devices::poll(&vm, device) == Progress::More
        {
            pe.state.later.push_back((vm, device));
        }
    }
    let end = el2::regs::counter();
    let took = end.saturating_sub(now);
    let others = pe.state.slots.queue.waiting() != 0;
    pe.state.later_at = end.saturating_add(if others { took } else { took / 4 });
}

/// The next deadline but the slice's and those of the vCPU that runs.
pub(super) fn soonest(state: &mut PeState) -> u64 {
    state.work_at = soonest_work(state);
    state.slots.next_wake().min(state.work_at)
}

/// The next deadline that is not a vCPU's.
fn soonest_work(state: &PeState) -> u64 {
    let later = if state.later.is_empty() { u64::MAX } else { state.later_at };
    let devices = state.host.devices.get().filter(|_| state.is_first);
    let devices = devices.map_or(u64::MAX, |devices| devices.look_at());
    let home = state.home.as_ref().map_or(u64::MAX, |home| home.due());
    later.min(devices).min(state.alarms.next()).min(home)
}

/// A device had more to do than one call may take: it goes on in an interrupt of its own, so that guests and others get
/// their turns in between.
pub fn poll_later(pe: &mut Pe, vm: &Arc<Vm>, device: DeviceKind, progress: Progress) {
    if progress == Progress::More {
        pe.state.later.push_back((vm.clone(), device));
        put_off(pe, pe.state.later_at);
        pe.state.arm();
    }
}

/// What was put off goes on at `at`.
fn put_off(pe: &mut Pe, at: u64) {
    pe.state.later_at = at;
    pe.state.work_at = pe.state.work_at.min(at);
    pe.state.expect(at);
}

/// The self-test's question, vCPUs that came, and those of VMs that stop.
pub(super) fn look_around(pe: &mut Pe) {
    pe.state.host.roll_call.answer(pe.id());
    for mail in pe.state.shared.take_mail() {
        super::admit(pe, mail);
    }
    retire_parked(pe);
    super::pause::look_at_parked(pe);
}

/// Parked vCPUs of VMs that stop are freed; the others tell what they did.
fn retire_parked(pe: &mut Pe) {
    for slot in 0..pe.state.slots.count() {
        let Some(place) = pe.state.slots.get(slot) else { continue };
        let (ran, waited) = place.take_times();
        if let Some(parked) = &mut place.parked {
            parked.note_times(ran, waited);
            parked.tell_exits();
        }
        if let Some(parked) = place.parked.take_if(|parked| parked.vm.is_stopping()) {
            parked.set_run(RunState::Off);
            pe.state.slots.vacate(slot);
            pe.state.shared.release();
            crate::vm::vcpu_is_gone(pe, parked);
        }
    }
}
