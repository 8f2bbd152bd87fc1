//! Guards: the console UART at the end of the world: written past every lock, since who holds one may be gone.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use drivers::board::{MAX_PES, UartKind};

/// PEs that show their screen.
static TAKEN: [AtomicBool; MAX_PES] = [const { AtomicBool::new(false) }; MAX_PES];

/// The console, taken from whoever had it.
#[derive(Debug)]
pub struct Screen {
    uart: Option<(UartKind, u64)>,
}

impl Screen {
    /// Takes the board's console. Once for each PE: what goes wrong while the screen is shown would be shown for ever.
    pub fn take() -> Self {
        let mut screen = Self::new();
        let taken = TAKEN.get(usize::from(crate::pe::current().0));
        if taken.is_some_and(|taken| taken.swap(true, Ordering::Relaxed)) {
            let _ = fmt::Write::write_str(&mut screen, "\n*** another defect while this was shown ***\n");
            halt()
        }
        screen
    }

    fn new() -> Self {
        let board = crate::boot::board();
        Self { uart: board.and_then(|board| board.uart).map(|uart| (uart.kind, uart.registers.start.0)) }
    }

    fn put(&mut self, byte: u8) {
        let Some((kind, at)) = self.uart else { return };
        for _ in 0..20_000 {
            // SAFETY: the console's registers were mapped when the host started; a panic before that finds no board.
            let free = unsafe {
                match kind {
                    UartKind::Pl011 => crate::mmio::load32::<0>(at + 0x18) & 1 << 5 == 0,
                    UartKind::MiniUart => crate::mmio::load32::<0>(at + 0x14) & 1 << 5 != 0,
                }
            };
            if free {
                break;
            }
        }
        // SAFETY: as above.
        unsafe { crate::mmio::store32::<0>(at, u32::from(byte)) };
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
