//! Guards: the console UART where nothing may be relied on: before there is a console, and at the end of the world. It is
//! written past every lock, since who holds one may be gone.
//!
//! Called by `boot` for what can't start, and by the panic screen. Until the device tree was read the MMU is off, and the
//! consoles that boards of the known kinds have are written, all of them.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use drivers::board::{MAX_PES, UartKind, UartNode};
use drivers::hardware::Registers;
use drivers::mini_uart::MiniUart;
use drivers::pl011::Pl011;
use drivers::serial::Serial;

/// PEs that show their screen. Each reads and writes its own only, also with the MMU off, where nothing is atomic.
static TAKEN: [AtomicBool; MAX_PES] = [const { AtomicBool::new(false) }; MAX_PES];

/// The board's console: what it is, and where, once it is mapped.
static KIND: AtomicU64 = AtomicU64::new(UNREAD);
static AT: AtomicU64 = AtomicU64::new(0);
const UNREAD: u64 = 0;
const NONE: u64 = 1;
const PL011: u64 = 2;
const MINI_UART: u64 = 3;

/// How often a line is asked for place for a byte.
const POLLS: u32 = 20_000;

/// The device tree was read, and the MMU is about to be turned on with this console's registers mapped.
pub(crate) fn found(uart: Option<UartNode>) {
    AT.store(uart.map_or(0, |uart| uart.registers.start.0), Ordering::Relaxed);
    let kind = match uart.map(|uart| uart.kind) {
        None => NONE,
        Some(UartKind::Pl011) => PL011,
        Some(UartKind::MiniUart) => MINI_UART,
    };
    KIND.store(kind, Ordering::Relaxed);
}

/// Registers of a console at this address. Only `Screen::new` makes them.
#[derive(Debug)]
struct Raw(u64);

impl Registers for Raw {
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: the registers of a console, mapped as a device's, or the MMU is off; drivers stay inside them, aligned.
        unsafe { crate::mmio::load32::<0>(self.0 + offset as u64) }
    }

    fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as above.
        unsafe { crate::mmio::store32::<0>(self.0 + offset as u64, value) };
    }

    fn read8(&self, _offset: usize) -> u8 {
        0
    }

    fn write8(&self, _offset: usize, _value: u8) {}
}

#[derive(Debug)]
enum Line {
    Pl011(Pl011<Raw>),
    MiniUart(MiniUart<Raw>),
}

impl Line {
    fn pl011(at: u64) -> Self {
        Self::Pl011(Pl011::new(Raw(at), None))
    }

    fn mini_uart(at: u64) -> Self {
        Self::MiniUart(MiniUart::new(Raw(at)))
    }

    fn put(&self, byte: u8) {
        match self {
            Self::Pl011(uart) => uart.put_patiently(&[byte], POLLS),
            Self::MiniUart(uart) => uart.put_patiently(&[byte], POLLS),
        };
    }
}

/// The console, taken from whoever had it.
#[derive(Debug)]
pub struct Screen {
    lines: [Option<Line>; 2],
}

impl Screen {
    /// Takes the board's console. Once for each PE: what goes wrong while the screen is shown would be shown for ever.
    pub fn take() -> Self {
        let mut screen = Self::new();
        if let Some(taken) = TAKEN.get(usize::from(crate::pe::current().0)) {
            if taken.load(Ordering::Relaxed) {
                let _ = fmt::Write::write_str(&mut screen, "\n*** another defect while this was shown ***\n");
                halt()
            }
            taken.store(true, Ordering::Relaxed);
        }
        screen
    }

    pub(crate) fn new() -> Self {
        let at = AT.load(Ordering::Relaxed);
        let lines = match KIND.load(Ordering::Relaxed) {
            // The place of the image tells the board: QEMU's virt has no RAM below 1 GiB, a Pi loads there.
            UNREAD if crate::boot::code_range().0 < 0x4000_0000 => {
                [Some(Line::mini_uart(0xfe21_5040)), Some(Line::pl011(0xfe20_1000))]
            }
            UNREAD => [Some(Line::pl011(0x0900_0000)), None],
            PL011 => [Some(Line::pl011(at)), None],
            MINI_UART => [Some(Line::mini_uart(at)), None],
            _ => [None, None],
        };
        Self { lines }
    }

    fn put(&self, byte: u8) {
        self.lines.iter().flatten().for_each(|line| line.put(byte));
    }
}

impl fmt::Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// Stops this PE for good.
pub fn halt() -> ! {
    crate::regs::instruction!("msr daifset, #0xf");
    loop {
        crate::regs::instruction!("wfe");
    }
}
