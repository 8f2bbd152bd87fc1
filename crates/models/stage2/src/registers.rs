//! The values of VTCR_EL2 and VTTBR_EL2 that go with these tables.
//!
//! Called by `el2` at PE start and on a switch of VMs. Source: Arm ARM (DDI 0487), D24.2 "General system control registers":
//! VTCR_EL2, VTTBR_EL2, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1.

use specs::Pa;

/// Bits of an IPA.
pub const IPA_BITS: u32 = 40;

/// The TLBs' name of a VM: 8 bits, or 16 with FEAT_VMID16. Unlike a [`specs::VmId`] it is used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vmid(pub u16);

/// VTCR_EL2 for a PE whose ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1 read so.
///
/// | bits | field | value |
/// |---|---|---|
/// | 5:0 | T0SZ | 24: 40 bits of IPA |
/// | 7:6 | SL0 | 1: walks start at level 1 |
/// | 9:8, 11:10 | IRGN0, ORGN0 | 1: write-back, read- and write-allocate |
/// | 13:12 | SH0 | 3: inner shareable |
/// | 15:14 | TG0 | 0: 4 KiB |
/// | 18:16 | PS | PARange, at most 5 (48 bits: what a 4 KiB granule's descriptors hold without FEAT_LPA2) |
/// | 19 | VS | 16-bit VMIDs where ID_AA64MMFR1_EL1.VMIDBits says so |
/// | 31 | RES1 | |
pub const fn vtcr(id_aa64mmfr0: u64, id_aa64mmfr1: u64) -> u64 {
    const T0SZ: u64 = 64 - IPA_BITS as u64;
    const SL0_LEVEL1: u64 = 1 << 6;
    const IRGN0_WBWA: u64 = 1 << 8;
    const ORGN0_WBWA: u64 = 1 << 10;
    const SH0_INNER: u64 = 3 << 12;
    const RES1: u64 = 1 << 31;
    let pa_range = id_aa64mmfr0 & 0xf;
    let ps = if pa_range > 5 { 5 } else { pa_range };
    let vmid_bits = (id_aa64mmfr1 >> 4) & 0xf;
    let vs = if vmid_bits == 0b0010 { 1 << 19 } else { 0 };
    RES1 | vs | ps << 16 | SH0_INNER | ORGN0_WBWA | IRGN0_WBWA | SL0_LEVEL1 | T0SZ
}

/// VTTBR_EL2: VMID in bits 63:48, the root's address below.
#[inline]
pub const fn vttbr(root: Pa, vmid: Vmid) -> u64 {
    (vmid.0 as u64) << 48 | root.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a72_and_a_large_machine() {
        // Cortex-A72: PARange 44 bits, 8-bit VMIDs. By hand from the table above.
        assert_eq!(vtcr(0x1124, 0), 0x8004_3558);
        // 52 bits of PA, 16-bit VMIDs: PS stays at 48 bits.
        assert_eq!(vtcr(0x6, 0x20), 0x800d_3558);
    }

    #[test]
    fn vmid_and_root() {
        assert_eq!(vttbr(Pa(0x4000_2000), Vmid(0x12)), 0x0012_0000_4000_2000);
    }
}
