//! What a PE does about vCPUs of paused VMs, and about exits that are measured.
//!
//! A vCPU of a paused VM keeps its place on its PE, is parked, and gets no turn: to others it is ready, so nobody wakes it;
//! what is posted to it waits in its vGIC. Its virtual counter stands still: when it comes back it is so much further behind.
//! Called by [`super`] and by [`super::idle`] when something about VMs changed.

use super::next;
use super::slots::Standing;
use super::switch::park;
use crate::signals::RunState;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use alloc::sync::Arc;

/// The loaded vCPU ran until now.
pub(super) fn stop_running(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    let slot = vcpu.home.slot();
    pe.state.slots.block(slot, u64::MAX, el2::regs::counter());
    stop_waiting(pe, vcpu);
    next(pe, None, el2::regs::counter())
}

/// The loaded vCPU waits, blocked or for its turn. None is loaded afterwards.
pub(super) fn stop_waiting(pe: &mut Pe, vcpu: Loaded) {
    vcpu.set_run(RunState::Ready);
    let (slot, vm) = (vcpu.home.slot(), vcpu.vm.clone());
    park(pe, vcpu);
    // Its VM may end meanwhile.
    el2::vcpu::leave_empty();
    pe.state.slots.set_aside(slot);
    is_aside(pe, &vm);
}

/// Parked vCPUs of VMs that were paused are set aside, those of VMs that were resumed come back.
pub(super) fn look_at_parked(pe: &mut Pe) {
    let now = el2::regs::counter();
    for slot in 0..pe.state.slots.count() {
        let Some(place) = pe.state.slots.get(slot) else { continue };
        let aside = place.standing == Standing::Aside;
        let Some(parked) = place.parked.as_mut().filter(|parked| parked.vm.is_paused() != aside) else {
            continue;
        };
        let vm = parked.vm.clone();
        if aside {
            parked.set_counter_offset(vm.counter_offset());
            vm.comes_back();
            pe.state.slots.bring_back(slot, now);
        } else {
            parked.set_run(RunState::Ready);
            pe.state.slots.set_aside(slot);
            is_aside(pe, &vm);
        }
    }
}

fn is_aside(pe: &Pe, vm: &Arc<Vm>) {
    if vm.is_set_aside(el2::regs::counter()) {
        crate::desk::vm_changed(pe.state.host);
    }
}

/// Handles an exit and measures it, but for the time that the PE slept. An exit after which another vCPU runs belongs to
/// neither.
pub fn measure(pe: &mut Pe, vcpu: Loaded, handler: impl FnOnce(&mut Pe, Loaded) -> Loaded) -> Loaded {
    let (vm, index, counts) = (Arc::as_ptr(&vcpu.vm), vcpu.index, *vcpu.flight.counts());
    let begun = el2::regs::counter();
    let slept = pe.state.shared.slept(begun);
    let mut after = handler(pe, vcpu);
    let now = el2::regs::counter();
    let slept = pe.state.shared.slept(now).wrapping_sub(slept);
    if Arc::as_ptr(&after.vm) == vm && after.index == index {
        let ticks = now.wrapping_sub(begun).saturating_sub(slept);
        after.flight.measured(&counts, ticks.saturating_mul(el2::pe::MEASURED));
    }
    after
}
