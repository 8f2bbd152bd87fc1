//! Trapped system registers.
//!
//! Source: Arm ARM (DDI 0487), D24.2 ESR_EL2, "ISS encoding for an exception from MSR, MRS, or System instruction
//! execution in AArch64 state".

use super::{undefined, update_physical_timer};
use crate::flight::Reason;
use crate::pe::{self, leave};
use crate::vcpu::VcpuState;
use crate::{Loaded, Pe};

/// ISS with op0, op1, CRn, CRm, op2 in their places, direction and Rt cleared.
const fn register(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
}

const REGISTER: u64 = register(3, 7, 15, 15, 7);
/// All but CRm and op2.
const GROUP: u64 = register(3, 7, 15, 0, 0);
const IDENTIFICATION: u64 = register(3, 0, 0, 0, 0);
const READ: u64 = 1;

const ICC_SGI1R: u64 = register(3, 0, 12, 11, 5);
const ICC_ASGI1R: u64 = register(3, 0, 12, 11, 6);
const ICC_SGI0R: u64 = register(3, 0, 12, 11, 7);
const ICC_SRE: u64 = register(3, 0, 12, 12, 5);
const CNTP_TVAL: u64 = register(3, 3, 14, 2, 0);
const CNTP_CTL: u64 = register(3, 3, 14, 2, 1);
const CNTP_CVAL: u64 = register(3, 3, 14, 2, 2);
const ACTLR: u64 = register(3, 0, 1, 0, 1);
const OSLSR: u64 = register(2, 0, 1, 1, 4);
const DC_ISW: u64 = register(1, 0, 7, 6, 2);
const DC_CSW: u64 = register(1, 0, 7, 10, 2);
const DC_CISW: u64 = register(1, 0, 7, 14, 2);

/// ICC_SRE_EL1: SRE, DFB, DIB.
const ICC_SRE_ON: u64 = 7;
/// OSLSR_EL1: the OS lock is implemented, and open.
const OSLSR_OPEN: u64 = 1 << 3;

/// A trapped MRS, MSR or SYS.
#[inline(never)]
pub fn trapped(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64) -> Loaded {
    vcpu.flight.count(Reason::Register);
    let target = (syndrome >> 5 & 31) as usize;
    if syndrome & (GROUP | READ) == IDENTIFICATION | READ {
        let index = ((syndrome >> 1 & 15) << 3 | syndrome >> 17 & 7) & 63;
        let value = vcpu.ids.get(index as usize).copied().unwrap_or(0);
        vcpu.set_x(target, value);
        vcpu.skip();
        return leave(pe, vcpu);
    }
    if syndrome & (REGISTER | READ) == ICC_SGI1R && el2::gic::is_v3() {
        let targets = vcpu.signals.vgic.sgi1r_write(vcpu.index, vcpu.x(target));
        vcpu.signals.wake(targets);
        vcpu.skip();
        return leave(pe, vcpu);
    }
    rare(pe, vcpu, syndrome, target)
}

#[inline(never)]
fn rare(pe: &mut Pe, mut vcpu: Loaded, syndrome: u64, target: usize) -> Loaded {
    let which = syndrome & REGISTER;
    let reads = syndrome & READ != 0;
    let done = match which {
        DC_ISW | DC_CSW | DC_CISW => {
            let (address, operand) = (vcpu.elr(), vcpu.x(target));
            if !by_set_and_way(&mut vcpu, address, operand) {
                return leave(pe, vcpu);
            }
            true
        }
        ICC_ASGI1R | ICC_SGI0R if !reads && el2::gic::is_v3() => {
            let (vgic, value) = (&vcpu.signals.vgic, vcpu.x(target));
            let targets = if which == ICC_SGI0R {
                vgic.sgi0r_write(vcpu.index, value)
            } else {
                vgic.asgi1r_write(vcpu.index, value)
            };
            vcpu.signals.wake(targets);
            true
        }
        // System registers are all that there is, for all guests of this PE.
        ICC_SRE if el2::gic::is_v3() => {
            read_as(&mut vcpu, reads, target, ICC_SRE_ON);
            true
        }
        CNTP_TVAL | CNTP_CTL | CNTP_CVAL => {
            access_timer(pe, &mut vcpu, which, reads, target);
            true
        }
        ACTLR => {
            read_as(&mut vcpu, reads, target, 0);
            true
        }
        OSLSR if reads => {
            vcpu.set_x(target, OSLSR_OPEN);
            true
        }
        // Debug registers: breakpoints and watchpoints read as zero and ignore writes (op0 = 2, op1 = 0 or 3).
        _ if which >> 20 == 2 && which >> 14 & 7 & !3 == 0 => {
            read_as(&mut vcpu, reads, target, 0);
            true
        }
        _ => false,
    };
    if done {
        vcpu.skip();
    } else {
        undefined(&mut vcpu);
    }
    leave(pe, vcpu)
}

/// A cache operation by set and way; whether it is done, or to be executed again.
fn by_set_and_way(vcpu: &mut VcpuState, address: u64, operand: u64) -> bool {
    let VcpuState { set_way, vm, .. } = vcpu;
    set_way.step(address, operand, |at| vm.ram.clean_and_invalidate(at))
}

fn read_as(vcpu: &mut Loaded, reads: bool, target: usize, value: u64) {
    if reads {
        vcpu.set_x(target, value);
    }
}

/// CNTP_*_EL0: the physical counter is the guest's own, so its values need no offset.
fn access_timer(pe: &mut Pe, vcpu: &mut Loaded, which: u64, reads: bool, target: usize) {
    let now = el2::regs::counter();
    if reads {
        let timer = vcpu.physical_timer;
        let value = match which {
            CNTP_TVAL => timer.countdown(now),
            CNTP_CTL => timer.control(now),
            _ => timer.compare(),
        };
        return vcpu.set_x(target, value);
    }
    let value = vcpu.x(target);
    match which {
        CNTP_TVAL => vcpu.physical_timer.set_countdown(value, now),
        CNTP_CTL => vcpu.physical_timer.set_control(value),
        _ => vcpu.physical_timer.set_compare(value),
    }
    update_physical_timer(vcpu);
    pe::rearm(pe, vcpu);
}
