//! A BCM54213PE on MDIO, with a partner at the other end of the cable.
//!
//! | register | access | reset | source |
//! |---|---|---|---|
//! | 0 BMCR | RW; bit 15 clears itself, bit 9 clears itself | 0x1140 | IEEE 802.3, 22.2.4.1 |
//! | 1 BMSR | RO; bit 2 latches low | 0x7949 | 22.2.4.2 |
//! | 2, 3 identifier | RO | 0x600d, 0x84a2 | Linux `brcmphy.h`, BCM54213PE |
//! | 4 advertisement | RW | 0x01e1 | 28.2.4.1.3 |
//! | 5 partner | RO | field `partner` | 28.2.4.1.4 |
//! | 9, 10 | RW, RO | 0x0200, field | 40.5.1.1 |
//! | 13, 14 MMD | RW | EEE 6 | 22.3.2, 45.2.7.13 |
//! | 0x18 auxiliary control | shadow, bits 2:0; bit 15 writes shadow 7 | skew off | Linux `brcmphy.h` |
//! | 0x1c shadow | bits 14:10; bit 15 writes | delay on | same |

use crate::phy::{self as reg, Operation};
use std::cell::Cell;

pub struct PhyModel {
    pub partner: Cell<u16>,
    pub partner_1000: Cell<u16>,
    /// The cable is in.
    pub cable: Cell<bool>,
    /// Fault: nobody answers.
    pub absent: Cell<bool>,
    /// Fault: reset never ends.
    pub stuck: Cell<bool>,
    pub rxc_skew: Cell<bool>,
    pub gtx_delay: Cell<bool>,
    pub eee: Cell<u16>,
    lost: Cell<bool>,
    control: Cell<u16>,
    offer: Cell<(u16, u16)>,
    selected: Cell<(u16, u16)>,
    mmd: Cell<(u16, u16)>,
}

impl PhyModel {
    pub fn new() -> Self {
        Self {
            partner: Cell::new(0x4de1),
            partner_1000: Cell::new(0x0800),
            cable: Cell::new(true),
            absent: Cell::new(false),
            stuck: Cell::new(false),
            rxc_skew: Cell::new(false),
            gtx_delay: Cell::new(true),
            eee: Cell::new(6),
            lost: Cell::new(false),
            control: Cell::new(0x1140),
            offer: Cell::new((0x01e1, 0x0200)),
            selected: Cell::new((0, 0)),
            mmd: Cell::new((0, 0)),
        }
    }

    /// The cable goes out and in again at once.
    pub fn flap(&self) {
        self.lost.set(true);
    }

    /// One operation; `None`: nobody drove the line.
    pub fn run(&self, operation: Operation) -> Option<u16> {
        if self.absent.get() {
            return None;
        }
        match operation {
            Operation::Read(register) => Some(self.read(register)),
            Operation::Write(register, value) => {
                self.write(register, value);
                Some(0)
            }
        }
    }

    fn read(&self, register: u8) -> u16 {
        match register {
            reg::BMCR => self.control.get(),
            reg::BMSR => {
                let up = self.cable.get() && !self.lost.replace(false);
                0x7949 | if up { 1 << 2 | 1 << 5 } else { 0 }
            }
            reg::ID_HIGH => 0x600d,
            reg::ID_LOW => 0x84a2,
            reg::PARTNER => self.partner.get(),
            reg::STATUS_1000 => self.partner_1000.get(),
            reg::AUXILIARY if self.selected.get().0 == 7 => u16::from(self.rxc_skew.get()) << 8 | 0x7007,
            reg::SHADOW if self.selected.get().1 == 3 => 3 << 10 | u16::from(self.gtx_delay.get()) << 9,
            _ => 0,
        }
    }

    fn write(&self, register: u8, value: u16) {
        let (auxiliary, shadow) = self.selected.get();
        match register {
            reg::BMCR if value >> 15 == 1 && self.stuck.get() => self.control.set(value),
            reg::BMCR => self.control.set(value & !(1 << 15 | 1 << 9)),
            reg::ADVERTISE => self.offer.set((value, self.offer.get().1)),
            reg::CONTROL_1000 => self.offer.set((self.offer.get().0, value)),
            reg::MMD_CONTROL => self.mmd.set((value, self.mmd.get().1)),
            reg::MMD_DATA if self.mmd.get().0 == 7 => self.mmd.set((7, value)),
            reg::MMD_DATA if self.mmd.get() == (0x4007, 60) => self.eee.set(value),
            reg::AUXILIARY if value & 0x8007 == 0x8007 => self.rxc_skew.set(value & 1 << 8 != 0),
            reg::AUXILIARY => self.selected.set((value >> 12 & 7, shadow)),
            reg::SHADOW if value & 0xfc00 == 0x8c00 => self.gtx_delay.set(value & 1 << 9 != 0),
            reg::SHADOW => self.selected.set((auxiliary, value >> 10 & 0x1f)),
            _ => panic!("a write of {value:#x} to PHY register {register}"),
        }
    }
}

impl Default for PhyModel {
    fn default() -> Self {
        Self::new()
    }
}
