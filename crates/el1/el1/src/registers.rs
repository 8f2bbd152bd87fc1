//! System registers by name, and the barriers around them.
//!
//! The resource: system registers whose writes can't break what Rust counts on (translation, vectors and stack
//! pointers are not here; `mmu` and `head` own them). Source: Arm ARM (DDI 0487) D24, GIC (IHI 0069) 12.2.

use core::arch::asm;

macro_rules! system_registers {
    ($($(#[$doc:meta])* $name:ident = $assembly:literal $($access:ident)+;)*) => {$(
        $(#[$doc])*
        pub mod $name {
            $(system_registers!(@$access $assembly);)+
        }
    )*};
    (@read $assembly:literal) => {
        /// Reads it, in program order among other volatile accesses.
        #[inline(always)]
        pub fn read() -> u64 {
            let value: u64;
            // SAFETY: reading this register has no effect on memory; the list below is of such registers.
            unsafe { core::arch::asm!(concat!("mrs {}, ", $assembly), out(reg) value, options(nostack)) };
            value
        }
    };
    (@write $assembly:literal) => {
        /// Writes it, in program order among other volatile accesses; an `isb` is the caller's.
        #[inline(always)]
        pub fn write(value: u64) {
            // SAFETY: this register steers no translation, stack or vector; the list below is of such registers.
            unsafe { core::arch::asm!(concat!("msr ", $assembly, ", {}"), in(reg) value, options(nostack)) };
        }
    };
}

system_registers! {
    /// Virtual count.
    cntvct_el0 = "cntvct_el0" read;
    /// Physical count.
    cntpct_el0 = "cntpct_el0" read;
    /// Ticks per second.
    cntfrq_el0 = "cntfrq_el0" read;
    /// Virtual timer: control.
    cntv_ctl_el0 = "cntv_ctl_el0" read write;
    /// Virtual timer: deadline.
    cntv_cval_el0 = "cntv_cval_el0" read write;
    /// Virtual timer: deadline from now, signed 32 bits.
    cntv_tval_el0 = "cntv_tval_el0" read write;
    /// Physical timer: control.
    cntp_ctl_el0 = "cntp_ctl_el0" read write;
    /// Physical timer: deadline.
    cntp_cval_el0 = "cntp_cval_el0" read write;
    /// Physical timer: deadline from now, signed 32 bits.
    cntp_tval_el0 = "cntp_tval_el0" read write;
    /// The PE's part number.
    midr_el1 = "midr_el1" read;
    /// The vCPU's affinity.
    mpidr_el1 = "mpidr_el1" read;
    /// Exception level, in bits 3:2.
    current_el = "CurrentEL" read;
    /// Cache lines and features.
    ctr_el0 = "ctr_el0" read;
    /// DC ZVA block size.
    dczid_el0 = "dczid_el0" read;
    /// Processor features 0.
    id_aa64pfr0_el1 = "id_aa64pfr0_el1" read;
    /// Memory model features 0.
    id_aa64mmfr0_el1 = "id_aa64mmfr0_el1" read;
    /// Instruction features 1.
    id_aa64isar1_el1 = "id_aa64isar1_el1" read;
    /// A word of software's own.
    tpidr_el0 = "tpidr_el0" read write;
    /// A word of software's own, read only at EL0.
    tpidrro_el0 = "tpidrro_el0" read write;
    /// A word of EL1's own.
    tpidr_el1 = "tpidr_el1" read write;
    /// Exception syndrome.
    esr_el1 = "esr_el1" read;
    /// Faulting address.
    far_el1 = "far_el1" read;
    /// Interrupt masks.
    daif = "daif" read write;
    /// MMU and cache control; only `mmu` writes it.
    sctlr_el1 = "sctlr_el1" read;
    /// GICv3 CPU interface: acknowledge.
    icc_iar1_el1 = "S3_0_C12_C12_0" read;
    /// GICv3 CPU interface: end of interrupt.
    icc_eoir1_el1 = "S3_0_C12_C12_1" write;
    /// GICv3 CPU interface: highest pending.
    icc_hppir1_el1 = "S3_0_C12_C12_2" read;
    /// GICv3 CPU interface: binary point.
    icc_bpr1_el1 = "S3_0_C12_C12_3" read write;
    /// GICv3 CPU interface: control.
    icc_ctlr_el1 = "S3_0_C12_C12_4" read write;
    /// GICv3 CPU interface: system registers enabled.
    icc_sre_el1 = "S3_0_C12_C12_5" read write;
    /// GICv3 CPU interface: group 1 enable.
    icc_igrpen1_el1 = "S3_0_C12_C12_7" read write;
    /// GICv3 CPU interface: deactivate.
    icc_dir_el1 = "S3_0_C12_C11_1" write;
    /// GICv3 CPU interface: running priority.
    icc_rpr_el1 = "S3_0_C12_C11_3" read;
    /// GICv3 CPU interface: send an SGI.
    icc_sgi1r_el1 = "S3_0_C12_C11_5" write;
    /// GICv3 CPU interface: active priorities of group 0.
    icc_ap0r0_el1 = "S3_0_C12_C8_4" read write;
    /// GICv3 CPU interface: active priorities of group 1.
    icc_ap1r0_el1 = "S3_0_C12_C9_0" read write;
    /// GICv3 CPU interface: priority mask.
    icc_pmr_el1 = "S3_0_C4_C6_0" read write;
}

/// No instruction, but the compiler keeps the loop around it.
#[inline(always)]
pub fn nothing() {
    // SAFETY: empty.
    unsafe { asm!("", options(nostack)) };
}

/// Instruction synchronization barrier.
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack)) };
}

/// Data synchronization barrier, full system.
#[inline(always)]
pub fn dsb() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack)) };
}

/// Lets interrupts in.
#[inline(always)]
pub fn unmask_interrupts() {
    // SAFETY: the vectors are installed before any program code runs, and save what handlers spoil.
    unsafe { asm!("msr daifclr, #2", options(nostack)) };
}

/// Keeps interrupts out.
#[inline(always)]
pub fn mask_interrupts() {
    // SAFETY: masks only.
    unsafe { asm!("msr daifset, #2", options(nostack)) };
}

/// Waits for an interrupt (masked ones end it too).
#[inline(always)]
pub fn wfi() {
    // SAFETY: waits only.
    unsafe { asm!("wfi", options(nostack)) };
}

/// Waits for an event.
#[inline(always)]
pub fn wfe() {
    // SAFETY: waits only.
    unsafe { asm!("wfe", options(nostack)) };
}

/// Sends an event to all PEs.
#[inline(always)]
pub fn sev() {
    // SAFETY: a hint.
    unsafe { asm!("sev", options(nostack)) };
}

/// The virtual count, read in program order.
#[inline(always)]
pub fn now() -> u64 {
    isb();
    let count = cntvct_el0::read();
    isb();
    count
}
