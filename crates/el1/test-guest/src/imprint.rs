//! `pattern`: a guest that leaves a mark in every register it can reach and in its RAM. `leak`: a guest that looks for
//! that mark in every register, in the registers it was entered with and in RAM that it never wrote.
//!
//! Run them as two VMs on one PE, and one after the other: nothing crosses. `bramble.milliseconds=N` sets how long.

use crate::harness::{Outcome, Report, ticks};
use crate::{ensure, ensure_eq, interrupts, number};
use alloc::format;
use alloc::vec::Vec;
use el1::boot::Boot;
use el1::fp::{self, FpState};
use el1::imprint;
use el1::instruction::{self, Encoding};
use el1::registers::*;
use el1::{head, println};

/// In the upper half of a marked register.
const MARK: u64 = 0xb12a_4b1e;
/// In bits 31:16, for registers of 32 bits.
const SMALL_MARK: u64 = 0x5ec2;
const DURATION: u64 = 500;
const PAGE: usize = 4096;
/// RAM that is marked.
const MARKED: usize = 32 << 20;

/// Writable by architecture, but not with the MMU on: TTBR0, TTBR1, TCR, MAIR, VBAR.
const TRANSLATION: &[Encoding] = &[
    Encoding::new(3, 0, 2, 0, 0),
    Encoding::new(3, 0, 2, 0, 1),
    Encoding::new(3, 0, 2, 0, 2),
    Encoding::new(3, 0, 10, 2, 0),
    Encoding::new(3, 0, 12, 0, 0),
];

/// DISR_EL1: of RAS, which is hidden, but nothing traps it. Bramble forgets it at a switch.
const FORGOTTEN: Encoding = Encoding::new(3, 0, 12, 1, 1);

fn mark(n: usize) -> u64 {
    MARK << 32 | SMALL_MARK << 16 | (n as u64 & 0xffff)
}

fn is_marked(value: u64) -> bool {
    value >> 32 == MARK || value >> 16 & 0xffff == SMALL_MARK
}

fn marked_fp() -> FpState {
    FpState { v: [u128::from(mark(1)) << 64 | u128::from(mark(2)); 32], fpcr: 0, fpsr: 0 }
}

/// Every register of EL1 and EL0, of debug too, that reads without an exception.
fn readable() -> Vec<Encoding> {
    let mut list = Vec::new();
    for (op0, op1) in [(3, 0), (3, 3), (2, 0), (2, 3)] {
        for place in 0..16 * 16 * 8 {
            let register =
                Encoding::new(op0, op1, (place >> 7) as u8, (place >> 3) as u8 & 15, place as u8 & 7);
            // Reading ICC_IAR0 or ICC_IAR1 acknowledges.
            let acts = matches!(register, Encoding { op0: 3, op1: 0, crn: 12, crm: 8 | 12, op2: 0 });
            if !acts && instruction::read(register).is_ok() {
                list.push(register);
            }
        }
    }
    list
}

/// Of these, the ones that keep a mark.
fn keeps_mark(register: Encoding, n: usize) -> bool {
    // CNTV_TVAL, CNTP_TVAL and CNTPS_TVAL move on.
    let moves = register.crn == 14 && register.crm > 1 && register.crm < 4 && register.op2 == 0;
    if moves || !imprint::can_hold(register) {
        return false;
    }
    if TRANSLATION.contains(&register) {
        return true;
    }
    if !instruction::is_allowed(register.msr()) {
        return false;
    }
    let Ok(before) = instruction::read(register) else { return false };
    mask_interrupts();
    let written = instruction::write(register, mark(n));
    let after = instruction::read(register);
    let _ = instruction::write(register, before);
    unmask_interrupts();
    written.is_ok() && after.is_ok_and(is_marked)
}

/// Leaves its mark.
pub fn run_pattern(boot: &'static Boot, report: &mut Report) {
    report.test("pattern", || pattern(boot));
}

fn pattern(boot: &'static Boot) -> Outcome {
    let bytes = MARKED.min(boot.spare.bytes() / 2);
    for offset in (0..bytes).step_by(PAGE / 8) {
        boot.spare.write64(offset & !7, mark(offset));
    }
    let mut values: Vec<(Encoding, u64)> = readable()
        .into_iter()
        .enumerate()
        .filter(|(n, register)| keeps_mark(*register, *n))
        .map(|(n, register)| (register, mark(n)))
        .collect();
    values.truncate(imprint::MOST);
    println!("PATTERN registers={}", values.len());
    ensure!(values.len() >= 12, "only {} registers keep a mark", values.len());
    let mut first = alloc::vec![0; values.len()];
    let mut found = first.clone();
    imprint::hold(&values, 0, &mut first);
    let end = now() + ticks(1000 * number(boot, "bramble.milliseconds=").unwrap_or(DURATION));
    while now() < end {
        fp::load(&marked_fp());
        imprint::hold(&values, ticks(5000), &mut found);
        let kept = fp::read() == marked_fp();
        fp::load(&FpState { v: [0; 32], fpcr: 0, fpsr: 0 });
        ensure!(kept, "the FP registers lost their values");
        for (n, (register, _)) in
            values.iter().enumerate().filter(|(_, (register, _))| *register != FORGOTTEN)
        {
            ensure!(is_marked(first[n]), "{register:?} held {:#x} when it was written", first[n]);
            ensure!(found[n] == first[n], "{register:?} held {:#x}, now {:#x}", first[n], found[n]);
        }
    }
    Ok(())
}

/// Looks for marks.
pub fn run_leak(boot: &'static Boot, report: &mut Report) {
    report.test("leak-entry", entry);
    report.test("leak-ram", || ram(boot));
    report.test("leak-is-found", found);
    report.test("leak-registers", || registers(boot));
}

/// The registers at the first instruction.
fn entry() -> Outcome {
    for (n, value) in (2..).zip(head::entry_registers()) {
        ensure!(!is_marked(value), "x{n} was {value:#x} at entry");
    }
    no_fp_mark("at entry")
}

fn no_fp_mark(when: &str) -> Outcome {
    for (n, value) in fp::read().v.into_iter().enumerate() {
        ensure!(!is_marked(value as u64) && !is_marked((value >> 64) as u64), "V{n} is {value:#x} {when}");
    }
    Ok(())
}

fn ram(boot: &'static Boot) -> Outcome {
    for offset in (0..boot.spare.bytes()).step_by(PAGE / 8) {
        let value = boot.spare.read64(offset);
        ensure_eq!(value, 0, format!("RAM at {:#x}", boot.spare.base() + offset));
    }
    Ok(())
}

/// A mark of our own in TPIDR_EL0 and in the FP registers: the search must find both.
fn found() -> Outcome {
    let old = tpidr_el0::read();
    tpidr_el0::write(mark(0));
    let hits =
        readable().into_iter().filter(|register| instruction::read(*register).is_ok_and(is_marked)).count();
    tpidr_el0::write(old);
    fp::load(&marked_fp());
    let in_fp = no_fp_mark("").is_err();
    fp::load(&FpState { v: [0; 32], fpcr: 0, fpsr: 0 });
    ensure!(hits == 1 && in_fp, "{hits} marks found in registers, in FP registers {in_fp}");
    Ok(())
}

fn registers(boot: &'static Boot) -> Outcome {
    let list = readable();
    println!("LEAK registers={}", list.len());
    let end = now() + ticks(1000 * number(boot, "bramble.milliseconds=").unwrap_or(DURATION));
    let mut passes = 0;
    while now() < end {
        for register in &list {
            // A register may stop being readable (none does); what matters is what it shows.
            let value = instruction::read(*register).unwrap_or(0);
            ensure!(!is_marked(value), "{register:?} holds {value:#x} in pass {passes}");
        }
        no_fp_mark("while running")?;
        nap();
        passes += 1;
    }
    println!("LEAK passes={passes}");
    Ok(())
}

/// Gives the PE to the neighbour.
fn nap() {
    let before = interrupts::count(0, interrupts::VIRTUAL_TIMER);
    cntv_cval_el0::write(now() + ticks(200));
    cntv_ctl_el0::write(1);
    isb();
    crate::harness::sleep_until(|| interrupts::count(0, interrupts::VIRTUAL_TIMER) != before);
}
