//! PSCI, SMCCC and TRNG as a guest sees them.

#![allow(clippy::expect_used, clippy::panic)]

use chipset::Psci;
use chipset::psci::{Mitigation, Outcome, PowerState, Workaround, Workarounds};
use ports::fake::FakeEntropy;
use specs::psci::*;
use specs::{Ipa, IpaRange, VcpuIndex};
use std::cell::Cell;

const ENTRY: u64 = 0x4020_0000;

fn psci() -> Psci {
    let ram = IpaRange::new(Ipa(0x4000_0000), 0x1000_0000).expect("a range");
    let rom = IpaRange::new(Ipa(0), 0x400_0000).expect("a range");
    Psci::new(3, [ram, rom], Workarounds::default())
}

fn call(psci: &Psci, function: u32, args: [u64; 3]) -> Outcome {
    psci.call(u64::from(function), args, &FakeEntropy(Cell::new(Some(1))))
}

/// The value of a call that only returns, as the 32-bit integer that PSCI speaks of.
fn value(psci: &Psci, function: u32, args: [u64; 3]) -> i64 {
    match call(psci, function, args) {
        Outcome::Return(value) => value.cast_signed(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions_and_features() {
    let psci = psci();
    assert_eq!(value(&psci, 0x8400_0000, [0; 3]), 0x1_0001);
    assert_eq!(value(&psci, 0x8000_0000, [0; 3]), 0x1_0001);
    assert_eq!(value(&psci, 0x8400_0006, [0; 3]), 2);
    let known = [
        0x8400_0000,
        0x8400_0001,
        0xc400_0001,
        0x8400_0002,
        0x8400_0003,
        0xc400_0003,
        0x8400_0004,
        0xc400_0004,
        0x8400_0006,
        0x8400_0008,
        0x8400_0009,
        0x8400_000a,
        0x8400_0012,
        0xc400_0012,
        0x8000_0000,
    ];
    for function in (0..0x20).flat_map(|n| [0x8400_0000 + n, 0xc400_0000 + n]).chain([0x8000_0000]) {
        let expected = if known.contains(&function) { 0 } else { -1 };
        assert_eq!(value(&psci, PSCI_FEATURES, [function, 0, 0]), expected, "{function:#x}");
    }
}

#[test]
fn only_the_lower_half_of_x0_is_the_function() {
    let outcome = psci().call(0xffff_ffff_8400_0000, [0; 3], &FakeEntropy(Cell::new(None)));
    assert_eq!(outcome, Outcome::Return(0x1_0001));
}

#[test]
fn what_is_not_there_is_not_supported() {
    // MIGRATE, SYSTEM_SUSPEND, an unknown PSCI function, PV_TIME_FEATURES, TOS, nothing at all.
    for function in [0x8400_0005, 0xc400_000e, 0x8400_001f, 0xc500_0020, 0xb200_0000, 0, 0xffff_ffff] {
        assert_eq!(call(&psci(), function, [0; 3]), Outcome::Return(u64::MAX), "{function:#x}");
    }
}

#[test]
fn a_vcpu_is_started_once() {
    let psci = psci();
    let on = |target| call(&psci, CPU_ON | SMC64, [target, ENTRY, 7]);
    let started = Outcome::Start { target: VcpuIndex(1), entry: Ipa(ENTRY), context: 7 };
    assert_eq!(value(&psci, AFFINITY_INFO | SMC64, [1, 0, 0]), 1);
    assert_eq!(on(1), started);
    assert_eq!(value(&psci, AFFINITY_INFO | SMC64, [1, 0, 0]), 2);
    assert_eq!(on(1), Outcome::Return(Error::OnPending.result()));
    psci.entered(VcpuIndex(1));
    assert_eq!(value(&psci, AFFINITY_INFO | SMC64, [1, 0, 0]), 0);
    assert_eq!(on(1), Outcome::Return(Error::AlreadyOn.result()));
    assert_eq!(call(&psci, CPU_OFF, [0; 3]), Outcome::Stop);
    assert_eq!(on(1), Outcome::Return(Error::AlreadyOn.result()), "until it has really stopped");
    psci.stopped(VcpuIndex(1));
    assert_eq!(on(1), started);
    psci.reset();
    assert_eq!(
        [0, 1, 2].map(|n| psci.state(VcpuIndex(n))),
        [Some(PowerState::Pending), Some(PowerState::Off), Some(PowerState::Off)]
    );
}

#[test]
fn targets_and_entries_are_checked() {
    let psci = psci();
    let on = |target, entry| value(&psci, CPU_ON | SMC64, [target, entry, 0]);
    for target in [3, 8, 0x100, 0x1_0000, 0x1_0000_0001, 0x8000_0001, u64::MAX] {
        assert_eq!(on(target, ENTRY), -2, "{target:#x}");
        assert_eq!(value(&psci, AFFINITY_INFO | SMC64, [target, 0, 0]), -2, "{target:#x}");
    }
    for entry in [0x5000_0000, 0x3fff_fffc, 0x400_0000, u64::MAX, ENTRY + 2, ENTRY + 1] {
        assert_eq!(on(1, entry), -9, "{entry:#x}");
    }
    assert_eq!(value(&psci, AFFINITY_INFO, [1, 1, 0]), -2, "only level 0");
    assert_eq!(psci.state(VcpuIndex(1)), Some(PowerState::Off));
    assert!(matches!(call(&psci, CPU_ON | SMC64, [1, 0x3ff_fffc, 0]), Outcome::Start { .. }), "in the ROM");
}

#[test]
fn a_32_bit_call_has_32_bit_arguments() {
    let start = call(&psci(), CPU_ON, [0xffff_ffff_0000_0001, 0x1_0000_0000 | ENTRY, u64::MAX]);
    let expected = Outcome::Start { target: VcpuIndex(1), entry: Ipa(ENTRY), context: 0xffff_ffff };
    assert_eq!(start, expected);
}

#[test]
fn the_system_stops_resets_and_stands_by() {
    let psci = psci();
    assert_eq!(call(&psci, SYSTEM_OFF, [0; 3]), Outcome::SystemOff);
    assert_eq!(call(&psci, SYSTEM_RESET, [0; 3]), Outcome::SystemReset);
    assert_eq!(call(&psci, SYSTEM_RESET2 | SMC64, [0; 3]), Outcome::SystemReset);
    assert_eq!(value(&psci, SYSTEM_RESET2, [0x8000_0000, 0, 0]), -2);
    assert_eq!(call(&psci, CPU_SUSPEND | SMC64, [0; 3]), Outcome::Standby);
    assert_eq!(value(&psci, CPU_SUSPEND, [0x1_0000, ENTRY, 0]), -2, "powerdown is no state of ours");
}

#[test]
fn workarounds_are_what_the_host_says() {
    let functions = [SMCCC_ARCH_WORKAROUND_1, SMCCC_ARCH_WORKAROUND_2, SMCCC_ARCH_WORKAROUND_3];
    let unknown = psci();
    for function in functions {
        assert_eq!(value(&unknown, SMCCC_ARCH_FEATURES, [u64::from(function), 0, 0]), -1);
        assert_eq!(value(&unknown, function, [0; 3]), -1);
    }
    let workarounds = Workarounds {
        branch_predictor: Workaround::Needed,
        store_bypass: Workaround::NotNeeded,
        branch_history: Workaround::NotSupported,
    };
    let known = Psci::new(1, [IpaRange::default(); 2], workarounds);
    let features = functions.map(|function| value(&known, SMCCC_ARCH_FEATURES, [u64::from(function), 0, 0]));
    assert_eq!(features, [0, 1, -1]);
    assert_eq!(call(&known, functions[0], [0; 3]), Outcome::Mitigate(Mitigation::BranchPredictor));
    assert_eq!(call(&known, functions[1], [1, 0, 0]), Outcome::Mitigate(Mitigation::StoreBypass(true)));
    assert_eq!(value(&known, functions[2], [0; 3]), -1);
    assert_eq!(value(&known, SMCCC_ARCH_FEATURES, [u64::from(SMCCC_VERSION), 0, 0]), 0);
    assert_eq!(value(&known, SMCCC_ARCH_FEATURES, [0x8000_0002, 0, 0]), -1, "SOC_ID");
}

#[test]
fn random_bits_are_as_many_as_asked_for() {
    let psci = psci();
    let words = |function, bits| match call(&psci, function, [bits, 0, 0]) {
        Outcome::Values([0, high, middle, low]) => [high, middle, low],
        other => panic!("{other:?}"),
    };
    // The fake counts 1, 2, 3 …
    let (low, middle, high) = (0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09, 0x1817_1615_1413_1211);
    assert_eq!(words(TRNG_RND | SMC64, 192), [high, middle, low]);
    assert_eq!(words(TRNG_RND | SMC64, 65), [0, middle & 1, low]);
    assert_eq!(words(TRNG_RND | SMC64, 9), [0, 0, 1]);
    assert_eq!(words(TRNG_RND, 96), [0x1413_1211, 0x0c0b_0a09, 0x0403_0201]);
    assert_eq!(words(TRNG_RND, 33), [0, 1, 0x0403_0201]);
    for (function, bits) in [(TRNG_RND, 0), (TRNG_RND, 97), (TRNG_RND | SMC64, 0), (TRNG_RND | SMC64, 193)] {
        assert_eq!(value(&psci, function, [bits, 0, 0]), -2);
    }
    let unseeded = psci.call(u64::from(TRNG_RND), [32, 0, 0], &FakeEntropy(Cell::new(None)));
    assert_eq!(unseeded, Outcome::Return(Error::NO_ENTROPY.result()));
    assert_eq!(value(&psci, TRNG_VERSION, [0; 3]), 0x1_0000);
    assert_eq!(value(&psci, TRNG_FEATURES, [0xc400_0053, 0, 0]), 0);
    assert_eq!(value(&psci, TRNG_FEATURES, [0xc400_0050, 0, 0]), -1);
}

#[test]
fn the_uid_is_ours() {
    let Outcome::Values(words) = call(&psci(), VENDOR_HYP_UID, [0; 3]) else { panic!() };
    assert_eq!(words, [0x1c27_e648, 0xc542_563a, 0xcacd_c490, 0x260e_c766]);
}

/// Whichever of two vCPUs asks first: exactly one starts the target.
#[test]
fn two_callers_start_one_target_once() {
    for _ in 0..if cfg!(miri) { 3 } else { 200 } {
        let psci = psci();
        let start = || matches!(call(&psci, CPU_ON | SMC64, [1, ENTRY, 0]), Outcome::Start { .. });
        let started = std::thread::scope(|scope| {
            let callers = [scope.spawn(start), scope.spawn(start)];
            callers.map(|caller| caller.join().expect("a caller")).into_iter().filter(|won| *won).count()
        });
        assert_eq!(started, 1);
    }
}
