//! REST resources, errors and the host document: shared by the vmkernel, hostd, bramblectl and the web UI.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod host;

pub use host::HostDocument;
