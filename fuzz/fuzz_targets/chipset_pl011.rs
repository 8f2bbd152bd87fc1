//! PL011 under any accesses and input: flags and interrupt line always agree with the registers.
#![no_main]

use chipset::Pl011;
use ports::fake::{FakeLine, FakeSink};
use ports::{ByteSink, MmioDevice, Width};
use specs::pl011::{FIFO_ENTRIES, FR, FR_RXFE, IMSC, MIS, RIS};

struct Sink<'a>(&'a FakeSink);

impl ByteSink for Sink<'_> {
    fn put(&self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let (line, sink) = (FakeLine::default(), FakeSink::default());
    let mut uart = Pl011::new(&line, Sink(&sink));
    let widths = [Width::W8, Width::W16, Width::W32, Width::W64];
    for step in script.chunks_exact(4) {
        let [kind, register, low, high] = [step[0], step[1], step[2], step[3]];
        let (width, offset) =
            (widths[usize::from(kind >> 2 & 3)], u64::from(register) << 2 | u64::from(kind >> 6));
        match kind & 3 {
            0 => drop(uart.read(offset, width)),
            1 => uart.write(offset, width, u64::from(low) | u64::from(high) << 8),
            _ => drop(uart.receive(low)),
        }
        let pending = uart.read(RIS, Width::W32) & uart.read(IMSC, Width::W32);
        assert_eq!(uart.read(MIS, Width::W32), pending);
        assert_eq!(line.high.get(), pending != 0);
    }
    let mut reads = 0;
    while uart.read(FR, Width::W32) & u64::from(FR_RXFE) == 0 {
        uart.read(0, Width::W32);
        reads += 1;
    }
    assert!(reads <= FIFO_ENTRIES);
});
