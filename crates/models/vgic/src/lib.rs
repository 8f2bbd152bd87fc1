//! The virtual GIC, v2 and v3: Distributor, Redistributors, list-register packing. Sole owner of "pending".
//!
//! Called by the vmkernel's exits (guest accesses, physical timer interrupts, maintenance interrupts) and by device
//! models through `InterruptLine`; calls only [`ListRegisters`], the PE's virtual CPU interface.
//! Standards: GICv2, Arm IHI 0048B, chapters 3 to 5; GICv3, Arm IHI 0069, chapters 4, 6 and 12.
//!
//! # What is where
//! - `bank`: one vCPU's private interrupts (0–31), in atomic words; no lock.
//! - `spi`: the VM's shared interrupts (32–159), under one lock.
//! - `deliver`: flush and fold. `inject` is the short path (an SGI, the timer); `readback`, `correct` and `fill` are
//!   the long one, and `owner` is the state as they see it.
//! - `distributor`, `redistributor`, `sgi`: the registers that trap.
//!
//! A guest with GICv2 has the hardware's GICV page as its GICC, one with GICv3 the ICV registers: acknowledge, EOI and
//! priority mask are never emulated.
//!
//! # Invariants
//! - *Pending is a token.* Of an edge-triggered interrupt, an SGI or a hardware interrupt it is either in the latch
//!   (or the inbox on its way there) or in one list register, never in both. A level-triggered interrupt is pending
//!   while its line is high, or by a token that ISPENDR made; a list register repeats the one or has the other.
//! - An INTID is in at most one list register of the whole VM; `resident` says so, `holder` names the vCPU. (On GICv2
//!   an SGI with several sources takes them one after the other: they share a priority, so the guest can't tell.)
//! - What is in a list register was enabled, its group enabled, and routed to that vCPU when last seen; who changes
//!   that posts to the vCPU, whose owner corrects the list register at its next exit.
//! - While something deliverable waits outside the list registers, every list register is in use by something at
//!   least as urgent, or active, and a maintenance interrupt is armed that comes when that changes.
//!
//! - The physical interrupt behind a hardware interrupt is active from [`Vgic::pend_hardware`] until the guest's
//!   deactivation, or until this crate deactivates it; [`Vgic::live_hardware`] says for which it is.
//!
//! # Limits
//! - A guest that splits EOI (EOImode = 1) and has as many active interrupts as there are list registers gets a more
//!   urgent one only when it deactivates one: outside the list registers its DIR could not be told apart.
//! - If the list registers are full of a group that the guest's CPU interface does not take, the other group waits.
//! - A sleeping Redistributor (GICR_WAKER) forwards all the same, and ICFGR of PPIs is read-only: they are levels.
//! - No LPIs, no "1 of N" routing (GICv3); of several targets in ITARGETSR (GICv2) the first is taken.
//!
//! # Concurrency
//! One [`Vgic`] per VM, shared by `&`. The *owner* of a vCPU is the PE that runs it (or last ran it: the run queue's
//! lock passes ownership on). Only the owner may call [`Vgic::flush`], [`Vgic::fold`], [`Vgic::deliverable`],
//! [`Vgic::pend_hardware`], [`Vgic::inject_hardware`], [`Vgic::live_hardware`], [`Vgic::in_use`] and
//! [`Vgic::reset_vcpu`]; every other method may be called from any
//! PE at any time, and leaves the vCPUs concerned *posted*: the caller kicks those in the returned [`VcpuSet`]. A post
//! is one atomic OR with release order on the vCPU's inbox, taken by the owner with one swap with acquire order, so
//! that everything written before the post is seen by the flush that takes it. The SPI lock is the innermost lock of
//! the host: nothing is called under it but list registers.
//!
//! A guest's read of the pending or active state of its own vCPU is exact if the owner folded first (see
//! [`needs_fold`]); of a vCPU that runs elsewhere it is what that vCPU's last fold or flush saw, with what was written
//! since.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fake"))]
extern crate std;

mod bank;
mod bits;
mod correct;
mod deliver;
mod distributor;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fill;
#[cfg(any(test, feature = "fake"))]
pub mod hostile;
mod inject;
mod lr;
mod owner;
mod private;
mod readback;
mod redistributor;
mod sgi;
mod spi;
mod vgic;

#[cfg(test)]
mod tests;

pub use bits::VcpuSet;
pub use lr::{Entry, Link, ListRegisters, Maintenance, Version};
pub use vgic::{Line, MAX_VCPUS, Vgic, needs_fold};
