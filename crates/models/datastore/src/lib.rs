//! The datastore: thin volumes, snapshots, clones and objects on a block device, that survive any power cut.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

mod cache;
mod catalog;
mod check;
mod checkpoint;
mod crc;
#[cfg(any(test, feature = "sim"))]
mod defect;
mod error;
mod flush;
mod format;
mod front;
mod gc;
mod grow;
mod log;
mod lookup;
mod manage;
mod merge;
mod mount;
mod overlay;
mod port;
mod rebuild;
mod replay;
mod request;
mod room;
mod scrub;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod space;
mod store;
pub mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod wire;

pub use catalog::{Catalog, Entry, MAX_NAME, MAX_SECTORS};
pub use check::{CheckOptions, Finding, Summary, check};
pub use crc::crc32c;
#[cfg(any(test, feature = "sim"))]
pub use defect::Defect;
pub use error::{Error, Event, ReadOnly};
pub use format::{PARTITION_TYPE, VERSION};
pub use front::{Ask, Buffers, Front, PIECE_SECTORS, Wanted};
pub use grow::Change;
pub use manage::Usage;
pub use mount::{MountError, format, mount, run};
pub use port::{BlockPort, Io, IoDone, IoFailed, IoOp};
pub use request::{Completion, MAX_REQUEST_BLOCKS, Op, Target};
pub use scrub::ScrubReport;
pub use store::{Options, Progress, Stats, Store};
pub use wire::{BLOCK_BYTES, PageBytes};
