//! The host's own devices: found in the device tree, given to their drivers, and their interrupts.
//!
//! Called by [`crate::start`]. Which driver takes a device is `drivers::probe`'s table.

use crate::host::Host;
use crate::host_disk::HostDisk;
use crate::network::Sink;
use crate::{Pe, log};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use drivers::board::DeviceNode;
use drivers::hardware::Registers;
use drivers::probe::{Driver, driver_for};
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

/// The driver of a host disk.
pub type DiskDriver = VirtioBlk<DeviceRegisters, HostDma>;

/// virtio-mmio reaches all memory.
pub(crate) const DMA: HostDma = HostDma { limit: Pa(u64::MAX) };
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
    uplink: Option<Arc<Uplink>>,
}

/// Finds the devices and starts their drivers.
pub fn start(host: &'static Host) -> HostDevices {
    let mut found = HostDevices::default();
    for node in &host.board.devices {
        if driver_for(&node.compatible) == Some(Driver::VirtioMmio) {
            start_virtio(host, node, &mut found);
        }
    }
    found
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

    /// The disk with this serial number.
    pub fn disk(&self, serial: &str) -> Option<&Arc<HostDisk>> {
        self.disks.iter().find(|disk| disk.serial == serial)
    }

    /// An interrupt of a device; whether it was one of these.
    pub fn take_interrupt(&self, pe: &mut Pe, intid: Intid) -> bool {
        if let Some(disk) = self.disks.iter().find(|disk| disk.intid == Some(intid)) {
            for (signals, index) in disk.take_completions() {
                crate::start::disk_has_news(pe, &signals, index);
            }
            return true;
        }
        if let Some(uplink) = self.uplink.as_ref().filter(|uplink| uplink.intid == Some(intid)) {
            receive(pe.state.host, uplink);
            return true;
        }
        false
    }
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
