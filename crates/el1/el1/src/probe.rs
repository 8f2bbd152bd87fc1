//! Accesses that may fault: loads, stores and instruction fetches that come back with the exception instead.
//!
//! Called by: tests and drivers that ask what is at an address. The assembly is in `vectors.s`.
//! The resource: accesses whose fault is recovered. Invariant: only the functions between `probe_start` and
//! `probe_end` and the slots of `instruction` are recovered, and each returns to its caller at once.

use crate::boot;
use crate::exceptions::{Exception, Frame};
use crate::instruction;
use core::ptr::addr_of;

/// A value in x0 and, in x1, 0 or the syndrome of the exception that came instead.
#[repr(C)]
pub(crate) struct Outcome {
    pub value: u64,
    pub syndrome: u64,
}

unsafe extern "C" {
    static probe_start: u8;
    static probe_end: u8;
    static probe_fetch_returned: u8;
    static probe_fetch_failed: u8;
    fn probe_load8(address: usize) -> Outcome;
    fn probe_load16(address: usize) -> Outcome;
    fn probe_load32(address: usize) -> Outcome;
    fn probe_load64(address: usize) -> Outcome;
    fn probe_store8(address: usize, value: u64) -> Outcome;
    fn probe_store16(address: usize, value: u64) -> Outcome;
    fn probe_store32(address: usize, value: u64) -> Outcome;
    fn probe_store64(address: usize, value: u64) -> Outcome;
    fn probe_fetch(address: usize) -> Outcome;
}

/// Width of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Double,
}

/// Loads from any address.
pub fn load(address: usize, width: Width) -> Result<u64, Exception> {
    // SAFETY: a load has no effect on Rust objects; a fault in it is recovered (invariant of this module). A load of
    // an object's bytes gives bytes, whatever they mean.
    outcome(unsafe {
        match width {
            Width::Byte => probe_load8(address),
            Width::Half => probe_load16(address),
            Width::Word => probe_load32(address),
            Width::Double => probe_load64(address),
        }
    })
}

/// Stores to an address outside RAM. Panics for one in RAM: Rust objects live there.
pub fn store(address: usize, width: Width, value: u64) -> Result<(), Exception> {
    assert!(!boot::in_ram(address as u64), "a probing store into RAM");
    // SAFETY: no Rust object lives outside RAM; a fault is recovered (invariant of this module).
    outcome(unsafe {
        match width {
            Width::Byte => probe_store8(address, value),
            Width::Half => probe_store16(address, value),
            Width::Word => probe_store32(address, value),
            Width::Double => probe_store64(address, value),
        }
    })
    .map(drop)
}

/// Jumps to an address outside RAM, where the fetch is expected to fault. Panics for one in RAM.
/// With the MMU on, stage 1 forbids it; with the MMU off (`mmu::off`) it is stage 2's turn.
pub fn fetch(address: usize) -> Result<(), Exception> {
    assert!(!boot::in_ram(address as u64), "a probing fetch from RAM");
    // SAFETY: whatever exception the first instruction there gives is recovered. A device that returns a valid
    // instruction could go on; the caller names addresses where nothing is.
    outcome(unsafe { probe_fetch(address) }).map(drop)
}

pub(crate) fn outcome(outcome: Outcome) -> Result<u64, Exception> {
    match outcome.syndrome {
        0 => Ok(outcome.value),
        // Nothing since the fault wrote FAR_EL1: interrupts do not.
        esr => Err(Exception { esr, far: crate::registers::far_el1::read() }),
    }
}

/// Ends the probe that faulted, if one did. SVC in a slot counts its return address after itself: that too is in the
/// slot.
pub(crate) fn recover(frame: &mut Frame, exception: Exception) -> bool {
    let range = addr_of!(probe_start) as u64..addr_of!(probe_end) as u64;
    let is_fetch = frame.x[30] == addr_of!(probe_fetch_returned) as u64 && frame.elr == frame.x[0];
    if is_fetch {
        frame.elr = addr_of!(probe_fetch_failed) as u64;
    } else if range.contains(&frame.elr) || instruction::slots().contains(&frame.elr) {
        frame.elr = frame.x[30];
    } else {
        return false;
    }
    frame.x[1] = exception.esr;
    true
}
