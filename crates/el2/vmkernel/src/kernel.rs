//! The vmkernel as `el2` calls it.

use crate::host::Host;
use crate::{exit, panic_screen, pe, start, vcpu};
use el2::boot::Machine;
use el2::kernel::Kernel;
use el2::vectors::FatalFrame;
use specs::PeId;

/// What `el2` runs.
#[derive(Debug)]
pub struct VmKernel;

pub(crate) type Pe = el2::pe::Pe<VmKernel>;
pub(crate) type Loaded = el2::vcpu::Loaded<VmKernel>;
pub(crate) type Parked = el2::vcpu::Parked<VmKernel>;
pub(crate) type Unbound = el2::vcpu::Unbound<VmKernel>;

impl Kernel for VmKernel {
    type Host = Host;
    type Pe = pe::PeState;
    type Vcpu = vcpu::VcpuState;

    fn boot(machine: Machine, seed: &[u8]) -> Host {
        Host::new(machine, seed)
    }

    fn start_pe(host: &'static Host, pe: PeId) -> pe::PeState {
        pe::PeState::new(host, pe)
    }

    fn start(host: &'static Host, pe: &mut Pe) {
        start::start_host(host, pe);
    }

    fn wait(pe: &mut Pe) -> Loaded {
        let first = pe::next(pe, None, el2::regs::counter());
        pe.state.host.count_entry();
        first
    }

    #[inline(always)]
    fn synchronous(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
        exit::synchronous(pe, vcpu, syndrome)
    }

    #[inline(always)]
    fn interrupt(pe: &mut Pe, vcpu: Loaded) -> Loaded {
        exit::interrupt(pe, vcpu)
    }

    fn system_error(pe: &mut Pe, vcpu: Loaded, syndrome: u64) -> Loaded {
        exit::system_error(pe, vcpu, syndrome)
    }

    #[cold]
    #[inline(never)]
    fn measured(pe: &mut Pe, vcpu: Loaded, handler: impl FnOnce(&mut Pe, Loaded) -> Loaded) -> Loaded {
        pe::measure(pe, vcpu, handler)
    }

    fn fatal(frame: &FatalFrame, syndrome: u64, address: u64, elr: u64) -> ! {
        panic_screen::show_exception(frame, syndrome, address, elr)
    }
}
