//! PSCI 1.1 and SMCCC as the guest machine has them.
//!
//! PSCI (DEN0022) 5.1–5.15; SMCCC (DEN0028) 7. `bramble.oracle` in the boot arguments says that the machine is plain
//! QEMU, which answers some calls in its own way.

use crate::harness::{Outcome, Report, spin_until};
use crate::virq::SOON;
use crate::{crew, ensure, ensure_eq, interrupts};
use el1::boot::Boot;
use el1::registers::*;
use el1::smccc::{self, Conduit, call, function, psci_error, status, suspend_standby};
use el1::{cpus, instruction};

/// `hvc #0` and `smc #0`.
const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;
/// Where nothing is: neither RAM nor a device.
const NOWHERE: u64 = 0x0b00_0000;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let oracle = crate::is_oracle(boot);
    report.test("psci-version", || version(oracle));
    report.test("psci-features", || features(oracle));
    report.test("psci-affinity-info", || affinity_info(boot));
    report.test("psci-cpu-on-errors", || cpu_on_errors(boot, oracle));
    report.test("psci-not-supported", not_supported);
    report.test("psci-suspend", || suspend(boot));
    if boot.cpus().len() > 1 {
        report.test("psci-off-and-on", || off_and_on(boot));
    }
    report.test("smccc", || smccc_calls(oracle));
    report.test("smccc-keeps-registers", keeps_registers);
    if !oracle {
        report.test("smc-as-hvc", smc);
        report.test("smccc-trng", trng);
    }
}

fn version(oracle: bool) -> Outcome {
    let version = status(function::PSCI_VERSION, [0; 3]);
    ensure!(if oracle { version >= 2 } else { version == 0x1_0001 }, "{version:#x}");
    Ok(())
}

fn features(oracle: bool) -> Outcome {
    use function::*;
    for known in
        [PSCI_VERSION, CPU_SUSPEND, CPU_OFF, CPU_ON, CPU_ON_32, AFFINITY_INFO, SYSTEM_OFF, SYSTEM_RESET]
    {
        ensure!(status(PSCI_FEATURES, [u64::from(known), 0, 0]) >= 0, "PSCI_FEATURES of {known:#x}");
    }
    if !oracle {
        ensure_eq!(
            status(PSCI_FEATURES, [u64::from(SMCCC_VERSION), 0, 0]),
            0,
            "PSCI_FEATURES of SMCCC_VERSION"
        );
    }
    for unknown in [0x8400_00ff_u64, 0xc400_001f, 0] {
        ensure_eq!(
            status(PSCI_FEATURES, [unknown, 0, 0]),
            psci_error::NOT_SUPPORTED,
            "PSCI_FEATURES of unknown"
        );
    }
    Ok(())
}

fn affinity_info(boot: &'static Boot) -> Outcome {
    ensure_eq!(status(function::AFFINITY_INFO, [boot.cpus()[0], 0, 0]), 0, "of this vCPU");
    for cpu in &boot.cpus()[1..] {
        ensure_eq!(status(function::AFFINITY_INFO, [*cpu, 0, 0]), crew::OFF, "of a vCPU that is off");
    }
    for bad in [0x63, 0xff_0000_0000, u64::MAX] {
        let answer = status(function::AFFINITY_INFO, [bad, 0, 0]);
        ensure_eq!(answer, psci_error::INVALID_PARAMETERS, "of a vCPU that does not exist");
    }
    Ok(())
}

fn cpu_on_errors(boot: &'static Boot, oracle: bool) -> Outcome {
    ensure_eq!(cpus::start(boot, 0, |_| (), 0), psci_error::ALREADY_ON, "CPU_ON of itself");
    for id in [function::CPU_ON, function::CPU_ON_32] {
        // Which of two errors comes first is not said (PSCI 5.6.2).
        let both = [psci_error::INVALID_PARAMETERS, psci_error::INVALID_ADDRESS];
        let answer = status(id, [0x63, NOWHERE, 0]);
        ensure!(both.contains(&answer), "CPU_ON {id:#x} of no vCPU: {answer}");
    }
    if boot.cpus().len() > 1 && !oracle {
        let answer = status(function::CPU_ON, [boot.cpus()[1], NOWHERE, 0]);
        ensure_eq!(answer, psci_error::INVALID_ADDRESS, "CPU_ON outside RAM");
        let answer = status(function::CPU_ON, [boot.cpus()[1], !3, 0]);
        ensure_eq!(answer, psci_error::INVALID_ADDRESS, "CPU_ON outside the address space");
        ensure!(crew::is_off(boot, 1), "vCPU 1 is on after a refused CPU_ON");
    }
    Ok(())
}

fn not_supported() -> Outcome {
    for unknown in [0x8400_00ff, 0xc400_00ff, 0x8600_ff99, 0xbf00_0000, 0x4b00_0000] {
        let answer = call(Conduit::Hvc, unknown, [1, 2, 3])[0];
        ensure!(answer as i32 == -1, "{unknown:#x} answers {answer:#x}");
    }
    Ok(())
}

/// Standby: ends at the next interrupt, masked or not, with SUCCESS.
fn suspend(_: &'static Boot) -> Outcome {
    for masked in [false, true] {
        let before = interrupts::count(0, interrupts::VIRTUAL_TIMER);
        mask_interrupts();
        cntv_cval_el0::write(now() + crate::harness::ticks(300));
        cntv_ctl_el0::write(1);
        // The other timer ends the standby where the machine is so slow that the first one came before the call.
        cntp_cval_el0::write(cntpct_el0::read() + crate::harness::ticks(100_000));
        cntp_ctl_el0::write(1);
        isb();
        if !masked {
            unmask_interrupts();
        }
        let answer = suspend_standby();
        let end = now() + crate::harness::ticks(SOON);
        while cntv_ctl_el0::read() & 5 == 1 && now() < end {
            suspend_standby();
        }
        cntp_ctl_el0::write(2);
        isb();
        unmask_interrupts();
        ensure_eq!(answer, 0, "CPU_SUSPEND");
        let came = || interrupts::count(0, interrupts::VIRTUAL_TIMER) == before + 1;
        ensure!(spin_until(SOON, came), "masked {masked}: the timer is lost");
    }
    Ok(())
}

fn off_and_on(boot: &'static Boot) -> Outcome {
    for _ in 0..20 {
        for cpu in 1..boot.cpus().len() {
            crew::employ(boot, cpu, || crate::harness::sleep_until(crew::dismissed))?;
            let answer = cpus::start(boot, cpu, |_| (), 0);
            ensure_eq!(answer, psci_error::ALREADY_ON, "CPU_ON of a vCPU that is on");
            ensure_eq!(status(function::AFFINITY_INFO, [boot.cpus()[cpu], 0, 0]), 0, "AFFINITY_INFO");
        }
        for cpu in 1..boot.cpus().len() {
            crew::dismiss(boot, cpu)?;
        }
    }
    Ok(())
}

fn smccc_calls(oracle: bool) -> Outcome {
    let version = status(function::SMCCC_VERSION, [0; 3]);
    if oracle {
        return Ok(());
    }
    ensure!(version >= 0x1_0001, "SMCCC_VERSION {version:#x}");
    let features = |id: u64| status(function::SMCCC_ARCH_FEATURES, [id, 0, 0]);
    ensure!(features(u64::from(function::SMCCC_VERSION)) >= 0, "ARCH_FEATURES of SMCCC_VERSION");
    ensure!(features(0x8400_00ff) < 0, "ARCH_FEATURES of an unknown function");
    Ok(())
}

/// A call keeps x18 to x30 and the stack: the loop's own variables live there.
fn keeps_registers() -> Outcome {
    let expected = smccc::hvc::<{ function::PSCI_VERSION }>();
    let mut sum = 0u64;
    for n in 0..1000u64 {
        sum += n + smccc::hvc::<{ function::PSCI_VERSION }>();
    }
    ensure_eq!(sum, 499_500 + 1000 * expected, "sum over 1000 calls");
    Ok(())
}

/// SMC #0 gives what HVC #0 gives, and goes on behind itself.
fn smc() -> Outcome {
    for id in [function::PSCI_VERSION, function::SMCCC_VERSION, 0x8400_00ff] {
        let hvc = instruction::execute(HVC, u64::from(id)).map_err(|e| alloc::format!("HVC: {e:x?}"))?;
        let smc = instruction::execute(SMC, u64::from(id)).map_err(|e| alloc::format!("SMC: {e:x?}"))?;
        ensure_eq!(smc, hvc, alloc::format!("SMC {id:#x}"));
    }
    Ok(())
}

/// TRNG (DEN0098) 2: random bits, or the error that says that there are none yet.
fn trng() -> Outcome {
    const TRNG_VERSION: u32 = 0x8400_0050;
    const TRNG_RND64: u32 = 0xc400_0053;
    const NO_ENTROPY: i64 = -3;
    let version = call(Conduit::Hvc, TRNG_VERSION, [0; 3])[0];
    ensure!(version as i32 > 0, "TRNG_VERSION {version:#x}");
    let bits = call(Conduit::Hvc, TRNG_RND64, [192, 0, 0]);
    let again = call(Conduit::Hvc, TRNG_RND64, [192, 0, 0]);
    ensure!(bits[0] == 0 || bits[0] as i64 == NO_ENTROPY, "TRNG_RND64 {:#x}", bits[0]);
    ensure!(bits[0] != 0 || bits[1..] != again[1..], "the same 192 bits twice");
    ensure_eq!(call(Conduit::Hvc, TRNG_RND64, [193, 0, 0])[0] as i64, -2, "TRNG_RND64 of 193 bits");
    Ok(())
}
