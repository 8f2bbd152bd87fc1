//! The test guest: one EL1 kernel with many behaviours, chosen by `bramble.test=a,b,…` in its boot arguments.
//!
//! Runs as a guest of Bramble and, as the oracle of its own tests, on plain QEMU `virt` at EL1. Its console says
//! `TEST <name> ok` or `TEST <name> FAILED <why>` per test, `BENCH <operation> n=<count> ns/op=<figure>` per
//! measurement, and at the end `TESTS DONE <passed> passed <failed> failed`; then it turns the machine off.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod aarch32;
mod bench;
mod crew;
mod devices;
mod faults;
mod fp;
mod harness;
mod hello;
mod imprint;
mod interrupts;
mod psci;
mod ram;
mod random;
mod reset;
mod sgi;
mod smp;
mod steady;
mod timers;
mod trapped;
mod virq;
mod virtio;
mod worker;

use el1::Boot;
use harness::Report;

el1::program!(main, interrupts::interrupt);

/// A behaviour: what `bramble.test` calls it, and what it does.
type Behaviour = (&'static str, fn(&'static Boot, &mut Report));

const BEHAVIOURS: &[Behaviour] = &[
    ("hello", hello::run),
    ("worker", worker::run),
    ("steady", steady::run),
    ("echo", steady::echo),
    ("smp", smp::run),
    ("stay", smp::stay),
    ("burn", smp::burn),
    ("leak", imprint::run_leak),
    ("pattern", imprint::run_pattern),
    ("random", random::run),
    ("reset", reset::run),
    ("ram", ram::run),
    ("faults", faults::run),
    ("fp", fp::run),
    ("trapped", trapped::run),
    ("aarch32", aarch32::run),
    ("devices", devices::run),
    ("virtio", virtio::run),
    ("late-read", virtio::late::run),
    ("endless", virtio::endless::run),
    ("virq", virq::run),
    ("sgi", sgi::run),
    ("timers", timers::run),
    ("psci", psci::run),
    ("bench", bench::run),
    ("bench-switched", bench::switched::run),
    ("bench-empty", bench::memory::run_empty),
];

fn main(boot: &'static Boot) {
    interrupts::start(boot);
    let mut report = Report::default();
    let wanted = boot
        .arguments
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("bramble.test="))
        .unwrap_or("hello");
    for name in wanted.split(',') {
        match BEHAVIOURS.iter().find(|behaviour| behaviour.0 == name) {
            Some((_, run)) => run(boot, &mut report),
            None => report.failed(name, format_args!("no such behaviour")),
        }
    }
    report.close();
}

/// Whether this is plain QEMU, the oracle of these tests, and not Bramble.
fn is_oracle(boot: &Boot) -> bool {
    boot.arguments.split_ascii_whitespace().any(|word| word == "bramble.oracle")
}

/// The number behind `key` in the boot arguments.
fn number(boot: &Boot, key: &str) -> Option<u64> {
    boot.arguments.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok())
}
