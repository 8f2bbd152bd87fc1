//! What the models need from the world around them: eight traits, and fakes of them for the host.
//!
//! A model is a sans-I/O state machine over these ports. At EL2 the ports are implemented by `el2`, `drivers` and
//! `vmkernel`; on a PC by [`fake`]. A model never blocks: what must wait is answered later by a token.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "fake"))]
extern crate std;

mod block;
#[cfg(any(test, feature = "fake"))]
#[allow(clippy::expect_used, reason = "a fake stops the test that misuses it")]
pub mod fake;
mod interrupt;
mod memory;
mod mmio;
mod network;
mod small;

pub use block::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Submitted, Token,
};
pub use interrupt::InterruptLine;
pub use memory::{BadAddress, GuestMemory, Span};
pub use mmio::{MmioDevice, Width};
pub use network::{Delivered, Frame, FrameSink, Offload};
pub use small::{ByteSink, Clock, Entropy, Unseeded};
