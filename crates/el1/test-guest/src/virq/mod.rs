//! Delivery of interrupts by the virtual GIC: pending, enabled, active, priorities, preemption, level and edge.
//!
//! GICv2 (IHI 0048) 3.2–3.3; GICv3 (IHI 0069) 4.1–4.8. Interrupts are made by GICD_ISPENDR, so that the tests need no
//! device. Concurrency: all on vCPU 0; the log is written by its handler.

mod level;
mod priority;
mod state;

use crate::harness::{Outcome, Report, spin_until};
use crate::{ensure, ensure_eq, interrupts};
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use el1::boot::{Boot, Gic};
use el1::gic::{self, offset};
use el1::registers::{mask_interrupts, unmask_interrupts};
use el1::window::Window;

/// First of the SPIs that no device of the guest machine uses while there is no v2m frame in use.
pub const FIRST: u32 = 80;
/// How many of them there are; more than a GIC has list registers.
pub const LINES: u32 = 16;
/// A PPI that no device uses.
pub const FREE_PPI: u32 = 20;
/// What every test line starts with.
pub const USUAL_PRIORITY: u8 = 0x80;

/// Time for something that must happen (microseconds), and for something that must not.
pub const SOON: u64 = 2_000_000;
pub const WHILE: u64 = 300;

const LOG_ENTRIES: usize = 128;
/// In a log entry: the end of a handler.
pub const EXIT: u32 = 1 << 31;
static LOG: [AtomicU32; LOG_ENTRIES] = [const { AtomicU32::new(0) }; LOG_ENTRIES];
static LOGGED: AtomicU32 = AtomicU32::new(0);

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("virq-registers", || registers(boot));
    state::run(boot, report);
    priority::run(boot, report);
    level::run(boot, report);
}

/// One interrupt's bits.
#[derive(Clone, Copy)]
pub struct Line {
    registers: Window,
    intid: u32,
}

impl Line {
    /// The line `intid` as vCPU `cpu` has it.
    pub fn new(gic: &Gic, cpu: usize, intid: u32) -> Self {
        Self { registers: gic.registers_of(cpu, intid), intid }
    }

    /// A line ready for a test on vCPU 0: edge-triggered, usual priority, to vCPU 0, neither pending nor active, on.
    pub fn ready(gic: &Gic, intid: u32) -> Self {
        let line = Self::new(gic, 0, intid);
        line.set(offset::ICENABLER);
        line.set(offset::ICPENDR);
        line.set(offset::ICACTIVER);
        if intid >= 32 {
            line.set_edge(true);
            route(gic, intid, 0);
        }
        if gic.version() == 3 {
            let word = offset::IGROUPR + intid as usize / 32 * 4;
            line.registers.write32(word, line.registers.read32(word) | 1 << (intid % 32));
        }
        line.set_priority(USUAL_PRIORITY);
        line.set(offset::ISENABLER);
        line
    }

    /// Writes this line's bit to a set- or clear-register.
    pub fn set(&self, register: usize) {
        self.registers.write32(register + self.intid as usize / 32 * 4, 1 << (self.intid % 32));
    }

    /// Reads this line's bit.
    pub fn is(&self, register: usize) -> bool {
        self.registers.read32(register + self.intid as usize / 32 * 4) >> (self.intid % 32) & 1 != 0
    }

    /// Makes it pending.
    pub fn pend(&self) {
        self.set(offset::ISPENDR);
    }

    /// IPRIORITYR, by a byte store.
    pub fn set_priority(&self, priority: u8) {
        self.registers.write8(offset::IPRIORITYR + self.intid as usize, priority);
    }

    /// IPRIORITYR.
    pub fn priority(&self) -> u8 {
        self.registers.read8(offset::IPRIORITYR + self.intid as usize)
    }

    /// ICFGR: edge or level.
    pub fn set_edge(&self, edge: bool) {
        let word = offset::ICFGR + self.intid as usize / 16 * 4;
        let bit = 2 << (self.intid % 16 * 2);
        let old = self.registers.read32(word);
        self.registers.write32(word, if edge { old | bit } else { old & !bit });
    }

    /// How often vCPU 0 took it.
    pub fn count(&self) -> u32 {
        interrupts::count(0, self.intid)
    }
}

/// Sends SPI `intid` to vCPU `cpu`.
pub fn route(gic: &Gic, intid: u32, cpu: usize) {
    match gic {
        Gic::V2 { distributor, .. } => distributor.write8(offset::ITARGETSR + intid as usize, 1 << cpu),
        Gic::V3 { distributor, .. } => {
            distributor.write64(offset::IROUTER + intid as usize * 8, cpu as u64);
        }
    }
}

/// The test lines, ready.
pub fn lines(gic: &Gic) -> Vec<Line> {
    (FIRST..FIRST + LINES).map(|intid| Line::ready(gic, intid)).collect()
}

/// Clears the log and lets this hook write it.
pub fn start_log(hook: interrupts::Hook) {
    LOGGED.store(0, Relaxed);
    interrupts::set_hook(Some(hook));
}

/// Notes an interrupt in the log.
pub fn note(entry: u32) {
    let place = LOGGED.fetch_add(1, Relaxed) as usize;
    if let Some(slot) = LOG.get(place) {
        slot.store(entry, Relaxed);
    }
}

/// What was noted.
pub fn log() -> Vec<u32> {
    let count = (LOGGED.load(Relaxed) as usize).min(LOG_ENTRIES);
    LOG[..count].iter().map(|entry| entry.load(Relaxed)).collect()
}

/// Runs `pend` with interrupts masked, then lets them in and waits until `expected` entries are in the log.
pub fn together(expected: usize, pend: impl FnOnce()) -> Vec<u32> {
    mask_interrupts();
    pend();
    unmask_interrupts();
    spin_until(SOON, || LOGGED.load(Relaxed) as usize >= expected);
    spin_until(WHILE, || false);
    log()
}

/// What the Distributor says of itself, and that its registers keep what they are given.
fn registers(boot: &'static Boot) -> Outcome {
    let distributor = boot.gic.distributor();
    let lines = (distributor.read32(offset::TYPER) & 0x1f) * 32 + 32;
    ensure!(lines >= FIRST + LINES, "GICD_TYPER: {lines} lines");
    if boot.gic.version() == 3 {
        ensure_eq!(distributor.read32(0xffe8) >> 4 & 0xf, 3, "GICD_PIDR2.ArchRev");
        ensure!(distributor.read32(offset::CTLR) & 0x10 != 0, "GICD_CTLR.ARE reads 0");
        for cpu in 0..boot.cpus().len() {
            let Some(redistributor) = boot.gic.redistributor(cpu) else { continue };
            let typer = redistributor.read64(offset::GICR_TYPER);
            ensure_eq!(typer >> 32, boot.cpus()[cpu], "GICR_TYPER affinity");
            ensure_eq!(typer >> 8 & 0xffff, cpu as u64, "GICR_TYPER processor number");
            ensure_eq!(typer >> 4 & 1, u64::from(cpu + 1 == boot.cpus().len()), "GICR_TYPER.Last");
            ensure_eq!(redistributor.read32(offset::GICR_TYPER), typer as u32, "GICR_TYPER, low half");
            ensure_eq!(redistributor.read32(0xffe8) >> 4 & 0xf, 3, "GICR_PIDR2.ArchRev");
        }
    } else {
        ensure_eq!(distributor.read32(0xfe8) >> 4 & 0xf, 2, "GICD_PIDR2.ArchRev");
        ensure_eq!(
            distributor.read32(offset::TYPER) >> 5 & 7,
            boot.cpus().len() as u32 - 1,
            "GICD_TYPER.CPUNumber"
        );
    }
    let line = Line::ready(&boot.gic, FIRST);
    line.set_priority(0x50);
    ensure_eq!(line.priority(), 0x50, "IPRIORITYR");
    line.set_edge(false);
    let configuration = distributor.read32(offset::ICFGR + FIRST as usize / 16 * 4);
    line.set_edge(true);
    let edge = distributor.read32(offset::ICFGR + FIRST as usize / 16 * 4);
    ensure_eq!(configuration ^ edge, 2 << (FIRST % 16 * 2), "ICFGR");
    ensure!(line.is(offset::ISENABLER) && line.is(offset::ICENABLER), "ISENABLER does not read back");
    line.set(offset::ICENABLER);
    ensure!(!line.is(offset::ISENABLER), "ICENABLER does not clear");
    ensure_eq!(gic::running_priority(), 0xff, "running priority when idle");
    Ok(())
}
