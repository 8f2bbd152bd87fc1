//! The end: what happened, on the console; SOS on the LED; a restart after a while, where the board can.

use crate::symbols::symbol;
use core::fmt::Write;
use core::panic::PanicInfo;
use drivers::board::Board;
use drivers::led::{Led, Sign};
use drivers::pm::PowerManagement;
use drivers::probe::{Driver, driver_for};
use el2::DeviceRegisters;
use el2::vectors::FatalFrame;

/// Seconds from a panic to the restart: a person may want to take a picture.
const RESTART_SECONDS: u64 = 10;

/// A panic of the vmkernel: always a defect.
pub fn show(info: &PanicInfo<'_>) -> ! {
    let mut screen = el2::screen::Screen::take();
    let _ = writeln!(screen, "\n*** bramble: panic on PE {} ***\n{info}", el2::pe::current());
    backtrace(&mut screen, el2::regs::frame_pointer());
    last_exits(&mut screen);
    end(&mut screen)
}

/// EL2 took an exception from itself.
pub fn show_exception(frame: &FatalFrame, syndrome: u64, address: u64, elr: u64) -> ! {
    let mut screen = el2::screen::Screen::take();
    let (base, _) = el2::boot::code_range();
    let pe = el2::pe::current();
    let _ = writeln!(screen, "\n*** bramble: exception at EL2 on PE {pe}, vector {} ***", frame.vector);
    let _ = writeln!(
        screen,
        "ESR {syndrome:#010x} FAR {address:#018x} ELR {elr:#018x} (image + {:#x})",
        elr.wrapping_sub(base)
    );
    if el2::mmu::is_stack_guard(address) {
        let _ = writeln!(screen, "a stack overflowed: FAR is in the guard page below it");
    }
    for (row, registers) in frame.x.chunks(4).enumerate() {
        let _ = write!(screen, "x{:<2}", row * 4);
        for register in registers {
            let _ = write!(screen, " {register:016x}");
        }
        let _ = writeln!(screen);
    }
    let _ = writeln!(screen, "sp  {:016x}", frame.sp);
    show_place(&mut screen, elr.wrapping_sub(base));
    backtrace(&mut screen, frame.x[29]);
    last_exits(&mut screen);
    end(&mut screen)
}

/// Registers of a device of the board, past every lock.
fn device(board: &Board, wanted: Driver) -> Option<DeviceRegisters> {
    let node = board.devices.iter().find(|node| driver_for(&node.compatible) == Some(wanted))?;
    DeviceRegisters::map_at_the_end(node.registers)
}

/// The last thing that this PE does. With the boot argument `bramble.halt` the screen stays.
fn end(screen: &mut el2::screen::Screen) -> ! {
    let Some(board) = el2::boot::board() else { el2::screen::halt() };
    let power = device(board, Driver::PowerManagement).map(PowerManagement::new);
    let stays = board.boot_arguments.split(' ').any(|argument| argument == "bramble.halt");
    let restarts = (power.is_some() || board.psci_by_smc) && !stays;
    if restarts {
        let _ = writeln!(screen, "restart in {RESTART_SECONDS} s");
    }
    let hertz = el2::regs::counter_hz();
    let mut led = device(board, Driver::Gpio)
        .zip(board.wiring.act_led)
        .map(|(registers, node)| Led::new(registers, node, hertz));
    if let Some(led) = &mut led {
        led.show(Sign::Panic);
    }
    let at = el2::regs::counter().saturating_add(hertz.saturating_mul(RESTART_SECONDS));
    while !restarts || el2::regs::counter() < at {
        if let Some(led) = &mut led {
            led.poll(el2::regs::counter());
        } else if !restarts {
            el2::screen::halt();
        }
    }
    el2::boot::psci_system(true);
    if let Some(mut power) = power {
        power.restart();
    }
    el2::screen::halt()
}

/// What guests did on this PE before, the newest first.
fn last_exits(screen: &mut el2::screen::Screen) {
    let _ = writeln!(screen, "last exits on this PE:");
    for [syndrome, elr] in el2::pe::last_exits().into_iter().flatten() {
        let _ = if syndrome == el2::pe::INTERRUPT {
            writeln!(screen, "  interrupt       at {elr:#018x}")
        } else {
            writeln!(screen, "  ESR {syndrome:#010x}  at {elr:#018x}")
        };
    }
}

fn backtrace(screen: &mut el2::screen::Screen, mut frame: u64) {
    let (base, end) = el2::boot::code_range();
    for _ in 0..24 {
        let Some([next, return_to]) = el2::boot::stack_words(frame) else { break };
        if return_to < base || return_to >= end || next <= frame {
            break;
        }
        // The call is the instruction before.
        show_place(screen, return_to.wrapping_sub(base).wrapping_sub(4));
        frame = next;
    }
}

fn show_place(screen: &mut el2::screen::Screen, offset: u64) {
    let _ = match symbol(el2::boot::symbols(), offset) {
        Some((name, within)) => writeln!(screen, "  image + {offset:#x}  {name} + {within:#x}"),
        None => writeln!(screen, "  image + {offset:#x}"),
    };
}
