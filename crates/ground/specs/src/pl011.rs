//! Registers of the PL011 UART.
//!
//! Source: PrimeCell UART (PL011) Technical Reference Manual (DDI 0183), 3.3 "Register descriptions".

/// UARTDR: data.
pub const DR: u64 = 0x000;
/// UARTRSR/UARTECR: receive status, error clear.
pub const RSR: u64 = 0x004;
/// UARTFR: flags.
pub const FR: u64 = 0x018;
/// UARTILPR: IrDA low-power counter.
pub const ILPR: u64 = 0x020;
/// UARTIBRD: integer baud rate.
pub const IBRD: u64 = 0x024;
/// UARTFBRD: fractional baud rate.
pub const FBRD: u64 = 0x028;
/// UARTLCR_H: line control.
pub const LCR_H: u64 = 0x02c;
/// UARTCR: control.
pub const CR: u64 = 0x030;
/// UARTIFLS: interrupt FIFO level select.
pub const IFLS: u64 = 0x034;
/// UARTIMSC: interrupt mask; a bit that is set lets the interrupt through.
pub const IMSC: u64 = 0x038;
/// UARTRIS: raw interrupt status.
pub const RIS: u64 = 0x03c;
/// UARTMIS: masked interrupt status.
pub const MIS: u64 = 0x040;
/// UARTICR: interrupt clear.
pub const ICR: u64 = 0x044;
/// UARTDMACR: DMA control.
pub const DMACR: u64 = 0x048;
/// The first of UARTPeriphID0–3 and UARTPCellID0–3, one byte in each word.
pub const ID: u64 = 0xfe0;

/// UARTFR: the receive FIFO is empty.
pub const FR_RXFE: u32 = 1 << 4;
/// UARTFR: the transmit FIFO is full.
pub const FR_TXFF: u32 = 1 << 5;
/// UARTFR: the receive FIFO is full.
pub const FR_RXFF: u32 = 1 << 6;
/// UARTFR: the transmit FIFO is empty.
pub const FR_TXFE: u32 = 1 << 7;

/// UARTLCR_H: the FIFOs are enabled.
pub const LCR_H_FEN: u32 = 1 << 4;

/// UARTIFLS: receive level.
pub const IFLS_RX_SHIFT: u32 = 3;
/// UARTIFLS: mask of the receive level, shifted down.
pub const IFLS_RX_MASK: u32 = 0b111;

/// UARTIMSC, UARTRIS, UARTMIS, UARTICR: receive.
pub const INT_RX: u32 = 1 << 4;
/// UARTIMSC, UARTRIS, UARTMIS, UARTICR: transmit.
pub const INT_TX: u32 = 1 << 5;
/// UARTIMSC, UARTRIS, UARTMIS, UARTICR: receive timeout.
pub const INT_RT: u32 = 1 << 6;
/// UARTIMSC, UARTRIS, UARTMIS, UARTICR: all.
pub const INT_ALL: u32 = 0x7ff;

/// UARTCR at reset: RXE and TXE.
pub const CR_RESET: u32 = 0x300;
/// UARTIFLS at reset: both levels at a half.
pub const IFLS_RESET: u32 = 0x12;

/// Entries of each FIFO up to revision r1p4.
pub const FIFO_ENTRIES: usize = 16;

/// UARTPeriphID0–3 of revision r1p1 and UARTPCellID0–3.
pub const ID_BYTES: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
