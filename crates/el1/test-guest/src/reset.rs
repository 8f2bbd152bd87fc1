//! PSCI SYSTEM_RESET: the machine starts anew, with its flash kept and, under Bramble, its RAM zero.
//!
//! Name it first in `bramble.test`: it resets once, and what follows runs after the reset. The mark that it did is in
//! flash bank 1. CFI command set 0001 (Intel), two x16 chips side by side: values are doubled.

use crate::harness::{Outcome, Report};
use crate::{crew, ensure, ensure_eq, is_oracle, ram};
use alloc::format;
use el1::window::Window;
use el1::{Boot, println, smccc};

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

/// Resets, or says what the reset left.
pub fn run(boot: &'static Boot, report: &mut Report) {
    // Bank 1 is the second range of the flash node.
    let Some(flash) = boot.outside_ram(0x0400_0000, 64 << 20) else { return };
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
        // What must be gone afterwards.
        for page in (0..64 << 20).step_by(4096).filter(|page| *page < boot.spare.bytes()) {
            boot.spare.write64(page, 0xdead_beef);
        }
        println!("RESET now");
        smccc::system_reset();
    }
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
