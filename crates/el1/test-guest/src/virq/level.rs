//! Level-triggered lines: the PL011's interrupt stays until the device is quiet.
//!
//! PL011 (DDI 0183) 3.3.10–3.3.13: UARTIMSC, UARTRIS, UARTMIS, UARTICR.

use super::*;
use el1::console;

/// SPI 1.
const UART: u32 = 33;
const IMSC: usize = 0x38;
const RIS: usize = 0x3c;
const MIS: usize = 0x40;
const ICR: usize = 0x44;
/// The transmit interrupt in all four.
const TRANSMIT: u32 = 1 << 5;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let Some(uart) = console::registers() else { return };
    // The report is printed through the same UART: quiet first.
    let quiet = |outcome| {
        uart.write32(IMSC, 0);
        outcome
    };
    report.test("virq-level-repends", || quiet(repends(&boot.gic, uart)));
    report.test("virq-level-drops", || quiet(drops(&boot.gic, uart)));
    Line::new(&boot.gic, 0, UART).set(offset::ICENABLER);
}

fn ready(gic: &Gic, uart: Window) -> Line {
    uart.write32(IMSC, 0);
    uart.write32(ICR, 0x7ff);
    let line = Line::ready(gic, UART);
    line.set_edge(false);
    line
}

/// Taken again and again until the handler quiets the device.
fn repends(gic: &Gic, uart: Window) -> Outcome {
    let line = ready(gic, uart);
    start_log(|intid| {
        note(intid);
        if let (5, Some(uart)) = (log().len(), console::registers()) {
            uart.write32(ICR, TRANSMIT);
        }
    });
    let log = together(5, || {
        console::write_byte(b' ');
        uart.write32(IMSC, TRANSMIT);
    });
    interrupts::set_hook(None);
    uart.write32(IMSC, 0);
    ensure!(log == [UART; 5], "{log:?}");
    ensure!(!line.is(offset::ISPENDR), "pending after the device is quiet");
    Ok(())
}

/// Pending follows the line: a device that is quiet again before the interrupt is taken gives none.
fn drops(gic: &Gic, uart: Window) -> Outcome {
    let line = ready(gic, uart);
    let before = line.count();
    mask_interrupts();
    console::write_byte(b' ');
    let raw = uart.read32(RIS);
    uart.write32(IMSC, TRANSMIT);
    let masked = uart.read32(MIS);
    let up = line.is(offset::ISPENDR);
    uart.write32(ICR, TRANSMIT);
    let down = line.is(offset::ISPENDR);
    unmask_interrupts();
    let came = spin_until(WHILE, || line.count() != before);
    ensure!(raw & masked & TRANSMIT != 0, "UARTRIS {raw:#x} UARTMIS {masked:#x}");
    ensure!(up, "not pending while the line is up");
    ensure!(!down && !came, "line down: pending {down}, delivered {came}");
    // And a line that is disabled while it is up comes when it is enabled.
    line.set(offset::ICENABLER);
    console::write_byte(b' ');
    let early = spin_until(WHILE, || line.count() != before);
    start_log(|_| {
        if let Some(uart) = console::registers() {
            uart.write32(ICR, TRANSMIT);
        }
    });
    line.set(offset::ISENABLER);
    let late = spin_until(SOON, || line.count() == before + 1);
    interrupts::set_hook(None);
    ensure!(!early && late, "disabled: {early}, enabled: {late}");
    Ok(())
}
