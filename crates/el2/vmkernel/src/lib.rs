//! The vmkernel: VM lifecycle and assembly, exits, scheduling, consoles. No unsafe: the frame below is `el2`.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | what all PEs share |
//! | [`pe`] | the loop of one PE: which vCPU runs, when it sleeps |
//! | [`exit`] | what a guest's trap comes to |
//! | [`vm`], [`assemble`] | a VM, and its way from a specification to its first instruction |
//! | [`bus`] | which device an address belongs to |
//! | [`console`] | the one serial line: host log and guests |
//! | [`world`], [`supervisor`] | hostd: a VM with a role, and who looks after it |
//! | [`calls`], [`desk`] | what a world asks for: by HVC, by the call queue |
//! | [`panic_screen`] | the end |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod alarms;
pub mod assemble;
pub mod bus;
pub mod calls;
pub mod console;
pub mod desk;
pub mod devices;
pub mod disk;
pub mod exit;
pub mod flight;
pub mod host;
pub mod host_devices;
pub mod host_disk;
pub mod identification;
pub mod inventory;
pub mod lists;
pub mod network;
pub mod panic_screen;
pub mod pe;
pub mod random;
pub mod self_test;
pub mod services;
pub mod signals;
pub mod start;
pub mod supervisor;
pub mod uplink;
pub mod vcpu;
pub mod vm;
pub mod world;

use el2::boot::Machine;
use el2::kernel::Kernel;
use el2::vectors::FatalFrame;
use host::Host;
use specs::PeId;

/// What `el2` runs.
#[derive(Debug)]
pub struct VmKernel;

type Pe = el2::pe::Pe<VmKernel>;
type Loaded = el2::vcpu::Loaded<VmKernel>;
type Parked = el2::vcpu::Parked<VmKernel>;
type Unbound = el2::vcpu::Unbound<VmKernel>;

impl Kernel for VmKernel {
    type Host = Host;
    type Pe = pe::PeState;
    type Vcpu = vcpu::VcpuState;

    fn boot(machine: Machine) -> Host {
        Host::new(machine)
    }

    fn start_pe(host: &'static Host, pe: PeId) -> pe::PeState {
        pe::PeState::new(host, pe)
    }

    fn start(host: &'static Host, pe: &mut Pe) {
        start::start_host(host, pe);
    }

    fn wait(pe: &mut Pe) -> Loaded {
        let first = pe::next(pe, None);
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

    fn fatal(frame: &FatalFrame, syndrome: u64, address: u64, elr: u64) -> ! {
        panic_screen::show_exception(frame, syndrome, address, elr)
    }
}
