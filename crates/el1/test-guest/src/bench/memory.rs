//! First touch of guest RAM: from a pool that idle PEs prepared, and with that pool drained.

use super::show;
use crate::harness::Report;
use el1::registers::now;
use el1::window::Window;
use el1::{Boot, println};

const PAGE: usize = 4096;
/// Measured at once.
const MEASURED: usize = 8 << 20;
/// Touched first to drain the pool of zeroed blocks.
const DRAINED: usize = 256 << 20;

/// First and second touch of 8 MiB.
pub fn run(boot: &'static Boot) {
    let part = boot.spare.part(0, MEASURED);
    show("ram_first_touch_4k", touch(part), (MEASURED / PAGE) as u64);
    show("ram_second_touch_4k", touch(part), (MEASURED / PAGE) as u64);
}

/// The same after 256 MiB were touched.
pub fn run_empty(boot: &'static Boot, report: &mut Report) {
    if boot.spare.bytes() < DRAINED + MEASURED {
        println!("      {} MiB of spare RAM: too little to drain the pool", boot.spare.bytes() >> 20);
        report.failed("bench-empty", format_args!("give the guest 320 MiB"));
        return;
    }
    let end = boot.spare.bytes();
    touch(boot.spare.part(end - DRAINED, DRAINED));
    let part = boot.spare.part(end - DRAINED - MEASURED, MEASURED);
    show("ram_first_touch_4k@empty", touch(part), (MEASURED / PAGE) as u64);
    report.ok("bench-empty");
}

fn touch(window: Window) -> u64 {
    let pages = window.bytes() / PAGE;
    let start = now();
    let mut offset = 0;
    for _ in 0..pages {
        window.write32(offset, 1);
        offset += PAGE;
    }
    now() - start
}
