// EL1's vector table. Arm ARM D1.4.1 "Exception vectors": 16 entries of 128 bytes, aligned to 2 KiB.

    .macro ENTRY target
    .balign 128
    b       \target
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .globl vectors
vectors:
    ENTRY   unexpected_entry        // current EL with SP_EL0: never used by us
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry
    ENTRY   synchronous_entry       // current EL with SP_EL1
    ENTRY   interrupt_entry
    ENTRY   unexpected_entry        // FIQ
    ENTRY   unexpected_entry        // SError
    ENTRY   synchronous_entry       // lower EL, AArch64
    ENTRY   interrupt_entry
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry        // lower EL, AArch32: never entered
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry
    ENTRY   unexpected_entry

    // An interrupt: what the procedure call standard lets a callee spoil, and where to return, so that the
    // handler may unmask and be interrupted again.
interrupt_entry:
    sub     sp, sp, #176
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #160]
    bl      el1_interrupt
    ldp     x0, x1, [sp, #160]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #176
    eret

    // A synchronous exception: all of it, as `exceptions::Frame` (x0-x30, ELR, SPSR)
    .macro SAVE_FRAME
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x30, x0, [sp, #240]
    str     x1, [sp, #256]
    mov     x0, sp
    .endm

synchronous_entry:
    SAVE_FRAME
    bl      el1_synchronous
    ldp     x30, x0, [sp, #240]
    ldr     x1, [sp, #256]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    add     sp, sp, #272
    eret

unexpected_entry:
    SAVE_FRAME
    bl      el1_unexpected
    b       .

    // Accesses that may fault: el1_synchronous ends them with the syndrome in x1 instead of 0 (probe.rs).
    .section .text.probe, "ax"
    .globl probe_start
probe_start:
    .globl probe_load8
probe_load8:
    ldrb    w0, [x0]
    mov     x1, #0
    ret
    .globl probe_load16
probe_load16:
    ldrh    w0, [x0]
    mov     x1, #0
    ret
    .globl probe_load32
probe_load32:
    ldr     w0, [x0]
    mov     x1, #0
    ret
    .globl probe_load64
probe_load64:
    ldr     x0, [x0]
    mov     x1, #0
    ret
    .globl probe_store8
probe_store8:
    strb    w1, [x0]
    mov     x1, #0
    ret
    .globl probe_store16
probe_store16:
    strh    w1, [x0]
    mov     x1, #0
    ret
    .globl probe_store32
probe_store32:
    str     w1, [x0]
    mov     x1, #0
    ret
    .globl probe_store64
probe_store64:
    str     x1, [x0]
    mov     x1, #0
    ret
    // Calls x0. An instruction abort there comes back at probe_fetch_failed, with the syndrome in x1.
    .globl probe_fetch
probe_fetch:
    mov     x9, x30
    blr     x0
    .globl probe_fetch_returned
probe_fetch_returned:
    mov     x1, #0
    .globl probe_fetch_failed
probe_fetch_failed:
    mov     x30, x9
    ret
    .globl probe_end
probe_end:
