//! A guest whose output must have no gap: a numbered line every ten milliseconds, until `q` is typed into its UART. And one
//! that echoes.
//!
//! vCPU 0 computes and prints; each line carries a sum over all numbers before it, so that a byte that is missing, or a
//! round that went wrong, shows.

use crate::ensure;
use crate::harness::{Outcome, Report, sleep_at_most};
use el1::boot::Boot;
use el1::{console, println};

/// Between two lines, in microseconds.
const PERIOD: u64 = 10_000;
/// UARTFR.RXFE (DDI 0183, 3.3.3).
const RECEIVE_EMPTY: u32 = 1 << 4;
/// More lines than any test wants: six hours.
const MOST: u64 = 2_000_000;

/// Prints.
pub fn run(_: &'static Boot, report: &mut Report) {
    report.test("steady", print);
}

fn print() -> Outcome {
    let mut sum = 0_u64;
    for number in 0..MOST {
        sum = (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        println!("STEADY {number} {sum:016x}");
        if typed() == Some(b'q') {
            println!("STEADY END {number}");
            return Ok(());
        }
        sleep_at_most(PERIOD, || false);
    }
    ensure!(false, "nobody ended it");
    Ok(())
}

/// Answers each byte that is typed with the same byte, until `q`.
pub fn echo(_: &'static Boot, report: &mut Report) {
    report.test("echo", || {
        println!("ECHO");
        loop {
            sleep_at_most(PERIOD, is_typed);
            match typed() {
                Some(b'q') => return Ok(()),
                Some(byte) => console::write_byte(byte),
                None => {}
            }
        }
    });
}

fn is_typed() -> bool {
    console::registers().is_some_and(|uart| uart.read32(console::FLAGS) & RECEIVE_EMPTY == 0)
}

/// A byte that was typed.
fn typed() -> Option<u8> {
    let uart = console::registers()?;
    is_typed().then(|| uart.read32(0) as u8)
}
