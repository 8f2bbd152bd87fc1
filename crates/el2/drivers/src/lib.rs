//! Host drivers: what drives the hardware of a board, over registers and DMA memory given by `el2`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod board;
pub mod hardware;
