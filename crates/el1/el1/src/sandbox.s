// Into and out of the sandbox (sandbox.rs). The only code that its translation table lets run at EL1 besides the
// arena; a page of its own.
//
// sandbox_frame, in words of 8 bytes: 0-30 x0-x30, 31 SP_EL1, 32 SP_EL0, 33 ELR, 34 SPSR;
// out: 35 ESR, 36 FAR, 37 ELR, 38 SPSR, 39 vector; kept: 40 SP, 41 VBAR, 42 TTBR0, 43 CPACR, 44-46 TPIDRs, 47 CONTEXTIDR

    .section .text.sandbox, "ax"
    .balign 4096
    .globl sandbox_text
sandbox_text:
    .macro SANDBOX_VECTOR number
    .balign 128
    mov     x2, #\number
    b       sandbox_leave
    .endm

    .balign 2048
sandbox_vectors:
    .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    SANDBOX_VECTOR \number
    .endr

    .macro FRAME register
    adrp    \register, sandbox_frame
    add     \register, \register, :lo12:sandbox_frame
    .endm

    // x0 = TTBR0 of the sandbox. Comes back with the outcome in the frame, interrupts masked.
    .balign 128
    .globl sandbox_enter
sandbox_enter:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    FRAME   x9
    mov     x10, sp
    mrs     x11, vbar_el1
    stp     x10, x11, [x9, #320]
    mrs     x10, ttbr0_el1
    mrs     x11, cpacr_el1
    stp     x10, x11, [x9, #336]
    mrs     x10, tpidr_el0
    mrs     x11, tpidrro_el0
    stp     x10, x11, [x9, #352]
    mrs     x10, tpidr_el1
    mrs     x11, contextidr_el1
    stp     x10, x11, [x9, #368]
    msr     daifset, #0xf
    msr     ttbr0_el1, x0
    dsb     ish
    tlbi    vmalle1
    dsb     nsh
    isb
    adr     x10, sandbox_vectors
    msr     vbar_el1, x10
    ldp     x10, x11, [x9, #248]
    mov     sp, x10
    msr     sp_el0, x11
    ldp     x10, x11, [x9, #264]
    msr     elr_el1, x10
    msr     spsr_el1, x11
    ldp     x0, x1, [x9]
    ldp     x2, x3, [x9, #16]
    ldp     x4, x5, [x9, #32]
    ldp     x6, x7, [x9, #48]
    ldr     x8, [x9, #64]
    ldp     x10, x11, [x9, #80]
    ldp     x12, x13, [x9, #96]
    ldp     x14, x15, [x9, #112]
    ldp     x16, x17, [x9, #128]
    ldp     x18, x19, [x9, #144]
    ldp     x20, x21, [x9, #160]
    ldp     x22, x23, [x9, #176]
    ldp     x24, x25, [x9, #192]
    ldp     x26, x27, [x9, #208]
    ldp     x28, x29, [x9, #224]
    ldr     x30, [x9, #240]
    ldr     x9, [x9, #72]
    isb
    eret

    // x2 = vector. Nothing in the registers is to be trusted; SCTLR, TCR and MAIR are as they were (the sandbox
    // refuses what writes them), and every exception comes to EL1 with SP_EL1 selected.
sandbox_leave:
    FRAME   x0
    mrs     x1, esr_el1
    mrs     x3, far_el1
    stp     x1, x3, [x0, #280]
    mrs     x1, elr_el1
    mrs     x3, spsr_el1
    stp     x1, x3, [x0, #296]
    str     x2, [x0, #312]
    msr     mdscr_el1, xzr
    ldp     x1, x3, [x0, #336]
    msr     ttbr0_el1, x1
    msr     cpacr_el1, x3
    dsb     ish
    tlbi    vmalle1
    dsb     nsh
    isb
    ldp     x1, x3, [x0, #320]
    mov     sp, x1
    msr     vbar_el1, x3
    ldp     x1, x3, [x0, #352]
    msr     tpidr_el0, x1
    msr     tpidrro_el0, x3
    ldp     x1, x3, [x0, #368]
    msr     tpidr_el1, x1
    msr     contextidr_el1, x3
    isb
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
    .balign 4096
    .globl sandbox_text_end
sandbox_text_end:
