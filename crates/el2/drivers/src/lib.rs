//! Host drivers: what drives the hardware of a board, over registers and DMA memory given by `el2`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "model"))]
extern crate std;

pub mod board;
pub mod firmware;
pub mod genet;
pub mod guest_load;
pub mod hardware;
pub mod led;
pub mod mailbox;
pub mod mini_uart;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod partition;
pub mod phy;
pub mod pl011;
pub mod pm;
pub mod probe;
pub mod rng200;
pub mod sdhci;
pub mod selftest;
pub mod serial;
pub mod slot;
pub mod virtio_blk;
pub mod virtio_mmio;
pub mod virtio_net;
pub mod virtio_rng;
