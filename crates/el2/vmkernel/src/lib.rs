//! The vmkernel: VM lifecycle and assembly, exits, scheduling, consoles. No unsafe: the frame below is `el2`.
//!
//! What knows nothing of `el2` is built and tested on a PC, too.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | what all PEs share |
//! | [`pe`] | the loop of one PE: which vCPU runs, when it sleeps |
//! | [`exit`] | what a guest's trap comes to |
//! | [`vm`], [`assemble`] | a VM, and its way from a specification to its first instruction |
//! | [`bus`] | which device an address belongs to |
//! | [`console`] | the one serial line: host log and guests |
//! | [`home`] | the datastore's PE: the mounted store, guests' volumes |
//! | [`world`], [`supervisor`] | hostd: a VM with a role, and who looks after it |
//! | [`calls`], [`desk`] | what a world asks for: by HVC, by the call queue |
//! | [`panic_screen`], [`drill`] | the end, and the end on purpose |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests"))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod clock;
pub mod disk;
pub mod flight;
pub mod identification;
pub mod presence;
pub mod random;
pub mod ring;
pub mod symbols;

#[cfg(target_os = "none")]
pub mod alarms;
#[cfg(target_os = "none")]
pub mod assemble;
#[cfg(target_os = "none")]
pub mod bus;
#[cfg(target_os = "none")]
pub mod calls;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod desk;
#[cfg(target_os = "none")]
pub mod devices;
#[cfg(target_os = "none")]
pub mod drill;
#[cfg(target_os = "none")]
pub mod exit;
#[cfg(target_os = "none")]
pub mod home;
#[cfg(target_os = "none")]
pub mod host;
#[cfg(target_os = "none")]
pub mod host_devices;
#[cfg(target_os = "none")]
pub mod host_disk;
#[cfg(target_os = "none")]
pub mod host_power;
#[cfg(target_os = "none")]
pub mod inventory;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
pub mod lists;
#[cfg(target_os = "none")]
pub mod network;
#[cfg(target_os = "none")]
pub mod panic_screen;
#[cfg(target_os = "none")]
pub mod pe;
#[cfg(target_os = "none")]
pub mod self_test;
#[cfg(target_os = "none")]
pub mod services;
#[cfg(target_os = "none")]
pub mod signals;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod supervisor;
#[cfg(target_os = "none")]
pub mod topology;
#[cfg(target_os = "none")]
pub mod uplink;
#[cfg(target_os = "none")]
pub mod vcpu;
#[cfg(target_os = "none")]
pub mod vm;
#[cfg(target_os = "none")]
pub mod world;

#[cfg(target_os = "none")]
pub use kernel::VmKernel;
#[cfg(target_os = "none")]
use kernel::{Loaded, Parked, Pe, Unbound};
