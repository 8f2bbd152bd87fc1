//! Exits: a guest trapped, or an interrupt came while it ran. Each exception class has a function of its own.
//!
//! Called by the vectors through `el2`; ends in [`pe::leave`]. Hot paths are short: see `./bramble bench`.
//! Source: Arm ARM (DDI 0487), D24.2 ESR_EL2, "Exception Class"; ISS encodings by class.

mod abort;
mod call;
mod register;

use crate::flight::Reason;
use crate::lists::{self, Lists};
use crate::pe::{self, leave};
use crate::vcpu::VcpuState;
use crate::{Loaded, Pe};
use el2::gic::{
    self, HYP_TIMER, Hardware, KICK, ListRegistersV2, ListRegistersV3, MAINTENANCE, VIRTUAL_TIMER,
};
use specs::Intid;

/// ESR_EL2.IL, as it is set for exceptions that we inject.
const IL: u64 = 1 << 25;
/// The guest's physical timer (BSA).
const PHYSICAL_TIMER: Intid = Intid(30);

/// A synchronous exception from a guest.
#[inline(always)]
pub fn synchronous(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
    match syndrome >> 26 & 0x3f {
        0x24 => abort::data(pe, vcpu, syndrome),
        0x18 => register::trapped(pe, vcpu, syndrome),
        0x16 => call::hvc(pe, vcpu),
        0x01 => wait(pe, vcpu, syndrome),
        class => other(pe, vcpu, class, syndrome),
    }
}

#[inline(never)]
fn wait(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64) -> Loaded {
    vcpu.flight.count(Reason::Wait);
    vcpu.skip_any();
    // ISS.TI: 0 WFI, 1 WFE.
    if syndrome & 1 == 0 { pe::block(pe, vcpu) } else { pe::yield_to_others(pe, vcpu) }
}

#[inline(never)]
fn other(pe: &mut Pe, mut vcpu: Loaded, class: u64, syndrome: u64) -> Loaded {
    match class {
        0x07 => {
            vcpu.flight.count(Reason::Other);
            vcpu.take_fp(pe);
        }
        0x17 => {
            vcpu.skip();
            return call::hvc(pe, vcpu);
        }
        0x20 => return abort::instruction(pe, vcpu, syndrome),
        _ => {
            vcpu.flight.count(Reason::Other);
            undefined(&mut vcpu);
        }
    }
    leave(pe, vcpu)
}

/// What the guest ran does not exist for it.
fn undefined(vcpu: &mut Loaded) {
    vcpu.inject_exception(IL, 0);
}

/// A physical interrupt while a guest ran.
#[inline(always)]
pub fn interrupt(pe: &mut Pe, vcpu: Loaded) -> Loaded {
    if pe.has_gic_v3() {
        interrupt_on::<ListRegistersV3>(pe, vcpu)
    } else {
        interrupt_on::<ListRegistersV2>(pe, vcpu)
    }
}

/// The virtual timer's is the guest's own: its EOI ends the physical interrupt (HW bit of the list register).
#[inline(always)]
fn interrupt_on<H: Hardware>(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    vcpu.flight.count(Reason::Interrupt);
    let interrupt = H::acknowledge();
    if !interrupt.is(VIRTUAL_TIMER) {
        return host_interrupt(pe, vcpu, interrupt);
    }
    H::drop_priority(interrupt);
    let others = vcpu.signals.vgic.inject_hardware(vcpu.index, VIRTUAL_TIMER, &mut Lists::<H>::here());
    if others.is_empty() {
        return pe::leave_flushed(pe, vcpu);
    }
    vcpu.signals.wake(others);
    leave(pe, vcpu)
}

/// The virtual timer of the vCPU that was just loaded is due: takes its interrupt, if it has come to this PE already.
#[inline(always)]
pub fn take_timer<H: Hardware>(pe: &mut Pe, vcpu: &VcpuState) {
    let interrupt = H::acknowledge();
    if !interrupt.is(VIRTUAL_TIMER) {
        return take_instead(pe, interrupt);
    }
    H::drop_priority(interrupt);
    let lists = &mut Lists::<H>::here();
    vcpu.signals.wake(vcpu.signals.vgic.inject_hardware(vcpu.index, VIRTUAL_TIMER, lists));
}

/// Another is more urgent, or came first. The PE's own PPIs are levels: they come again. A kick has nothing more to say than
/// that there is something to look at, which follows.
#[cold]
fn take_instead(pe: &mut Pe, interrupt: gic::Acknowledged) {
    let Some(intid) = interrupt.intid() else { return };
    gic::settle();
    gic::drop_priority(interrupt);
    if !intid.is_private() {
        crate::start::device_interrupt(pe, intid);
    }
    gic::deactivate(interrupt);
}

#[inline(never)]
fn host_interrupt(pe: &mut Pe, vcpu: Loaded, interrupt: gic::Acknowledged) -> Loaded {
    pe::interrupted(pe, vcpu, |pe, vcpu| take_host_interrupt(pe, vcpu, interrupt))
}

#[inline(always)]
fn take_host_interrupt(pe: &mut Pe, vcpu: Loaded, interrupt: gic::Acknowledged) -> Loaded {
    let Some(intid) = interrupt.intid() else { return leave(pe, vcpu) };
    gic::settle();
    gic::drop_priority(interrupt);
    match intid {
        KICK => {}
        HYP_TIMER => {
            let preempts = pe::fire_deadlines(pe, &vcpu);
            gic::deactivate(interrupt);
            return pe::after_deadline(pe, vcpu, preempts);
        }
        MAINTENANCE => {
            let signals = &vcpu.signals;
            signals.wake(lists::fold(&signals.vgic, vcpu.index));
            signals.wake(lists::flush(&signals.vgic, vcpu.index));
        }
        spi => crate::start::device_interrupt(pe, spi),
    }
    gic::deactivate(interrupt);
    leave(pe, vcpu)
}

/// The emulated physical timer drives its line.
pub fn update_physical_timer(vcpu: &mut VcpuState) {
    let high = vcpu.physical_timer.line(el2::regs::counter());
    if high != vcpu.physical_line {
        vcpu.physical_line = high;
        vcpu.signals.set_private(vcpu.index, PHYSICAL_TIMER, high);
    }
}

/// An SError while a guest ran: it may be anyone's. The VM stops; the host goes on.
pub fn system_error(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64) -> Loaded {
    vcpu.flight.count(Reason::Other);
    let what = alloc::format!("SError with syndrome {syndrome:#x} at {:#x}", vcpu.elr());
    crate::vm::stop_for(&vcpu.vm, &what);
    leave(pe, vcpu)
}
