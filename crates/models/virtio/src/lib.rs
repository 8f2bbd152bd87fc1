//! virtio 1.2: split virtqueues (both sides), the mmio transport, blk, net, console and entropy devices, and the call
//! queue of worlds, which is one more device.
//!
//! A device is a [`transport::VirtioMmio`] around one of the device types. The vmkernel shares it by `&` between PEs:
//! a trapped access goes to `read` or `write`, a backend's completion to `poll`, a frame to `deliver`. A QueueNotify
//! does its work at once, on the calling PE.
//!
//! | module | what |
//! |---|---|
//! | [`transport`] | registers, negotiation, reset |
//! | [`link`] | memory, interrupt and faults of a device |
//! | [`queue`], [`chain`] | the device's side of a queue |
//! | [`driver_queue`] | the driver's side, for host drivers |
//! | [`block`], [`net`], [`console`], [`entropy`] | the device types |
//! | [`calls`] | the call queue |
//!
//! A guest that breaks the rules of a queue gets DEVICE_NEEDS_RESET and a configuration interrupt, and is counted.
//! Lock order: registers → a transmit half → the switch → receive halves, one at a time → interrupt line.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "rig"))]
extern crate std;

pub mod block;
pub mod calls;
pub mod chain;
pub mod console;
pub mod driver_queue;
pub mod entropy;
pub mod link;
pub mod net;
pub mod queue;
#[cfg(any(test, feature = "rig"))]
#[allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it stops the test that it serves"
)]
pub mod rig;
pub mod transport;

pub use block::{Block, SPANS_MAX as BLOCK_SPANS_MAX};
pub use calls::Calls;
pub use console::Console;
pub use entropy::EntropySource;
pub use net::Net;
pub use transport::{Progress, VirtioMmio};
