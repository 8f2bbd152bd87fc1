//! VM lifecycle and assembly, exits, calls, supervisor.
#![no_std]
#![forbid(unsafe_code)]
