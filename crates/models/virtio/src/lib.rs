//! virtio 1.2: split virtqueues (both sides), the mmio transport, blk, net, console and entropy devices.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod driver_queue;
