//! Output on the machine's PL011 (DDI 0183, 3.3): [`crate::print!`], [`crate::println!`].
//!
//! Called by: programs and the panic handler. Concurrency: a line is written under a lock; interrupt handlers do not
//! print.

use crate::boot::Boot;
use crate::window::Window;
use core::fmt::{self, Write};
use spin::Once;
use spin::mutex::SpinMutex;

/// UARTDR.
const DATA: usize = 0x00;
/// UARTFR.
pub const FLAGS: usize = 0x18;
/// UARTFR.TXFF.
pub const TRANSMIT_FULL: u32 = 1 << 5;

static UART: Once<Window> = Once::new();
static LOCK: SpinMutex<()> = SpinMutex::new(());

pub(crate) fn start(boot: &Boot) {
    if let Some(uart) = boot.uart {
        UART.call_once(|| uart);
    }
}

/// For the panic handler: whoever held the lock does not go on.
pub(crate) fn break_lock() {
    // SAFETY: the program stops after the panic's message; at worst a line of another vCPU is mixed into it.
    unsafe { LOCK.force_unlock() };
}

/// The UART's registers, if the device tree names one.
pub fn registers() -> Option<Window> {
    UART.get().copied()
}

/// Writes one byte when there is room.
#[inline]
pub fn write_byte(byte: u8) {
    if let Some(uart) = UART.get() {
        while uart.read32(FLAGS) & TRANSMIT_FULL != 0 {}
        uart.write32(DATA, u32::from(byte));
    }
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                write_byte(b'\r');
            }
            write_byte(byte);
        }
        Ok(())
    }
}

/// What [`crate::print!`] calls.
pub fn print(arguments: fmt::Arguments<'_>) {
    let _line = LOCK.lock();
    // Writing to the UART does not fail.
    let _ = Console.write_fmt(arguments);
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::console::print(format_args!($($argument)*)) };
}

/// Prints to the console, and ends the line.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
