//! Stage-2 faults: first touch of RAM, devices, and addresses where nothing is.
//!
//! Source: Arm ARM (DDI 0487), D24.2 ESR_EL2, "ISS encoding for an exception from a Data Abort".

use super::IL;
use crate::bus::{self, Access};
use crate::flight::Reason;
use crate::pe::leave;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use ports::Width;
use specs::Ipa;

/// ISS.ISV: the syndrome describes the access.
const ISV: u64 = 1 << 24;
/// ISS.S1PTW: the fault is of a stage-1 walk.
const S1PTW: u64 = 1 << 7;
/// ISS.DFSC without the level.
const STATUS_CLASS: u64 = 0x3c;
/// A permission fault, at whatever level.
const PERMISSION_FAULT: u64 = 0x0c;
/// Status code of a synchronous external abort, not on a walk.
const EXTERNAL_ABORT: u64 = 0x10;

/// A data abort.
#[inline(never)]
pub fn data(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64) -> Loaded {
    let mut ipa = Ipa(vcpu.fault_ipa());
    if syndrome & (STATUS_CLASS | S1PTW) == PERMISSION_FAULT {
        match vcpu.permission_fault_ipa() {
            Some(translated) => ipa = Ipa(translated),
            None => return leave(pe, vcpu),
        }
    }
    if vcpu.vm.plan.ram.offset_of(ipa).is_some() {
        return touch(pe, vcpu, ipa);
    }
    if syndrome & (ISV | S1PTW) != ISV {
        return undescribed(pe, vcpu, ipa, 0x24);
    }
    vcpu.flight.count(Reason::Device);
    let Some(region) = bus::find(&mut vcpu, ipa) else { return undescribed(pe, vcpu, ipa, 0x24) };
    let access = Access { offset: ipa.0.wrapping_sub(region.start), width: width(syndrome) };
    let target = (syndrome >> 16 & 31) as usize;
    vcpu.skip();
    if syndrome & 1 << 6 != 0 {
        let value = access.width.truncate(vcpu.x(target));
        bus::write(pe, &mut vcpu, region.device, access, value);
    } else {
        let value = bus::read(&mut vcpu, region.device, access);
        vcpu.set_x(target, extend(syndrome, access.width, value));
    }
    leave(pe, vcpu)
}

#[inline(always)]
fn width(syndrome: u64) -> Width {
    match syndrome >> 22 & 3 {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

/// ISS.SSE and ISS.SF: how the value fills the register.
#[inline(always)]
fn extend(syndrome: u64, width: Width, value: u64) -> u64 {
    let value = width.truncate(value);
    if syndrome & 1 << 21 == 0 {
        return value;
    }
    let unused = 64_u32.saturating_sub(8_u32.saturating_mul(width as u32));
    let signed = ((value << unused).cast_signed() >> unused).cast_unsigned();
    if syndrome & 1 << 15 != 0 { signed } else { signed & 0xffff_ffff }
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
pub fn instruction(pe: &mut Pe, vcpu: Loaded, _syndrome: u64) -> Loaded {
    let ipa = Ipa(vcpu.fault_ipa());
    if vcpu.vm.plan.ram.offset_of(ipa).is_some() {
        return touch(pe, vcpu, ipa);
    }
    undescribed(pe, vcpu, ipa, 0x20)
}

/// An access that can't be emulated, or to where nothing is: an external abort, as on a board.
#[cold]
fn undescribed(pe: &mut Pe, mut vcpu: Loaded, _ipa: Ipa, class: u64) -> Loaded {
    vcpu.flight.count(Reason::Other);
    // From EL1 the class is that of the same level: one more.
    let from_el0 = vcpu.spsr() & 15 == 0;
    let class = if from_el0 { class } else { class + 1 };
    let address = vcpu.fault_va();
    vcpu.inject_exception(class << 26 | IL | EXTERNAL_ABORT, address);
    leave(pe, vcpu)
}
