//! The QEMU harness of the end-to-end tests, also used by `./bramble up` and `./bramble bench`.
//!
//! A [`Machine`] is one QEMU process that boots the image of the users, with a [`ArchiveBuilder`] as its initrd and one
//! serial line; [`console`] speaks the menu of that line. The tests are in `tests/`, a few lines each.
#![forbid(unsafe_code)]

pub mod archive;
pub mod artifacts;
pub mod board;
pub mod card;
pub mod cli;
pub mod console;
pub mod cpio;
pub mod https;
pub mod machine;
pub mod scene;
pub mod serial;
pub mod store;
pub mod tree;
pub mod turns;

pub use archive::ArchiveBuilder;
pub use artifacts::Artifacts;
pub use board::Board;
pub use machine::{HostDisk, Machine, MachineConfig};
