//! Says what machine this is.

use crate::harness::Report;
use el1::registers::{cntfrq_el0, current_el, midr_el1};
use el1::smccc::{self, function};
use el1::{Boot, println};

/// Prints the machine, and one passed test.
pub fn run(boot: &'static Boot, report: &mut Report) {
    println!(
        "HELLO el={} cpus={} gic=v{} ram={:#x}-{:#x} image={:#x} midr={:#x} freq={} psci={:#x}",
        current_el::read() >> 2,
        boot.cpus().len(),
        boot.gic.version(),
        boot.ram.start,
        boot.ram.end,
        boot.image.start,
        midr_el1::read(),
        cntfrq_el0::read(),
        smccc::status(function::PSCI_VERSION, [0; 3]),
    );
    println!("HELLO entry_cntpct={}", el1::head::entry_count());
    println!("HELLO arguments={:?}", boot.arguments);
    report.ok("hello");
}
