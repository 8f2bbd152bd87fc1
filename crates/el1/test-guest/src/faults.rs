//! Accesses where nothing is: neither RAM nor a device. The guest gets an external abort, handles it and goes on.
//!
//! Arm ARM D24.2.40 ESR_EL1, ISS encodings for data and instruction aborts: DFSC/IFSC 0x10 is a synchronous external
//! abort. Plain QEMU gives the same for its unassigned addresses.

use crate::harness::{Outcome, Report};
use crate::{ensure, ensure_eq};
use el1::boot::Boot;
use el1::exceptions::{EXTERNAL_ABORT, Exception, class};
use el1::mmu;
use el1::probe::{self, Width};

const WIDTHS: [Width; 4] = [Width::Byte, Width::Half, Width::Word, Width::Double];
/// Between the last virtio transport and PCIe nothing is.
const HOLE: usize = 0x0b00_0000;
/// Far above RAM, inside 39 bits.
const FAR_UP: usize = 0x7f_ffff_f000;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    report.test("fault-load", || data(boot, |at, width| probe::load(at, width).map(drop)));
    report.test("fault-store", || data(boot, |at, width| probe::store(at, width, 0x55)));
    report.test("fault-fetch", || fetch(boot));
    report.test("fault-mmu-off", || {
        mmu::off();
        let outcome = data(boot, |at, width| probe::load(at, width).map(drop));
        mmu::on();
        outcome
    });
    report.test("fault-many", || {
        for n in 0..2000 {
            ensure!(probe::load(HOLE + n * 64, Width::Word).is_err(), "load {n} went through");
        }
        Ok(())
    });
}

fn places(boot: &Boot) -> [usize; 4] {
    [HOLE, HOLE + 0xffff8, boot.ram.end, FAR_UP]
}

fn data(boot: &'static Boot, access: impl Fn(usize, Width) -> Result<(), Exception>) -> Outcome {
    for place in places(boot) {
        for width in WIDTHS {
            let exception = match access(place, width) {
                Ok(()) => return Err(alloc::format!("{width:?} at {place:#x} went through")),
                Err(exception) => exception,
            };
            check(exception, class::DATA_ABORT, place)?;
        }
    }
    Ok(())
}

/// Stage 1 would forbid it: the MMU is off, so that stage 2 answers.
fn fetch(boot: &'static Boot) -> Outcome {
    for place in places(boot) {
        mmu::off();
        let result = probe::fetch(place);
        mmu::on();
        match result {
            Ok(()) => return Err(alloc::format!("a fetch from {place:#x} went through")),
            Err(exception) => check(exception, class::INSTRUCTION_ABORT, place)?,
        }
    }
    Ok(())
}

fn check(exception: Exception, expected: u64, place: usize) -> Outcome {
    ensure_eq!(exception.class(), expected, alloc::format!("ESR {:#x} at {place:#x}: class", exception.esr));
    ensure_eq!(exception.fault_status(), EXTERNAL_ABORT, alloc::format!("fault status at {place:#x}"));
    ensure_eq!(exception.far, place as u64, "FAR_EL1");
    ensure!(exception.esr >> 25 & 1 == 1, "ESR {:#x}: IL is 0", exception.esr);
    Ok(())
}
