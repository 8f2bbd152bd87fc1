//! PL011, PL031 and PL061: identification, registers that keep what they are given, the clock's alarm.
//!
//! PL011 (DDI 0183) 3.3; PL031 (DDI 0224) 3.3; PL061 (DDI 0190) 3.3. PrimeCell identification: the last 0x20 bytes.

use crate::harness::{Outcome, Report, sleep_at_most};
use crate::virq::Line;
use crate::{ensure, ensure_eq, interrupts};
use alloc::format;
use el1::boot::{Boot, Device};
use el1::gic::offset;
use el1::window::Window;

type Test = fn(Device, &'static Boot) -> Outcome;

/// All of it.
pub fn run(boot: &'static Boot, report: &mut Report) {
    let devices: [(&str, &str, Test); 3] =
        [("pl011", "arm,pl011", uart), ("pl031", "arm,pl031", clock), ("pl061", "arm,pl061", gpio)];
    for (name, compatible, body) in devices {
        match boot.devices(compatible).next() {
            Some(device) => report.test(name, || body(device, boot)),
            None => report.failed(name, format_args!("not in the device tree")),
        }
    }
    if let Some(clock) = boot.devices("arm,pl031").next() {
        report.test("pl031-alarm", || alarm(clock, boot));
    }
}

/// PeriphID0 and PeriphID1 name the part, PCellID0–3 say that it is a PrimeCell.
fn identified(registers: Window, part: u32) -> Outcome {
    ensure_eq!(registers.read32(0xfe0), part, "PeriphID0");
    ensure_eq!(registers.read32(0xfe4), 0x10, "PeriphID1");
    for (n, value) in (0..).zip([0x0d, 0xf0, 0x05, 0xb1]) {
        ensure_eq!(registers.read32(0xff0 + 4 * n), value, format!("PCellID{n}"));
    }
    Ok(())
}

fn uart(device: Device, _: &'static Boot) -> Outcome {
    const FLAGS: usize = 0x18;
    let uart = device.registers;
    identified(uart, 0x11)?;
    ensure_eq!(uart.read32(FLAGS) & 0x90, 0x90, "UARTFR: TXFE and RXFE of an idle UART");
    ensure_eq!(uart.read16(FLAGS), uart.read32(FLAGS) as u16, "UARTFR by 16 bits");
    ensure_eq!(uart.read8(FLAGS), uart.read32(FLAGS) as u8, "UARTFR by 8 bits");
    // UARTIBRD, UARTFBRD.
    for (register, value) in [(0x24, 0x1234), (0x28, 0x2a)] {
        let old = uart.read32(register);
        uart.write32(register, value);
        let new = uart.read32(register);
        uart.write32(register, old);
        ensure_eq!(new, value, format!("register {register:#x}"));
    }
    ensure_eq!(uart.read32(0x38), 0, "UARTIMSC");
    Ok(())
}

const DATA: usize = 0x00;
const MATCH: usize = 0x04;
const LOAD: usize = 0x08;
const MASK: usize = 0x10;
const CLEAR: usize = 0x1c;

fn clock(device: Device, _: &'static Boot) -> Outcome {
    let clock = device.registers;
    identified(clock, 0x31)?;
    let now = clock.read32(DATA);
    ensure!(now > 1_600_000_000, "RTCDR {now}: before 2020");
    clock.write32(LOAD, 1_000_000);
    let loaded = clock.read32(DATA);
    clock.write32(LOAD, now);
    ensure!((1_000_000..1_000_100).contains(&loaded), "RTCDR {loaded} after RTCLR 1000000");
    ensure!((now..now + 100).contains(&clock.read32(DATA)), "RTCDR was {now}, is {}", clock.read32(DATA));
    Ok(())
}

fn alarm(device: Device, boot: &'static Boot) -> Outcome {
    let (clock, Some(intid)) = (device.registers, device.intid) else {
        return Err("no interrupt in the device tree".into());
    };
    let line = Line::ready(&boot.gic, intid);
    line.set_edge(false);
    clock.write32(CLEAR, 1);
    let before = line.count();
    // The timer that ends the naps comes here, too: it must not clear what the clock is about to say.
    interrupts::set_hook(Some(|intid| {
        let clock = el1::boot::get().and_then(|boot| boot.devices("arm,pl031").next());
        if let Some(clock) = clock.filter(|clock| clock.intid == Some(intid)) {
            clock.registers.write32(CLEAR, 1);
        }
    }));
    clock.write32(MATCH, clock.read32(DATA) + 1);
    clock.write32(MASK, 1);
    let came = sleep_at_most(4_000_000, || line.count() != before);
    let state = [clock.read32(MATCH), clock.read32(DATA), clock.read32(0x14), clock.read32(0x18)];
    let pends = line.is(offset::ISPENDR);
    clock.write32(MASK, 0);
    interrupts::set_hook(None);
    line.set(offset::ICENABLER);
    ensure!(came, "no interrupt: match, time, RIS, MIS {state:x?}; pending at the GIC: {pends}");
    ensure_eq!(line.count() - before, 1, "interrupts");
    Ok(())
}

fn gpio(device: Device, _: &'static Boot) -> Outcome {
    const DIRECTION: usize = 0x400;
    let gpio = device.registers;
    identified(gpio, 0x61)?;
    gpio.write32(DIRECTION, 0x03);
    ensure_eq!(gpio.read32(DIRECTION), 0x03, "GPIODIR");
    // GPIODATA: address bits 9:2 are the mask.
    gpio.write32(0x3 << 2, 0x3);
    gpio.write32(0x1 << 2, 0x0);
    let data = gpio.read32(0xff << 2) & 3;
    gpio.write32(DIRECTION, 0);
    ensure_eq!(data, 0x2, "GPIODATA of two outputs");
    Ok(())
}
