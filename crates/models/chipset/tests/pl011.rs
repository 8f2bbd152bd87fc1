//! PL011 as drivers use it, and against a reference of a few lines.

#![allow(clippy::expect_used, clippy::panic)]

use chipset::Pl011;
use ports::fake::{FakeLine, FakeSink};
use ports::{ByteSink, InterruptLine, MmioDevice, Width};
use proptest::prelude::*;
use specs::pl011::*;
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Clone, Default)]
struct Outside {
    line: Rc<FakeLine>,
    sink: Rc<FakeSink>,
}

impl InterruptLine for Outside {
    fn raise(&self) {
        self.line.raise();
    }

    fn lower(&self) {
        self.line.lower();
    }
}

impl ByteSink for Outside {
    fn put(&self, bytes: &[u8]) {
        self.sink.put(bytes);
    }
}

struct Bench {
    uart: Pl011<Outside, Outside>,
    outside: Outside,
}

impl Bench {
    fn new() -> Self {
        let outside = Outside::default();
        Self { uart: Pl011::new(outside.clone(), outside.clone()), outside }
    }

    fn read(&mut self, register: u64) -> u32 {
        u32::try_from(self.uart.read(register, Width::W32)).expect("a 32-bit register")
    }

    fn write(&mut self, register: u64, value: u32) {
        self.uart.write(register, Width::W32, u64::from(value));
    }

    fn is_high(&self) -> bool {
        self.outside.line.high.get()
    }

    fn receive_all(&mut self, bytes: &[u8]) -> usize {
        bytes.iter().take_while(|byte| self.uart.receive(**byte)).count()
    }

    fn read_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.read(FR) & FR_RXFE == 0 {
            bytes.push(self.read(DR).to_le_bytes()[0]);
        }
        bytes
    }
}

#[test]
fn reset_values_are_those_of_the_manual() {
    let mut bench = Bench::new();
    for (register, value) in
        [(FR, 0x90), (LCR_H, 0), (CR, 0x300), (IFLS, 0x12), (IMSC, 0), (RIS, 0), (RSR, 0)]
    {
        assert_eq!(bench.read(register), value, "{register:#x}");
    }
}

#[test]
fn the_identification_is_read_a_byte_a_word() {
    let mut bench = Bench::new();
    let ids: Vec<u32> = (0..8).map(|index| bench.read(ID + 4 * index)).collect();
    assert_eq!(ids, [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!((bench.read(ID + 1), bench.read(ID - 4), bench.read(0x1000)), (0, 0, 0));
}

/// earlycon: nothing is set up, 32-bit or 8-bit stores to UARTDR.
#[test]
fn a_byte_is_sent_without_any_setting() {
    let mut bench = Bench::new();
    for (byte, width) in [(b'a', Width::W8), (b'b', Width::W16), (b'c', Width::W32), (b'd', Width::W64)] {
        assert_eq!(bench.read(FR) & (FR_TXFF | FR_TXFE), FR_TXFE);
        bench.uart.write(DR, width, 0xffff_ff00 | u64::from(byte));
    }
    assert_eq!(*bench.outside.sink.0.borrow(), b"abcd");
    assert_eq!(bench.outside.line.edges.get(), 0, "masked");
}

/// Linux's amba-pl011: FIFO on, RX and RT unmasked, TX unmasked while there is something to send.
#[test]
fn an_interrupt_driven_console_works() {
    let mut bench = Bench::new();
    bench.write(CR, 0x301);
    bench.write(LCR_H, LCR_H_FEN | 0x60);
    bench.write(ICR, INT_ALL);
    bench.write(IMSC, INT_RX | INT_RT);
    assert!(!bench.is_high());
    bench.write(DR, u32::from(b'x'));
    assert!(!bench.is_high());
    bench.write(IMSC, INT_RX | INT_RT | INT_TX);
    assert!(bench.is_high(), "room in the transmit FIFO");
    assert_eq!(bench.read(MIS), INT_TX);
    bench.write(ICR, INT_TX);
    assert!(!bench.is_high());
    bench.write(DR, u32::from(b'y'));
    assert!(bench.is_high());
    bench.write(IMSC, INT_RX | INT_RT);
    assert!(!bench.is_high());
    assert!(bench.uart.receive(b'k'));
    assert!(bench.is_high());
    assert_eq!(bench.read(MIS), INT_RT);
    assert_eq!(bench.read_all(), b"k");
    assert!(!bench.is_high(), "an empty FIFO has no timeout");
}

#[test]
fn the_receive_interrupt_follows_the_level() {
    for (select, level) in [(0, 2), (1, 4), (2, 8), (3, 12), (4, 14)] {
        let mut bench = Bench::new();
        bench.write(LCR_H, LCR_H_FEN);
        bench.write(IFLS, select << IFLS_RX_SHIFT);
        bench.write(IMSC, INT_RX);
        assert_eq!(bench.receive_all(&[1; 16][..level - 1]), level - 1);
        assert!(!bench.is_high(), "level {level}");
        bench.uart.receive(1);
        assert!(bench.is_high(), "level {level}");
        bench.read(DR);
        assert!(!bench.is_high(), "level {level}");
    }
}

#[test]
fn what_does_not_fit_is_left_to_the_sender() {
    let mut bench = Bench::new();
    assert_eq!(bench.receive_all(b"12"), 1, "no FIFO: one byte");
    assert_ne!(bench.read(FR) & FR_RXFF, 0);
    bench.write(LCR_H, LCR_H_FEN);
    assert_eq!(bench.read(FR) & (FR_RXFE | FR_RXFF), FR_RXFE, "switching empties");
    let bytes: Vec<u8> = (0..20).collect();
    assert_eq!(bench.receive_all(&bytes), 16);
    assert_eq!(bench.read(DR), 0);
    assert_eq!(bench.receive_all(&[99, 98]), 1);
    assert_eq!(bench.read_all(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 99]);
    assert_eq!(bench.read(DR), 0, "reading an empty FIFO");
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, Width),
    Write(u64, Width, u64),
    Receive(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![
        proptest::sample::select(vec![DR, FR, LCR_H, CR, IFLS, IMSC, RIS, MIS, ICR]),
        0_u64..0x1000,
        any::<u64>()
    ];
    let width = proptest::sample::select(vec![Width::W8, Width::W16, Width::W32, Width::W64]);
    prop_oneof![
        (offset.clone(), width.clone()).prop_map(|(offset, width)| Step::Read(offset, width)),
        (offset, width, any::<u64>()).prop_map(|(offset, width, value)| Step::Write(offset, width, value)),
        any::<u8>().prop_map(Step::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn flags_line_and_bytes_are_those_of_the_reference(steps in proptest::collection::vec(step(), 0..if cfg!(miri) { 12 } else { 120 })) {
        let mut bench = Bench::new();
        let (mut queue, mut sent, mut fifo) = (VecDeque::new(), Vec::new(), false);
        for step in steps {
            match step {
                Step::Read(DR, width) => {
                    let byte = bench.uart.read(DR, width);
                    prop_assert_eq!(byte, u64::from(queue.pop_front().unwrap_or(0)));
                }
                Step::Read(offset, width) => {
                    let value = bench.uart.read(offset, width);
                    prop_assert_eq!(value, width.truncate(value));
                }
                Step::Write(offset, width, value) => {
                    bench.uart.write(offset, width, width.truncate(value));
                    if offset == DR {
                        sent.push(value.to_le_bytes()[0]);
                    }
                    let now = value & u64::from(LCR_H_FEN) != 0;
                    if offset == LCR_H && now != fifo {
                        queue.clear();
                        fifo = now;
                    }
                }
                Step::Receive(byte) => {
                    let room = queue.len() < if fifo { FIFO_ENTRIES } else { 1 };
                    prop_assert_eq!(bench.uart.receive(byte), room);
                    if room {
                        queue.push_back(byte);
                    }
                }
            }
            let mut flags = FR_TXFE;
            flags |= if queue.is_empty() { FR_RXFE } else { 0 };
            flags |= if queue.len() >= if fifo { FIFO_ENTRIES } else { 1 } { FR_RXFF } else { 0 };
            prop_assert_eq!(bench.read(FR), flags);
            let pending = bench.read(RIS) & bench.read(IMSC);
            prop_assert_eq!(bench.read(MIS), pending);
            prop_assert_eq!(bench.is_high(), pending != 0);
        }
        prop_assert_eq!(&*bench.outside.sink.0.borrow(), &sent);
    }
}
