//! HVC and SMC: PSCI and SMCCC, answered by the PSCI model; what it decides is done here.
//!
//! Source: DEN0022 "PSCI", DEN0028 "SMCCC".

use crate::flight::Reason;
use crate::pe::{self, leave};
use crate::{Loaded, Pe};
use chipset::psci::Outcome;

/// A call by HVC; or by SMC, which is answered the same way.
#[inline(never)]
pub fn hvc(pe: &mut Pe, mut vcpu: Loaded) -> Loaded {
    vcpu.flight.count(Reason::Call);
    let outcome = vcpu.vm.psci.call(vcpu.x(0), [vcpu.x(1), vcpu.x(2), vcpu.x(3)], &pe.state.host.random);
    if let Outcome::Return(value) = outcome {
        vcpu.set_x(0, value);
        return leave(pe, vcpu);
    }
    carry_out(pe, vcpu, outcome)
}

#[inline(never)]
fn carry_out(pe: &mut Pe, mut vcpu: Loaded, outcome: Outcome) -> Loaded {
    match outcome {
        Outcome::Return(value) => vcpu.set_x(0, value),
        Outcome::Values(values) => {
            for (register, value) in values.into_iter().enumerate() {
                vcpu.set_x(register, value);
            }
        }
        Outcome::Start { target, entry, context } => {
            vcpu.set_x(0, 0);
            if let Err(why) = crate::vm::start_vcpu(pe.state.host, &vcpu.vm, target, entry, context) {
                crate::vm::stop_for(&vcpu.vm, why);
            }
        }
        Outcome::Standby => {
            vcpu.set_x(0, 0);
            return pe::block(pe, vcpu);
        }
        Outcome::Stop => return pe::retire(pe, vcpu),
        Outcome::SystemOff => {
            crate::vm::stop(&vcpu.vm, crate::vm::Wanted::Off);
            return leave(pe, vcpu);
        }
        Outcome::SystemReset => {
            crate::vm::stop(&vcpu.vm, crate::vm::Wanted::Restart);
            return leave(pe, vcpu);
        }
        // Every exit clears the branch history and predictor where this PE needs it (docs/errata.md).
        Outcome::Mitigate(_) => vcpu.set_x(0, 0),
        Outcome::Vendor => return crate::calls::call(pe, vcpu),
    }
    leave(pe, vcpu)
}
