//! Stage-2 faults: first touch of RAM, devices, and addresses where nothing is.
//!
//! Source: Arm ARM (DDI 0487), D24.2 ESR_EL2, "ISS encoding for an exception from a Data Abort".

use super::IL;
use crate::bus::{self, Access};
use crate::flight::Reason;
use crate::pe::leave;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use machine::DeviceKind;
use ports::{MmioDevice, Width};
use specs::Ipa;
use vgic::VcpuSet;

/// ISS.ISV: the syndrome describes the access.
const ISV: u64 = 1 << 24;
/// ISS.WnR: a store.
const WRITE: u64 = 1 << 6;
/// ISS.SF: a 64-bit register.
const SIXTY_FOUR: u64 = 1 << 15;
/// ISS.SSE: the value is signed.
const SIGNED: u64 = 1 << 21;
/// ISS.CM: of an instruction that maintains caches by address (or of AT).
const CACHE_MAINTENANCE: u64 = 1 << 8;
/// ISS.S1PTW: the fault is of a stage-1 walk.
const S1PTW: u64 = 1 << 7;
/// ISS.DFSC without the level.
const STATUS_CLASS: u64 = 0x3c;
/// A translation fault, at whatever level: nothing is mapped.
const TRANSLATION_FAULT: u64 = 0x04;
/// A permission fault, at whatever level.
const PERMISSION_FAULT: u64 = 0x0c;
/// Status code of a synchronous external abort, not on a walk.
const EXTERNAL_ABORT: u64 = 0x10;

/// A data abort. Most are loads and stores of the device that was accessed last; each step hands on to the next and
/// keeps nothing, so that none pays for the registers of another.
#[inline(never)]
pub fn data(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
    if syndrome & (ISV | S1PTW | STATUS_CLASS) != ISV | TRANSLATION_FAULT {
        return unusual(pe, vcpu, syndrome);
    }
    let ipa = Ipa(vcpu.fault_ipa());
    if ipa.0.wrapping_sub(vcpu.hint.start) >= vcpu.hint.bytes {
        return elsewhere(pe, vcpu, syndrome, ipa);
    }
    device(pe, vcpu, syndrome, ipa)
}

/// The access is not described, or it is not that nothing is mapped.
#[cold]
fn unusual(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
    match fault_ipa(&vcpu, syndrome) {
        Some(ipa) => elsewhere(pe, vcpu, syndrome, ipa),
        None => leave(pe, vcpu),
    }
}

/// What the fault is about; `None` where the guest's translation has changed meanwhile, and the access is to be tried again.
fn fault_ipa(vcpu: &Loaded, syndrome: u64) -> Option<Ipa> {
    if syndrome & (STATUS_CLASS | S1PTW) == PERMISSION_FAULT {
        return vcpu.permission_fault_ipa().map(Ipa);
    }
    Some(Ipa(vcpu.fault_ipa()))
}

/// Not in the region of the last access: RAM, another device, or nothing.
#[inline(never)]
fn elsewhere(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64, ipa: Ipa) -> Loaded {
    if vcpu.vm.plan.ram.offset_of(ipa).is_some() {
        return touch(pe, vcpu, ipa);
    }
    if syndrome & (CACHE_MAINTENANCE | S1PTW) == CACHE_MAINTENANCE {
        return maintain(pe, vcpu);
    }
    if syndrome & (ISV | S1PTW) != ISV || !bus::find(&mut vcpu, ipa) {
        return undescribed(pe, vcpu, ipa, 0x24);
    }
    device(pe, vcpu, syndrome, ipa)
}

/// Caches hold nothing of a device, or of nothing: there is nothing to be done, as on a board.
#[cold]
fn maintain(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    vcpu.flight.count(Reason::Other);
    vcpu.skip();
    leave(pe, vcpu)
}

/// A load or store in the region that the hint names.
#[inline(always)]
fn device(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64, ipa: Ipa) -> Loaded {
    vcpu.flight.count(Reason::Device);
    vcpu.skip_any();
    let offset = ipa.0.wrapping_sub(vcpu.hint.start);
    if syndrome & WRITE != 0 { store(pe, vcpu, syndrome, offset) } else { load(pe, vcpu, syndrome, offset) }
}

#[inline(always)]
fn store(pe: &mut Pe, vcpu: Loaded, syndrome: u64, offset: u64) -> Loaded {
    let access = Access { offset, width: width(syndrome) };
    let value = cut(syndrome, vcpu.x(target(syndrome)));
    match bus::write_short(&vcpu, access, value) {
        Some(VcpuSet::NONE) => leave(pe, vcpu),
        Some(concerned) => wake(pe, vcpu, concerned),
        None if vcpu.hint.device == DeviceKind::Uart => store_to_uart(pe, vcpu, access, value),
        None => store_other(pe, vcpu, access, value),
    }
}

#[inline(never)]
fn store_to_uart(pe: &mut Pe, vcpu: Loaded, access: Access, value: u64) -> Loaded {
    vcpu.vm.devices.uart.lock().write(access.offset, access.width, value);
    leave(pe, vcpu)
}

#[inline(never)]
fn wake(pe: &mut Pe, vcpu: Loaded, concerned: VcpuSet) -> Loaded {
    vcpu.signals.wake(concerned);
    leave(pe, vcpu)
}

#[inline(never)]
fn store_other(pe: &mut Pe, mut vcpu: Loaded, access: Access, value: u64) -> Loaded {
    bus::write(pe, &mut vcpu, access, value);
    leave(pe, vcpu)
}

#[inline(always)]
fn load(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64, offset: u64) -> Loaded {
    let Some(value) = bus::read_polled(&vcpu, offset, width(syndrome)) else {
        return load_other(pe, vcpu, syndrome, offset);
    };
    vcpu.set_x(target(syndrome), extend(syndrome, value));
    leave(pe, vcpu)
}

#[inline(never)]
fn load_other(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64, offset: u64) -> Loaded {
    let value = bus::read(&mut vcpu, Access { offset, width: width(syndrome) });
    vcpu.set_x(target(syndrome), extend(syndrome, value));
    leave(pe, vcpu)
}

/// ISS.SRT: the register.
#[inline(always)]
fn target(syndrome: u64) -> usize {
    (syndrome >> 16 & 31) as usize
}

/// ISS.SAS: how wide.
#[inline(always)]
fn width(syndrome: u64) -> Width {
    match syndrome >> 22 & 3 {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

/// The bits of a register that the access does not use.
#[inline(always)]
fn unused(syndrome: u64) -> u64 {
    64 - (8 << (syndrome >> 22 & 3))
}

#[inline(always)]
fn cut(syndrome: u64, value: u64) -> u64 {
    value & (u64::MAX >> unused(syndrome))
}

/// ISS.SSE and ISS.SF: how the value fills the register.
#[inline(always)]
fn extend(syndrome: u64, value: u64) -> u64 {
    if syndrome & SIGNED != 0 {
        let signed = ((value << unused(syndrome)).cast_signed() >> unused(syndrome)).cast_unsigned();
        return if syndrome & SIXTY_FOUR != 0 { signed } else { signed & 0xffff_ffff };
    }
    cut(syndrome, value)
}

/// The guest touched RAM that is not mapped.
#[inline(never)]
fn touch(pe: &mut Pe, mut vcpu: Loaded, ipa: Ipa) -> Loaded {
    vcpu.flight.count(Reason::Memory);
    if !map_ram(&vcpu.vm, ipa) {
        crate::vm::stop_for(&vcpu.vm, "no memory for its translation tables");
    }
    leave(pe, vcpu)
}

/// Maps the block of RAM around `ipa`.
pub fn map_ram(vm: &Vm, ipa: Ipa) -> bool {
    let Some((block, pa)) = vm.ram.touch(ipa) else { return false };
    let mut stage2 = vm.stage2.lock();
    let Some(stage2) = stage2.as_mut() else { return true };
    if stage2.lookup(ipa).is_some() {
        // Another vCPU was faster.
        return true;
    }
    stage2.map(block, pa, el2::memory::BLOCK_BYTES, crate::assemble::RAM).is_ok()
}

/// An instruction abort.
#[inline(never)]
pub fn instruction(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
    let Some(ipa) = fault_ipa(&vcpu, syndrome) else { return leave(pe, vcpu) };
    if vcpu.vm.plan.ram.offset_of(ipa).is_some() {
        return touch(pe, vcpu, ipa);
    }
    undescribed(pe, vcpu, ipa, 0x20)
}

/// An access that can't be emulated, or to where nothing is: an external abort, as on a board.
#[cold]
fn undescribed(pe: &mut Pe, mut vcpu: Loaded, ipa: Ipa, class: u64) -> Loaded {
    vcpu.flight.count(Reason::Other);
    if let Some(world) = &vcpu.vm.world {
        // A world is ours: it touches nothing that is not there, unless it is broken.
        world.ends(abi::ExitReason::Fault, vcpu.index.0, ipa.0, b"nothing at this address");
        crate::vm::stop(&vcpu.vm, crate::vm::Wanted::Off);
        return leave(pe, vcpu);
    }
    // From EL1 the class is that of the same level: one more.
    let from_el0 = vcpu.spsr() & 15 == 0;
    let class = if from_el0 { class } else { class + 1 };
    let address = vcpu.fault_va();
    vcpu.inject_exception(class << 26 | IL | EXTERNAL_ABORT, address);
    leave(pe, vcpu)
}
