//! The host's network card as an uplink of the switch, whatever drives it.
//!
//! Called by [`crate::host_devices`] on the card's interrupt and by time, and by the switch, which sends by
//! [`crate::network::Sink`].

use crate::host::Host;
use crate::services::Services;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU8, Ordering};
use drivers::genet::{self, Genet};
use drivers::phy::Link;
use drivers::selftest::{GenetFacts, UplinkFacts};
use drivers::virtio_net::VirtioNet;
use el2::DeviceRegisters;
use el2::dma::HostDma;
use el2::ram::HostMemory;
use ports::{Delivered, Frame, FrameSink};
use specs::Intid;
use spin::Mutex;
use vswitch::switch::PortIndex;

/// Frames taken from the card at a time, and how often in a row.
const RECEIVE_BUDGET: usize = 16;
const ROUNDS: usize = 4;

/// The driver of a card.
pub enum UplinkDriver {
    /// A virtio card.
    Virtio(Box<VirtioNet<DeviceRegisters, HostDma>>),
    /// The Pi's own.
    Genet(Box<Genet<DeviceRegisters, HostDma>>),
}

/// The host's network card.
pub struct Uplink {
    /// Its driver.
    pub driver: Mutex<UplinkDriver>,
    /// Its port of the switch.
    pub port: PortIndex,
    /// Its interrupt.
    pub intid: Option<Intid>,
    told: Mutex<Option<Result<Link, genet::Trouble>>>,
    state: AtomicU8,
}

/// [`Uplink::state`]: waits for a MAC address, goes, is not used.
const NAMELESS: u8 = 0;
const GOES: u8 = 1;
const UNUSED: u8 = 2;

impl FrameSink for UplinkDriver {
    fn deliver(&mut self, frame: &Frame<'_>) -> Delivered {
        match self {
            Self::Virtio(driver) => driver.deliver(frame),
            Self::Genet(driver) => driver.deliver(frame),
        }
    }
}

impl UplinkDriver {
    /// The device's interrupt, or a look at it; when to look again at the latest.
    fn poll(&mut self, now: u64) -> u64 {
        match self {
            Self::Virtio(driver) => {
                driver.acknowledge();
                u64::MAX
            }
            Self::Genet(driver) => driver.poll(now).unwrap_or(u64::MAX),
        }
    }

    fn receive(&mut self, budget: usize, show: impl FnMut(&Frame<'_>)) -> bool {
        match self {
            Self::Virtio(driver) => driver.receive(&HostMemory, budget, show),
            Self::Genet(driver) => driver.receive(&HostMemory, budget, show),
        }
    }

    /// For the self-test's page.
    pub fn facts(&self) -> UplinkFacts {
        match self {
            Self::Virtio(driver) => UplinkFacts::Virtio(driver.is_link_up()),
            Self::Genet(driver) => UplinkFacts::Genet(GenetFacts {
                mac: driver.mac(),
                phy: driver.phy_id(),
                link: driver.link(),
                trouble: driver.trouble(),
                wire: driver.wire_counters(),
                resets: driver.statistics().resets,
            }),
        }
    }

    /// The address that the host itself sends from.
    pub fn mac(&self) -> [u8; 6] {
        match self {
            Self::Virtio(driver) => driver.mac(),
            Self::Genet(driver) => driver.mac(),
        }
    }
}

impl Uplink {
    /// A card on a port.
    pub fn new(driver: UplinkDriver, port: PortIndex, intid: Option<Intid>) -> Self {
        Self {
            driver: Mutex::new(driver),
            port,
            intid,
            told: Mutex::new(None),
            state: AtomicU8::new(NAMELESS),
        }
    }

    /// Goes on and forwards what came; when to look again at the latest.
    pub fn poll(&self, host: &'static Host, services: &Mutex<Services>, now: u64) -> u64 {
        if self.state.load(Ordering::Relaxed) != GOES {
            match self.name(host, services) {
                NAMELESS => return now.saturating_add(el2::regs::counter_hz() / 1000),
                UNUSED => return u64::MAX,
                state => self.state.store(state, Ordering::Relaxed),
            }
        }
        let mut driver = self.driver.lock();
        let due = driver.poll(now);
        self.tell(host, &driver);
        drop(driver);
        let second = host.uptime_seconds();
        for _ in 0..ROUNDS {
            let mut driver = self.driver.lock();
            let forward = |frame: &Frame<'_>| {
                host.switch.forward(self.port, frame, second);
            };
            if !driver.receive(RECEIVE_BUDGET, forward) {
                return due;
            }
        }
        now
    }

    /// A GENET needs a MAC address: the device tree's, or else the firmware's.
    fn name(&self, host: &Host, services: &Mutex<Services>) -> u8 {
        let mut driver = self.driver.lock();
        let UplinkDriver::Genet(genet) = &mut *driver else { return GOES };
        if genet.mac() != [0; 6] {
            return GOES;
        }
        let services = services.lock();
        if !services.are_known() {
            return NAMELESS;
        }
        match services.firmware.as_ref().and_then(|firmware| firmware.mac_address()) {
            Some(mac) => {
                genet.set_mac(mac);
                GOES
            }
            None if self.state.swap(UNUSED, Ordering::Relaxed) != UNUSED => {
                crate::log!(
                    host.console,
                    "uplink: neither device tree nor firmware gives a MAC address: it is not used"
                );
                UNUSED
            }
            None => UNUSED,
        }
    }

    /// Logs a link that changed.
    fn tell(&self, host: &Host, driver: &UplinkDriver) {
        let UplinkDriver::Genet(driver) = driver else { return };
        let state = match (driver.link(), driver.trouble()) {
            (Some(link), _) => Ok(link),
            (None, Some(trouble)) => Err(trouble),
            (None, None) => return,
        };
        if self.told.lock().replace(state) == Some(state) {
            return;
        }
        match state {
            Ok(link) => crate::log!(host.console, "uplink: {link}"),
            Err(trouble) => crate::log!(host.console, "uplink: {trouble}"),
        }
    }

    /// Whether frames can go out.
    pub fn is_link_up(&self) -> bool {
        match &*self.driver.lock() {
            UplinkDriver::Virtio(driver) => driver.is_link_up(),
            UplinkDriver::Genet(driver) => driver.link().is_some(),
        }
    }

    /// The card can't be used, or waits for its link.
    pub fn is_in_trouble(&self) -> bool {
        matches!(*self.told.lock(), Some(Err(_)))
    }
}
