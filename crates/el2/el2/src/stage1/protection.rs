//! Guards nothing: a walk over EL2's tables that says what they protect.
//!
//! Called by the self-test, by way of `mmu`, in pieces: no host task is to take long.

use super::{EMERGENCY_BYTES, END, SLOT_BYTES, STACK_BYTES, STACKS, Tables, emergency_top, stack_top};
use drivers::board::MAX_PES;

const STACKS_END: u64 = STACKS + MAX_PES as u64 * SLOT_BYTES;

/// Whether an address lies in a PE's stacks.
pub(crate) fn is_stack(va: u64) -> bool {
    if !(STACKS..STACKS_END).contains(&va) {
        return false;
    }
    let slot = (va - STACKS) / SLOT_BYTES;
    let within = |top: u64, bytes: u64| (top - bytes..top).contains(&va);
    within(stack_top(slot), STACK_BYTES) || within(emergency_top(slot), EMERGENCY_BYTES)
}

/// Whether an address lies in the guard below a stack.
pub fn is_stack_guard(va: u64) -> bool {
    (STACKS..STACKS_END).contains(&va) && !is_stack(va)
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Protection {
    /// Bytes that may be executed.
    pub code_bytes: u64,
    /// Bytes that may be written and executed: none, ever.
    pub writable_code_bytes: u64,
    /// Bytes of stacks: they can be written, and not executed.
    pub stack_bytes: u64,
    /// Bytes of guards that are mapped: none, ever.
    pub mapped_guard_bytes: u64,
}

impl Protection {
    /// Whether nothing is both writable and executable, and every stack of `pes` PEs has a hole below it.
    pub fn holds(&self, pes: u64) -> bool {
        self.code_bytes != 0
            && self.writable_code_bytes == 0
            && self.mapped_guard_bytes == 0
            && self.stack_bytes == pes * (STACK_BYTES + EMERGENCY_BYTES)
    }
}

/// A walk under way.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    at: u64,
    found: Protection,
}

impl Walk {
    /// Looks at so many entries more; what was found, once all were seen.
    pub(crate) fn go_on(&mut self, tables: &Tables, entries: usize) -> Option<Protection> {
        for _ in 0..entries {
            if self.at >= END {
                return Some(self.found);
            }
            let entry = tables.entry(self.at);
            self.at = entry.start + entry.bytes;
            if !entry.is_mapped() {
                continue;
            }
            let found = &mut self.found;
            if entry.is_executable() {
                found.code_bytes += entry.bytes;
            }
            if entry.is_executable() && entry.is_writable() {
                found.writable_code_bytes += entry.bytes;
            }
            if is_stack(entry.start) && entry.is_writable() && !entry.is_executable() {
                found.stack_bytes += entry.bytes;
            }
            // Stacks are mapped by pages: what is mapped by more, over a slot, covers its guards.
            if is_stack_guard(entry.start) || is_stack(entry.start) && entry.bytes > EMERGENCY_BYTES {
                found.mapped_guard_bytes += entry.bytes;
            }
        }
        None
    }
}
