//! A place where any instruction may run: at EL1 or EL0, with any registers, until the first exception.
//!
//! Called by: the test guest that executes random instructions. Calls: `sandbox.s`. Arm ARM D8 (translation), D1.4.
//! The resource: TTBR0_EL1 while something untrusted runs. Invariants: the sandbox's table maps, of this program's
//! memory, only the page of `sandbox.s` (read-only) and the frame page (EL1 only), and beside them spare RAM and
//! what is outside RAM; so nothing in it reads or writes a Rust object. What would undo that from inside (writes to
//! SCTLR, TTBR, TCR, MAIR, VBAR and their extensions at EL1, PSCI calls that start code or stop the machine) is
//! refused by [`run`]; jumps to words that it did not see are the arena's risk: spare RAM holds no such words unless
//! they were put there. Concurrency: one vCPU at a time (a lock).

use crate::boot::Boot;
use crate::exceptions::Exception;
use crate::instruction::Encoding;
use crate::mmu::{self, Table};
use crate::smccc::function;
use crate::window::Window;
use core::arch::{asm, global_asm};
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::mutex::SpinMutex;

global_asm!(include_str!("sandbox.s"));

const WORDS: usize = 48;
const PAGE: usize = 4096;
const BLOCK: usize = 2 << 20;
const GIB: usize = 1 << 30;
/// RAM that the tables reach: 4 GiB from the GiB of RAM's start.
const RAM_TABLES: usize = 4;

/// `sandbox.s` knows the order of its words; a page of its own, so that nothing else is mapped with it.
#[repr(C, align(4096))]
struct Frame([AtomicU64; PAGE / 8]);

#[unsafe(export_name = "sandbox_frame")]
static FRAME: Frame = Frame([const { AtomicU64::new(0) }; PAGE / 8]);

unsafe extern "C" {
    static sandbox_text: u8;
    static sandbox_text_end: u8;
    fn sandbox_enter(ttbr0: u64);
}

/// The tables of one exception level.
struct Tables {
    level1: Table,
    level2: [Table; RAM_TABLES],
    level3: [Table; 2],
}

static TABLES: [Tables; 2] = [const {
    Tables {
        level1: Table::empty(),
        level2: [const { Table::empty() }; RAM_TABLES],
        level3: [const { Table::empty() }; 2],
    }
}; 2];

/// Whether the tables are built; and one vCPU at a time.
static LOCK: SpinMutex<bool> = SpinMutex::new(false);

/// Where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// EL0.
    El0,
    /// EL0 in AArch32 state, T32: a word of the program is two instructions of 16 bits, the lower half first. x0 to x14
    /// are R0 to R14.
    T32,
    /// EL1.
    El1,
}

/// What is in the registers at the first instruction.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// x0 to x30.
    pub x: [u64; 31],
    /// The stack pointer of the level.
    pub sp: u64,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A synchronous exception.
    Synchronous(Exception),
    /// An interrupt, still pending.
    Interrupt,
    /// SError or FIQ.
    Other,
}

/// BRK with this number is what a program should end with.
pub const END: u16 = 0x5afe;

/// `brk #END`.
const BRK_END: u32 = 0xd420_0000 | (END as u32) << 5;

/// Whether an exception is the end that was planned.
pub fn is_end(exception: &Exception) -> bool {
    exception.class() == crate::exceptions::class::BREAKPOINT && exception.esr & 0xffff == END as u64
}

/// Runs `program` from `arena` + `offset` (spare RAM, a multiple of 4), then BRK. `None` where the program is refused.
/// Interrupts are let in, to end what does not end; they are masked when this comes back.
pub fn run(
    boot: &'static Boot,
    arena: Window,
    offset: usize,
    program: &[u32],
    level: Level,
    registers: &Registers,
) -> Option<End> {
    let is_refused = |word: &u32| level == Level::El1 && !is_allowed(*word);
    if program.iter().any(is_refused) || stops_the_machine(registers.x[0]) {
        return None;
    }
    let mut built = LOCK.lock();
    if !*built {
        build(boot, &TABLES[0], Level::El0);
        build(boot, &TABLES[1], Level::El1);
        *built = true;
    }
    for (n, word) in program.iter().chain([&BRK_END]).enumerate() {
        arena.write32(offset + 4 * n, *word);
    }
    let start = arena.base() + offset;
    sync_code(start, (program.len() + 1) * 4);
    let frame = &FRAME.0;
    for (word, value) in frame.iter().zip(registers.x) {
        word.store(value, Ordering::Relaxed);
    }
    // PSTATE: EL0 or EL1 with SP_EL1; D, A and F masked, I not. AArch32: User mode, T; A and F masked.
    let pstate = match level {
        Level::El0 => 0x340,
        Level::El1 => 0x340 | 0b0101,
        Level::T32 => 0x140 | 1 << 5 | 0b1_0000,
    };
    for (word, value) in frame[31..WORDS].iter().zip([registers.sp, registers.sp, start as u64, pstate]) {
        word.store(value, Ordering::Relaxed);
    }
    let table = &TABLES[usize::from(level == Level::El1)];
    crate::registers::mask_interrupts();
    // SAFETY: the table maps nothing of Rust's (invariant above), `sandbox.s` restores every register that the
    // compiler or this crate counts on.
    unsafe { sandbox_enter(table.level1.address()) };
    Some(outcome(frame))
}

fn outcome(frame: &[AtomicU64; PAGE / 8]) -> End {
    let word = |n: usize| frame[n].load(Ordering::Relaxed);
    match word(39) & 3 {
        0 => End::Synchronous(Exception { esr: word(35), far: word(36) }),
        1 => End::Interrupt,
        _ => End::Other,
    }
}

/// What must not run at EL1: it would change translation or vectors under `sandbox.s`.
pub fn is_allowed(word: u32) -> bool {
    let is_system = word >> 22 == 0b11_0101_0100;
    if !is_system || word & (1 << 21) != 0 {
        return true;
    }
    let register = Encoding::of(word);
    match (register.op0, register.op1, register.crn) {
        // SCTLR, ACTLR, CPACR (but not SCTLR2…); TTBR and TCR; MAIR and permission indirection; VBAR.
        (3, 0, 1) => register.crm != 0 || (1..=2).contains(&register.op2),
        (3, 0, 2) => register.crm != 0 && register.crm != 5,
        (3, 0, 10) => register.crm != 2,
        (3, 0, 12) => register.crm != 0,
        // Debug exceptions would go on after the sandbox: the lock and MDSCR are reset there, the rest is harmless.
        // MSR (immediate) of interrupt masks would make a loop endless.
        (0, 3, 4) => register.op2 < 6,
        (3, 3, 4) => register.crm != 2,
        _ => true,
    }
}

fn stops_the_machine(x0: u64) -> bool {
    use function::*;
    let ids = [CPU_OFF, CPU_ON, CPU_SUSPEND, SYSTEM_OFF, SYSTEM_RESET, 0x8400_000c, 0x8400_000e, 0x8400_0012];
    ids.iter().any(|id| (x0 as u32) & 0x3fff_ffff == *id & 0x3fff_ffff)
}

fn sync_code(start: usize, bytes: usize) {
    for address in (start..start + bytes).step_by(4) {
        // SAFETY: cache maintenance by address changes nothing that Rust sees.
        unsafe {
            asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", a = in(reg) address, options(nostack));
        }
    }
    crate::registers::dsb();
    crate::registers::isb();
}

fn build(boot: &Boot, tables: &Tables, level: Level) {
    let rights = match level {
        Level::El0 | Level::T32 => mmu::EL0,
        Level::El1 => 0,
    };
    let first = boot.ram.start / GIB;
    for gib in 0..512 {
        let address = (gib * GIB) as u64;
        let descriptor = if (first..first + RAM_TABLES).contains(&gib) {
            tables.level2[gib - first].address() | mmu::VALID_TABLE
        } else if gib * GIB < boot.ram.end && gib >= first {
            0
        } else {
            address | mmu::VALID_BLOCK | mmu::DEVICE | mmu::ACCESSED | rights
        };
        tables.level1.set(gib, descriptor);
    }
    let spare = boot.spare.base()..boot.spare.base() + boot.spare.bytes();
    for block in 0..RAM_TABLES * 512 {
        let start = first * GIB + block * BLOCK;
        let descriptor = if spare.contains(&start) && spare.contains(&(start + BLOCK - 1)) {
            start as u64 | mmu::VALID_BLOCK | mmu::NORMAL | mmu::ACCESSED | rights
        } else if start >= boot.ram.end || start + BLOCK <= boot.ram.start {
            start as u64 | mmu::VALID_BLOCK | mmu::DEVICE | mmu::ACCESSED | rights
        } else {
            0
        };
        tables.level2[block / 512].set(block % 512, descriptor);
    }
    map_own(first, tables);
}

/// The two pages of the program that are mapped, at EL1 only.
fn map_own(first: usize, tables: &Tables) {
    let text = addr_of!(sandbox_text) as usize;
    let frame = addr_of!(FRAME) as usize;
    let mut used: [Option<usize>; 2] = [None; 2];
    let text_pages = (text..addr_of!(sandbox_text_end) as usize).step_by(PAGE);
    let pages = text_pages.map(|page| (page, mmu::READ_ONLY | mmu::NEVER_RUNS_AT_EL0));
    for (page, rights) in pages.chain([(frame, mmu::NEVER_RUNS)]) {
        let block = (page - first * GIB) / BLOCK;
        let Some(place) = used.iter().position(|used| used.is_none_or(|used| used == block)) else {
            continue;
        };
        used[place] = Some(block);
        let table = &tables.level3[place];
        tables.level2[block / 512].set(block % 512, table.address() | mmu::VALID_TABLE);
        let descriptor = page as u64 | mmu::VALID_PAGE | mmu::NORMAL | mmu::ACCESSED | rights;
        table.set(page % BLOCK / PAGE, descriptor);
    }
}
