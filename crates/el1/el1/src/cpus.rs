//! The vCPUs of this machine: which one this is, starting others (PSCI CPU_ON), stopping this one.
//!
//! Calls: `smccc`. The resource: stacks of the secondary vCPUs. Invariant: stack `n` belongs to the vCPU with index
//! `n`; PSCI starts no vCPU that is on.

use crate::boot::{Boot, MAX_CPUS};
use crate::smccc::{self, Conduit, function};
use crate::{mmu, registers};
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What `secondary_entry` loads with its MMU off; the order is known to head.s.
#[repr(C, align(64))]
struct SecondaryStart {
    stack_top: AtomicU64,
    mair: AtomicU64,
    tcr: AtomicU64,
    ttbr0: AtomicU64,
    sctlr: AtomicU64,
    entry: AtomicUsize,
    argument: AtomicUsize,
}

static STARTS: [SecondaryStart; MAX_CPUS] = [const {
    SecondaryStart {
        stack_top: AtomicU64::new(0),
        mair: AtomicU64::new(0),
        tcr: AtomicU64::new(0),
        ttbr0: AtomicU64::new(0),
        sctlr: AtomicU64::new(0),
        entry: AtomicUsize::new(0),
        argument: AtomicUsize::new(0),
    }
}; MAX_CPUS];

const STACK_BYTES: usize = 0x1_0000;

unsafe extern "C" {
    static __stacks_start: u8;
    static secondary_entry: u8;
}

/// Which vCPU this is: MPIDR_EL1.Aff0, its place in the guest machine.
#[inline]
pub fn index() -> usize {
    (registers::mpidr_el1::read() & 0xff) as usize % MAX_CPUS
}

/// Starts vCPU `index` in `entry(argument)`, with its MMU on; it is turned off when `entry` returns.
/// The PSCI status: 0, or an error.
pub fn start(boot: &Boot, index: usize, entry: fn(usize), argument: usize) -> i64 {
    let (Some(&affinity), Some(start)) = (boot.cpus().get(index), STARTS.get(index)) else {
        return smccc::psci_error::INVALID_PARAMETERS;
    };
    let registers = mmu::registers();
    let stack_top = addr_of!(__stacks_start) as usize + (index + 1) * STACK_BYTES;
    start.stack_top.store(stack_top as u64, Ordering::Relaxed);
    start.mair.store(registers.mair, Ordering::Relaxed);
    start.tcr.store(registers.tcr, Ordering::Relaxed);
    start.ttbr0.store(registers.ttbr0, Ordering::Relaxed);
    start.sctlr.store(registers.sctlr, Ordering::Relaxed);
    start.entry.store(entry as usize, Ordering::Relaxed);
    start.argument.store(argument, Ordering::Relaxed);
    // It is read with the MMU off.
    mmu::clean(addr_of!(*start) as usize, size_of::<SecondaryStart>());
    let context = addr_of!(*start) as u64;
    smccc::issue(Conduit::Hvc, function::CPU_ON, [affinity, addr_of!(secondary_entry) as u64, context])[0]
        as i64
}

/// Turns this vCPU off; comes back only with an error.
pub fn off() -> i64 {
    registers::mask_interrupts();
    smccc::issue(Conduit::Hvc, function::CPU_OFF, [0; 3])[0] as i64
}

/// From `head.s`, on a secondary vCPU, MMU on, interrupts masked.
#[unsafe(no_mangle)]
extern "C" fn el1_start_secondary() {
    let start = &STARTS[index()];
    let entry = start.entry.load(Ordering::Relaxed);
    // SAFETY: `start` stored a `fn(usize)` there before it asked for this vCPU, and cleaned it to memory.
    let entry = unsafe { core::mem::transmute::<usize, fn(usize)>(entry) };
    entry(start.argument.load(Ordering::Relaxed));
    off();
}
