//! Guards: caches. Typed transfers between views of memory (rule `two-views`).
//!
//! QEMU has no caches: a call forgotten here is found by the fakes on the host, never by a run.
//! Source: Arm ARM (DDI 0487), D7.5 "Cache support"; B2.7 "Caches and memory hierarchy".

use crate::regs::{instruction, read};

fn line_bytes() -> usize {
    4 << (read!("ctr_el0") >> 16 & 15)
}

/// Cleans a range to the point of coherency: a device, or a PE with its MMU off, will read what was written.
pub fn clean_to_poc(start: usize, bytes: usize) {
    by_line(start, bytes, |line| instruction!("dc cvac", line));
    instruction!("dsb sy");
}

/// Cleans and invalidates a range to the point of coherency: someone may write it past the caches.
pub fn clean_and_invalidate_to_poc(start: usize, bytes: usize) {
    by_line(start, bytes, |line| instruction!("dc civac", line));
    instruction!("dsb sy");
}

/// Makes instructions that were written visible to instruction fetches of every PE.
pub fn sync_code(start: usize, bytes: usize) {
    by_line(start, bytes, |line| instruction!("dc cvau", line));
    instruction!("dsb ish");
    instruction!("ic ialluis");
    instruction!("dsb ish");
    instruction!("isb");
}

/// Instructions of whoever had a block of RAM before are fetched no more, on any PE: zeroing changes what data are, and
/// instruction caches need not see that.
pub(crate) fn forget_code() {
    instruction!("ic ialluis");
    instruction!("dsb ish");
}

fn by_line(start: usize, bytes: usize, each: impl Fn(u64)) {
    let line = line_bytes();
    let end = start.saturating_add(bytes);
    let mut at = start & !(line - 1);
    if bytes >= 8 * line {
        at = by_eight_lines(at, end, line, &each);
    }
    while at < end {
        each(at as u64);
        at = at.wrapping_add(line);
    }
}

/// Written out: two instructions a line. Where it came to.
fn by_eight_lines(mut at: usize, end: usize, line: usize, each: &impl Fn(u64)) -> usize {
    let ahead = |n: usize| n.wrapping_mul(line);
    let [one, two, three, four] = [1, 2, 3, 4].map(ahead);
    let [five, six, seven, eight] = [5, 6, 7, 8].map(ahead);
    while end.saturating_sub(at) >= eight {
        each(at as u64);
        each(at.wrapping_add(one) as u64);
        each(at.wrapping_add(two) as u64);
        each(at.wrapping_add(three) as u64);
        each(at.wrapping_add(four) as u64);
        each(at.wrapping_add(five) as u64);
        each(at.wrapping_add(six) as u64);
        each(at.wrapping_add(seven) as u64);
        at = at.wrapping_add(eight);
    }
    at
}

/// Zeroes whole 4 KiB pages, cleans them to the point of coherency, and leaves nothing of them in the caches: a guest starts
/// with its caches off, and a line of zeros would hide later what it wrote past them.
///
/// # Safety
/// `bytes` bytes at `start`, both multiples of 4096, are mapped as normal memory and no Rust reference reaches them.
pub(crate) unsafe fn zero_to_poc(start: usize, bytes: usize) {
    // DCZID_EL0: block size in words as a power of two, and DZP, which EL2 never sees set for itself.
    let step = 4usize << (read!("dczid_el0") & 15);
    let line = line_bytes();
    if step == 64 && line >= 64 {
        // SAFETY: the caller's range; the loop covers 512 bytes a round, a divisor of 4096.
        unsafe {
            core::arch::asm!(
                "1: dc zva, {at}", "dc cvac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "dc zva, {at}", "dc civac, {at}", "add {at}, {at}, #64",
                "cmp {at}, {end}", "b.lo 1b", "dsb sy",
                at = inout(reg) start => _, end = in(reg) start + bytes, options(nostack)
            )
        };
        return;
    }
    // SAFETY: the caller's range.
    unsafe { core::ptr::write_bytes(start as *mut u8, 0, bytes) };
    clean_and_invalidate_to_poc(start, bytes);
}
