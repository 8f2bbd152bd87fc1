//! Register models of the board's devices, on which the drivers run unchanged on a PC, under Miri and in fuzzers.
//!
//! Called by the tests of this crate and by the fuzz targets; never part of an image. Written from public register
//! descriptions (facts only): each model starts with a table of its registers, their access type, their value after a
//! reset, and the source. Faults are switched on by fields. Memory has two views (rule `two-views`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "models are test equipment: what they meet wrongly must stop the test"
)]

pub mod genet;
pub mod mailbox;
pub mod memory;
pub mod phy;
pub mod pm;
pub mod rng200;
pub mod room;
pub mod script;
pub mod sd_card;
pub mod sdhci;
pub mod virtio;
