//! Stage-2 translation tables: the algorithm, over a port that holds the tables.
//!
//! Place in the path: the vmkernel maps a VM's RAM here (at assembly, on first touch, for ballooning and dirty
//! tracking); the PEs walk the tables. Calls only the port [`Tables`], which `el2` implements over frames, stores,
//! barriers and TLBI.
//!
//! Source: Arm ARM (DDI 0487), D8.2 "Translation process", D8.3 "Translation table descriptor formats", and "Using
//! break-before-make when updating translation table entries" in the chapter's part on TLB maintenance.
//!
//! A 40-bit IPA space, 4 KiB granule, walks start at level 1 in two concatenated tables of 512 entries (8 KiB, 8 KiB
//! aligned).
//!
//! Invariants:
//! - A valid entry never becomes another valid entry: it is made invalid, the TLBs forget it, then the new one is stored
//!   (break-before-make, always, also where the architecture would allow less).
//! - A table is linked only after its contents, and freed only after no PE can hold a translation through it.
//! - Between operations no linked table is empty, so a whole block can always be mapped where nothing is mapped.
//! - An operation that fails leaves every translation as it was.
//!
//! Concurrency: one [`Stage2`] per VM, behind the vmkernel's lock of that VM. While an operation runs a vCPU on another PE
//! may fault on an entry that is broken for the moment: the fault's owner takes the lock, finds with [`Stage2::lookup`]
//! that the access is allowed, and enters the guest again.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "fake"))]
extern crate std;

mod change;
mod descriptor;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
#[cfg(any(test, feature = "fake"))]
pub mod oracle;
mod port;
mod registers;
#[cfg(test)]
mod tests;
mod tree;

pub use descriptor::{Access, Attributes, Level, Memory};
pub use port::{Scope, Tables};
pub use registers::{IPA_BITS, Vmid, vtcr, vttbr};
pub use tree::{Mapping, Stage2, Stage2Error};
