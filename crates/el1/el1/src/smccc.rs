//! Calls to the hypervisor by HVC or SMC. SMC Calling Convention (DEN0028) 2.6–2.9; PSCI (DEN0022) 5.
//!
//! The resource: HVC and SMC. A call may start a vCPU at any address (CPU_ON, CPU_SUSPEND): [`call`] refuses the
//! entry points that lie in the program's own memory; `cpus` starts vCPUs properly.

use crate::boot;
use core::arch::asm;

/// How the call is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC #0: what the device tree of the guest machine names.
    Hvc,
    /// SMC #0: answered the same way by Bramble.
    Smc,
}

/// Function ids. PSCI 5.1, SMCCC 7.
pub mod function {
    /// SMCCC_VERSION.
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    /// SMCCC_ARCH_FEATURES.
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    /// PSCI_VERSION.
    pub const PSCI_VERSION: u32 = 0x8400_0000;
    /// CPU_SUSPEND, 64 bits.
    pub const CPU_SUSPEND: u32 = 0xC400_0001;
    /// CPU_OFF.
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// CPU_ON, 32 bits.
    pub const CPU_ON_32: u32 = 0x8400_0003;
    /// CPU_ON, 64 bits.
    pub const CPU_ON: u32 = 0xC400_0003;
    /// AFFINITY_INFO, 64 bits.
    pub const AFFINITY_INFO: u32 = 0xC400_0004;
    /// MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// SYSTEM_OFF.
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// SYSTEM_RESET.
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI_FEATURES.
    pub const PSCI_FEATURES: u32 = 0x8400_000A;
}

/// Error returns. PSCI 5.2.2.
pub mod psci_error {
    /// NOT_SUPPORTED; also SMCCC's.
    pub const NOT_SUPPORTED: i64 = -1;
    /// INVALID_PARAMETERS.
    pub const INVALID_PARAMETERS: i64 = -2;
    /// ALREADY_ON.
    pub const ALREADY_ON: i64 = -4;
    /// INVALID_ADDRESS.
    pub const INVALID_ADDRESS: i64 = -9;
}

macro_rules! issue {
    ($instruction:literal, $function:expr, $arguments:expr) => {{
        let mut x: [u64; 4] = [u64::from($function), $arguments[0], $arguments[1], $arguments[2]];
        // SAFETY: SMCCC 2.9: the callee keeps x18-x30 and spoils at most x0-x17, which are named. The entry points
        // through which it could run code in our memory were refused by the caller.
        unsafe {
            asm!($instruction, inout("x0") x[0], inout("x1") x[1], inout("x2") x[2], inout("x3") x[3],
                out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
                out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
                options(nostack))
        };
        x
    }};
}

/// Calls `function` with three arguments; x0 to x3 as they come back.
///
/// Panics for CPU_ON and CPU_SUSPEND with an entry point inside RAM: that would run code of ours without a stack. Panics
/// for the calls of a world, which write to memory: those are made by [`crate::world`].
pub fn call(conduit: Conduit, function: u32, arguments: [u64; 3]) -> [u64; 4] {
    let entry_matters = matches!(
        function,
        function::CPU_ON
            | function::CPU_ON_32
            | function::CPU_SUSPEND
            | 0x8400_0001
            | 0xC400_000C
            | 0xC400_000E
    );
    assert!(function >> 16 != abi::call::BASE >> 16, "a call of a world");
    assert!(!entry_matters || !boot::in_ram(arguments[1]), "an entry point in our own memory");
    issue(conduit, function, arguments)
}

/// As [`call`], the first result as the signed status that PSCI returns.
pub fn status(function: u32, arguments: [u64; 3]) -> i64 {
    call(Conduit::Hvc, function, arguments)[0] as i64
}

pub(crate) fn issue(conduit: Conduit, function: u32, arguments: [u64; 3]) -> [u64; 4] {
    match conduit {
        Conduit::Hvc => issue!("hvc #0", function, arguments),
        Conduit::Smc => issue!("smc #0", function, arguments),
    }
}

/// One HVC with a function id and nothing else, without a check: for loops that count instructions. `FUNCTION` is
/// known to the compiler and takes no entry point.
#[inline(always)]
pub fn hvc<const FUNCTION: u32>() -> u64 {
    const { assert!(FUNCTION != function::CPU_ON && FUNCTION != function::CPU_ON_32 && FUNCTION & 0xff != 1) };
    let mut x0 = u64::from(FUNCTION);
    // SAFETY: as in `issue`; no function that takes an entry point passes the assertion.
    unsafe {
        asm!("hvc #0", inout("x0") x0, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
            out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _,
            out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack))
    };
    x0
}

/// PSCI SYSTEM_OFF.
pub fn system_off() -> ! {
    issue(Conduit::Hvc, function::SYSTEM_OFF, [0; 3]);
    loop {
        crate::registers::wfi();
    }
}

/// PSCI SYSTEM_RESET.
pub fn system_reset() -> ! {
    issue(Conduit::Hvc, function::SYSTEM_RESET, [0; 3]);
    loop {
        crate::registers::wfi();
    }
}

/// CPU_SUSPEND to a standby state: returns after the next interrupt, masked or not. PSCI 5.1.2 (power state type 0).
pub fn suspend_standby() -> i64 {
    issue(Conduit::Hvc, function::CPU_SUSPEND, [0; 3])[0] as i64
}
