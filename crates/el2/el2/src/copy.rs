//! Guards: copies of bytes that a guest or a device may change meanwhile.
//!
//! Called by `ram` and `dma`. In assembly, since two PEs that touch the same bytes at once would be a data race in Rust;
//! and since the compiler's own `memmove` needs ten times the instructions where the two sides are not aligned alike.
//! EL2's tables map RAM as Normal memory, where unaligned accesses are allowed while SCTLR_EL2.A is 0 (Arm ARM, DDI 0487,
//! B2.8 "Alignment support").

use core::arch::asm;

/// Copies forward. What is read of bytes that change meanwhile is some mixture, which rule `copy-once` allows for; so is
/// what is written where the ranges overlap and `into` is the higher one.
///
/// # Safety
/// Both ranges are mapped as Normal memory; what is written is EL2's own, by `&mut`, or none's that references reach.
#[inline]
pub(crate) unsafe fn copy(into: *mut u8, from: *const u8, bytes: usize) {
    // SAFETY: the caller's promise; exactly `bytes` bytes are read and written.
    unsafe {
        asm!(
            "subs {left}, {left}, #64",
            "b.lo 3f",
            "2: ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "ldp {e}, {f}, [{from}], #16",
            "ldp {g}, {h}, [{from}], #16",
            "stp {a}, {b}, [{into}], #16",
            "stp {c}, {d}, [{into}], #16",
            "stp {e}, {f}, [{into}], #16",
            "stp {g}, {h}, [{into}], #16",
            "subs {left}, {left}, #64",
            "b.hs 2b",
            // What is left, less 64: its low six bits are right.
            "3: ands {left}, {left}, #63",
            "b.eq 6f",
            "4: subs {left}, {left}, #8",
            "b.lo 5f",
            "ldr {a}, [{from}], #8",
            "str {a}, [{into}], #8",
            "b 4b",
            "5: ands {left}, {left}, #7",
            "b.eq 6f",
            "7: ldrb {a:w}, [{from}], #1",
            "strb {a:w}, [{into}], #1",
            "subs {left}, {left}, #1",
            "b.ne 7b",
            "6:",
            from = inout(reg) from => _, into = inout(reg) into => _, left = inout(reg) bytes => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack),
        );
    }
}
