//! The benchmark guest: how many instructions an operation takes, its own included (`-icount shift=0`, 1 tick = 1
//! instruction with a counter of 1 GHz).
//!
//! Operations, names and output are those of the payload that the peers were measured with, so a loop here must hold
//! no more than the operation, a decrement and a branch.

pub mod memory;
pub mod switched;

use crate::harness::{Outcome, Report, sleep_until};
use crate::{crew, interrupts};
use el1::boot::{Boot, Gic};
use el1::gic::{self, SgiTarget, offset};
use el1::registers::*;
use el1::smccc::{self, function};
use el1::{console, println};

/// SGI to oneself.
const SELF_SGI: u32 = 1;
/// SGI from vCPU 0 to vCPU 1, and back.
const PING: u32 = 2;
const PONG: u32 = 3;
const LOOPS: u64 = 4096;

macro_rules! measure {
    ($name:expr, $count:expr, $body:expr) => {{
        $body;
        $body;
        let start = now();
        let mut left: u64 = $count;
        while left != 0 {
            $body;
            left -= 1;
        }
        show($name, now() - start, $count);
    }};
}

/// Prints one line of results.
pub fn show(name: &str, ticks: u64, count: u64) {
    let picoseconds = ticks * (1_000_000_000_000 / cntfrq_el0::read()) / count;
    println!("BENCH {name} n={count} ns/op={}.{}", picoseconds / 1000, picoseconds % 1000 / 100);
}

/// All operations.
pub fn run(boot: &'static Boot, report: &mut Report) {
    traps(boot);
    self_sgi(boot);
    timer("vtimer_latency_spin", Wait::Spin, 256, cntfrq_el0::read() / 20_000 + 1);
    timer("vtimer_latency_wfi", Wait::Wfi, 256, cntfrq_el0::read() / 5_000 + 1);
    memory::run(boot);
    console_bytes();
    if boot.cpus().len() > 1 {
        report.test("bench-pingpong", || ping_pong(boot));
    }
    report.ok("bench");
}

fn traps(boot: &'static Boot) {
    let distributor = boot.gic.distributor();
    let typer = distributor.word(offset::TYPER);
    let enable = distributor.word(offset::ISENABLER + 4);
    measure!("empty", LOOPS, nothing());
    measure!("hvc_psci_version", LOOPS, smccc::hvc::<{ function::PSCI_VERSION }>());
    measure!("hvc_unknown_4b000000", LOOPS, smccc::hvc::<0x4b00_0000>());
    measure!("sysreg_id_aa64pfr0", LOOPS, id_aa64pfr0_el1::read());
    measure!("sysreg_id_aa64mmfr0", LOOPS, id_aa64mmfr0_el1::read());
    measure!("gicd_typer_read", LOOPS, typer.read());
    measure!("gicd_isenabler1_write", LOOPS, enable.write(0));
    match boot.gic {
        Gic::V3 { redistributors, .. } => {
            let typer = redistributors.word(offset::GICR_TYPER);
            measure!("gicr_typer_read", LOOPS, typer.read());
            measure!("eoi_spurious", LOOPS, icc_eoir1_el1::write(u64::from(gic::SPURIOUS)));
        }
        Gic::V2 { cpu_interface, .. } => {
            let eoi = cpu_interface.word(offset::GICC_EOIR);
            measure!("eoi_spurious", LOOPS, eoi.write(gic::SPURIOUS));
        }
    }
    if let Some(uart) = console::registers() {
        let flags = uart.word(console::FLAGS);
        measure!("uart_flag_read", 2048, flags.read());
    }
}

fn self_sgi(boot: &'static Boot) {
    let count = 2048;
    let once = || {
        let before = interrupts::count(0, SELF_SGI);
        gic::send(SELF_SGI, SgiTarget::Mask(1), &boot.gic);
        while interrupts::count(0, SELF_SGI) == before {}
    };
    once();
    once();
    let start = now();
    for _ in 0..count {
        once();
    }
    show("self_sgi_to_eoi", now() - start, count);
}

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Spin,
    Wfi,
}

/// From the virtual timer's deadline to the handler's first instruction.
fn timer(name: &str, wait: Wait, count: u64, delta: u64) {
    let (mut sum, mut least, mut most) = (0, u64::MAX, 0);
    for _ in 0..count {
        let before = interrupts::count(0, interrupts::VIRTUAL_TIMER);
        let deadline = cntvct_el0::read() + delta;
        cntv_cval_el0::write(deadline);
        cntv_ctl_el0::write(1);
        isb();
        let came = || interrupts::count(0, interrupts::VIRTUAL_TIMER) != before;
        match wait {
            Wait::Spin => while !came() {},
            Wait::Wfi => sleep_until(came),
        }
        let latency = interrupts::timer_seen(0) - deadline;
        sum += latency;
        least = least.min(latency);
        most = most.max(latency);
    }
    show(name, sum, count);
    println!("      min_ticks={least} max_ticks={most}");
}

fn console_bytes() {
    let Some(uart) = console::registers() else { return };
    let (data, flags) = (uart.word(0), uart.word(console::FLAGS));
    let count = 63;
    let start = now();
    for _ in 0..count {
        while flags.read() & console::TRANSMIT_FULL != 0 {}
        data.write(u32::from(b'.'));
    }
    let ticks = now() - start;
    println!();
    show("console_byte", ticks, count);
}

/// vCPU 0 sends an SGI, vCPU 1 sends one back, both asleep in WFI in between.
fn ping_pong(boot: &'static Boot) -> Outcome {
    crew::employ(boot, 1, answer)?;
    let count = 1024;
    let once = || {
        let before = interrupts::count(0, PONG);
        gic::send(PING, SgiTarget::Mask(2), &boot.gic);
        sleep_until(|| interrupts::count(0, PONG) != before);
    };
    for _ in 0..16 {
        once();
    }
    let start = now();
    for _ in 0..count {
        once();
    }
    show("vcpu_pingpong_wfi_roundtrip", now() - start, count);
    crew::dismiss(boot, 1)
}

/// vCPU 1: answers each PING.
fn answer() {
    let Some(boot) = el1::boot::get() else { return };
    let mut seen = interrupts::count(1, PING);
    loop {
        sleep_until(|| interrupts::count(1, PING) != seen || crew::dismissed());
        if interrupts::count(1, PING) == seen {
            return;
        }
        seen = interrupts::count(1, PING);
        gic::send(PONG, SgiTarget::Mask(1), &boot.gic);
    }
}
