//! The host's own devices: found in the device tree, given to their drivers, and their interrupts.
//!
//! Called by [`crate::start`] and by the first PE's loop ([`crate::pe`]). Which driver takes a device is `drivers::probe`'s
//! table. Nothing here waits: each look polls state machines and says when the next one is due.
//! Lock order: a disk → services; the uplink's driver → switch.

use crate::home::HomeShared;
use crate::host::Host;
use crate::host_disk::{DiskDriver, HostDisk, Owner};
use crate::network::Sink;
use crate::self_test::SelfTest;
use crate::services::{Services, dma_of};
use crate::uplink::{Uplink, UplinkDriver};
use crate::{Pe, log};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use drivers::board::DeviceNode;
use drivers::genet::{self, Genet};
use drivers::hardware::Registers;
use drivers::led::Sign;
use drivers::probe::{Driver, driver_for};
use drivers::sdhci::controller::Quirks;
use drivers::sdhci::{Config, Sdhci};
use drivers::slot::Slot;
use drivers::virtio_blk::VirtioBlk;
use drivers::virtio_net::VirtioNet;
use drivers::virtio_rng::{REQUEST_BYTES, VirtioRng};
use el2::DeviceRegisters;
use el2::dma::HostDma;
use specs::virtio::device_id;
use specs::{Intid, Pa};
use spin::Mutex;

/// virtio-mmio reaches all memory.
pub(crate) const DMA: HostDma = HostDma { limit: Pa(u64::MAX), offset: 0 };
/// Looks at the entropy device, at start.
const PATIENCE: u32 = 200_000;
/// Where the PHY is when the device tree does not say.
const USUAL_PHY: u8 = 1;
/// Seconds that the LED shows the network's stage while there is no link.
const LINK_SECONDS: u32 = 10;

/// What was found.
#[derive(Default)]
pub struct HostDevices {
    /// Disks.
    pub disks: Vec<Arc<HostDisk>>,
    /// The network card.
    pub uplink: Option<Arc<Uplink>>,
    /// The board's services.
    pub services: Mutex<Services>,
    /// The self-test.
    pub self_test: Mutex<SelfTest>,
    /// A card that was taken out says nothing by itself.
    by_time: bool,
    look_at: AtomicU64,
    longest: AtomicU64,
}

/// Finds the devices and starts their drivers.
pub fn start(host: &'static Host) -> HostDevices {
    let mut found = HostDevices::default();
    for node in &host.board.devices {
        let done = match driver_for(&node.compatible) {
            Some(Driver::VirtioMmio) => start_virtio(host, node, &mut found),
            Some(Driver::SdhciEmmc2) => start_card(node, Quirks::EMMC2, &mut found),
            Some(Driver::SdhciArasan) => start_card(node, Quirks::ARASAN, &mut found),
            Some(Driver::Genet) => start_genet(host, node, &mut found),
            _ => found.services.get_mut().take(host, node).map_err(String::from),
        };
        if let Err(why) = done {
            log!(host.console, "{} at {}: {why}", node.compatible, node.registers.start);
        }
    }
    found.by_time = found.disks.iter().any(|disk| disk.is_removable());
    found.services.get_mut().show(Sign::Stage(1));
    found
}

/// Prepares an SD controller; its card is looked for by [`HostDisk::look`].
fn start_card(node: &DeviceNode, quirks: Quirks, found: &mut HostDevices) -> Result<(), String> {
    let registers = DeviceRegisters::map(node.registers).ok_or("its registers can't be mapped")?;
    let dma = dma_of(node);
    let config = Config { quirks, ticks_per_second: el2::regs::counter_hz() };
    let driver = Sdhci::new(registers, dma, config).map_err(|trouble| format!("{trouble}"))?;
    let driver = DiskDriver::Sd(Box::new(driver), Slot::default());
    let place = format!("SD at {}", node.registers.start);
    found.disks.push(Arc::new(HostDisk::new(driver, &dma, place, node.intid.map(Intid))));
    Ok(())
}

fn start_virtio(host: &'static Host, node: &DeviceNode, found: &mut HostDevices) -> Result<(), String> {
    /// DeviceID of the transport (virtio 1.2, 4.2.2).
    const DEVICE_ID: usize = 8;
    let Some(registers) = DeviceRegisters::map(node.registers) else { return Ok(()) };
    let intid = node.intid.map(Intid);
    match registers.read32(DEVICE_ID) {
        device_id::BLOCK => {
            let driver = VirtioBlk::new(registers, DMA).map_err(|error| format!("{error:?}"))?;
            let driver = DiskDriver::Virtio(Box::new(driver));
            let place = format!("disk at {}", node.registers.start);
            found.disks.push(Arc::new(HostDisk::new(driver, &DMA, place, intid)));
            Ok(())
        }
        device_id::NET => {
            let driver = VirtioNet::new(registers, &DMA).map_err(|error| format!("{error:?}"))?;
            log!(host.console, "uplink: link {}", if driver.is_link_up() { "up" } else { "down" });
            plug_uplink(host, UplinkDriver::Virtio(Box::new(driver)), intid, &mut found.uplink)
        }
        device_id::ENTROPY => start_entropy(host, registers),
        _ => Ok(()),
    }
}

/// Prepares the Pi's Ethernet; it begins once its MAC address is known: see [`Uplink::poll`].
fn start_genet(host: &'static Host, node: &DeviceNode, found: &mut HostDevices) -> Result<(), String> {
    let registers = DeviceRegisters::map(node.registers).ok_or("its registers can't be mapped")?;
    let wiring = host.board.wiring.ethernet;
    if wiring.phy_address.is_none() {
        log!(host.console, "uplink: the device tree names no PHY: address {USUAL_PHY} is tried");
    }
    let config = genet::Config {
        mac: wiring.mac.unwrap_or_default(),
        phy_address: wiring.phy_address.unwrap_or(USUAL_PHY),
        ticks_per_second: el2::regs::counter_hz(),
    };
    let driver = Genet::new(registers, &dma_of(node), config).map_err(|trouble| format!("{trouble}"))?;
    let driver = UplinkDriver::Genet(Box::new(driver));
    plug_uplink(host, driver, node.intid.map(Intid), &mut found.uplink)
}

/// The first network card is the uplink.
fn plug_uplink(
    host: &'static Host,
    driver: UplinkDriver,
    intid: Option<Intid>,
    place: &mut Option<Arc<Uplink>>,
) -> Result<(), String> {
    let port = host.switch.connect_uplink().map_err(|_| "a second network card: only one is the uplink")?;
    let uplink = Arc::new(Uplink::new(driver, port, intid));
    host.switch.plug(port, Sink::Uplink(uplink.clone()));
    *place = Some(uplink);
    Ok(())
}

fn start_entropy(host: &Host, registers: DeviceRegisters) -> Result<(), String> {
    let mut driver = VirtioRng::new(registers, &DMA).map_err(|error| format!("{error:?}"))?;
    driver.request();
    let mut bytes = [0; REQUEST_BYTES];
    for _ in 0..PATIENCE {
        if let Some(count) = driver.take(&mut bytes) {
            host.random.absorb(bytes.get(..count).unwrap_or(&[]), count);
            return Ok(());
        }
    }
    Err(String::from("the entropy device gave nothing"))
}

impl HostDevices {
    /// This PE takes their interrupts.
    pub fn listen(&self, pe: &Pe) {
        let disks = self.disks.iter().filter_map(|disk| disk.intid);
        let uplink = self.uplink.as_ref().and_then(|uplink| uplink.intid);
        for intid in disks.chain(uplink).chain(self.services.lock().mailbox_intid) {
            el2::gic::enable_spi(intid, pe.id());
        }
    }

    /// When [`Self::look`] is due.
    pub fn look_at(&self) -> u64 {
        self.look_at.load(Ordering::Relaxed)
    }

    /// Something is to be done at once, on the first PE.
    pub fn look_soon(&self, pe: &mut Pe) {
        self.look_at.store(0, Ordering::Relaxed);
        pe.state.look_soon();
    }

    /// The longest that a driver held the PE, in ticks.
    pub fn longest_task(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }

    /// Polls everything that goes by time.
    pub fn look(&self, pe: &mut Pe) {
        let host = pe.state.host;
        let begun = el2::regs::counter();
        let was_seeded = host.random.is_seeded();
        let mut due = self.services.lock().poll(host, begun);
        if !was_seeded && host.random.is_seeded() {
            crate::start::entropy_came(pe);
        }
        if self.by_time {
            due = due.min(begun.saturating_add(el2::regs::counter_hz()));
        }
        self.measure(begun);
        for disk in &self.disks {
            due = due.min(self.look_at_disk(pe, disk));
        }
        if let Some(uplink) = &self.uplink {
            let begun = el2::regs::counter();
            due = due.min(uplink.poll(host, &self.services, begun));
            self.measure(begun);
        }
        if let Some(next) = crate::start::next_start(host) {
            if next <= begun {
                crate::start::start_waiting(host, self);
            }
            due = due.min(crate::start::next_start(host).unwrap_or(u64::MAX));
        }
        self.show_stage(host);
        if let Some(next) = crate::self_test::poll(host, self) {
            due = due.min(next);
        }
        self.look_at.store(due.max(begun.saturating_add(1)), Ordering::Relaxed);
    }

    fn measure(&self, begun: u64) {
        let ticks = el2::regs::counter().saturating_sub(begun);
        self.longest.fetch_max(ticks, Ordering::Relaxed);
    }

    /// Hands finished requests of a disk to its users; when its driver wants to be polled again.
    fn look_at_disk(&self, pe: &mut Pe, disk: &HostDisk) -> u64 {
        let begun = el2::regs::counter();
        let looked = disk.look(pe.state.host, &self.services);
        self.measure(begun);
        for owner in looked.woken {
            match owner {
                Owner::Guest(signals, index) => crate::start::disk_has_news(pe, &signals, index),
                Owner::Host => self.look_soon(pe),
                Owner::Datastore => HomeShared::wake(pe.state.host),
            }
        }
        if looked.news || !crate::start::is_waiting_over(pe.state.host) {
            crate::start::start_waiting(pe.state.host, self);
        }
        if !pe.state.host.home.is_settled() && self.are_settled() {
            HomeShared::wake(pe.state.host);
        }
        looked.due
    }

    /// The LED says how far the start is; later whether all is well.
    fn show_stage(&self, host: &Host) {
        let uplink = self.uplink.as_ref();
        let in_trouble = self.disks.iter().any(|disk| disk.is_in_trouble());
        let no_link = uplink.is_some_and(|uplink| uplink.is_in_trouble());
        let mut services = self.services.lock();
        let hot = services.firmware.as_ref().is_some_and(|firmware| firmware.is_in_trouble());
        let sign = if !self.are_settled() {
            Sign::Stage(2)
        } else if no_link && host.uptime_seconds() < LINK_SECONDS {
            Sign::Stage(3)
        } else if !crate::start::is_waiting_over(host) {
            Sign::Stage(4)
        } else if in_trouble || no_link || hot {
            Sign::Trouble
        } else {
            Sign::Running
        };
        services.show(sign);
    }

    /// The disk with this serial number.
    pub fn disk(&self, serial: &str) -> Option<&Arc<HostDisk>> {
        self.disks.iter().find(|disk| disk.identity().is_some_and(|identity| identity.serial == serial))
    }

    /// Every disk is known, or is not waited for any more.
    pub fn are_settled(&self) -> bool {
        self.disks.iter().all(|disk| disk.is_settled())
    }

    /// An interrupt of a device; whether it was one of these.
    pub fn take_interrupt(&self, pe: &mut Pe, intid: Intid) -> bool {
        let host = pe.state.host;
        let mut due = u64::MAX;
        let mut mine = false;
        // The Pi's two SD controllers share an interrupt.
        for disk in self.disks.iter().filter(|disk| disk.intid == Some(intid)) {
            mine = true;
            due = due.min(self.look_at_disk(pe, disk));
        }
        if let Some(uplink) = self.uplink.as_ref().filter(|uplink| uplink.intid == Some(intid)) {
            mine = true;
            due = due.min(uplink.poll(host, &self.services, el2::regs::counter()));
        }
        let mailbox = self.services.lock().mailbox_intid;
        if mailbox == Some(intid) {
            // What waits for an answer of the firmware is polled too.
            self.look(pe);
            return true;
        }
        if due < self.look_at() {
            self.look_at.store(due, Ordering::Relaxed);
            pe.state.look_soon();
        }
        mine
    }
}
