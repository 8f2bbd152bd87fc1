//! Whose turn it is gets into the hardware, and who had it out of it.
//!
//! Called by [`super`]; [`park`] also where a vCPU leaves for another PE or stands still.

use super::slots::{Standing, Turn};
use super::{leave, wait};
use crate::signals::RunState;
use crate::vcpu::VcpuState;
use crate::{Loaded, Parked, Pe, lists};
use el2::gic::{self, Hardware, ListRegistersV2, ListRegistersV3, VIRTUAL_TIMER};

/// Whose turn it is runs. `current` is loaded.
#[inline(always)]
pub(super) fn run(pe: &mut Pe, current: Option<Loaded>, turn: Turn) -> Loaded {
    if pe.has_gic_v3() {
        run_on::<ListRegistersV3>(pe, current, turn)
    } else {
        run_on::<ListRegistersV2>(pe, current, turn)
    }
}

#[inline(always)]
pub(super) fn run_on<H: Hardware>(pe: &mut Pe, current: Option<Loaded>, turn: Turn) -> Loaded {
    match (current, turn) {
        (current, Turn::Parked(parked)) => switch::<H>(pe, current, parked),
        (Some(vcpu), Turn::Loaded) => resume(pe, vcpu),
        (None, Turn::Loaded) => wait(pe, None),
    }
}

/// The loaded vCPU goes on.
#[inline(never)]
fn resume(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    enter(pe, vcpu)
}

/// Another vCPU takes the place of `current`.
#[inline(never)]
fn switch<H: Hardware>(pe: &mut Pe, current: Option<Loaded>, next: Parked) -> Loaded {
    if let Some(vcpu) = current {
        park_on::<H>(pe, vcpu);
    }
    let vcpu = load::<H>(pe, next);
    enter(pe, vcpu)
}

/// Takes the loaded vCPU out of the hardware.
pub(super) fn park(pe: &mut Pe, vcpu: Loaded) {
    if pe.has_gic_v3() { park_on::<ListRegistersV3>(pe, vcpu) } else { park_on::<ListRegistersV2>(pe, vcpu) }
}

#[inline(always)]
fn park_on<H: Hardware>(pe: &mut Pe, mut vcpu: Loaded) {
    if lists::hold_hardware::<H>(&vcpu.signals.vgic, vcpu.index) {
        release_timer(&mut vcpu);
    }
    let parked = vcpu.unload::<H>();
    let Some(place) = pe.state.slots.get(parked.home.slot()) else { return };
    // One that came already is noted in its vGIC, and comes no second time.
    let waits = place.standing == Standing::Blocked && !parked.timer_is_active;
    let deadline = if waits { parked.timer_deadline() } else { None };
    place.park(parked);
    if let Some(deadline) = deadline {
        place.wake_at = place.wake_at.min(deadline);
        pe.state.expect(deadline);
    }
}

/// The physical active state of the virtual timer's interrupt goes with the vCPU that has it in a list register.
#[inline(never)]
pub(super) fn release_timer(vcpu: &mut VcpuState) {
    vcpu.signals.wake(lists::fold(&vcpu.signals.vgic, vcpu.index));
    vcpu.timer_is_active = holds_timer(vcpu);
    if vcpu.timer_is_active {
        gic::set_timer_active(false);
    }
}

/// What [`release_timer`] took comes back, if the vCPU still has it.
#[inline(never)]
fn regain_timer(vcpu: &mut VcpuState) -> bool {
    vcpu.timer_is_active = false;
    let holds = holds_timer(vcpu);
    if holds {
        gic::set_timer_active(true);
    }
    holds
}

fn holds_timer(vcpu: &VcpuState) -> bool {
    vcpu.signals.vgic.live_hardware(vcpu.index) & (1 << VIRTUAL_TIMER.0) != 0
}

/// Puts a vCPU into the hardware.
#[inline(always)]
fn load<H: Hardware>(pe: &mut Pe, parked: Parked) -> Loaded {
    let mut vcpu = parked.load::<H>(pe);
    if vcpu.vm.runs_another_on(pe.id(), vcpu.index) {
        vcpu.forget_translations();
    }
    let regained = vcpu.timer_is_active && regain_timer(&mut vcpu);
    if !regained && vcpu.timer_is_due() {
        // It fired while the vCPU was away: taken now, it saves an exit.
        crate::exit::take_timer::<H>(pe, &vcpu);
    }
    vcpu
}

/// The last steps before a vCPU that was not running runs.
#[inline(always)]
fn enter(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    vcpu.set_run(RunState::Running);
    if vcpu.physical_timer.is_enabled() || vcpu.physical_line {
        crate::exit::update_physical_timer(&mut vcpu);
        pe.state.expect(vcpu.physical_deadline());
    }
    pe.state.shared.publish(pe.state.slots.queue.waiting().wrapping_add(1));
    pe.state.arm();
    leave(pe, vcpu)
}
