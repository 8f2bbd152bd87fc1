//! The port to what holds the tables: frames, ordered stores, and the TLBs of every PE.
//!
//! Called by [`crate::Stage2`]; implemented by `el2` and by `fake`.
//!
//! Two views (rule `two-views`): the PEs walk the tables with the attributes of VTCR_EL2, which are normal, write-back and
//! inner shareable, so walks see the caches that the stores went to. Tables therefore need ordering ([`Tables::publish`])
//! and no clean to the point of coherency. A frame that becomes a table must be zeroed through the same cacheable mapping.

use crate::Level;
use specs::{IpaRange, Pa};

/// What the TLBs must forget of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Last-level entries, none of them smaller than this level's: one TLBI IPAS2LE1IS for each such step of the range.
    Leaves(Level),
    /// Tables were unlinked: also what walk caches hold of them, and every page below (TLBI IPAS2E1IS for each page, or
    /// TLBI VMALLS12E1IS for a large range).
    Tables,
}

/// Holds the translation tables of one VM.
pub trait Tables {
    /// A frame of 4 KiB for a table, all zero, or `None` where there is no more.
    fn allocate(&mut self) -> Option<Pa>;

    /// Two adjoining frames for the root, all zero, 8 KiB aligned.
    fn allocate_root(&mut self) -> Option<Pa>;

    /// Takes back what [`Tables::allocate`] gave. No PE can reach it any more.
    fn free(&mut self, table: Pa);

    /// Takes back what [`Tables::allocate_root`] gave.
    fn free_root(&mut self, root: Pa);

    /// Loads the entry at `at`, 8-byte aligned, inside a table of this VM.
    fn read(&self, at: Pa) -> u64;

    /// Stores the entry at `at` whole (single-copy atomic). Not ordered by itself.
    fn write(&mut self, at: Pa, entry: u64);

    /// Every earlier store, and the zeroing of tables, is seen by walks of all PEs before any later store (DSB ISHST).
    fn publish(&mut self);

    /// On return no PE holds a translation of an IPA of `range` that an entry gave which is invalid now.
    ///
    /// Orders the earlier stores first (DSB ISHST), then TLBI by IPA as `scope` says, DSB ISH, and TLBI VMALLE1IS for what
    /// the TLBs hold of stage 1 and 2 combined, DSB ISH, ISB; all under this VM's VMID, whichever VM the PE ran last.
    fn invalidate(&mut self, range: IpaRange, scope: Scope);
}
