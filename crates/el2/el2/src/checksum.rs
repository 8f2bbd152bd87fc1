//! Guards nothing: CRC32C by the PE's own instructions.
//!
//! Called by the vmkernel for the datastore; the software twin is `datastore::crc32c`, which the vmkernel compares this
//! with once, before it believes it.
//! Source: Arm ARM (DDI 0487), C6.2 "CRC32CB, CRC32CH, CRC32CW, CRC32CX"; FEAT_CRC32 in ID_AA64ISAR0_EL1, bits 19:16.

use crate::page::PAGE_BYTES;
use crate::regs::read;
use core::arch::asm;

/// Whether this PE has the instructions.
pub fn has_crc32c() -> bool {
    read!("id_aa64isar0_el1") >> 16 & 15 != 0
}

/// CRC32C of a page; `None` where the PE has no instruction for it.
pub fn crc32c(page: &[u8; PAGE_BYTES]) -> Option<u32> {
    if !has_crc32c() {
        return None;
    }
    let mut crc = u32::MAX;
    // SAFETY: the instructions are there (checked above); exactly the page is read.
    unsafe {
        asm!(
            ".arch_extension crc",
            "2: ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "ldp {e}, {f}, [{from}], #16",
            "ldp {g}, {h}, [{from}], #16",
            "crc32cx {crc:w}, {crc:w}, {a}",
            "crc32cx {crc:w}, {crc:w}, {b}",
            "crc32cx {crc:w}, {crc:w}, {c}",
            "crc32cx {crc:w}, {crc:w}, {d}",
            "crc32cx {crc:w}, {crc:w}, {e}",
            "crc32cx {crc:w}, {crc:w}, {f}",
            "crc32cx {crc:w}, {crc:w}, {g}",
            "crc32cx {crc:w}, {crc:w}, {h}",
            "subs {left}, {left}, #64",
            "b.ne 2b",
            ".arch_extension nocrc",
            from = inout(reg) page.as_ptr() => _, left = inout(reg) PAGE_BYTES => _, crc = inout(reg) crc,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack, readonly),
        );
    }
    Some(!crc)
}
