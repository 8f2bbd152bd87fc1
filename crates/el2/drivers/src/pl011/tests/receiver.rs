//! The receiver and its interrupts, as the manual and QEMU have them: DDI 0183, 2.8 "Interrupts" and 3.3.7 "Line control
//! register". Nothing that is typed may stay in it unseen.

use super::super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::vec::Vec;

/// The part that receives.
struct Receiver {
    /// Bytes at which UARTRXINTR rises: 1 in QEMU, 8 on the board.
    level: usize,
    fifo: VecDeque<u8>,
    line_control: u32,
    control: u32,
    mask: u32,
    raw: u32,
}

impl Receiver {
    fn depth(&self) -> usize {
        if self.line_control & regs::LCR_H_FEN != 0 { regs::FIFO_ENTRIES } else { 1 }
    }

    fn read(&mut self) -> u32 {
        let byte = self.fifo.pop_front().unwrap_or(0);
        if self.fifo.len() < self.level {
            self.raw &= !regs::INT_RX;
        }
        if self.fifo.is_empty() {
            self.raw &= !regs::INT_RT;
        }
        u32::from(byte)
    }
}

struct Model(RefCell<Receiver>);

impl Model {
    fn new(level: usize, control: u32, line_control: u32) -> Self {
        let fifo = VecDeque::new();
        Self(RefCell::new(Receiver { level, fifo, line_control, control, mask: 0x7ff, raw: 0 }))
    }

    /// A byte comes, if there is room for it.
    fn arrive(&self, byte: u8) -> bool {
        let mut receiver = self.0.borrow_mut();
        let room = receiver.fifo.len() < receiver.depth();
        if room {
            receiver.fifo.push_back(byte);
            if receiver.fifo.len() == receiver.level {
                receiver.raw |= regs::INT_RX;
            }
        }
        room
    }

    /// 32 bit times pass after a byte.
    fn pause(&self) {
        let mut receiver = self.0.borrow_mut();
        if !receiver.fifo.is_empty() {
            receiver.raw |= regs::INT_RT;
        }
    }

    fn line(&self) -> bool {
        let receiver = self.0.borrow();
        receiver.raw & receiver.mask != 0
    }
}

impl Registers for &Model {
    fn read32(&self, offset: usize) -> u32 {
        let mut receiver = self.0.borrow_mut();
        match offset as u64 {
            regs::DR => receiver.read(),
            regs::FR => u32::from(receiver.fifo.is_empty()) * regs::FR_RXFE,
            regs::CR => receiver.control,
            _ => 0,
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        let mut receiver = self.0.borrow_mut();
        match offset as u64 {
            regs::LCR_H => {
                if (receiver.line_control ^ value) & regs::LCR_H_FEN != 0 {
                    receiver.fifo.clear();
                }
                receiver.line_control = value;
            }
            regs::CR => receiver.control = value,
            regs::IMSC => receiver.mask = value,
            regs::ICR => receiver.raw &= !value,
            _ => {}
        }
    }
    fn read8(&self, _offset: usize) -> u8 {
        panic!("the PL011 is accessed by words");
    }
    fn write8(&self, _offset: usize, _value: u8) {
        panic!("the PL011 is accessed by words");
    }
}

/// As the vmkernel's console: some of what is there, and back to the guest.
fn take(uart: &Pl011<&Model>, limit: usize, taken: &mut Vec<u8>) {
    for _ in 0..limit {
        match uart.receive() {
            Some(Received::Byte(byte)) => taken.push(byte),
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
}

#[test]
fn no_interrupt_is_left_on_by_whoever_had_the_line() {
    let model = Model::new(1, 0x301, 0x70);
    model.arrive(b'x');
    Pl011::new(&model, None);
    assert!(!model.line());
}

#[test]
fn a_byte_from_before_and_the_ones_after_it_are_seen() {
    let model = Model::new(1, 0x301, 0x70);
    model.arrive(b'a');
    // Firmware has cleared what it did not read.
    (&model).write32(at(regs::ICR), regs::INT_ALL);
    let uart = Pl011::new(&model, None);
    uart.enable_receive_interrupt();
    let mut taken = Vec::new();
    take(&uart, 64, &mut taken);
    assert_eq!(taken, b"a");
    model.arrive(b'b');
    assert!(model.line());
    take(&uart, 64, &mut taken);
    assert_eq!(taken, b"ab");
    assert!(!model.line(), "an interrupt that nobody can end");
}

#[derive(Clone, Debug)]
enum Event {
    Arrive(u8),
    Pause,
    Interrupt(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<u8>().prop_map(Event::Arrive),
        1 => Just(Event::Pause),
        2 => (1_usize..20).prop_map(Event::Interrupt),
    ]
}

proptest! {
    #[test]
    fn all_that_is_typed_is_seen(
        level in prop_oneof![Just(1_usize), Just(2), Just(8)],
        running: bool,
        before in 0_usize..3,
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let (control, line_control) = if running { (0x301, 0x70) } else { (0, 0) };
        let model = Model::new(level, control, line_control);
        let uart = Pl011::new(&model, None);
        let mut typed: Vec<u8> = (0..before).map(|_| b'.').filter(|byte| model.arrive(*byte)).collect();
        uart.enable_receive_interrupt();
        let mut taken = Vec::new();
        take(&uart, 64, &mut taken);
        for event in events {
            match event {
                Event::Arrive(byte) => typed.extend(model.arrive(byte).then_some(byte)),
                Event::Pause => model.pause(),
                Event::Interrupt(limit) if model.line() => take(&uart, limit, &mut taken),
                Event::Interrupt(_) => {}
            }
        }
        model.pause();
        while model.line() {
            take(&uart, 3, &mut taken);
        }
        prop_assert_eq!(taken, typed);
    }
}
