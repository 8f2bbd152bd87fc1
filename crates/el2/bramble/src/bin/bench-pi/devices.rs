//! Registers of an SD controller with a card, and of a GENET with its PHY, that answer at once and do nothing else. What
//! they say is what the register models of `drivers::model` say, which a bare-metal build can't have.

use core::cell::Cell;
use drivers::genet::registers as genet;
use drivers::hardware::Registers;
use drivers::sdhci::registers::{self as sd, capability, clock, present, status};

/// A card of 4 GiB behind a controller with ADMA2: its registers as a table, as cheap to read as a device's.
pub struct Card([Cell<u32>; 64]);

/// R1: ready for data, state "transfer".
const READY: u32 = 1 << 8 | 4 << 9;
/// CSD of version 2, as the controller shows it: without its lowest byte.
const CSD: u128 = (1 << 126 | 0x5b5 << 84 | 9 << 80 | (8192 - 1) << 48) >> 8;

impl Default for Card {
    fn default() -> Self {
        let card = Self([const { Cell::new(0) }; 64]);
        card.set(sd::PRESENT, present::DAT | present::WRITE_ENABLED | present::INSERTED);
        card.set(sd::CLOCK, clock::STABLE | clock::INTERNAL);
        let able = capability::ADMA2 | capability::HIGH_SPEED | capability::V3_3 | 100 << 8;
        card.set(sd::CAPABILITIES, able);
        card.set(sd::VERSION, 2 << 16);
        card
    }
}

impl Card {
    fn set(&self, offset: usize, value: u32) {
        if let Some(word) = self.0.get(offset / 4) {
            word.set(value);
        }
    }

    fn answer(&self, command: u32) {
        let index = command >> 24 & 0x3f;
        let first = match index {
            8 => 0x1aa,
            41 => 0xc0ff_8000,
            3 => 0x1234 << 16 | 0x500,
            _ => READY,
        };
        self.set(sd::RESPONSE, first);
        if matches!(index, 2 | 9) {
            for (n, offset) in (0..).zip((sd::RESPONSE..sd::BUFFER).step_by(4)) {
                self.set(offset, u32::try_from(CSD >> (32 * n) & 0xffff_ffff).unwrap_or(0));
            }
        }
        self.set(sd::STATUS, status::COMMAND | status::TRANSFER);
    }
}

impl Registers for &Card {
    #[inline]
    fn read32(&self, offset: usize) -> u32 {
        self.0.get(offset / 4).map_or(0, Cell::get)
    }

    #[inline]
    fn write32(&self, offset: usize, value: u32) {
        match offset {
            sd::COMMAND => self.answer(value),
            sd::STATUS => self.set(offset, self.read32(offset) & !value),
            _ => {
                core::hint::black_box(value);
            }
        }
    }

    fn read8(&self, _offset: usize) -> u8 {
        0
    }

    fn write8(&self, _offset: usize, _value: u8) {}
}

/// A GENET whose link is up; what is sent is gone at once, and as many frames are received as are asked for.
#[derive(Default)]
pub struct Wire {
    mdio: Cell<u32>,
    sent: Cell<u32>,
    /// Index of the next frame to be received.
    pub arrived: Cell<u32>,
    /// Device address of the first receive buffer, as the driver said it.
    pub buffers: Cell<u64>,
}

const SENT: usize = genet::TDMA + genet::RING_16 + genet::RING_OUR_INDEX;
const GONE: usize = genet::TDMA + genet::RING_16 + genet::RING_DEVICE_INDEX;
const ARRIVED: usize = genet::RDMA + genet::RING_16 + genet::RING_DEVICE_INDEX;
const STOPPED: [usize; 2] =
    [genet::RDMA + genet::DMA + genet::DMA_STATUS, genet::TDMA + genet::DMA + genet::DMA_STATUS];

impl Wire {
    /// What a PHY with a gigabit partner says, by the register that was asked for.
    fn phy(&self) -> u32 {
        match self.mdio.get() >> genet::MDIO_REGISTER_SHIFT & 0x1f {
            0 => 0x1140,
            1 => 0x796d,
            2 => 0x600d,
            3 => 0x84a2,
            5 => 0x4de1,
            10 => 0x0800,
            _ => 0,
        }
    }
}

impl Registers for &Wire {
    #[inline]
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            GONE => self.sent.get(),
            ARRIVED => self.arrived.get(),
            genet::SYS_REV_CTRL => 6 << 24,
            genet::MDIO_CMD => self.phy(),
            offset if STOPPED.contains(&offset) => 1,
            _ => 0,
        }
    }

    #[inline]
    fn write32(&self, offset: usize, value: u32) {
        const FIRST_BUFFER: usize = genet::RDMA + 4;
        match offset {
            SENT => self.sent.set(value),
            genet::MDIO_CMD => self.mdio.set(value),
            FIRST_BUFFER => self.buffers.set(value.into()),
            _ => {
                core::hint::black_box(value);
            }
        }
    }

    fn read8(&self, _offset: usize) -> u8 {
        0
    }

    fn write8(&self, _offset: usize, _value: u8) {}
}
