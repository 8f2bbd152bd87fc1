//! Guards: the exception vectors, and the way into and out of a guest.
//!
//! While a guest runs, SP_EL2 points at its [`crate::vcpu::Vcpu`]: the register frame first, the top of the PE's stack
//! in the word behind it. An exit stores x0–x30, switches to the stack and calls; what the handler returns runs next.
//! Two tables differ in one thing: the second clears the branch history first (Spectre-BHB; docs/errata.md).
//! Source: Arm ARM (DDI 0487), D1.3.1 "Exception entry"; D1.3.1.6 "Vector tables".

use core::arch::global_asm;

/// Offset of the PE's stack top in a vCPU.
pub(crate) const STACK_TOP: usize = 248;
/// Bytes of a [`FatalFrame`].
pub(crate) const FATAL_FRAME_BYTES: usize = 288;

/// Registers at an exception taken from EL2 itself.
///
/// | offset | field |
/// |---|---|
/// | 0 | x0–x30 |
/// | 248 | sp |
/// | 256 | vector number |
#[repr(C)]
#[derive(Debug)]
pub struct FatalFrame {
    /// x0–x30.
    pub x: [u64; 31],
    /// Stack pointer at the exception.
    pub sp: u64,
    /// Which of the sixteen vectors.
    pub vector: u64,
    reserved: [u64; 3],
}

const _: () = assert!(size_of::<FatalFrame>() == FATAL_FRAME_BYTES);

global_asm!(
    r#"
    .pushsection .text.vectors, "ax"

    .macro SAVE
    stp x0, x1, [sp]
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    str x30, [sp, #240]
    .endm

    .macro EXIT handler, history
    .balign 128
    SAVE
    .if \history
    ldr w0, [sp, #{history_loops}]
9:  b . + 4
    subs w0, w0, #1
    b.ne 9b
    dsb nsh
    isb
    .endif
    mov x0, sp
    ldr x1, [sp, #{stack_top}]
    mov sp, x1
    adr x30, bramble_enter_guest
    b \handler
    .endm

    // An exception from EL2 itself. x0 and x1 are parked in registers of the guest, whose host is lost anyway.
    .macro FATAL number
    .balign 128
    msr sp_el0, x0
    msr tpidr_el1, x1
    mov x1, #\number
    b bramble_fatal
    .endm

    .macro VECTORS history
    .balign 2048
    FATAL 0
    FATAL 1
    FATAL 2
    FATAL 3
    FATAL 4
    FATAL 5
    FATAL 6
    FATAL 7
    EXIT bramble_synchronous, \history
    EXIT bramble_interrupt, \history
    FATAL 10
    EXIT bramble_system_error, \history
    EXIT bramble_synchronous, \history
    EXIT bramble_interrupt, \history
    FATAL 14
    EXIT bramble_system_error, \history
    .endm

    .globl bramble_vectors
    .globl bramble_vectors_history
    .balign 2048
bramble_vectors:
    VECTORS 0
    .balign 2048
bramble_vectors_history:
    VECTORS 1

    .globl bramble_enter_guest
bramble_enter_guest:
    mov sp, x0
    ldp x2, x3, [sp, #16]
    ldp x4, x5, [sp, #32]
    ldp x6, x7, [sp, #48]
    ldp x8, x9, [sp, #64]
    ldp x10, x11, [sp, #80]
    ldp x12, x13, [sp, #96]
    ldp x14, x15, [sp, #112]
    ldp x16, x17, [sp, #128]
    ldp x18, x19, [sp, #144]
    ldp x20, x21, [sp, #160]
    ldp x22, x23, [sp, #176]
    ldp x24, x25, [sp, #192]
    ldp x26, x27, [sp, #208]
    ldp x28, x29, [sp, #224]
    ldr x30, [sp, #240]
    ldp x0, x1, [sp]
    eret
    // No speculation past the ERET (straight-line speculation).
    dsb nsh
    isb

    // x1 = vector number; x0 and x1 of the interrupted code in SP_EL0 and TPIDR_EL1.
    // The emergency stack's top is the first word of what TPIDR_EL2 points at.
bramble_fatal:
    mrs x0, tpidr_el2
    cbnz x0, 1f
    adrp x0, bramble_early_pe
    add x0, x0, :lo12:bramble_early_pe
1:  ldr x0, [x0]
    sub x0, x0, #{fatal_bytes}
    stp x2, x3, [x0, #16]
    stp x4, x5, [x0, #32]
    stp x6, x7, [x0, #48]
    stp x8, x9, [x0, #64]
    stp x10, x11, [x0, #80]
    stp x12, x13, [x0, #96]
    stp x14, x15, [x0, #112]
    stp x16, x17, [x0, #128]
    stp x18, x19, [x0, #144]
    stp x20, x21, [x0, #160]
    stp x22, x23, [x0, #176]
    stp x24, x25, [x0, #192]
    stp x26, x27, [x0, #208]
    stp x28, x29, [x0, #224]
    mov x2, sp
    stp x30, x2, [x0, #240]
    str x1, [x0, #256]
    mrs x2, sp_el0
    mrs x3, tpidr_el1
    stp x2, x3, [x0]
    mov sp, x0
    b bramble_el2_exception

    .popsection
    "#,
    stack_top = const STACK_TOP,
    history_loops = const crate::vcpu::HISTORY_LOOPS,
    fatal_bytes = const FATAL_FRAME_BYTES,
);

unsafe extern "C" {
    static bramble_vectors: u8;
    static bramble_vectors_history: u8;
}

/// How often the branch history must be overwritten on this PE; 0 where hardware protects itself or nothing is known.
///
/// Source: Arm, "Spectre-BHB" (2022), table of affected PEs: Cortex-A72 8, Neoverse N1 24.
pub(crate) fn history_loops() -> u32 {
    match crate::regs::read!("midr_el1") >> 4 & 0xfff {
        0xd08 => 8,
        0xd0c => 24,
        _ => 0,
    }
}

/// VBAR_EL2 for this PE.
pub(crate) fn table() -> u64 {
    if history_loops() == 0 {
        &raw const bramble_vectors as u64
    } else {
        &raw const bramble_vectors_history as u64
    }
}
