//! PSCI SYSTEM_RESET: the machine starts anew, with its flash kept and, under Bramble, its RAM zero.
//!
//! Name it first in `bramble.test`: it resets once, and what follows runs after the reset. The mark that it did is in
//! flash bank 1, or, without flash, in the time. CFI command set 0001 (Intel), two x16 chips side by side: values are doubled.

use crate::harness::{Outcome, Report, sleep_at_most, ticks};
use crate::{crew, ensure, ensure_eq, is_oracle, number, ram};
use alloc::format;
use el1::registers::cntpct_el0;
use el1::window::Window;
use el1::{Boot, head, println, smccc};

/// Of a reset that was asked for.
const MARK: u32 = 0x5265_7365;
/// In the last block of the bank.
const PLACE: usize = (64 << 20) - (256 << 10);

const READ_ARRAY: u32 = 0x00ff_00ff;
const READ_STATUS: u32 = 0x0070_0070;
const CLEAR_STATUS: u32 = 0x0050_0050;
const ERASE: u32 = 0x0020_0020;
const CONFIRM: u32 = 0x00d0_00d0;
const PROGRAM: u32 = 0x0040_0040;
/// Both chips are ready; the other bits are errors.
const READY: u32 = 0x0080_0080;

/// Without flash: the machine was reset if its first instruction ran later than this (milliseconds of the physical
/// count, which a reset of the VM does not touch). `bramble.reset-at=N` says another moment.
const RESET_AT: u64 = 3000;

/// Resets, or says what the reset left.
pub fn run(boot: &'static Boot, report: &mut Report) {
    // Bank 1 is the second range of the flash node. A VM that boots a kernel need not have flash.
    let has_flash = boot.devices("cfi-flash").next().is_some();
    match boot.outside_ram(0x0400_0000, 64 << 20) {
        Some(flash) if has_flash => by_flash(boot, flash, report),
        _ => by_count(boot, report),
    }
}

fn by_flash(boot: &'static Boot, flash: Window, report: &mut Report) {
    if flash.read32(PLACE) == MARK {
        report.test("reset-flash", || erase(flash));
        report.test("reset-state", || after(boot));
        return;
    }
    report.test("reset-mark", || {
        erase(flash)?;
        program(flash, MARK)
    });
    if flash.read32(PLACE) == MARK {
        reset(boot);
    }
}

fn by_count(boot: &'static Boot, report: &mut Report) {
    let moment = ticks(1000 * number(boot, "bramble.reset-at=").unwrap_or(RESET_AT));
    if head::entry_count() < moment {
        sleep_at_most(1_000_000_000, || cntpct_el0::read() > moment);
        reset(boot);
    }
    report.test("reset-state", || after(boot));
}

/// Leaves traces that must be gone afterwards.
fn reset(boot: &'static Boot) -> ! {
    for page in (0..64 << 20).step_by(4096).filter(|page| *page < boot.spare.bytes()) {
        boot.spare.write64(page, 0xdead_beef);
    }
    println!("RESET now");
    smccc::system_reset();
}

fn after(boot: &'static Boot) -> Outcome {
    for cpu in 1..boot.cpus().len() {
        ensure!(crew::is_off(boot, cpu), "vCPU {cpu} is on after the reset");
    }
    if is_oracle(boot) {
        // QEMU keeps RAM over a reset.
        return Ok(());
    }
    for page in (0..64 << 20).step_by(4096).filter(|page| *page < boot.spare.bytes()) {
        ensure_eq!(boot.spare.read64(page), 0, format!("RAM at {page:#x} of the spare part"));
    }
    ram::zero(boot)
}

fn finish(flash: Window, what: &str) -> Outcome {
    flash.write32(PLACE, READ_STATUS);
    let status = flash.read32(PLACE);
    flash.write32(PLACE, CLEAR_STATUS);
    flash.write32(PLACE, READ_ARRAY);
    ensure_eq!(status, READY, format!("status after {what}"));
    Ok(())
}

fn erase(flash: Window) -> Outcome {
    flash.write32(PLACE, ERASE);
    flash.write32(PLACE, CONFIRM);
    finish(flash, "an erase")?;
    ensure_eq!(flash.read32(PLACE), u32::MAX, "an erased word");
    Ok(())
}

fn program(flash: Window, value: u32) -> Outcome {
    flash.write32(PLACE, PROGRAM);
    flash.write32(PLACE, value);
    finish(flash, "a word program")?;
    ensure_eq!(flash.read32(PLACE), value, "the programmed word");
    Ok(())
}
