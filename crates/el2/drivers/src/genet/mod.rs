//! The Pi's Ethernet controller, GENET v5, as an uplink of the switch.
//!
//! A guest's frame comes by [`ports::FrameSink::deliver`] from the switch, is copied once into a buffer of ours behind a
//! status block (`rings`), and sent; received frames are shown to the switch by [`Genet::receive`] where they lie.
//! [`Genet::poll`] moves the state machine: reset, rings, PHY, link, and once a second a look at the health of the rings.
//! It is called on the controller's interrupt and at the time that it named. Nothing here waits.
//!
//! One transmit and one receive ring (the default ring 16 with all 256 descriptors): the switch is one customer, and a Pi
//! has no other queues to tell apart. An uplink takes every frame (promiscuous). Checksums are the hardware's work in
//! both directions; long TCP frames are cut by `virtio::net::finish`, which sums their pieces too.
//!
//! One owner (a PE's loop); no locks. Source: Linux `drivers/net/ethernet/broadcom/genet/`, U-Boot
//! `drivers/net/bcmgenet.c`.

pub mod registers;
mod rings;
#[cfg(test)]
mod tests;

use crate::hardware::{Dma, Registers};
use crate::phy::{Link, Operation, Phy, Speed};
use core::fmt;
use registers as reg;
use rings::Rings;

/// Longest frame with FCS that the MAC takes.
const MAX_FRAME: u32 = 1536;
/// Interrupt moderation: so many frames, or so many units of 8.192 µs after the first.
const FRAMES_PER_INTERRUPT: u32 = 8;
const INTERRUPT_TIMEOUT: u32 = 7;

/// What the driver is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The host's MAC address: device tree `local-mac-address`, or the mailbox.
    pub mac: [u8; 6],
    /// The PHY's address on MDIO (device tree `phy-handle`).
    pub phy_address: u8,
    /// Ticks of `poll`'s time in a second.
    pub ticks_per_second: u64,
}

/// What keeps the controller from being used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The revision is not that of GENET v5.
    Version(u32),
    /// No memory for buffers.
    NoMemory,
    /// DMA does not stop, or MDIO never ends.
    Stuck,
    /// No PHY answers at its address.
    NoPhy,
    /// No link.
    NoLink,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(revision) => write!(f, "revision {revision:#010x} is not GENET v5"),
            Self::NoMemory => f.write_str("no memory that the controller reaches"),
            Self::Stuck => f.write_str("the controller does not come out of a reset"),
            Self::NoPhy => f.write_str("no PHY answers"),
            Self::NoLink => f.write_str("no link: is the cable in, and the other end on?"),
        }
    }
}

/// What was counted since the driver began. Frames of the wire are counted by the MAC: [`Genet::wire_counters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Frames sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames received and shown.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames not sent because the ring was full.
    pub no_room: u64,
    /// Frames not sent because they are no frames for this wire, or there was no link.
    pub refused: u64,
    /// Frames received damaged.
    pub damaged: u64,
    /// Frames lost because the receive ring was full.
    pub overruns: u64,
    /// Resets of a stuck ring.
    pub resets: u32,
}

/// Counters of the MAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WireCounters {
    /// Good frames received.
    pub received: u32,
    /// Frames with a wrong FCS.
    pub wrong_fcs: u32,
    /// Good frames sent.
    pub sent: u32,
    /// Frames lost for want of room in the receive buffer.
    pub overflow: u32,
}

/// What the driver is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Find out the version, stop everything.
    Start,
    /// DMA is told to stop.
    Stopping,
    /// The MAC is held in reset.
    Held,
    /// The MAC's own reset.
    Reset,
    /// Rings and MAC are on, the PHY decides.
    Running,
    /// Not usable.
    Refused,
}

/// A driver for one controller.
pub struct Genet<R: Registers, D: Dma> {
    registers: R,
    config: Config,
    rings: Rings<D>,
    phase: Phase,
    not_before: u64,
    tries: u16,
    phy: Phy,
    /// An MDIO operation is in flight, since then.
    mdio: Option<(Operation, u64)>,
    /// The link that the MAC is set to.
    link: Option<Link>,
    /// When the rings are looked at, and where transmit's consumer was.
    look: u64,
    last_consumer: u32,
    trouble: Option<Trouble>,
    statistics: Statistics,
}

impl<R: Registers, D: Dma> Genet<R, D> {
    /// A driver over a controller's registers. Touches nothing until the first [`Self::poll`].
    pub fn new(registers: R, dma: &D, config: Config) -> Result<Self, Trouble> {
        let rings = Rings::new(dma).ok_or(Trouble::NoMemory)?;
        Ok(Self {
            registers,
            config,
            rings,
            phase: Phase::Start,
            not_before: 0,
            tries: 0,
            phy: Phy::new(config.ticks_per_second),
            mdio: None,
            link: None,
            look: 0,
            last_consumer: 0,
            trouble: Some(Trouble::NoLink),
            statistics: Statistics::default(),
        })
    }

    /// Goes on. Returns when to call again at the latest; `None`: never (the controller is not usable). After it,
    /// [`Self::receive`] shows what came.
    pub fn poll(&mut self, now: u64) -> Option<u64> {
        if self.phase == Phase::Running {
            let status = self.registers.read32(reg::INTRL2_STATUS);
            if status != 0 {
                self.registers.write32(reg::INTRL2_CLEAR, status);
            }
            return Some(self.run(now));
        }
        for _ in 0..4 {
            if now < self.not_before || self.phase == Phase::Refused {
                break;
            }
            self.step(now);
        }
        (self.phase != Phase::Refused).then(|| self.not_before.max(now))
    }

    /// The link, when it is up.
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// The PHY's identifier; 0 while unknown.
    pub fn phy_id(&self) -> u32 {
        self.phy.id
    }

    /// Times that the link changed.
    pub fn link_changes(&self) -> u32 {
        self.phy.changes
    }

    /// What is wrong now.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// The host's MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.config.mac
    }

    /// Gives it another MAC address, before the first poll.
    pub fn set_mac(&mut self, mac: [u8; 6]) {
        self.config.mac = mac;
    }

    /// The counters.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The MAC's counters.
    pub fn wire_counters(&self) -> WireCounters {
        WireCounters {
            received: self.registers.read32(reg::MIB_RX_GOOD),
            wrong_fcs: self.registers.read32(reg::MIB_RX_FCS),
            sent: self.registers.read32(reg::MIB_TX_GOOD),
            overflow: self.registers.read32(reg::UMAC_RBUF_OVFL_CNT),
        }
    }

    fn ticks(&self, microseconds: u64) -> u64 {
        (microseconds.saturating_mul(self.config.ticks_per_second) / 1_000_000).max(1)
    }

    fn step(&mut self, now: u64) {
        let registers = &self.registers;
        let (next, microseconds) = match self.phase {
            Phase::Start => {
                let revision = registers.read32(reg::SYS_REV_CTRL);
                if revision >> 24 & 0xf != 6 {
                    self.trouble = Some(Trouble::Version(revision));
                    self.phase = Phase::Refused;
                    return;
                }
                registers.write32(reg::INTRL2_MASK_SET, u32::MAX);
                registers.write32(reg::INTRL2_1_MASK_SET, u32::MAX);
                registers.write32(reg::UMAC_CMD, 0);
                for base in [reg::RDMA, reg::TDMA] {
                    registers.write32(base.saturating_add(reg::DMA + reg::DMA_CTRL), 0);
                }
                self.tries = 0;
                (Phase::Stopping, 10)
            }
            Phase::Stopping if !self.is_stopped() => {
                self.tries = self.tries.saturating_add(1);
                // Linux gives DMA 5 ms to stop; ten times that.
                if self.tries > 500 {
                    self.trouble = Some(Trouble::Stuck);
                    self.phase = Phase::Refused;
                    return;
                }
                (Phase::Stopping, 100)
            }
            Phase::Stopping => {
                registers.write32(reg::UMAC_TX_FLUSH, 1);
                registers.write32(reg::SYS_RBUF_FLUSH_CTRL, 2);
                (Phase::Held, 10)
            }
            Phase::Held => {
                registers.write32(reg::UMAC_TX_FLUSH, 0);
                registers.write32(reg::SYS_RBUF_FLUSH_CTRL, 0);
                registers.write32(reg::UMAC_CMD, reg::CMD_SW_RESET | reg::CMD_LCL_LOOP_EN);
                (Phase::Reset, 10)
            }
            Phase::Reset => {
                registers.write32(reg::UMAC_CMD, 0);
                self.set_up();
                self.look = now;
                (Phase::Running, 0)
            }
            Phase::Running | Phase::Refused => return,
        };
        self.phase = next;
        self.not_before = now.saturating_add(if microseconds == 0 { 0 } else { self.ticks(microseconds) });
    }

    fn is_stopped(&self) -> bool {
        [reg::RDMA, reg::TDMA]
            .iter()
            .all(|base| self.registers.read32(base.saturating_add(reg::DMA + reg::DMA_STATUS)) & 1 != 0)
    }

    fn set_up(&mut self) {
        let registers = &self.registers;
        registers.write32(reg::UMAC_MIB_CTRL, 7);
        registers.write32(reg::UMAC_MIB_CTRL, 0);
        registers.write32(reg::UMAC_MAX_FRAME_LEN, MAX_FRAME);
        let set = |offset, bits| registers.write32(offset, registers.read32(offset) | bits);
        let clear = |offset, bits: u32| registers.write32(offset, registers.read32(offset) & !bits);
        set(reg::RBUF_CTRL, reg::RBUF_64B_EN | reg::RBUF_ALIGN_2B);
        set(reg::TBUF_CTRL, reg::RBUF_64B_EN);
        set(reg::RBUF_CHK_CTRL, reg::RBUF_RXCHK_EN);
        registers.write32(reg::RBUF_TBUF_SIZE_CTRL, 1);
        registers.write32(reg::UMAC_EEE_CTRL, 0);
        clear(reg::RBUF_ENERGY_CTRL, reg::ENERGY_SAVING);
        clear(reg::TBUF_ENERGY_CTRL, reg::ENERGY_SAVING);
        let [a, b, c, d, e, f] = self.config.mac;
        registers.write32(reg::UMAC_MAC0, u32::from_be_bytes([a, b, c, d]));
        registers.write32(reg::UMAC_MAC1, u32::from_be_bytes([0, 0, e, f]));
        registers.write32(reg::UMAC_MDF_CTRL, 0);
        registers.write32(reg::SYS_PORT_CTRL, reg::PORT_EXTERNAL_GPHY);
        self.rings.set_up(registers);
        self.last_consumer = self.rings.consumer();
        registers.write32(reg::INTRL2_CLEAR, u32::MAX);
        registers.write32(reg::INTRL2_MASK_CLEAR, reg::IRQ_RXDMA_MBDONE);
        self.link = None;
        self.apply_link();
    }

    /// The MAC and RGMII as the link is.
    fn apply_link(&mut self) {
        let registers = &self.registers;
        let oob = registers.read32(reg::EXT_RGMII_OOB_CTRL) & !(reg::OOB_DISABLE | reg::RGMII_LINK);
        // rgmii-rxid: the PHY delays RXC; on this board the MAC's own delay is off too (U-Boot, Linux).
        let oob = oob | reg::RGMII_MODE_EN | reg::ID_MODE_DIS;
        let Some(link) = self.link else {
            registers.write32(reg::UMAC_CMD, reg::CMD_PROMISC);
            registers.write32(reg::EXT_RGMII_OOB_CTRL, oob);
            return;
        };
        registers.write32(reg::EXT_RGMII_OOB_CTRL, oob | reg::RGMII_LINK);
        let speed = match link.speed {
            Speed::Ten => 0,
            Speed::Hundred => 1,
            Speed::Thousand => 2,
        };
        let mut command = reg::CMD_PROMISC | speed << reg::CMD_SPEED_SHIFT;
        if !link.full_duplex {
            command |= reg::CMD_HD_EN;
        }
        if !link.send_pause {
            command |= reg::CMD_TX_PAUSE_IGNORE;
        }
        if !link.obey_pause {
            command |= reg::CMD_RX_PAUSE_IGNORE;
        }
        registers.write32(reg::UMAC_CMD, command | reg::CMD_TX_EN | reg::CMD_RX_EN);
    }

    /// The running controller: PHY and health; returns when to look again.
    fn run(&mut self, now: u64) -> u64 {
        // A PHY's script is a dozen operations; each takes some 30 µs on the wire.
        for _ in 0..4 {
            if !self.step_phy(now) {
                break;
            }
        }
        if self.phy.link != self.link {
            self.link = self.phy.link;
            self.apply_link();
        }
        self.trouble = match (self.phy.missing, self.link) {
            (true, _) => Some(Trouble::NoPhy),
            (_, None) => Some(Trouble::NoLink),
            _ => None,
        };
        if now >= self.look {
            self.look = now.saturating_add(self.config.ticks_per_second);
            self.look_at_rings(now);
        }
        let phy = match self.mdio {
            Some(_) => now.saturating_add(self.ticks(30)),
            None => self.phy.due(),
        };
        phy.min(self.look).max(now)
    }

    fn step_phy(&mut self, now: u64) -> bool {
        if let Some((operation, since)) = self.mdio {
            let word = self.registers.read32(reg::MDIO_CMD);
            let busy = word & reg::MDIO_START_BUSY != 0;
            if busy && now.saturating_sub(since) < self.ticks(10_000) {
                return false;
            }
            self.mdio = None;
            let read = matches!(operation, Operation::Read(_));
            let failed = busy || read && word & reg::MDIO_READ_FAIL != 0;
            let value = u16::try_from(word & 0xffff).ok().filter(|_| !failed);
            self.phy.done(value, now);
            return true;
        }
        let Some(operation) = self.phy.next(now) else { return false };
        let word = match operation {
            Operation::Read(register) => reg::MDIO_READ | u32::from(register) << reg::MDIO_REGISTER_SHIFT,
            Operation::Write(register, value) => {
                reg::MDIO_WRITE | u32::from(register) << reg::MDIO_REGISTER_SHIFT | u32::from(value)
            }
        };
        let phy = u32::from(self.config.phy_address & 0x1f) << reg::MDIO_PHY_SHIFT;
        self.registers.write32(reg::MDIO_CMD, word | phy);
        self.registers.write32(reg::MDIO_CMD, word | phy | reg::MDIO_START_BUSY);
        self.mdio = Some((operation, now));
        true
    }

    /// A ring whose consumer stands still for a second with frames to send and a link is stuck; so is one whose indices
    /// make no sense. Both are mended by a reset.
    fn look_at_rings(&mut self, now: u64) {
        let sane = self.rings.refresh(&self.registers, &mut self.statistics);
        let consumer = self.rings.consumer();
        let stuck = self.link.is_some() && self.rings.is_sending() && consumer == self.last_consumer;
        self.last_consumer = consumer;
        if stuck || !sane {
            self.statistics.resets = self.statistics.resets.saturating_add(1);
            self.phase = Phase::Start;
            self.not_before = now;
            self.mdio = None;
        }
    }
}
