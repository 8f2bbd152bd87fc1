//! What hostd is made of, without the world that it runs in: it manages a host over HTTPS. The same code runs at EL1 and
//! on a PC, where a fake vmkernel stands behind [`port`].
#![no_std]
#![forbid(unsafe_code)]

pub mod port;
