//! Guards: the PEs: their stacks, their registers, and starting them.
//!
//! TPIDR_EL2 points at the PE's [`Pe`]. PEs are started one after the other by the boot PE through a single mailbox in
//! memory that is cleaned to the PoC, since a PE reads it with its MMU off (rule `two-views`).
//! Source: DEN0022 "PSCI", 5.1.4 CPU_ON; Linux `booting.rst`, "spin-table".

use crate::kernel::Kernel;
use crate::regs::{instruction, isb, mpidr, read, write};
use crate::vcpu::Loaded;
use crate::{cache, gic, mmu, stage1, vectors};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use drivers::board::{PeNode, StartMethod};
use specs::PeId;

/// One PE.
#[repr(C)]
pub struct Pe<K: Kernel> {
    /// Top of the stack for exceptions from EL2 itself: first word, known to the vectors.
    emergency_top: u64,
    id: PeId,
    pub(crate) exits: Exits,
    pub(crate) stack_top: u64,
    pub(crate) history_loops: u32,
    pub(crate) fp_owner: u64,
    has_gic_v3: bool,
    /// The vmkernel's part.
    pub state: K::Pe,
}

impl<K: Kernel> Pe<K> {
    /// Which PE it is.
    #[inline(always)]
    pub fn id(&self) -> PeId {
        self.id
    }

    /// [`gic::is_v3`], one instruction shorter.
    #[inline(always)]
    pub fn has_gic_v3(&self) -> bool {
        self.has_gic_v3
    }

    /// Waits for an interrupt, with no work to do.
    pub fn sleep(&mut self) {
        instruction!("dsb sy");
        instruction!("wfi");
    }
}

const EARLY_STACK_BYTES: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack([u8; EARLY_STACK_BYTES]);

static mut EARLY_STACK: Stack = Stack([0; EARLY_STACK_BYTES]);

/// What TPIDR_EL2 = 0 stands for: the boot PE before it has a `Pe`.
#[repr(transparent)]
struct EarlyPe(*const u8);

// SAFETY: the pointer is only read, by the vectors.
unsafe impl Sync for EarlyPe {}

#[unsafe(export_name = "bramble_early_pe")]
static EARLY: EarlyPe = EarlyPe((&raw const EARLY_STACK).cast::<u8>().wrapping_add(EARLY_STACK_BYTES));

/// Which PE runs this; the boot PE is 0, also before it has a `Pe`.
#[inline(always)]
pub fn current() -> PeId {
    let pe = read!("tpidr_el2") as *const PeHead;
    if pe.is_null() {
        return PeId(0);
    }
    // SAFETY: TPIDR_EL2 is null or points at this PE's `Pe`, which is never freed; `id` never changes.
    unsafe { (*pe).id }
}

/// The first fields of `Pe<K>`, of any kernel.
#[repr(C)]
struct PeHead {
    emergency_top: u64,
    id: PeId,
    exits: Exits,
}

/// Exits that each PE remembers.
pub const EXITS: usize = 16;
/// One exit in so many is measured: what measuring costs, some 200 instructions, is below two for each exit.
pub const MEASURED: u64 = 1 << MEASURED_LOG2;
const MEASURED_LOG2: u32 = 7;
/// [`GOLDEN`]'s multiples go round in so many bits.
const ROUND_LOG2: u32 = 24;
/// 2²⁴ over the golden ratio: its multiples are spread evenly, whatever the period that one looks at them with. It is odd:
/// sixteen in a row differ in their lowest four bits.
const GOLDEN: u64 = 0x9e_3779;
/// In the place of a syndrome: a physical interrupt.
pub const INTERRUPT: u64 = 1 << 63;

/// The last exits from guests on one PE: for the panic screen. Only the PE itself writes.
#[derive(Default)]
pub(crate) struct Exits {
    /// Grows by [`GOLDEN`].
    next: AtomicU64,
    last: [[AtomicU64; 2]; EXITS],
}

impl Exits {
    /// Whether this exit is to be measured: one in [`MEASURED`], in steps that fall in with no loop of a guest's.
    #[inline(always)]
    pub(crate) fn record(&self, syndrome: u64, elr: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let [at_syndrome, at_elr] = &self.last[next as usize % EXITS];
        at_syndrome.store(syndrome, Ordering::Relaxed);
        at_elr.store(elr, Ordering::Relaxed);
        self.next.store(next.wrapping_add(GOLDEN), Ordering::Relaxed);
        next >> (ROUND_LOG2 - MEASURED_LOG2) & (MEASURED - 1) == 0
    }
}

/// The last exits on this PE, the newest first: syndrome (or [`INTERRUPT`]) and address in the guest.
pub fn last_exits() -> [Option<[u64; 2]>; EXITS] {
    let mut found = [None; EXITS];
    let pe = read!("tpidr_el2") as *const PeHead;
    if pe.is_null() {
        return found;
    }
    // SAFETY: as in `current`; the words are atomic.
    let exits = unsafe { &(*pe).exits };
    let next = exits.next.load(Ordering::Relaxed);
    for (age, place) in (1..=(next / GOLDEN).min(EXITS as u64)).zip(&mut found) {
        let words = &exits.last[next.wrapping_sub(age * GOLDEN) as usize % EXITS];
        *place = Some([words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)]);
    }
    found
}

/// Makes this PE ready to run guests, and its `Pe`.
#[allow(clippy::mut_from_ref, reason = "what is returned is made here; the host is another thing")]
fn prepare<K: Kernel>(host: &'static K::Host, id: PeId) -> &'static mut Pe<K> {
    let (stack_top, emergency_top) = (stage1::stack_top(id.0.into()), stage1::emergency_top(id.0.into()));
    // `current()` must know the id before the vmkernel's part is made.
    let head = Box::leak(Box::new(PeHead { emergency_top, id, exits: Exits::default() }));
    write!("tpidr_el2", core::ptr::from_mut(head) as u64);
    start_registers();
    gic::start_pe(id);
    let state = K::start_pe(host, id);
    let history_loops = vectors::history_loops();
    let exits = Exits::default();
    let has_gic_v3 = gic::is_v3();
    let fp_owner = 0;
    let pe = Pe { emergency_top, id, exits, stack_top, history_loops, fp_owner, has_gic_v3, state };
    let pe = Box::leak(Box::new(pe));
    write!("tpidr_el2", core::ptr::from_mut(pe) as u64);
    pe
}

/// Registers of EL2 that do not depend on the guest.
fn start_registers() {
    write!("vbar_el2", vectors::table());
    // Also while it waits for its first guest, interrupts are EL2's: one that is not would not end a WFI.
    crate::context::Context::leave_empty();
    write!("hcr_el2", crate::vcpu::HCR);
    write!("cptr_el2", crate::context::CPTR);
    write!("hstr_el2", 0);
    // MDCR_EL2: HPMN as at reset; TPM, TPMCR: PMU trapped; TDE off; TDA, TDOSA, TDRA: debug trapped; TPMS, TTRF:
    // profiling and trace filters trapped, and E2PB, E2TB 0: their buffers are EL2's. What a PE has not is RES0.
    let debug = 1 << 9 | 1 << 10 | 1 << 11;
    write!("mdcr_el2", read!("mdcr_el2") & 0x1f | 1 << 5 | 1 << 6 | debug | 1 << 14 | 1 << 19);
    // What guests write there is forgotten, and what firmware left there would step them or stop at breakpoints.
    write!("mdscr_el1", 0);
    // CNTHCTL_EL2: EL1PCTEN: the physical counter is free; EL1PCEN 0: the physical timer is emulated.
    write!("cnthctl_el2", 1);
    write!("cnthp_ctl_el2", 0);
    write!("cntv_ctl_el0", 0);
    write!("vpidr_el2", read!("midr_el1"));
    // VTCR_EL2: 40-bit IPA, start at level 1, 4 KiB granule, inner shareable write-back walks (D8.2).
    write!("vtcr_el2", stage2::vtcr(read!("id_aa64mmfr0_el1"), read!("id_aa64mmfr1_el1")));
    if read!("id_aa64mmfr0_el1") >> 56 & 15 != 0 {
        start_fine_grained_traps();
    }
    if read!("id_aa64mmfr1_el1") >> 40 & 15 != 0 {
        write!("S3_4_C1_C2_2", 0); // HCRX_EL2: what it would allow is not shown to guests
    }
    instruction!("tlbi alle1");
    instruction!("dsb nsh");
    isb();
}

/// FEAT_FGT: registers of extensions that guests are not shown (SME, GCS…) trap when their bits are 0.
#[cold]
fn start_fine_grained_traps() {
    write!("S3_4_C1_C1_4", 0); // HFGRTR_EL2
    write!("S3_4_C1_C1_5", 0); // HFGWTR_EL2
    write!("S3_4_C1_C1_6", 0); // HFGITR_EL2
    write!("S3_4_C3_C1_4", 0); // HDFGRTR_EL2
    write!("S3_4_C3_C1_5", 0); // HDFGWTR_EL2
}

/// The boot PE's last step, on its own stack: runs what the kernel says, forever.
pub(crate) fn run_boot_pe<K: Kernel>(host: &'static K::Host, nodes: &[PeNode], psci_by_smc: bool) -> ! {
    let own = mpidr();
    let mut next = 1u16;
    let pe = prepare::<K>(host, PeId(0));
    for node in nodes.iter().filter(|node| node.mpidr != own) {
        if start_one::<K>(host, node, PeId(next), psci_by_smc) {
            next += 1;
        }
    }
    K::start(host, pe);
    wait::<K>(pe)
}

/// Waits for the first vCPU.
fn wait<K: Kernel>(pe: &'static mut Pe<K>) -> ! {
    let first: Loaded<K> = K::wait(pe);
    // SAFETY: the frame is of a vCPU loaded on this PE.
    unsafe { bramble_enter_guest(crate::vcpu::frame(first).cast()) }
}

unsafe extern "C" {
    fn bramble_enter_guest(frame: *mut u8) -> !;
    fn bramble_secondary();
}

/// Calls `function(argument)` on another stack.
///
/// # Safety
/// `top` is the top of a mapped stack that nothing uses.
pub(crate) unsafe fn on_stack(top: u64, function: extern "C" fn(usize) -> !, argument: usize) -> ! {
    // SAFETY: the caller's promise; the function never returns, so the old stack is left for good.
    unsafe {
        core::arch::asm!("mov sp, {top}", "mov x29, xzr", "mov x30, xzr", "br {f}", top = in(reg) top,
            f = in(reg) function, in("x0") argument, options(noreturn))
    }
}

/// What a starting PE reads with its MMU off.
///
/// | offset | field |
/// |---|---|
/// | 0 | MPIDR of the PE that is meant |
/// | 8 | TTBR0_EL2, MAIR_EL2, TCR_EL2, SCTLR_EL2 |
/// | 40 | stack top |
/// | 48 | function to call with (host, id) |
/// | 56 | host |
/// | 64 | id |
/// | 72 | set by the PE when it is up |
#[repr(C, align(64))]
struct Mailbox([AtomicU64; 16]);

#[unsafe(export_name = "bramble_mailbox")]
static MAILBOX: Mailbox = Mailbox([const { AtomicU64::new(0) }; 16]);
const UP: usize = 9;

/// How long a PE may take to come up: generous, since an emulated one may wait for its turn; one that never comes costs
/// this much at boot.
const PATIENCE_SECONDS: u64 = 10;

fn start_one<K: Kernel>(host: &'static K::Host, node: &PeNode, id: PeId, psci_by_smc: bool) -> bool {
    let Some(method) = node.start else { return false };
    let [ttbr, mair, tcr, sctlr] = mmu::registers();
    let words = [
        node.mpidr,
        ttbr,
        mair,
        tcr,
        sctlr,
        mmu::map_stacks(u64::from(id.0)),
        secondary::<K> as *const () as u64,
        core::ptr::from_ref(host) as u64,
        u64::from(id.0),
        0,
    ];
    for (slot, word) in MAILBOX.0.iter().zip(words) {
        slot.store(word, Ordering::Relaxed);
    }
    cache::clean_and_invalidate_to_poc(mmu::pa_of(&MAILBOX).0 as usize, size_of::<Mailbox>());
    let entry = bramble_secondary as *const () as u64;
    match method {
        StartMethod::Psci if psci_by_smc => {
            if crate::boot::psci_cpu_on(node.mpidr, entry) != 0 {
                return false;
            }
        }
        StartMethod::Psci => return false,
        StartMethod::SpinTable(at) => crate::boot::release(at, entry),
    }
    let deadline = crate::regs::counter() + PATIENCE_SECONDS * crate::regs::counter_hz();
    while MAILBOX.0[UP].load(Ordering::Acquire) == 0 {
        if crate::regs::counter() > deadline {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Runs on a started PE, on its own stack, with the MMU on.
extern "C" fn secondary<K: Kernel>(host: *const K::Host, id: u64) -> ! {
    // SAFETY: the mailbox holds the address of the `&'static` host that `start_one` was given.
    let host: &'static K::Host = unsafe { &*host };
    let pe = prepare::<K>(host, PeId(id as u16));
    MAILBOX.0[UP].store(1, Ordering::Release);
    wait::<K>(pe)
}
