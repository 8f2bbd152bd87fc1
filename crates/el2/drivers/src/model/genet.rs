//! GENET v5 with a PHY and a wire.
//!
//! | offset | register | access | reset | source |
//! |---|---|---|---|---|
//! | 0x0000 | SYS_REV_CTRL | RO | 0x06000000 (v5) | Linux `bcmgenet.c` `bcmgenet_set_hw_params` |
//! | 0x0004 | SYS_PORT_CTRL | RW | 0 | `bcmgenet.h` |
//! | 0x0008 | SYS_RBUF_FLUSH_CTRL | RW, bit 1 holds the MAC in reset | 0 | `bcmgenet.c` `bcmgenet_umac_reset` |
//! | 0x008c | EXT_RGMII_OOB_CTRL | RW | 0x20 | `bcmgenet.h` |
//! | 0x0200, 0x0208, 0x0210, 0x0214 | INTRL2 status, clear, mask set, mask clear | RO, WO, WO, WO | 0, all masked | `bcmgenet.h` |
//! | 0x0300, 0x0314, 0x039c, 0x03b4 | RBUF_CTRL, CHK, ENERGY, TBUF_SIZE | RW | 0; ENERGY 3 | `bcmgenet.h` |
//! | 0x0600, 0x0614 | TBUF_CTRL, ENERGY | RW | 0; 3 | `bcmgenet.h`, `tbuf_offset` of v5 |
//! | 0x0808 | UMAC_CMD | RW | 0 | `bcmgenet.h` |
//! | 0x080c, 0x0810, 0x0814 | MAC0, MAC1, MAX_FRAME_LEN | RW | 0 | `bcmgenet.h` |
//! | 0x0b34 | UMAC_TX_FLUSH | RW | 0 | `bcmgenet.h` |
//! | 0x0c00–0x0d00 | MIB counters | RO | 0 | `bcmgenet.h` |
//! | 0x0e14 | MDIO_CMD | RW; bit 29 clears itself | 0 | `bcmgenet.h`, `mdio-bcm-unimac.c` |
//! | 0x2000 + 12n | receive descriptors | RW | junk | U-Boot `bcmgenet.c` |
//! | 0x3000, 0x3400 | RDMA ring 16; index 8 RO, discards in 31:16 | RW | junk index | Linux `genet_dma_ring_regs_v4` |
//! | 0x3440 | RDMA common | RW; STATUS RO | 0 | Linux `bcmgenet_dma_regs_v3plus` |
//! | 0x4000, 0x5000, 0x5400, 0x5440 | TDMA, likewise | | | |
//!
//! The device's indices begin at a junk value and can't be written, as U-Boot's driver notes of the hardware.

use super::memory::TwoViews;
use super::phy::PhyModel;
use crate::genet::registers as reg;
use crate::hardware::{DeviceAddress, Registers};
use crate::phy::Operation;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec::Vec;

const BASES: [usize; 2] = [reg::RDMA, reg::TDMA];

pub struct GenetModel {
    memory: Rc<TwoViews>,
    pub phy: PhyModel,
    words: RefCell<BTreeMap<usize, u32>>,
    /// Frames sent to the wire.
    pub sent: RefCell<Vec<Vec<u8>>>,
    status: Cell<u32>,
    masked: Cell<u32>,
    received: Cell<u32>,
    consumed: Cell<u32>,
    discards: Cell<u32>,
    mdio_left: Cell<u32>,
    /// Revision that is shown.
    pub revision: Cell<u32>,
    /// Fault: nothing is sent.
    pub stuck: Cell<bool>,
    /// Fault: DMA does not stop.
    pub runs_on: Cell<bool>,
    /// Fault: MDIO never ends.
    pub mdio_stuck: Cell<bool>,
    /// Fault: these bits are put into the status of the next frame received.
    pub damage: Cell<u32>,
    /// Fault: added to the device's indices when they are read.
    pub wrong_index: Cell<u32>,
    /// Register accesses.
    pub accesses: Cell<u32>,
}

impl GenetModel {
    pub fn new(memory: Rc<TwoViews>) -> Rc<Self> {
        let words = BTreeMap::from([
            (reg::EXT_RGMII_OOB_CTRL, reg::OOB_DISABLE),
            (reg::RBUF_ENERGY_CTRL, 3),
            (reg::TBUF_ENERGY_CTRL, 3),
        ]);
        Rc::new(Self {
            memory,
            phy: PhyModel::new(),
            words: RefCell::new(words),
            sent: RefCell::default(),
            status: Cell::new(0),
            masked: Cell::new(u32::MAX),
            received: Cell::new(0xfff0),
            consumed: Cell::new(0xfffd),
            discards: Cell::new(3),
            mdio_left: Cell::new(0),
            revision: Cell::new(0x0600_0000),
            stuck: Cell::new(false),
            runs_on: Cell::new(false),
            mdio_stuck: Cell::new(false),
            damage: Cell::new(0),
            wrong_index: Cell::new(0),
            accesses: Cell::new(0),
        })
    }

    pub fn word(&self, offset: usize) -> u32 {
        self.words.borrow().get(&offset).copied().unwrap_or(0)
    }

    /// Level of the interrupt line.
    pub fn interrupts(&self) -> bool {
        self.status.get() & !self.masked.get() != 0
    }

    fn mac_on(&self, bit: u32) -> bool {
        self.word(reg::UMAC_CMD) & bit != 0 && self.phy.cable.get()
    }

    fn dma_on(&self, base: usize) -> bool {
        self.word(base + reg::DMA + reg::DMA_CTRL) & reg::DMA_ENABLE == reg::DMA_ENABLE
    }

    fn ring(&self, base: usize, offset: usize) -> u32 {
        self.word(base + reg::RING_16 + offset)
    }

    fn descriptor(&self, base: usize, index: u32) -> (u32, DeviceAddress) {
        let at = base + (index % 256) as usize * reg::DESCRIPTOR_BYTES;
        let address = u64::from(self.word(at + 8)) << 32 | u64::from(self.word(at + 4));
        (self.word(at), DeviceAddress(address))
    }

    /// A frame comes from the wire, without FCS; `false` when it is lost.
    pub fn receive(&self, frame: &[u8]) -> bool {
        if !self.mac_on(reg::CMD_RX_EN) || !self.dma_on(reg::RDMA) {
            return false;
        }
        let full =
            self.received.get().wrapping_sub(self.ring(reg::RDMA, reg::RING_OUR_INDEX)) & 0xffff >= 256;
        if full {
            self.discards.set(self.discards.get() + 1);
            return false;
        }
        assert_eq!(self.word(reg::RBUF_CTRL) & 3, 3, "status block and alignment");
        let index = self.received.get();
        let (_, at) = self.descriptor(reg::RDMA, index);
        let length = (64 + 2 + frame.len()) as u32;
        let checked = if self.word(reg::RBUF_CHK_CTRL) & 1 != 0 { reg::RX_CHECKED } else { 0 };
        let word = (length << 16 | reg::SOP | reg::EOP | checked) ^ self.damage.replace(0);
        self.words.borrow_mut().insert(reg::RDMA + (index % 256) as usize * 12, word);
        let mut block = std::vec![0; 66];
        block[..4].copy_from_slice(&word.to_le_bytes());
        block.extend_from_slice(frame);
        self.memory.device_write(at, &block);
        self.received.set((index + 1) & 0xffff);
        self.status.set(self.status.get() | reg::IRQ_RXDMA_MBDONE);
        true
    }

    /// Sends what is ready.
    pub fn run(&self) {
        if self.stuck.get() || !self.mac_on(reg::CMD_TX_EN) || !self.dma_on(reg::TDMA) {
            return;
        }
        while self.consumed.get() != self.ring(reg::TDMA, reg::RING_OUR_INDEX) {
            let (word, at) = self.descriptor(reg::TDMA, self.consumed.get());
            let mut block = std::vec![0; (word >> 16 & 0xfff) as usize];
            self.memory.device_read(at, &mut block);
            self.sent.borrow_mut().push(Self::frame(word, &block));
            self.consumed.set((self.consumed.get() + 1) & 0xffff);
        }
    }

    /// What goes to the wire: the block without its status, with the checksum that it asks for.
    fn frame(word: u32, block: &[u8]) -> Vec<u8> {
        assert_eq!(
            word & (reg::SOP | reg::EOP | 0x40),
            reg::SOP | reg::EOP | 0x40,
            "a whole frame, FCS added"
        );
        let mut frame = block[64..].to_vec();
        assert!(frame.len() >= 60, "a runt");
        if word & reg::TX_CHECKSUM != 0 {
            let info = u32::from_le_bytes(block[48..52].try_into().unwrap());
            assert_ne!(info & reg::TX_CHECKSUM_VALID, 0, "checksum information");
            let (start, field) = ((info >> 16 & 0x7fff) as usize, (info & 0x7fff) as usize);
            let sum = internet_checksum(&frame[start..]);
            let sum = if sum == 0 && info & reg::TX_CHECKSUM_UDP != 0 { 0xffff } else { sum };
            frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }

    fn mdio(&self, word: u32) {
        if word & reg::MDIO_START_BUSY == 0 {
            return;
        }
        let register = (word >> 16 & 0x1f) as u8;
        let operation = if word & reg::MDIO_WRITE != 0 {
            Operation::Write(register, word as u16)
        } else {
            Operation::Read(register)
        };
        let mine = word >> 21 & 0x1f == 1;
        let answer = self.phy.run(operation).filter(|_| mine);
        let value = answer.map_or(reg::MDIO_READ_FAIL, u32::from);
        self.mdio_left.set(2);
        self.words.borrow_mut().insert(reg::MDIO_CMD, word & 0x0fff_0000 | value | reg::MDIO_START_BUSY);
    }
}

/// RFC 1071.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Registers for Rc<GenetModel> {
    fn read32(&self, offset: usize) -> u32 {
        self.accesses.set(self.accesses.get() + 1);
        const RX_INDEX: usize = reg::RDMA + reg::RING_16 + reg::RING_DEVICE_INDEX;
        const TX_INDEX: usize = reg::TDMA + reg::RING_16 + reg::RING_DEVICE_INDEX;
        match offset {
            reg::SYS_REV_CTRL => self.revision.get(),
            reg::INTRL2_STATUS => self.status.get(),
            RX_INDEX => {
                let index = self.received.get().wrapping_add(self.wrong_index.get()) & 0xffff;
                self.discards.get() << 16 | index
            }
            TX_INDEX => self.consumed.get().wrapping_add(self.wrong_index.get()) & 0xffff,
            reg::MDIO_CMD => {
                let left = self.mdio_left.get();
                self.mdio_left.set(left.saturating_sub(1));
                let word = self.word(offset);
                if left <= 1 && !self.mdio_stuck.get() { word & !reg::MDIO_START_BUSY } else { word }
            }
            _ if BASES.iter().any(|base| offset == base + reg::DMA + reg::DMA_STATUS) => {
                let base = offset - reg::DMA - reg::DMA_STATUS;
                u32::from(!self.dma_on(base) && !self.runs_on.get())
            }
            _ => self.word(offset),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        self.accesses.set(self.accesses.get() + 1);
        match offset {
            reg::INTRL2_CLEAR => self.status.set(self.status.get() & !value),
            reg::INTRL2_MASK_SET => self.masked.set(self.masked.get() | value),
            reg::INTRL2_MASK_CLEAR => self.masked.set(self.masked.get() & !value),
            reg::SYS_REV_CTRL | reg::INTRL2_STATUS => panic!("a write to the read-only register {offset:#x}"),
            reg::MDIO_CMD => self.mdio(value),
            _ => {
                self.words.borrow_mut().insert(offset, value);
            }
        }
    }

    fn read8(&self, offset: usize) -> u8 {
        panic!("a byte read at {offset:#x}")
    }

    fn write8(&self, offset: usize, _value: u8) {
        panic!("a byte write at {offset:#x}")
    }
}
