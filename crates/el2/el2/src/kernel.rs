//! Guards nothing: what this frame asks of the kernel above it.

use crate::pe::Pe;
use crate::vcpu::Loaded;
use crate::vectors;

/// What runs above this frame: the vmkernel.
pub trait Kernel: Sized + 'static {
    /// State that all PEs share; made once.
    type Host: Sync + 'static;
    /// State of one PE.
    type Pe: 'static;
    /// State of one vCPU.
    type Vcpu: Send + 'static;

    /// Takes the machine over, on the boot PE, before any other PE runs. The seed of the device tree is erased afterwards.
    fn boot(machine: crate::boot::Machine, seed: &[u8]) -> Self::Host;
    /// Makes the state of a PE, on that PE.
    fn start_pe(host: &'static Self::Host, pe: specs::PeId) -> Self::Pe;
    /// Every PE that came up is up: starts VMs. On the boot PE.
    fn start(host: &'static Self::Host, pe: &mut Pe<Self>);
    /// Waits until a vCPU is to run, with none loaded.
    fn wait(pe: &mut Pe<Self>) -> Loaded<Self>;
    /// A synchronous exception from a guest. What is returned runs next.
    fn synchronous(pe: &mut Pe<Self>, vcpu: Loaded<Self>, syndrome: u64) -> Loaded<Self>;
    /// A physical interrupt while a guest ran.
    fn interrupt(pe: &mut Pe<Self>, vcpu: Loaded<Self>) -> Loaded<Self>;
    /// An SError while a guest ran.
    fn system_error(pe: &mut Pe<Self>, vcpu: Loaded<Self>, syndrome: u64) -> Loaded<Self>;
    /// Handles an exit whose time is to be measured, by `handler`; not every kernel measures.
    #[inline(always)]
    fn measured(
        pe: &mut Pe<Self>,
        vcpu: Loaded<Self>,
        handler: impl FnOnce(&mut Pe<Self>, Loaded<Self>) -> Loaded<Self>,
    ) -> Loaded<Self> {
        handler(pe, vcpu)
    }
    /// EL2 took an exception itself: shows the panic screen.
    fn fatal(frame: &vectors::FatalFrame, syndrome: u64, address: u64, elr: u64) -> !;
}

/// A kernel without state, to compute offsets with.
pub(crate) struct Layout;

impl Kernel for Layout {
    type Host = ();
    type Pe = ();
    type Vcpu = ();
    fn boot(_: crate::boot::Machine, _: &[u8]) {}
    fn start_pe(_: &'static (), _: specs::PeId) {}
    fn start(_: &'static (), _: &mut Pe<Self>) {}
    fn wait(_: &mut Pe<Self>) -> Loaded<Self> {
        unreachable!("computes offsets only")
    }
    fn synchronous(_: &mut Pe<Self>, vcpu: Loaded<Self>, _: u64) -> Loaded<Self> {
        vcpu
    }
    fn interrupt(_: &mut Pe<Self>, vcpu: Loaded<Self>) -> Loaded<Self> {
        vcpu
    }
    fn system_error(_: &mut Pe<Self>, vcpu: Loaded<Self>, _: u64) -> Loaded<Self> {
        vcpu
    }
    fn fatal(_: &vectors::FatalFrame, _: u64, _: u64, _: u64) -> ! {
        unreachable!("computes offsets only")
    }
}
