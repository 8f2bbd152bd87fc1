//! FP/SIMD registers stay a vCPU's own: over every kind of exit, and while two vCPUs take turns on a PE.

use crate::harness::{Outcome, Report, sleep_until, ticks};
use crate::{crew, ensure, interrupts};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Release};
use el1::boot::Boot;
use el1::fp::{self, FpState};
use el1::gic::{self, SgiTarget, offset};
use el1::registers::*;
use el1::smccc::{self, function};
use el1::{console, cpus};

const SGI: u32 = 5;
/// Times that a vCPU checks its registers.
const ROUNDS: u32 = 200;

/// First round in which a vCPU found foreign values, plus 1; 0: none.
static LOST: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
static FINISHED: AtomicU32 = AtomicU32::new(0);

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("fp-exits", || exits(boot));
    report.test("fp-vcpus", || vcpus(boot));
}

fn state(seed: u64) -> FpState {
    let word = |n: u64| (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut v = [0; 32];
    for (n, register) in (0..).zip(&mut v) {
        *register = u128::from(word(2 * n)) << 64 | u128::from(word(2 * n + 1));
    }
    // FPCR: rounding mode; FPSR: cumulative flags, QC.
    FpState { v, fpcr: (seed & 3) << 22, fpsr: (seed & 0x1f) | (seed & 1) << 27 }
}

/// Each kind of exit alone.
fn exits(boot: &'static Boot) -> Outcome {
    let distributor = boot.gic.distributor();
    let exits: [(&str, &dyn Fn()); 6] = [
        ("HVC", &|| _ = smccc::hvc::<{ function::PSCI_VERSION }>()),
        ("register trap", &|| _ = id_aa64pfr0_el1::read()),
        ("GICD", &|| _ = distributor.read32(offset::TYPER)),
        ("UART", &|| _ = console::registers().map(|uart| uart.read32(console::FLAGS))),
        ("SGI", &|| {
            let seen = interrupts::count(0, SGI);
            gic::send(SGI, SgiTarget::Mask(1), &boot.gic);
            sleep_until(|| interrupts::count(0, SGI) != seen);
        }),
        ("timer in WFI", &nap),
    ];
    for round in 0..20 {
        for (n, (name, exit)) in (0..).zip(&exits) {
            let mine = state(round * 100 + n);
            fp::load(&mine);
            exit();
            ensure!(fp::read() == mine, "lost by {name}");
        }
    }
    Ok(())
}

fn nap() {
    let cpu = cpus::index();
    let seen = interrupts::count(cpu, interrupts::VIRTUAL_TIMER);
    cntv_cval_el0::write(now() + ticks(50));
    cntv_ctl_el0::write(1);
    isb();
    sleep_until(|| interrupts::count(cpu, interrupts::VIRTUAL_TIMER) != seen);
}

/// Every vCPU its own values, at work and asleep.
fn vcpus(boot: &'static Boot) -> Outcome {
    FINISHED.store(0, Release);
    for cpu in 1..boot.cpus().len() {
        crew::employ(boot, cpu, || {
            keep();
            sleep_until(crew::dismissed);
        })?;
    }
    keep();
    let all = boot.cpus().len();
    ensure!(
        crate::harness::spin_until(20_000_000, || FINISHED.load(Acquire) as usize == all),
        "not all vCPUs finished"
    );
    for cpu in 1..all {
        crew::dismiss(boot, cpu)?;
    }
    for (cpu, lost) in LOST.iter().enumerate() {
        let round = lost.load(Acquire);
        ensure!(round == 0, "vCPU {cpu} lost its registers in round {round}");
    }
    Ok(())
}

fn keep() {
    let cpu = cpus::index();
    LOST[cpu].store(0, Release);
    for round in 0..ROUNDS {
        let mine = state(u64::from(round) << 32 | cpu as u64);
        fp::load(&mine);
        if round % 2 == 0 {
            nap();
        } else {
            let end = now() + ticks(30);
            while now() < end {}
        }
        if fp::read() != mine {
            LOST[cpu].store(round + 1, Release);
            break;
        }
    }
    FINISHED.fetch_add(1, Release);
}
