//! The Pi's mailbox with a firmware behind it.
//!
//! | offset | register | access | reset | source |
//! |---|---|---|---|---|
//! | 0x00 | MAIL0_RD | RO, pops | none | Linux `bcm2835-mailbox.c` |
//! | 0x18 | MAIL0_STA | RO: bit 31 full, bit 30 empty | empty | same |
//! | 0x1c | MAIL0_CNF | RW: bit 0 interrupt on data | 0 | same |
//! | 0x20 | MAIL1_WRT | WO | none | same |
//! | 0x38 | MAIL1_STA | RO: bit 31 full | empty | QEMU `hw/misc/bcm2835_mbox.c` |
//!
//! Messages: firmware wiki, "Mailbox property interface". The firmware answers in [`MailboxModel::run`].

use super::memory::TwoViews;
use crate::hardware::{DeviceAddress, Registers};
use crate::mailbox as reg;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::vec::Vec;

pub struct MailboxModel {
    memory: Rc<TwoViews>,
    to_pe: RefCell<VecDeque<u32>>,
    asked: RefCell<VecDeque<u32>>,
    /// Levels of the expander's lines.
    pub lines: RefCell<BTreeMap<u32, u32>>,
    /// Questions written.
    pub questions: Cell<u32>,
    pub config: Cell<u32>,
    /// Fault: no answer until switched off.
    pub silent: Cell<bool>,
    /// Fault: the message is bad.
    pub refuse_message: Cell<bool>,
    /// Fault: this tag is unknown.
    pub unknown: Cell<u32>,
    /// Fault: answers are half as long as they should be.
    pub short: Cell<bool>,
    /// Fault: lines can't be switched.
    pub refuse_lines: Cell<bool>,
    /// Fault: nothing can be written.
    pub full: Cell<bool>,
    /// Fault: this is written over the message.
    pub raw: RefCell<Option<Vec<u8>>>,
}

impl MailboxModel {
    pub fn new(memory: Rc<TwoViews>) -> Rc<Self> {
        Rc::new(Self {
            memory,
            to_pe: RefCell::default(),
            asked: RefCell::default(),
            lines: RefCell::default(),
            questions: Cell::new(0),
            config: Cell::new(0),
            silent: Cell::new(false),
            refuse_message: Cell::new(false),
            unknown: Cell::new(0),
            short: Cell::new(false),
            refuse_lines: Cell::new(false),
            full: Cell::new(false),
            raw: RefCell::new(None),
        })
    }

    /// Something for the PE.
    pub fn put(&self, word: u32) {
        self.to_pe.borrow_mut().push_back(word);
    }

    /// Level of the interrupt line.
    pub fn interrupts(&self) -> bool {
        self.config.get() & reg::INTERRUPT != 0 && !self.to_pe.borrow().is_empty()
    }

    /// The firmware answers what was asked.
    pub fn run(&self) {
        if self.silent.get() {
            return;
        }
        while let Some(word) = self.asked.borrow_mut().pop_front() {
            assert_eq!(word & 0xf, reg::PROPERTIES, "channel");
            self.answer(DeviceAddress(u64::from(word & !0xf)));
            self.put(word);
        }
    }

    fn answer(&self, at: DeviceAddress) {
        if let Some(raw) = self.raw.borrow().as_ref() {
            return self.memory.device_write(at, raw);
        }
        let mut raw = [0; 48];
        self.memory.device_read(at, &mut raw);
        let mut words: Vec<u32> =
            raw.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!((words[0], words[1]), (48, 0), "size and code of a request");
        let value = [words[5], words[6]];
        let answer = match words[2] {
            tag if tag == self.unknown.get() => None,
            0x0000_0001 => Some(([0x6543_2100, 0], 4)),
            0x0001_0002 => Some(([0x00c0_3115, 0], 4)),
            0x0001_0003 => Some(([0x0132_a6dc, 0x0302], 6)),
            0x0001_0004 => Some(([0x89ab_cdef, 0x1000_0000], 8)),
            0x0003_0002 => Some(([value[0], if value[0] == 12 { 100_000_000 } else { 250_000_000 }], 8)),
            0x0003_0006 => Some(([0, 48_312], 8)),
            0x0003_0046 => Some(([0x5_0000, 0], 4)),
            0x0003_0041 | 0x0003_8041 if self.refuse_lines.get() => Some(([1, 0], 8)),
            0x0003_0041 => Some(([0, self.lines.borrow().get(&value[0]).copied().unwrap_or(0)], 8)),
            0x0003_8041 => {
                self.lines.borrow_mut().insert(value[0], value[1]);
                Some(([0, value[1]], 8))
            }
            tag => panic!("the driver asks with the unknown tag {tag:#x}"),
        };
        words[1] = if self.refuse_message.get() { 0x8000_0001 } else { reg::SUCCESS };
        if let Some((value, bytes)) = answer {
            assert!(words[3] >= bytes, "room for the answer");
            words[4] = reg::ANSWERED | if self.short.get() { bytes / 2 } else { bytes };
            words[5..7].copy_from_slice(&value);
        }
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.memory.device_write(at, &raw);
    }
}

impl Registers for Rc<MailboxModel> {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            reg::READ => self.to_pe.borrow_mut().pop_front().expect("a read of an empty mailbox"),
            reg::STATUS if self.to_pe.borrow().is_empty() => reg::EMPTY,
            reg::STATUS => 0,
            reg::WRITE_STATUS if self.full.get() => reg::FULL,
            reg::WRITE_STATUS => 0,
            reg::CONFIG => self.config.get(),
            _ => panic!("a read at {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        match offset {
            reg::WRITE => {
                assert!(!self.full.get(), "a write to a full mailbox");
                self.questions.set(self.questions.get() + 1);
                self.asked.borrow_mut().push_back(value);
            }
            reg::CONFIG => self.config.set(value),
            _ => panic!("a write at {offset:#x}"),
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte read at {offset:#x}")
    }

    fn write8(&self, offset: usize, _value: u8) {
        panic!("a byte write at {offset:#x}")
    }
}
