//! PL011, PL031, PL061, CFI flash, the emulated timer and PSCI of the guest machine.
//!
//! Called by the vmkernel on a guest's access or HVC; calls the ports only. Register machines without time of their
//! own: who owns one locks it, and what takes effect outside (a vCPU starts, flash is mapped) is returned, not done.
#![no_std]
#![forbid(unsafe_code)]

pub mod flash;
pub mod pl011;
pub mod pl031;
pub mod pl061;
pub mod psci;
pub mod set_way;
pub mod timer;

pub use flash::{Flash, Rom};
pub use pl011::Pl011;
pub use pl031::Pl031;
pub use pl061::Pl061;
pub use psci::Psci;
pub use set_way::SetWay;
pub use timer::Timer;
