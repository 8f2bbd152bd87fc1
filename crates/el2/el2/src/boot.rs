//! Guards: the first instructions: image header, relocation, the machine's memory, and the way to `K::boot`.
//!
//! Entered at EL2 with the MMU off and x0 = device tree (Linux `booting.rst`). Until the MMU is on nothing here may use
//! the heap, a lock or an atomic: exclusives need cacheable memory.

use crate::kernel::Kernel;
use crate::screen::Screen;
use crate::stage1::{self, Kind, Source, Tables};
use crate::{cache, memory, mmu, pe};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::fmt::Write;
use drivers::board::{Board, BoardError, PaRange};
use specs::Pa;
use spin::Once;

global_asm!(
    r#"
    .pushsection .head, "ax"
    .globl bramble_head
bramble_head:
    b bramble_start
    .long 0
    .quad 0                     // text_offset
    .quad __image_bytes
    .quad 0xa                   // little-endian, 4 KiB pages, anywhere
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0
    .popsection

    .pushsection .text.boot, "ax"
bramble_start:
    msr daifset, #0xf
    mov x19, x0
    // EL2 without VHE (HCR_EL2.E2H = 0): its registers have other layouts with it. EL1 is AArch64 (RW).
    mrs x2, CurrentEL
    cmp x2, #8
    b.ne 0f
    mov x2, #0x80000000
    msr hcr_el2, x2
    isb
0:  adrp x2, __bss_start
    add x2, x2, :lo12:__bss_start
    adrp x3, __bss_end
    add x3, x3, :lo12:__bss_end
1:  cmp x2, x3
    b.hs 2f
    stp xzr, xzr, [x2], #16
    b 1b
2:  adrp x2, __stack_top
    add x2, x2, :lo12:__stack_top
    mov sp, x2
    adrp x4, bramble_head
    add x4, x4, :lo12:bramble_head
    adrp x2, __rela_start
    add x2, x2, :lo12:__rela_start
    adrp x3, __rela_end
    add x3, x3, :lo12:__rela_end
3:  cmp x2, x3
    b.hs 4f
    ldp x5, x6, [x2], #16
    ldr x7, [x2], #8
    cmp x6, #1027               // R_AARCH64_RELATIVE
    b.ne 3b
    add x7, x7, x4
    str x7, [x5, x4]
    b 3b
    // What was written with the caches off: no stale line may hide it later.
4:  adrp x2, __data_start
    add x2, x2, :lo12:__data_start
    adrp x3, __image_end
    add x3, x3, :lo12:__image_end
5:  dc ivac, x2
    add x2, x2, #32
    cmp x2, x3
    b.lo 5b
    dsb sy
    mov x29, xzr
    mov x30, xzr
    mov x0, x19
    b bramble_boot

    // x0 is anything. The mailbox says which PE is meant.
    .globl bramble_secondary
bramble_secondary:
    msr daifset, #0xf
    adrp x1, bramble_mailbox
    add x1, x1, :lo12:bramble_mailbox
    mrs x2, mpidr_el1
    mov x3, #0xffffff
    movk x3, #0xff, lsl #32
    and x2, x2, x3
    ldr x3, [x1]
    cmp x2, x3
    b.ne 7f
    mrs x2, CurrentEL
    cmp x2, #8
    b.ne 7f
    mov x2, #0x80000000
    msr hcr_el2, x2
    isb
    ldp x2, x3, [x1, #8]
    ldp x4, x5, [x1, #24]
    msr ttbr0_el2, x2
    msr mair_el2, x3
    msr tcr_el2, x4
    msr tpidr_el2, xzr
    tlbi alle2
    ic iallu
    dsb sy
    isb
    msr sctlr_el2, x5
    isb
    ldr x2, [x1, #40]
    mov sp, x2
    mov x29, xzr
    mov x30, xzr
    ldr x3, [x1, #48]
    ldr x0, [x1, #56]
    ldr x1, [x1, #64]
    br x3
7:  wfe
    b 7b
    .popsection
    "#
);

unsafe extern "C" {
    static bramble_head: u8;
    static __text_end: u8;
    static __data_start: u8;
    static __symbols_start: u8;
    static __symbols_end: u8;
    static __image_end: u8;
    static __boot_stack: u8;
    static __stack_top: u8;
}

/// What the boot PE hands to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The board as its device tree describes it.
    pub board: &'static Board,
    /// The boot archive in memory, if the boot loader gave one.
    pub archive: Option<PaRange>,
    /// Physical counter at entry.
    pub entered_at: u64,
    /// Bytes of the image in memory, tables, stacks and BSS included.
    pub image_bytes: u64,
    /// The world that is in the image: hostd; empty where there is none.
    pub world: &'static [u8],
}

static BOARD: Once<&'static Board> = Once::new();

/// Whether a range touches RAM: such a range is no device.
pub(crate) fn is_ram(range: PaRange) -> bool {
    BOARD.get().is_none_or(|board| touches_ram(board, range))
}

fn touches_ram(board: &Board, range: PaRange) -> bool {
    board.memory.iter().any(|ram| range.start < ram.end() && ram.start < range.end())
}

/// Whether a range is the boot archive's.
pub(crate) fn is_archive(range: PaRange) -> bool {
    BOARD.get().is_some_and(|board| board.initrd == Some(range) && holds(board, range))
}

/// Free RAM without which nothing is begun.
const LEAST_BYTES: u64 = 8 << 20;

/// A device tree larger than this is not believed.
const MAX_DEVICE_TREE_BYTES: usize = 2 << 20;

/// The way from the first instructions to the kernel.
///
/// # Safety
/// Called once, by the boot code only, with what the boot loader left in x0.
pub unsafe fn boot<K: Kernel>(device_tree: *const u8, world: &'static [u8]) -> ! {
    let entered_at = crate::regs::counter();
    match crate::regs::current_el() {
        2 => {}
        1 => stop(
            "entered at EL1, not EL2: start QEMU with -M virt,virtualization=on; on a Pi remove any arm_64bit or armstub setting that leaves EL2",
        ),
        _ => stop("entered at EL3, not EL2: give QEMU the flat image by -kernel, or start from firmware"),
    }
    crate::regs::write!("tpidr_el2", 0);
    crate::regs::write!("vbar_el2", crate::vectors::table());
    let mut board = Board::default();
    // SAFETY: memory that the boot loader says holds a device tree is only read, within the size it states.
    let blob = unsafe { device_tree_at(device_tree) };
    if let Err(error) = board.read(blob) {
        stop(match error {
            BoardError::NoDeviceTree => "x0 holds no valid device tree: on raspi4b give -dtb FILE",
            BoardError::NoMemory => "the device tree names no memory",
            BoardError::NoPe => "the device tree names no PE",
            BoardError::TooManyReservations => "the device tree reserves more than 48 ranges of memory",
        });
    }
    board.limit_memory(crate::mmu::physical_end());
    let image = image_range();
    let tree = PaRange { start: Pa(device_tree as u64), bytes: blob.len() as u64 };
    if !board.mappable().iter().any(|ram| tree.start >= ram.start && tree.end() <= ram.end()) {
        stop("the device tree lies outside the memory that it names");
    }
    let mut free = board.free(&[image, tree]);
    // The highest first, so that the heap begins with the lowest: devices of a Pi reach the first 1 GiB only.
    free.sort_unstable_by_key(|range| core::cmp::Reverse(range.start));
    let mut tables = Tables::new(Source::Image(0));
    map_image(&mut tables);
    for ram in &board.mappable() {
        tables.map_same(*ram, Kind::Data);
    }
    let uart = board.uart.filter(|uart| !touches_ram(&board, uart.registers));
    if let Some(uart) = uart {
        tables.map_device(uart.registers);
    }
    crate::screen::found(uart);
    // SAFETY: image and RAM are mapped, the boot stack with the image's data.
    unsafe { tables.turn_on() };
    for range in &free {
        // SAFETY: the range is RAM that neither the image, the device tree, the archive nor a reservation uses.
        unsafe { memory::give(*range) };
    }
    if memory::free().bytes < LEAST_BYTES {
        stop("less than 8 MiB of RAM are free: the host itself needs more, and then guests do");
    }
    let board: &'static Board = Box::leak(Box::new(board));
    BOARD.call_once(|| board);
    let begin = Box::new(Begin { board, tree, entered_at, world });
    // SAFETY: the stack was mapped here, and nothing uses it.
    unsafe { pe::on_stack(mmu::map_stacks(0), begin_on::<K>, Box::into_raw(begin) as usize) }
}

/// What goes from the boot stack to the boot PE's own.
struct Begin {
    board: &'static Board,
    tree: PaRange,
    entered_at: u64,
    world: &'static [u8],
}

/// The way to the kernel, on the boot PE's own stack, which has a guard below it.
extern "C" fn begin_on<K: Kernel>(begin: usize) -> ! {
    // SAFETY: the address that `boot` made from a box.
    let Begin { board, tree, entered_at, world } = *unsafe { Box::from_raw(begin as *mut Begin) };
    wipe_boot_stack();
    let archive = board.initrd.filter(|archive| holds(board, *archive));
    let machine = Machine { board, archive, entered_at, image_bytes: image_range().bytes, world };
    // SAFETY: `board.free` kept the tree's memory back, and it was read as a tree of this size.
    let blob = unsafe { core::slice::from_raw_parts_mut(tree.start.0 as *mut u8, tree.bytes as usize) };
    let host: &'static K::Host = Box::leak(Box::new(K::boot(machine, board.seed_in(blob))));
    board.erase_seed(blob);
    cache::clean_and_invalidate_to_poc(tree.start.0 as usize, tree.bytes as usize);
    pe::run_boot_pe::<K>(host, &board.pes, board.psci_by_smc)
}

/// The boot stack is left for good.
fn wipe_boot_stack() {
    let (start, end) = (&raw const __boot_stack, &raw const __stack_top);
    // SAFETY: the link script keeps the stack between the two; this runs on another one.
    unsafe { core::ptr::write_bytes(start.cast_mut(), 0, end as usize - start as usize) };
}

/// Whether a range lies in RAM.
fn holds(board: &Board, range: PaRange) -> bool {
    board.memory.iter().any(|ram| range.start >= ram.start && range.end() <= ram.end())
}

/// # Safety
/// `at` is null, or points to memory that may be read.
unsafe fn device_tree_at<'a>(at: *const u8) -> &'a [u8] {
    if at.is_null() || !(at as usize).is_multiple_of(8) {
        return &[];
    }
    // SAFETY: the caller's promise; the header's first two words.
    let (magic, bytes) =
        unsafe { (at.cast::<u32>().read_volatile(), at.cast::<u32>().add(1).read_volatile()) };
    let bytes = u32::from_be(bytes) as usize;
    if u32::from_be(magic) != 0xd00d_feed || bytes > MAX_DEVICE_TREE_BYTES {
        return &[];
    }
    // SAFETY: the caller's promise, within the size that the header states.
    unsafe { core::slice::from_raw_parts(at, bytes) }
}

fn image_range() -> PaRange {
    let (start, end) = (&raw const bramble_head as u64, &raw const __image_end as u64);
    PaRange { start: Pa(start), bytes: end - start }
}

fn map_image(tables: &mut Tables) {
    let range =
        |from: *const u8, to: *const u8| PaRange { start: Pa(from as u64), bytes: to as u64 - from as u64 };
    tables.map_same(range(&raw const bramble_head, &raw const __text_end), Kind::Code);
    tables.map_same(range(&raw const __text_end, &raw const __data_start), Kind::Constant);
    tables.map_same(range(&raw const __data_start, &raw const __image_end), Kind::Data);
}

/// Says why the machine can't be taken over, and stops.
fn stop(why: &str) -> ! {
    let _ = writeln!(Screen::new(), "bramble: can't start: {why}");
    crate::screen::halt()
}

/// PSCI CPU_ON by SMC; the caller's board has PSCI by SMC.
pub(crate) fn psci_cpu_on(mpidr: u64, entry: u64) -> i64 {
    smc(0xc400_0003, mpidr, entry)
}

/// PSCI SYSTEM_OFF or SYSTEM_RESET, where the board has PSCI by SMC; returns where it has not.
pub fn psci_system(reset: bool) {
    if BOARD.get().is_some_and(|board| board.psci_by_smc) {
        smc(if reset { 0x8400_0009 } else { 0x8400_0008 }, 0, 0);
    }
}

fn smc(function: u64, first: u64, second: u64) -> i64 {
    let result: i64;
    // SAFETY: an SMC by the calling convention (DEN0028): x0–x17 may change, memory does not. Only boards whose device
    // tree says PSCI by SMC get here: elsewhere SMC is undefined.
    unsafe {
        core::arch::asm!("smc #0", inout("x0") function => result, inout("x1") first => _, inout("x2") second => _,
            inout("x3") 0u64 => _, clobber_abi("C"), options(nostack))
    };
    result
}

/// Releases a PE from its spin table.
pub(crate) fn release(at: Pa, entry: u64) {
    if !at.is_aligned(8) || !is_ram(PaRange { start: at, bytes: 8 }) {
        return;
    }
    // SAFETY: a release word lies in RAM that `free_ranges` kept back: the first page, or reserved memory. The PE spins
    // on it with its MMU off, so it is cleaned.
    unsafe { (at.0 as *mut u64).write_volatile(entry) };
    cache::clean_and_invalidate_to_poc(at.0 as usize, 8);
    crate::regs::instruction!("sev");
}

/// Bytes of EL2's own: image and heap.
pub fn own_bytes() -> u64 {
    image_range().bytes + crate::heap::bytes() as u64
}

/// Where code lies: for backtraces.
pub fn code_range() -> (u64, u64) {
    (&raw const bramble_head as u64, &raw const __text_end as u64)
}

/// The two words of a frame record (AAPCS64, 6.4.6 "The Frame Pointer") on a stack of EL2's, for a backtrace.
pub fn stack_words(at: u64) -> Option<[u64; 2]> {
    let image = image_range();
    let in_image = at >= image.start.0 && at.saturating_add(16) <= image.end().0;
    if !at.is_multiple_of(8) || !(in_image || (stage1::is_stack(at) && stage1::is_stack(at + 8))) {
        return None;
    }
    // SAFETY: both words lie in mapped memory of EL2's own: the image, or a stack.
    Some(unsafe { [(at as *const u64).read_volatile(), ((at + 8) as *const u64).read_volatile()] })
}

/// The names of functions that xtask put into the image: see `vmkernel::panic_screen`.
pub fn symbols() -> &'static [u8] {
    let (start, end) = (&raw const __symbols_start, &raw const __symbols_end);
    // SAFETY: the link script keeps the section between the two borders, in the image's constants.
    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The board, once it was read.
pub fn board() -> Option<&'static Board> {
    BOARD.get().copied()
}
