//! The driver against a transmitter that fills up, and against the receiver as the manual describes it.

mod receiver;

use super::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

/// A transmitter of `room` bytes, and what is to be received.
#[derive(Default)]
struct Fake {
    values: RefCell<BTreeMap<usize, u32>>,
    stores: RefCell<Vec<(usize, u32)>>,
    sent: RefCell<Vec<u8>>,
    room: usize,
    incoming: RefCell<VecDeque<u32>>,
}

impl Registers for &Fake {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            0x00 => self.incoming.borrow_mut().pop_front().unwrap(),
            0x18 => {
                let full = if self.sent.borrow().len() >= self.room { 0x20 } else { 0 };
                full | if self.incoming.borrow().is_empty() { 0x10 } else { 0 }
            }
            _ => self.values.borrow().get(&offset).copied().unwrap_or(0),
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        if offset == 0 {
            self.sent.borrow_mut().push(value.to_le_bytes()[0]);
        } else {
            self.stores.borrow_mut().push((offset, value));
            self.values.borrow_mut().insert(offset, value);
        }
    }
    fn read8(&self, _offset: usize) -> u8 {
        panic!("the PL011 is accessed by words");
    }
    fn write8(&self, _offset: usize, _value: u8) {
        panic!("the PL011 is accessed by words");
    }
}

#[test]
fn a_running_line_is_left_as_it_is() {
    let fake = Fake::default();
    fake.values.borrow_mut().insert(0x30, 0x301);
    Pl011::new(&fake, None);
    assert_eq!(*fake.stores.borrow(), [(0x38, 0)]);
}

#[test]
fn a_stopped_line_is_set_up() {
    let fake = Fake::default();
    // The manual's example in 3.3.6: 4 MHz and 230400 baud make 1 and 5/64.
    Pl011::new(&fake, Some(Speed { clock_hertz: 4_000_000, baud: 230_400 }));
    let expected = [(0x38, 0), (0x30, 0), (0x24, 1), (0x28, 5), (0x2c, 0x70), (0x44, 0x7ff), (0x30, 0x301)];
    assert_eq!(*fake.stores.borrow(), expected);
}

#[test]
fn a_full_transmitter_stops_nobody() {
    let fake = Fake { room: 16, ..Fake::default() };
    let uart = Pl011::new(&fake, None);
    assert_eq!(uart.put(&[b'x'; 20]), 16);
    assert_eq!(uart.put_patiently(b"y", 1000), 0);
    assert_eq!(fake.sent.borrow().len(), 16);
}

#[test]
fn what_comes_in_is_told_apart() {
    let fake = Fake::default();
    fake.incoming.borrow_mut().extend([0x41, 0x0a42, 0x400, 0x843]);
    let uart = Pl011::new(&fake, None);
    let seen: Vec<_> = core::iter::from_fn(|| uart.receive()).collect();
    let expected = [Received::Byte(b'A'), Received::Broken, Received::Broken, Received::AfterLoss(b'C')];
    assert_eq!(seen, expected);
}

#[test]
fn impossible_speeds_are_not_set() {
    assert_eq!(Speed { clock_hertz: 48_000_000, baud: 115_200 }.divisors(), Some((26, 3)));
    assert_eq!(Speed { clock_hertz: 48_000_000, baud: 0 }.divisors(), None);
    assert_eq!(Speed { clock_hertz: 1, baud: 115_200 }.divisors(), None);
}
