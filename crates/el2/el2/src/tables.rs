//! Guards: stage-2 translation tables and the TLBs.

use crate::context::Here;
use crate::regs::{instruction, read, write};
use crate::walks::{self, Gate};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::collections::BTreeSet;
use specs::{IpaRange, Pa};
use stage2::{Level, Scope, Tables, Vmid};

const FRAME: usize = 4096;

/// The tables of one VM.
#[derive(Debug)]
pub struct HostTables {
    vmid: Vmid,
    root: Pa,
    /// Frames that are tables of this VM: reads and writes elsewhere are refused.
    frames: BTreeSet<u64>,
}

impl HostTables {
    /// No tables yet.
    pub fn new(vmid: Vmid) -> Self {
        Self { vmid, root: Pa(0), frames: BTreeSet::new() }
    }

    /// Allots with the heap's allocator: identity mapped, so the address is the PA.
    fn take(&mut self, bytes: usize) -> Option<Pa> {
        let layout = Layout::from_size_align(bytes, bytes).ok()?;
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(layout) } as u64;
        if start == 0 {
            return None;
        }
        self.frames.extend((start..start + bytes as u64).step_by(FRAME));
        Some(Pa(start))
    }

    fn give_back(&mut self, at: Pa, bytes: usize) {
        let Ok(layout) = Layout::from_size_align(bytes, bytes) else { return };
        if self.frames.contains(&at.0) {
            for frame in (at.0..at.0 + bytes as u64).step_by(FRAME) {
                self.frames.remove(&frame);
            }
            // SAFETY: `take` gave it with the same layout, and it was still one of the frames.
            unsafe { dealloc(at.0 as *mut u8, layout) };
        }
    }

    fn owns(&self, at: Pa) -> bool {
        at.is_aligned(8) && self.frames.contains(&(at.0 & !(FRAME as u64 - 1)))
    }

    /// Runs `maintenance` under this VM's VMID.
    fn under_vmid(&self, maintenance: impl FnOnce()) {
        let own = stage2::vttbr(self.root, self.vmid);
        let before = read!("vttbr_el2");
        if before == own {
            return maintenance();
        }
        walks::without(&mut Here, read!("tcr_el1"), read!("sctlr_el1"), |gate| {
            write!("vttbr_el2", own);
            gate.synchronize();
            maintenance();
            write!("vttbr_el2", before);
        });
        instruction!("isb");
    }
}

impl Tables for HostTables {
    fn allocate(&mut self) -> Option<Pa> {
        self.take(FRAME)
    }

    fn allocate_root(&mut self) -> Option<Pa> {
        self.root = self.take(2 * FRAME)?;
        Some(self.root)
    }

    fn free(&mut self, table: Pa) {
        self.give_back(table, FRAME);
    }

    fn free_root(&mut self, root: Pa) {
        self.under_vmid(|| {
            instruction!("dsb ishst");
            instruction!("tlbi vmalls12e1is");
            instruction!("dsb ish");
        });
        self.give_back(root, 2 * FRAME);
    }

    fn read(&self, at: Pa) -> u64 {
        if !self.owns(at) {
            return 0;
        }
        // SAFETY: an aligned word of a frame of this VM's tables, which only this value and the walkers read.
        unsafe { (at.0 as *const u64).read_volatile() }
    }

    fn write(&mut self, at: Pa, entry: u64) {
        if self.owns(at) {
            // SAFETY: as in `read`. What an entry maps is checked where PAs come from: blocks of the VM's own, GICV.
            unsafe { (at.0 as *mut u64).write_volatile(entry) };
        }
    }

    fn publish(&mut self) {
        instruction!("dsb ishst");
    }

    fn invalidate(&mut self, range: IpaRange, scope: Scope) {
        self.under_vmid(|| {
            instruction!("dsb ishst");
            match scope {
                Scope::Leaves(level) if range.bytes() / level.bytes() <= 64 => {
                    by_step(range, level, |page| instruction!("tlbi ipas2le1is", page));
                    instruction!("dsb ish");
                    instruction!("tlbi vmalle1is");
                }
                Scope::Tables if range.bytes() / FRAME as u64 <= 64 => {
                    by_step(range, Level::Three, |page| instruction!("tlbi ipas2e1is", page));
                    instruction!("dsb ish");
                    instruction!("tlbi vmalle1is");
                }
                _ => instruction!("tlbi vmalls12e1is"),
            }
            instruction!("dsb ish");
            instruction!("isb");
        });
    }
}

fn by_step(range: IpaRange, level: Level, each: impl Fn(u64)) {
    let mut at = range.start().0;
    while at < range.end().0 {
        each(at >> 12);
        at += level.bytes();
    }
}
