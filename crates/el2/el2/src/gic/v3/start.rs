//! GICv3: start-up of the Distributor and of a PE's interface, whatever firmware left there.
//!
//! Called by `gic`, once and once for each PE. Source: IHI 0069, 12.9 to 12.11: GICD_CTLR, GICR_CTLR, GICR_WAKER;
//! 12.2: ICC_SRE_EL2, ICC_AP1R<n>_EL1.

use super::{GICD, GICR, SGI_FRAME, get, set};
use crate::gic::{LOWEST, priorities};
use crate::regs::{instruction, mpidr, read, write};
use core::sync::atomic::Ordering;
use drivers::board::PaRange;
use specs::Pa;

const FRAME: u64 = 0x2_0000;

pub(in crate::gic) fn start(gicd: Pa, gicr: [Option<PaRange>; 2]) {
    GICD.store(gicd.0, Ordering::Relaxed);
    for (slot, region) in GICR.iter().zip(gicr.into_iter().flatten()) {
        slot[0].store(region.start.0, Ordering::Relaxed);
        slot[1].store(region.end().0, Ordering::Relaxed);
    }
    // No group enabled first: ARE may change only then (IHI 0069, GICD_CTLR), and what is disabled below is when RWP says so.
    let are = get(gicd.0) & 1 << 4;
    for control in [are, 1 << 4] {
        set(gicd.0, control);
        wait_while(gicd.0, GICD_RWP);
    }
    let lines = (get(gicd.0 + 4) & 31) + 1;
    for word in 1..u64::from(lines) {
        set(gicd.0 + 0x180 + 4 * word, !0);
        set(gicd.0 + 0x380 + 4 * word, !0);
        set(gicd.0 + 0x80 + 4 * word, !0);
        for byte in 0..8 {
            let first = 32 * word + 4 * byte;
            set(gicd.0 + 0x400 + first, priorities(first as u32));
        }
    }
    wait_while(gicd.0, GICD_RWP);
    // ARE and group 1; with two security states ARE_NS is bit 5 of the secure view, bit 4 of ours.
    set(gicd.0, 1 << 4 | 1 << 1);
}

/// GICD_CTLR.RWP and GICR_CTLR.RWP: what was written to enables and controls is not seen everywhere yet.
const GICD_RWP: u32 = 1 << 31;
const GICR_RWP: u32 = 1 << 3;
/// GICR_WAKER.ChildrenAsleep.
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// Waits while a register has a bit set; a GIC that keeps it set for a second is gone on with.
fn wait_while(at: u64, bit: u32) {
    let deadline = crate::regs::counter() + crate::regs::counter_hz();
    while get(at) & bit != 0 && crate::regs::counter() < deadline {
        core::hint::spin_loop();
    }
}

/// This PE's Redistributor, by its affinity in GICR_TYPER.
fn redistributor() -> u64 {
    let id = mpidr();
    let affinity = (id >> 32 & 0xff) << 24 | id & 0xff_ffff;
    for [start, end] in &GICR {
        let (start, end) = (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
        if let Some(found) = redistributor_in(start, end, affinity) {
            return found;
        }
    }
    panic!("GICv3: no Redistributor for PE with MPIDR {id:#x}");
}

fn redistributor_in(start: u64, end: u64, affinity: u64) -> Option<u64> {
    let mut at = start;
    while at + FRAME <= end {
        let typer = u64::from(get(at + 8)) | u64::from(get(at + 12)) << 32;
        if typer >> 32 == affinity {
            return Some(at);
        }
        // VLPIS: two more frames each.
        at += if typer >> 1 & 1 != 0 { 2 * FRAME } else { FRAME };
        if typer >> 4 & 1 != 0 {
            break;
        }
    }
    None
}

pub(in crate::gic) fn start_pe() -> u64 {
    use_system_registers();
    let gicr = redistributor();
    set(gicr + 0x14, get(gicr + 0x14) & !2); // WAKER.ProcessorSleep
    wait_while(gicr + 0x14, CHILDREN_ASLEEP);
    let sgi = gicr + 0x1_0000;
    set(sgi + 0x180, !0);
    set(sgi + 0x380, !0);
    set(sgi + 0x80, !0);
    for word in 0..8 {
        set(sgi + 0x400 + 4 * word, priorities(4 * word as u32));
    }
    wait_while(gicr, GICR_RWP);
    set(sgi + 0x100, 1 | 1 << 25 | 1 << 26 | 1 << 27);
    SGI_FRAME.with(sgi);
    forget_active();
    write!("S3_0_C4_C6_0", u64::from(LOWEST)); // ICC_PMR_EL1
    write!("S3_0_C12_C12_4", 2); // ICC_CTLR_EL1.EOImode
    write!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
    write!("S3_4_C12_C11_0", 1); // ICH_HCR_EL2.En
    instruction!("isb");
    let id = mpidr();
    // ICC_SGI1R_EL1 without the INTID: Aff3, Aff2, Aff1, range and target bit.
    let aff0 = id & 0xff;
    (id >> 32 & 0xff) << 48
        | (id >> 16 & 0xff) << 32
        | (id >> 8 & 0xff) << 16
        | (aff0 >> 4) << 44
        | 1 << (aff0 & 15)
}

/// System registers for EL2 and, for good, for guests. ICC_SRE_EL1 is one register for all of them, by which, on a PE that
/// has GICv2's interface beside, one guest could turn them off for the next (Cortex-A72): its accesses trap
/// (ICC_SRE_EL2.Enable is 0).
fn use_system_registers() {
    const SRE_DFB_DIB: u64 = 7;
    const ENABLE: u64 = 1 << 3;
    write!("S3_4_C12_C9_5", SRE_DFB_DIB | ENABLE); // ICC_SRE_EL2
    instruction!("isb");
    write!("S3_0_C12_C12_5", SRE_DFB_DIB); // ICC_SRE_EL1
    instruction!("isb");
    write!("S3_4_C12_C9_5", SRE_DFB_DIB);
    instruction!("isb");
}

/// No priority is active, whatever firmware left: it would hide all that are less urgent. Group 0 is firmware's
/// (ICC_AP0R<n>_EL1 may trap to EL3).
fn forget_active() {
    let priority_bits = (read!("S3_0_C12_C12_4") >> 8 & 7) + 1; // ICC_CTLR_EL1.PRIbits
    write!("S3_0_C12_C9_0", 0); // ICC_AP1R<n>_EL1
    if priority_bits > 5 {
        write!("S3_0_C12_C9_1", 0);
    }
    if priority_bits > 6 {
        write!("S3_0_C12_C9_2", 0);
        write!("S3_0_C12_C9_3", 0);
    }
}
