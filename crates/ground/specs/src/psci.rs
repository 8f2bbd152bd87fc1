//! Function ids and results of PSCI, the SMC Calling Convention and the TRNG firmware interface.
//!
//! Sources: Arm Power State Coordination Interface (DEN0022), 5 "PSCI function prototypes"; SMC Calling Convention
//! (DEN0028), 2 "SMC and HVC calling conventions", 7 "Arm Architecture Calls"; True Random Number Generator Firmware
//! Interface (DEN0098), 2 "TRNG ABI".

/// In a function id: arguments are 64 bits wide.
pub const SMC64: u32 = 1 << 30;

/// PSCI_VERSION.
pub const PSCI_VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND; also as SMC64.
pub const CPU_SUSPEND: u32 = 0x8400_0001;
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON; also as SMC64.
pub const CPU_ON: u32 = 0x8400_0003;
/// AFFINITY_INFO; also as SMC64.
pub const AFFINITY_INFO: u32 = 0x8400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const PSCI_FEATURES: u32 = 0x8400_000a;
/// SYSTEM_RESET2; also as SMC64.
pub const SYSTEM_RESET2: u32 = 0x8400_0012;

/// What PSCI_VERSION returns for PSCI 1.1.
pub const PSCI_1_1: u64 = 0x0001_0001;
/// CPU_SUSPEND's power_state: StateType is powerdown.
pub const POWER_STATE_POWERDOWN: u64 = 1 << 16;
/// MIGRATE_INFO_TYPE: there is no Trusted OS.
pub const NO_TRUSTED_OS: u64 = 2;
/// AFFINITY_INFO: ON.
pub const AFFINITY_ON: u64 = 0;
/// AFFINITY_INFO: OFF.
pub const AFFINITY_OFF: u64 = 1;
/// AFFINITY_INFO: ON_PENDING.
pub const AFFINITY_ON_PENDING: u64 = 2;
/// SYSTEM_RESET2's reset_type: SYSTEM_WARM_RESET.
pub const SYSTEM_WARM_RESET: u64 = 0;

/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// SMCCC_ARCH_WORKAROUND_1: branch predictor invalidation (CVE-2017-5715).
pub const SMCCC_ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// SMCCC_ARCH_WORKAROUND_2: speculative store bypass (CVE-2018-3639).
pub const SMCCC_ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// SMCCC_ARCH_WORKAROUND_3: branch history (CVE-2017-5715 and CVE-2022-23960).
pub const SMCCC_ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
/// What SMCCC_VERSION returns for SMCCC 1.1.
pub const SMCCC_1_1: u64 = 0x0001_0001;

/// TRNG_VERSION.
pub const TRNG_VERSION: u32 = 0x8400_0050;
/// TRNG_FEATURES.
pub const TRNG_FEATURES: u32 = 0x8400_0051;
/// TRNG_GET_UUID.
pub const TRNG_GET_UUID: u32 = 0x8400_0052;
/// TRNG_RND; also as SMC64.
pub const TRNG_RND: u32 = 0x8400_0053;
/// What TRNG_VERSION returns for TRNG 1.0.
pub const TRNG_1_0: u64 = 0x0001_0000;
/// Most bits of one TRNG_RND as SMC32 and as SMC64.
pub const TRNG_MAX_BITS: (u64, u64) = (96, 192);

/// Call UID query of the vendor-specific hypervisor service.
pub const VENDOR_HYP_UID: u32 = 0x8600_ff01;

/// Negative results, the same in all of these interfaces as far as both have them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Error {
    /// NOT_SUPPORTED.
    NotSupported = -1,
    /// INVALID_PARAMETERS of PSCI and TRNG.
    InvalidParameters = -2,
    /// DENIED of PSCI, NO_ENTROPY of TRNG.
    Denied = -3,
    /// ALREADY_ON.
    AlreadyOn = -4,
    /// ON_PENDING.
    OnPending = -5,
    /// INVALID_ADDRESS.
    InvalidAddress = -9,
}

impl Error {
    /// NO_ENTROPY of TRNG.
    pub const NO_ENTROPY: Self = Self::Denied;

    /// As the callee leaves it in x0: sign-extended, so that both w0 and x0 are right.
    pub const fn result(self) -> u64 {
        (self as i32 as i64).cast_unsigned()
    }
}
