//! The unsafe frame of every program of ours at EL1 (hostd, the test guests): what a program needs of the PE and of
//! the guest machine, as safe types. Programs forbid unsafe and start with [`program!`].
//!
//! | resource | wrapper |
//! |---|---|
//! | entry, stacks, relocation | [`head`], [`program!`] |
//! | vectors, synchronous exceptions | [`exceptions`], [`probe`] |
//! | stage 1 translation, caches | [`mmu`] |
//! | RAM beside the image, heap | [`boot`], [`heap`], [`window`] |
//! | device registers | [`window`] |
//! | system registers | [`registers`], [`instruction`], [`imprint`] |
//! | FP/SIMD registers | [`fp`] |
//! | any instruction at all | [`sandbox`] |
//! | GIC CPU interface | [`gic`] |
//! | HVC and SMC | [`smccc`] |
//! | other vCPUs | [`cpus`] |
//! | the calls of a world | [`world`] |
//! | the symbols by which futures find the clock | [`time`] |
//! | PL011 | [`console`] |
#![no_std]
// A library for bare metal: on a PC there is nothing to build.
#![cfg(target_os = "none")]

extern crate alloc;

pub mod boot;
pub mod console;
pub mod cpus;
pub mod exceptions;
pub mod fp;
pub mod gic;
pub mod head;
pub mod heap;
pub mod imprint;
pub mod instruction;
pub mod mmu;
pub mod probe;
pub mod registers;
pub mod sandbox;
pub mod smccc;
pub mod time;
pub mod window;
pub mod world;

pub use boot::Boot;
pub use dtoolkit;
