//! PSCI 1.1, SMCCC 1.1 and TRNG 1.0 for one VM: what an HVC (or SMC) with a standard function id means.
//!
//! Called by the vmkernel's HVC exit; what has an effect outside comes back as an [`Outcome`] and is the vmkernel's to
//! do. Sources: DEN0022, 5 "PSCI function prototypes", 6.6 "CPU_ON and CPU_OFF"; DEN0028, 7 "Arm Architecture Calls";
//! DEN0098, 2 "TRNG ABI". Calls that neither KVM nor we have are NOT_SUPPORTED, which every guest takes.
//!
//! Power states (`PowerState`): Off → Pending by CPU_ON, here; Pending → On by [`Psci::entered`]; On → Off by
//! [`Psci::stopped`], after the vCPU has left the guest for good, so that nobody starts it while it still runs.
//! Concurrency: any vCPU may call at any time; the one race, two CPU_ON for one target, is decided by a
//! compare-exchange. The states order nothing else: entry and context travel in the outcome.

use core::sync::atomic::{AtomicU8, Ordering};
use ports::Entropy;
use specs::psci as ids;
use specs::psci::Error;
use specs::{Ipa, IpaRange, VcpuIndex};

/// vCPUs of a VM at most.
const MAX_VCPUS: usize = 8;

/// This hypervisor's UID (RFC 4122: 48e6271c-3a56-42c5-90c4-cdca66c70e26) as DEN0028, 2.9 "Implemented UUIDs" lays it
/// into w0–w3.
const VENDOR_UID: [u64; 4] = uid(*b"\x48\xe6\x27\x1c\x3a\x56\x42\xc5\x90\xc4\xcd\xca\x66\xc7\x0e\x26");
/// The UID of the random generator behind TRNG (3b570f76-11b3-4eb9-89ad-8a0d88f0b7d2).
const TRNG_UID: [u64; 4] = uid(*b"\x3b\x57\x0f\x76\x11\xb3\x4e\xb9\x89\xad\x8a\x0d\x88\xf0\xb7\xd2");

const fn uid(b: [u8; 16]) -> [u64; 4] {
    [
        u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as u64,
        u32::from_le_bytes([b[4], b[5], b[6], b[7]]) as u64,
        u32::from_le_bytes([b[8], b[9], b[10], b[11]]) as u64,
        u32::from_le_bytes([b[12], b[13], b[14], b[15]]) as u64,
    ]
}

/// What a call comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// x0 = this.
    Return(u64),
    /// x0–x3 = these.
    Values([u64; 4]),
    /// The target, now Pending, starts at `entry` with x0 = `context` in the reset state of DEN0022, 6.4; the caller
    /// gets x0 = 0.
    Start {
        /// Which vCPU.
        target: VcpuIndex,
        /// Its first instruction.
        entry: Ipa,
        /// Its x0.
        context: u64,
    },
    /// As WFI; then x0 = 0.
    Standby,
    /// The caller stops; then [`Psci::stopped`]. It does not return.
    Stop,
    /// The VM stops. Does not return.
    SystemOff,
    /// The VM starts anew. Does not return.
    SystemReset,
    /// The PE's mitigation is done, then x0 = 0.
    Mitigate(Mitigation),
    /// A call of the vendor's range (DEN0028, 6): for a world its own calls, for a guest NOT_SUPPORTED.
    Vendor,
}

/// A firmware workaround that a guest asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mitigation {
    /// SMCCC_ARCH_WORKAROUND_1.
    BranchPredictor,
    /// SMCCC_ARCH_WORKAROUND_2: whether the mitigation is to be on.
    StoreBypass(bool),
    /// SMCCC_ARCH_WORKAROUND_3.
    BranchHistory,
}

/// What SMCCC_ARCH_FEATURES says of a workaround, by what the host's PEs are and its firmware has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workaround {
    /// There is none, or nobody knows whether the PE needs one.
    #[default]
    NotSupported,
    /// To be called where the guest wants to be safe.
    Needed,
    /// May be called, but the PE does not need it.
    NotNeeded,
}

impl Workaround {
    const fn result(self) -> u64 {
        match self {
            Self::NotSupported => Error::NotSupported.result(),
            Self::Needed => 0,
            Self::NotNeeded => 1,
        }
    }
}

/// The three workarounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Workarounds {
    /// SMCCC_ARCH_WORKAROUND_1.
    pub branch_predictor: Workaround,
    /// SMCCC_ARCH_WORKAROUND_2.
    pub store_bypass: Workaround,
    /// SMCCC_ARCH_WORKAROUND_3.
    pub branch_history: Workaround,
}

/// Power state of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PowerState {
    /// Not running; CPU_ON starts it.
    Off = 0,
    /// Started, not yet in the guest.
    Pending = 1,
    /// In the guest, or waiting for its turn.
    On = 2,
}

/// PSCI of one VM.
pub struct Psci {
    states: [AtomicU8; MAX_VCPUS],
    vcpus: u8,
    code: [IpaRange; 2],
    workarounds: Workarounds,
}

impl Psci {
    /// For a VM of `vcpus` vCPUs, whose code can be in the ranges `code` (RAM; flash bank 0, or nothing). vCPU 0 is
    /// Pending, the others are Off.
    pub fn new(vcpus: u8, code: [IpaRange; 2], workarounds: Workarounds) -> Self {
        let psci = Self { states: [const { AtomicU8::new(0) }; MAX_VCPUS], vcpus, code, workarounds };
        psci.reset();
        psci
    }

    /// The VM starts anew. No vCPU is in the guest.
    pub fn reset(&self) {
        for (index, state) in self.states.iter().enumerate() {
            let first = if index == 0 { PowerState::Pending } else { PowerState::Off };
            state.store(first as u8, Ordering::Relaxed);
        }
    }

    /// A vCPU that was Pending executes its first instruction next.
    pub fn entered(&self, vcpu: VcpuIndex) {
        self.set(vcpu, PowerState::On);
    }

    /// A vCPU has left the guest for good.
    pub fn stopped(&self, vcpu: VcpuIndex) {
        self.set(vcpu, PowerState::Off);
    }

    /// The power state of a vCPU; `None` where there is no such vCPU.
    pub fn state(&self, vcpu: VcpuIndex) -> Option<PowerState> {
        let state = self.cell(vcpu)?.load(Ordering::Relaxed);
        Some(match state {
            0 => PowerState::Off,
            1 => PowerState::Pending,
            _ => PowerState::On,
        })
    }

    /// A guest's call: `function` is its x0, `args` its x1–x3.
    #[inline]
    pub fn call(&self, function: u64, args: [u64; 3], entropy: &dyn Entropy) -> Outcome {
        let [a, b, c, d, ..] = function.to_le_bytes();
        let function = u32::from_le_bytes([a, b, c, d]);
        // The one call that guests repeat (and benchmarks count).
        if function == ids::PSCI_VERSION {
            return Outcome::Return(ids::PSCI_1_1);
        }
        self.call_other(function, args, entropy)
    }

    #[inline(never)]
    fn call_other(&self, function: u32, args: [u64; 3], entropy: &dyn Entropy) -> Outcome {
        const CPU_ON_64: u32 = ids::CPU_ON | ids::SMC64;
        const CPU_SUSPEND_64: u32 = ids::CPU_SUSPEND | ids::SMC64;
        const AFFINITY_INFO_64: u32 = ids::AFFINITY_INFO | ids::SMC64;
        const SYSTEM_RESET2_64: u32 = ids::SYSTEM_RESET2 | ids::SMC64;
        const TRNG_RND_64: u32 = ids::TRNG_RND | ids::SMC64;
        const VENDOR_FIRST: u32 = abi::call::BASE;
        const VENDOR_LAST: u32 = abi::call::BASE + 0xffff;
        // An SMC32 call has 32-bit arguments whatever the upper halves of the registers hold.
        let wide = function & ids::SMC64 != 0;
        let args = if wide { args } else { args.map(|arg| arg & 0xffff_ffff) };
        let [first, second, third] = args;
        match function {
            ids::CPU_ON | CPU_ON_64 => self.cpu_on(first, Ipa(second), third),
            ids::CPU_OFF => Outcome::Stop,
            ids::CPU_SUSPEND | CPU_SUSPEND_64 if first & ids::POWER_STATE_POWERDOWN == 0 => Outcome::Standby,
            ids::CPU_SUSPEND | CPU_SUSPEND_64 => error(Error::InvalidParameters),
            ids::AFFINITY_INFO | AFFINITY_INFO_64 => self.affinity_info(first, second),
            ids::MIGRATE_INFO_TYPE => Outcome::Return(ids::NO_TRUSTED_OS),
            ids::SYSTEM_OFF => Outcome::SystemOff,
            ids::SYSTEM_RESET => Outcome::SystemReset,
            ids::SYSTEM_RESET2 | SYSTEM_RESET2_64 if first == ids::SYSTEM_WARM_RESET => Outcome::SystemReset,
            ids::SYSTEM_RESET2 | SYSTEM_RESET2_64 => error(Error::InvalidParameters),
            ids::PSCI_FEATURES => supported(is_psci(first)),
            ids::SMCCC_VERSION => Outcome::Return(ids::SMCCC_1_1),
            ids::SMCCC_ARCH_FEATURES => self.arch_feature(first),
            ids::SMCCC_ARCH_WORKAROUND_1 => {
                mitigate(self.workarounds.branch_predictor, Mitigation::BranchPredictor)
            }
            ids::SMCCC_ARCH_WORKAROUND_2 => {
                mitigate(self.workarounds.store_bypass, Mitigation::StoreBypass(first != 0))
            }
            ids::SMCCC_ARCH_WORKAROUND_3 => {
                mitigate(self.workarounds.branch_history, Mitigation::BranchHistory)
            }
            ids::TRNG_VERSION => Outcome::Return(ids::TRNG_1_0),
            ids::TRNG_FEATURES => supported(is_trng(first)),
            ids::TRNG_GET_UUID => Outcome::Values(TRNG_UID),
            ids::TRNG_RND | TRNG_RND_64 => random(first, wide, entropy),
            ids::VENDOR_HYP_UID => Outcome::Values(VENDOR_UID),
            VENDOR_FIRST..=VENDOR_LAST => Outcome::Vendor,
            _ => error(Error::NotSupported),
        }
    }

    fn cpu_on(&self, target: u64, entry: Ipa, context: u64) -> Outcome {
        let Some((target, cell)) = self.target(target) else { return error(Error::InvalidParameters) };
        let (off, pending) = (PowerState::Off as u8, PowerState::Pending as u8);
        let in_code = self.code.iter().any(|range| range.offset_of(entry).is_some());
        // Who is on already is told so whatever the entry is, as by KVM and QEMU.
        if cell.load(Ordering::Relaxed) == off && (!in_code || !entry.is_aligned(4)) {
            return error(Error::InvalidAddress);
        }
        match cell.compare_exchange(off, pending, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Outcome::Start { target, entry, context },
            Err(now) if now == pending => error(Error::OnPending),
            Err(_) => error(Error::AlreadyOn),
        }
    }

    /// Only affinity level 0 is asked about since PSCI 1.0.
    fn affinity_info(&self, target: u64, level: u64) -> Outcome {
        let state = self.target(target).filter(|_| level == 0).and_then(|(vcpu, _)| self.state(vcpu));
        match state {
            Some(PowerState::On) => Outcome::Return(ids::AFFINITY_ON),
            Some(PowerState::Off) => Outcome::Return(ids::AFFINITY_OFF),
            Some(PowerState::Pending) => Outcome::Return(ids::AFFINITY_ON_PENDING),
            None => error(Error::InvalidParameters),
        }
    }

    fn arch_feature(&self, function: u64) -> Outcome {
        let Ok(function) = u32::try_from(function) else { return error(Error::NotSupported) };
        Outcome::Return(match function {
            ids::SMCCC_VERSION | ids::SMCCC_ARCH_FEATURES => 0,
            ids::SMCCC_ARCH_WORKAROUND_1 => self.workarounds.branch_predictor.result(),
            ids::SMCCC_ARCH_WORKAROUND_2 => self.workarounds.store_bypass.result(),
            ids::SMCCC_ARCH_WORKAROUND_3 => self.workarounds.branch_history.result(),
            _ => Error::NotSupported.result(),
        })
    }

    /// The vCPU of an MPIDR: Aff0 alone counts, every other field is 0.
    fn target(&self, mpidr: u64) -> Option<(VcpuIndex, &AtomicU8)> {
        let vcpu = VcpuIndex(u8::try_from(mpidr).ok()?);
        Some((vcpu, self.cell(vcpu)?))
    }

    fn cell(&self, vcpu: VcpuIndex) -> Option<&AtomicU8> {
        if vcpu.0 < self.vcpus { self.states.get(usize::from(vcpu.0)) } else { None }
    }

    fn set(&self, vcpu: VcpuIndex, state: PowerState) {
        if let Some(cell) = self.cell(vcpu) {
            cell.store(state as u8, Ordering::Relaxed);
        }
    }
}

const fn error(error: Error) -> Outcome {
    Outcome::Return(error.result())
}

const fn supported(yes: bool) -> Outcome {
    if yes { Outcome::Return(0) } else { error(Error::NotSupported) }
}

fn mitigate(workaround: Workaround, mitigation: Mitigation) -> Outcome {
    match workaround {
        Workaround::NotSupported => error(Error::NotSupported),
        Workaround::Needed | Workaround::NotNeeded => Outcome::Mitigate(mitigation),
    }
}

/// Whether PSCI_FEATURES says that we have a function; SMCCC_VERSION tells by it that SMCCC 1.1 is here.
fn is_psci(function: u64) -> bool {
    const BOTH: [u32; 4] = [ids::CPU_SUSPEND, ids::CPU_ON, ids::AFFINITY_INFO, ids::SYSTEM_RESET2];
    const NARROW: [u32; 7] = [
        ids::PSCI_VERSION,
        ids::CPU_OFF,
        ids::MIGRATE_INFO_TYPE,
        ids::SYSTEM_OFF,
        ids::SYSTEM_RESET,
        ids::PSCI_FEATURES,
        ids::SMCCC_VERSION,
    ];
    let Ok(function) = u32::try_from(function) else { return false };
    NARROW.contains(&function) || BOTH.contains(&(function & !ids::SMC64))
}

fn is_trng(function: u64) -> bool {
    const NARROW: [u32; 3] = [ids::TRNG_VERSION, ids::TRNG_FEATURES, ids::TRNG_GET_UUID];
    let Ok(function) = u32::try_from(function) else { return false };
    NARROW.contains(&function) || function & !ids::SMC64 == ids::TRNG_RND
}

/// TRNG_RND: `bits` random bits, the lowest in x3, the others zero.
fn random(bits: u64, wide: bool, entropy: &dyn Entropy) -> Outcome {
    let (narrow_max, wide_max) = ids::TRNG_MAX_BITS;
    let (max, word_bits) = if wide { (wide_max, 64) } else { (narrow_max, 32) };
    if bits == 0 || bits > max {
        return error(Error::InvalidParameters);
    }
    let mut raw = [[0; 8]; 3];
    if entropy.fill(raw.as_flattened_mut()).is_err() {
        return error(Error::NO_ENTROPY);
    }
    let word = |raw: [u8; 8], below: u64| {
        let wanted = bits.saturating_sub(below).min(word_bits);
        let mask = if wanted == 64 { u64::MAX } else { (1 << wanted) - 1 };
        u64::from_le_bytes(raw) & mask
    };
    let [low, middle, high] = raw;
    Outcome::Values([0, word(high, 2 * word_bits), word(middle, word_bits), word(low, 0)])
}
