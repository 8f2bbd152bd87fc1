//! Host drivers: what drives the hardware of a board, over registers and DMA memory given by `el2`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "model"))]
extern crate std;

pub mod board;
pub mod hardware;
pub mod led;
pub mod mailbox;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod partition;
pub mod pm;
pub mod rng200;
pub mod sdhci;
pub mod slot;
pub mod virtio_blk;
pub mod virtio_mmio;
