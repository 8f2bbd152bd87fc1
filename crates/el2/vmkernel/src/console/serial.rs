//! The UART behind the line: PL011 or the Pi's mini UART, as the device tree says.

use drivers::board::{UartKind, UartNode};
use drivers::mini_uart::MiniUart;
use drivers::pl011::Pl011;
use drivers::serial::Received;
use el2::DeviceRegisters;

/// Loads that a character may wait for the FIFO: about a character at 115,200 baud.
const PATIENCE: u32 = 20_000;

/// The host's serial line.
#[derive(Debug)]
pub struct Serial(Uart);

#[derive(Debug)]
enum Uart {
    Pl011(Pl011<DeviceRegisters>),
    Mini(MiniUart<DeviceRegisters>),
}

impl Serial {
    /// Maps it and takes it over, at the speed that firmware has set.
    pub fn new(node: UartNode) -> Option<Self> {
        let registers = DeviceRegisters::map(node.registers)?;
        Some(Self(match node.kind {
            UartKind::Pl011 => Uart::Pl011(Pl011::new(registers, None)),
            UartKind::MiniUart => Uart::Mini(MiniUart::new(registers)),
        }))
    }

    fn uart(&self) -> &dyn drivers::serial::Serial {
        match &self.0 {
            Uart::Pl011(uart) => uart,
            Uart::Mini(uart) => uart,
        }
    }

    /// Sends bytes; what the hardware does not take in time is dropped.
    pub fn put(&mut self, bytes: &[u8]) {
        self.uart().put_patiently(bytes, PATIENCE);
    }

    /// A byte that was received.
    pub fn get(&mut self) -> Option<u8> {
        loop {
            match self.uart().receive()? {
                Received::Byte(byte) | Received::AfterLoss(byte) => return Some(byte),
                Received::Broken => {}
            }
        }
    }

    /// Asks for an interrupt when bytes come.
    pub fn listen(&mut self) {
        self.uart().enable_receive_interrupt();
    }
}
