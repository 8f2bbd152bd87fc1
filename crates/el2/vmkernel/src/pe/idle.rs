//! What a PE does beside running a vCPU: sleeping, deadlines, mail, and VMs that stop.
//!
//! Called by [`super`] and by exits.

use super::PeState;
use crate::signals::RunState;
use crate::vm::Vm;
use crate::{Loaded, Pe, lists};
use alloc::sync::Arc;
use el2::gic::{self, HYP_TIMER, KICK, MAINTENANCE, VIRTUAL_TIMER};
use machine::DeviceKind;
use virtio::Progress;

/// Nothing is to run: prepares memory, or sleeps until an interrupt; then takes those that came.
pub(super) fn wait(pe: &mut Pe, current: Option<&Loaded>) {
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
    take_interrupts(pe, current);
}

/// Physical interrupts while no guest runs. `current` is loaded but blocked.
fn take_interrupts(pe: &mut Pe, current: Option<&Loaded>) {
    loop {
        let interrupt = gic::acknowledge();
        let Some(intid) = interrupt.intid() else { break };
        gic::settle();
        gic::drop_priority(interrupt);
        match intid {
            VIRTUAL_TIMER if current.is_some() => {
                if let Some(vcpu) = current {
                    vcpu.signals.vgic.pend_hardware(vcpu.index, VIRTUAL_TIMER);
                }
                continue;
            }
            HYP_TIMER => {
                fire_deadlines(pe);
            }
            MAINTENANCE => {
                if let Some(vcpu) = current {
                    vcpu.signals.wake(lists::fold(&vcpu.signals.vgic, vcpu.index));
                }
            }
            KICK => {}
            spi => crate::start::device_interrupt(pe, spi),
        }
        gic::deactivate(interrupt);
    }
    if let Some(vcpu) = current
        && vcpu.signals.vgic.posted(vcpu.index)
        && vcpu.take_blocked()
    {
        pe.state.slots.wake(vcpu.home.slot, el2::regs::counter());
    }
}

/// Does what is due, and looks up the next deadline: work put off, guests' clocks, host devices, blocked vCPUs. Whether
/// one that woke should run before the one that runs.
pub(super) fn fire_deadlines(pe: &mut Pe) -> bool {
    let mut preempts = false;
    pe.state.armed = u64::MAX;
    el2::timer::clear_deadline();
    let now = el2::regs::counter();
    if pe.state.work_at <= now {
        work(pe, now);
    }
    let mut next = u64::MAX;
    for slot in 0..pe.state.slots.count() {
        let Some(place) = pe.state.slots.get(slot) else { continue };
        if place.wake_at > now {
            next = next.min(place.wake_at);
            continue;
        }
        place.wake_at = u64::MAX;
        let vcpu = place.signals.vcpus.get(usize::from(place.index.0));
        if vcpu.is_some_and(crate::signals::VcpuSignals::take_blocked) {
            preempts |= pe.state.slots.wake(slot, now);
        }
    }
    pe.state.soonest = next.min(pe.state.work_at);
    preempts
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
