// The arm64 Image header, and the first instructions of every vCPU. See head.rs.

    .section .head, "ax"
    .globl image_head
image_head:
    b       primary_entry
    nop
    .quad   0                       // text_offset
    .quad   __image_size            // image_size, BSS and stacks included
    .quad   0xA                     // flags: little endian, 4 KiB pages, anywhere
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

    // x0 -> address of a symbol, wherever the image is
    .macro ADDRESS register, symbol
    adrp    \register, \symbol
    add     \register, \register, :lo12:\symbol
    .endm

    // What both entries want before Rust: interrupts masked, MMU off, FP/SIMD usable, vectors.
    // SCTLR_EL1 = RES1 bits only.
    .macro PREPARE_PE scratch
    msr     daifset, #0xf
    msr     spsel, #1
    movz    \scratch, #0x0800
    movk    \scratch, #0x30d0, lsl #16
    msr     sctlr_el1, \scratch
    mov     \scratch, #(3 << 20)    // CPACR_EL1.FPEN
    msr     cpacr_el1, \scratch
    ADDRESS \scratch, vectors
    msr     vbar_el1, \scratch
    isb
    .endm

    // x0 = device tree, MMU and data cache off (Linux: Documentation/arch/arm64/booting.rst)
primary_entry:
    ADDRESS x1, entry_registers     // what came in x2-x30, for those who ask (head::entry_registers)
    stp     x2, x3, [x1]
    stp     x4, x5, [x1, #16]
    stp     x6, x7, [x1, #32]
    stp     x8, x9, [x1, #48]
    stp     x10, x11, [x1, #64]
    stp     x12, x13, [x1, #80]
    stp     x14, x15, [x1, #96]
    stp     x16, x17, [x1, #112]
    stp     x18, x19, [x1, #128]
    stp     x20, x21, [x1, #144]
    stp     x22, x23, [x1, #160]
    stp     x24, x25, [x1, #176]
    stp     x26, x27, [x1, #192]
    stp     x28, x29, [x1, #208]
    mrs     x2, cntpct_el0
    stp     x30, x2, [x1, #224]
    mrs     x1, CurrentEL
    cmp     x1, #(1 << 2)
    b.ne    park                    // entered above EL1: nothing here could work, and there is no console yet
    mov     x19, x0
    PREPARE_PE x1

    // R_AARCH64_RELATIVE (1027): *(base + offset) = base + addend
    ADDRESS x4, __image_start
    ADDRESS x2, __rela_start
    ADDRESS x3, __rela_end
1:  cmp     x2, x3
    b.hs    2f
    ldp     x5, x6, [x2], #16
    ldr     x7, [x2], #8
    cmp     w6, #1027
    b.ne    1b
    add     x7, x7, x4
    str     x7, [x5, x4]
    b       1b

2:  ADDRESS x2, __bss_start
    ADDRESS x3, __bss_end
3:  cmp     x2, x3
    b.hs    4f
    stp     xzr, xzr, [x2], #16
    b       3b

4:  ADDRESS x2, __stacks_start
    add     x2, x2, #0x10000
    mov     sp, x2
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    bl      el1_start
park:
    msr     daifset, #0xf
    wfi
    b       park

    // From PSCI CPU_ON: x0 = a SecondaryStart of cpus.rs, cleaned to the point of coherency
    .globl secondary_entry
secondary_entry:
    PREPARE_PE x1
    ldp     x1, x2, [x0]            // stack top, MAIR
    ldp     x3, x4, [x0, #16]       // TCR, TTBR0
    ldr     x5, [x0, #32]           // SCTLR
    mov     sp, x1
    msr     mair_el1, x2
    msr     tcr_el1, x3
    msr     ttbr0_el1, x4
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     sctlr_el1, x5
    isb
    mov     x29, xzr
    mov     x30, xzr
    bl      el1_start_secondary
    b       park
