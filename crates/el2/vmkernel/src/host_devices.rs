//! The host's own devices: found in the device tree, given to their drivers, and their interrupts.
//!
//! Called by [`crate::start`]. Which driver takes a device is `drivers::probe`'s table.

use crate::host::Host;
use crate::host_disk::{DiskDriver, HostDisk};
use crate::network::Sink;
use crate::{Pe, log};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use drivers::board::DeviceNode;
use drivers::hardware::Registers;
use drivers::probe::{Driver, driver_for};
use drivers::sdhci::controller::Quirks;
use drivers::sdhci::{Config, Sdhci, Trouble};
use drivers::virtio_blk::VirtioBlk;
use drivers::virtio_net::VirtioNet;
use drivers::virtio_rng::{REQUEST_BYTES, VirtioRng};
use el2::DeviceRegisters;
use el2::dma::HostDma;
use ports::BlockBackend;
use specs::virtio::device_id;
use specs::{Intid, Pa};
use spin::Mutex;
use vswitch::switch::PortIndex;

/// virtio-mmio reaches all memory.
pub(crate) const DMA: HostDma = HostDma { limit: Pa(u64::MAX), offset: 0 };
/// Frames taken from the uplink at a time.
const RECEIVE_BUDGET: usize = 16;
/// Looks at a device that was just asked something, at start.
pub(crate) const PATIENCE: u32 = 200_000;

/// The host's network card.
pub struct Uplink {
    /// Its driver.
    pub driver: Mutex<VirtioNet<DeviceRegisters, HostDma>>,
    port: PortIndex,
    intid: Option<Intid>,
}

/// What was found.
#[derive(Default)]
pub struct HostDevices {
    /// Disks.
    pub disks: Vec<Arc<HostDisk>>,
    look_at: AtomicU64,
    uplink: Option<Arc<Uplink>>,
}

/// Finds the devices and starts their drivers.
pub fn start(host: &'static Host) -> HostDevices {
    let mut found = HostDevices::default();
    for node in &host.board.devices {
        let done = match driver_for(&node.compatible) {
            Some(Driver::VirtioMmio) => {
                start_virtio(host, node, &mut found);
                Ok(())
            }
            Some(Driver::SdhciEmmc2) => start_card(host, node, Quirks::EMMC2, &mut found),
            Some(Driver::SdhciArasan) => start_card(host, node, Quirks::ARASAN, &mut found),
            _ => Ok(()),
        };
        if let Err(why) = done {
            log!(host.console, "{} at {}: {why}", node.compatible, node.registers.start);
        }
    }
    let by_time = found.disks.iter().any(|disk| disk.goes_by_time());
    found.look_at = AtomicU64::new(if by_time { 0 } else { u64::MAX });
    found
}

/// Brings the card of an SD controller up. At start only: it waits for the card, three seconds at most.
fn start_card(host: &Host, node: &DeviceNode, quirks: Quirks, found: &mut HostDevices) -> Result<(), String> {
    let Some(registers) = DeviceRegisters::map(node.registers) else { return Ok(()) };
    let dma = HostDma { limit: node.dma.limit, offset: node.dma.offset };
    let ticks_per_second = el2::regs::counter_hz();
    let config = Config { quirks, ticks_per_second };
    let mut driver = Sdhci::new(registers, dma, config).map_err(|trouble| alloc::format!("{trouble}"))?;
    let begun = el2::regs::counter();
    while !driver.is_settled() {
        let now = el2::regs::counter();
        driver.poll(now);
        if driver.wants().is_some() {
            // No mailbox driver runs yet: the slot stays as the firmware left it, on and at 3.3 V.
            driver.answer(false);
        }
        if now.wrapping_sub(begun) > ticks_per_second.saturating_mul(3) {
            return Err(String::from("its card is not ready after three seconds"));
        }
    }
    let Some(card) = driver.card().copied() else {
        return match driver.trouble() {
            Some(Trouble::NoCard) | None => Ok(()),
            Some(trouble) => Err(alloc::format!("{trouble}")),
        };
    };
    let serial = alloc::format!("sd-{:08x}", card.cid.serial());
    log!(
        host.console,
        "disk \"{serial}\": {} MiB, {}, {} MHz",
        card.csd.sectors >> 11,
        card.cid,
        driver.hertz() / 1_000_000
    );
    let mut driver = DiskDriver::Sd(Box::new(driver));
    let table = crate::partition::read_table(&mut driver);
    found.disks.push(Arc::new(HostDisk::new(driver, serial, node.intid.map(Intid), table)));
    Ok(())
}

fn start_virtio(host: &'static Host, node: &DeviceNode, found: &mut HostDevices) {
    /// DeviceID of the transport (virtio 1.2, 4.2.2).
    const DEVICE_ID: usize = 8;
    let Some(registers) = DeviceRegisters::map(node.registers) else { return };
    let intid = node.intid.map(Intid);
    let kind = registers.read32(DEVICE_ID);
    let done = match kind {
        device_id::BLOCK => start_disk(host, registers, intid, found),
        device_id::NET => start_uplink(host, registers, intid, found),
        device_id::ENTROPY => start_entropy(host, registers),
        _ => Ok(()),
    };
    if let Err(why) = done {
        log!(host.console, "device at {}: {why}", node.registers.start);
    }
}

fn start_disk(
    host: &Host,
    registers: DeviceRegisters,
    intid: Option<Intid>,
    found: &mut HostDevices,
) -> Result<(), String> {
    let mut driver = VirtioBlk::new(registers, DMA).map_err(|error| alloc::format!("{error:?}"))?;
    let mut left = PATIENCE;
    while driver.serial().is_none() && !driver.is_broken() && left > 0 {
        driver.acknowledge();
        driver.complete();
        left = left.saturating_sub(1);
    }
    let serial: String = driver
        .serial()
        .map(|bytes| bytes.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect())
        .unwrap_or_default();
    let mut driver = DiskDriver::Virtio(Box::new(driver));
    let table = crate::partition::read_table(&mut driver);
    // Finding nothing more asks for the interrupt.
    while driver.complete().is_some() {}
    let sectors = driver.geometry().sectors;
    log!(host.console, "disk \"{serial}\": {} MiB", sectors >> 11);
    found.disks.push(Arc::new(HostDisk::new(driver, serial, intid, table)));
    Ok(())
}

fn start_uplink(
    host: &'static Host,
    registers: DeviceRegisters,
    intid: Option<Intid>,
    found: &mut HostDevices,
) -> Result<(), String> {
    let driver = VirtioNet::new(registers, &DMA).map_err(|error| alloc::format!("{error:?}"))?;
    let port = host.switch.connect_uplink().map_err(|_| "a second network card: only one is the uplink")?;
    log!(host.console, "uplink: link {}", if driver.is_link_up() { "up" } else { "down" });
    let uplink = Arc::new(Uplink { driver: Mutex::new(driver), port, intid });
    host.switch.plug(port, Sink::Uplink(uplink.clone()));
    found.uplink = Some(uplink);
    Ok(())
}

fn start_entropy(host: &Host, registers: DeviceRegisters) -> Result<(), String> {
    let mut driver = VirtioRng::new(registers, &DMA).map_err(|error| alloc::format!("{error:?}"))?;
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
        for intid in disks.chain(self.uplink.as_ref().and_then(|uplink| uplink.intid)) {
            el2::gic::enable_spi(intid, pe.id());
        }
        // Frames that came before count as seen only by a look.
        if let Some(uplink) = &self.uplink {
            uplink.driver.lock().acknowledge();
        }
    }

    /// When [`Self::look`] is due; far away where no disk needs it.
    pub fn look_at(&self) -> u64 {
        self.look_at.load(Ordering::Relaxed)
    }

    /// Looks at the disks whose drivers go by time: a card that was taken out says nothing by itself.
    pub fn look(&self, pe: &mut Pe) {
        let now = el2::regs::counter();
        let mut next = u64::MAX;
        for disk in self.disks.iter().filter(|disk| disk.goes_by_time()) {
            let due = take_completions(pe, disk).unwrap_or(u64::MAX);
            next = next.min(due).min(now.saturating_add(el2::regs::counter_hz()));
        }
        self.look_at.store(next.max(now.saturating_add(1)), Ordering::Relaxed);
    }

    /// The disk with this serial number.
    pub fn disk(&self, serial: &str) -> Option<&Arc<HostDisk>> {
        self.disks.iter().find(|disk| disk.serial == serial)
    }

    /// An interrupt of a device; whether it was one of these.
    pub fn take_interrupt(&self, pe: &mut Pe, intid: Intid) -> bool {
        // The Pi's two SD controllers share an interrupt.
        let mut mine = false;
        for disk in self.disks.iter().filter(|disk| disk.intid == Some(intid)) {
            mine = true;
            take_completions(pe, disk);
        }
        if mine {
            return true;
        }
        if let Some(uplink) = self.uplink.as_ref().filter(|uplink| uplink.intid == Some(intid)) {
            receive(pe.state.host, uplink);
            return true;
        }
        false
    }
}

/// Hands finished requests of a disk to its users; when its driver wants to be polled again.
fn take_completions(pe: &mut Pe, disk: &HostDisk) -> Option<u64> {
    let (woken, due) = disk.take_completions();
    for (signals, index) in woken {
        crate::start::disk_has_news(pe, &signals, index);
    }
    due
}

/// Takes frames from the uplink and forwards them.
fn receive(host: &'static Host, uplink: &Uplink) {
    loop {
        let mut driver = uplink.driver.lock();
        driver.acknowledge();
        let mut more = false;
        let now = host.uptime_seconds();
        more |= driver.receive(&el2::ram::HostMemory, RECEIVE_BUDGET, |frame| {
            host.switch.forward(uplink.port, frame, now);
        });
        drop(driver);
        if !more {
            return;
        }
    }
}
