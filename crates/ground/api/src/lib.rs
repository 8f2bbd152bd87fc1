//! REST resources, errors and the host document: shared by the vmkernel, hostd, bramblectl and the web UI.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod archive;
mod check;
pub mod host;
mod parse;
mod problem;
pub mod rest;

pub use archive::BootArchive;
pub use host::HostDocument;
pub use parse::Parsed;
pub use problem::Problem;
