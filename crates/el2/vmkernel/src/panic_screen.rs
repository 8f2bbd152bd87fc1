//! The end: what happened, on the console.

use core::fmt::Write;
use core::panic::PanicInfo;
use el2::vectors::FatalFrame;

/// A panic of the vmkernel: always a defect.
pub fn show(info: &PanicInfo<'_>) -> ! {
    let mut screen = el2::screen::Screen::take();
    let _ = writeln!(screen, "\n*** bramble: panic on PE {} ***\n{info}", el2::pe::current());
    backtrace(&mut screen, el2::regs::frame_pointer());
    el2::screen::halt()
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
    if el2::pe::is_stack_guard(address) {
        let _ = writeln!(screen, "the stack of this PE overflowed");
    }
    for (row, registers) in frame.x.chunks(4).enumerate() {
        let _ = write!(screen, "x{:<2}", row * 4);
        for register in registers {
            let _ = write!(screen, " {register:016x}");
        }
        let _ = writeln!(screen);
    }
    let _ = writeln!(screen, "sp  {:016x}", frame.sp);
    backtrace(&mut screen, frame.x[29]);
    el2::screen::halt()
}

fn backtrace(screen: &mut el2::screen::Screen, mut frame: u64) {
    let (base, end) = el2::boot::code_range();
    for _ in 0..24 {
        let Some([next, return_to]) = el2::boot::stack_words(frame) else { break };
        if return_to < base || return_to >= end || next <= frame {
            break;
        }
        let _ = writeln!(screen, "  image + {:#x}", return_to.wrapping_sub(base));
        frame = next;
    }
}
