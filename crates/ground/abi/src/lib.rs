//! THE contract between worlds and the vmkernel: calls, requests, structs, errors, version.
//!
//! Two ways in (design: `docs/adr/0040-world-is-a-vm-with-a-role.md`, `docs/adr/0041-call-queue-is-a-virtqueue.md`):
//!
//! | way | what | module |
//! |---|---|---|
//! | HVC with immediate 0 | bounded (at most [`call::INSTRUCTIONS_MAX`] instructions at EL2), never waits: state, time, tokens | [`call`] |
//! | the call queue, a virtqueue | all that may wait: submitted with buffers in the world's own pages, completed by token and interrupt | [`request`] |
//!
//! Names carry a generation ([`handle`]), so that a peer that was restarted shows in the error. No call reads or maps a
//! guest's RAM. What a given world may call stands in its manifest in the vmkernel.
//!
//! Source: SMC Calling Convention (DEN0028), 2.5 "SMC32/HVC32 argument passing", 6 "Function identifier ranges".
#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod handle;
pub mod name;
pub mod record;
pub mod request;
mod status;
mod wire;

pub use call::Call;
pub use handle::{VmHandle, WorldGeneration};
pub use request::{Answer, Request, RequestKind};
pub use status::{ExitReason, Status};

/// Version of this contract; raised when a call, a request or a struct changes its meaning.
pub const VERSION: u32 = 6;
