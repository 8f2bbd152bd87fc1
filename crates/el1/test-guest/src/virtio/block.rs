//! The block device, driven. VIRTIO 1.2, 5.2.6.

use super::queue::{NEXT, Queue, WRITE};
use super::transport::Transport;
use crate::harness::{Outcome, Report, spin_until};
use crate::virq::{Line, SOON};
use crate::{ensure, ensure_eq};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use el1::Boot;
use el1::gic::offset;

const SECTOR: usize = 512;
/// Request types.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
/// Status bytes.
pub const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
/// Feature bits.
const READ_ONLY: u64 = 1 << 5;
const HAS_FLUSH: u64 = 1 << 9;
/// Data behind the header (16 bytes) and the status byte.
const PAYLOAD: usize = 0x1000;

/// A device that is up.
pub struct Disk<'a> {
    transport: &'a Transport,
    queue: Queue,
}

impl<'a> Disk<'a> {
    /// Starts the device anew.
    pub fn start(transport: &'a Transport, boot: &'static Boot) -> Result<Self, String> {
        let mut queue = Queue::new(boot);
        ensure!(transport.start(&mut queue, 0, HAS_FLUSH | READ_ONLY), "FEATURES_OK does not stick");
        Ok(Self { transport, queue })
    }

    /// One request with `bytes` of payload: the status byte.
    pub fn request(&mut self, kind: u32, sector: u64, bytes: usize) -> Result<u8, String> {
        let data = self.queue.data();
        let base = data.base() as u64;
        data.write32(0, kind);
        data.write32(4, 0);
        data.write64(8, sector);
        data.write8(16, 0xff);
        let direction = if kind == OUT { 0 } else { WRITE };
        self.queue.describe(0, base, 16, NEXT, 1);
        let status = if bytes == 0 { 1 } else { 2 };
        if bytes != 0 {
            self.queue.describe(1, base + PAYLOAD as u64, bytes as u32, direction | NEXT, 2);
        }
        self.queue.describe(status, base + 16, 1, WRITE, 0);
        self.queue.offer(self.transport, 0);
        match self.queue.wait() {
            Some(_) => Ok(data.read8(16)),
            None => Err(format!("request {kind} for sector {sector} never ends")),
        }
    }

    fn payload(&self, bytes: usize) -> Vec<u64> {
        (0..bytes).step_by(8).map(|n| self.queue.data().read64(PAYLOAD + n)).collect()
    }

    fn set_payload(&self, words: &[u64]) {
        for (n, word) in words.iter().enumerate() {
            self.queue.data().write64(PAYLOAD + n * 8, *word);
        }
    }

    /// Sectors of the disk.
    pub fn capacity(&self) -> u64 {
        let configuration = self.transport.configuration();
        u64::from(configuration.read32(0)) | u64::from(configuration.read32(4)) << 32
    }
}

/// All of it.
pub fn run(transport: &Transport, boot: &'static Boot, report: &mut Report, name: &dyn Fn(&str) -> String) {
    report.test(&name("read-write"), || read_write(transport, boot));
    report.test(&name("errors"), || errors(transport, boot));
    report.test(&name("interrupt"), || interrupt(transport, boot));
}

/// Each block keeps its own words, across a flush and a reset of the device; what was there is put back.
fn read_write(transport: &Transport, boot: &'static Boot) -> Outcome {
    let mut disk = Disk::start(transport, boot)?;
    ensure!(disk.capacity() >= 64, "capacity of {} sectors", disk.capacity());
    let is_read_only = transport.features() & READ_ONLY != 0;
    let bytes = 4096;
    let places = [0, disk.capacity() / 2, disk.capacity() - 8];
    let mut saved = Vec::new();
    for sector in places {
        ensure_eq!(disk.request(IN, sector, bytes)?, OK, format!("read of sector {sector}"));
        saved.push(disk.payload(bytes));
    }
    if is_read_only {
        ensure_eq!(disk.request(OUT, 0, SECTOR)?, IO_ERROR, "write to a read-only disk");
        return Ok(());
    }
    let words = |sector: u64| (0..bytes as u64 / 8).map(|n| sector << 32 | n << 8 | 0xa5).collect::<Vec<_>>();
    for sector in places {
        disk.set_payload(&words(sector));
        ensure_eq!(disk.request(OUT, sector, bytes)?, OK, format!("write of sector {sector}"));
    }
    if transport.features() & HAS_FLUSH != 0 {
        ensure_eq!(disk.request(FLUSH, 0, 0)?, OK, "flush");
    }
    let mut disk = Disk::start(transport, boot)?;
    for sector in places {
        ensure_eq!(disk.request(IN, sector, bytes)?, OK, "read back");
        ensure!(disk.payload(bytes) == words(sector), "sector {sector} holds something else");
    }
    for (sector, old) in places.into_iter().zip(&saved) {
        disk.set_payload(old);
        ensure_eq!(disk.request(OUT, sector, bytes)?, OK, "write of what was there");
    }
    Ok(())
}

/// Refused requests end with a status, and the device goes on.
fn errors(transport: &Transport, boot: &'static Boot) -> Outcome {
    let mut disk = Disk::start(transport, boot)?;
    let end = disk.capacity();
    for sector in [end, end - 1, u64::MAX, u64::MAX / 512, 1 << 55] {
        let status = disk.request(IN, sector, 2 * SECTOR)?;
        ensure_eq!(status, IO_ERROR, format!("read of sector {sector:#x} of {end:#x}"));
    }
    ensure_eq!(disk.request(77, 0, SECTOR)?, UNSUPPORTED, "request of an unknown type");
    ensure_eq!(disk.request(GET_ID, 0, 20)?, OK, "GET_ID");
    ensure_eq!(disk.request(IN, 0, SECTOR)?, OK, "read after the errors");
    Ok(())
}

/// The device's interrupt comes with the used element, and goes with InterruptACK.
fn interrupt(transport: &Transport, boot: &'static Boot) -> Outcome {
    let Some(intid) = transport.intid else { return Err("no interrupt in the device tree".into()) };
    let mut disk = Disk::start(transport, boot)?;
    let line = Line::ready(&boot.gic, intid);
    line.set(offset::ICENABLER);
    line.set_edge(false);
    ensure_eq!(disk.request(IN, 0, SECTOR)?, OK, "read");
    ensure!(spin_until(SOON, || transport.interrupt_status() & 1 == 1), "InterruptStatus stays 0");
    ensure!(spin_until(SOON, || line.is(offset::ISPENDR)), "INTID {intid} is not pending");
    transport.acknowledge(1);
    ensure_eq!(transport.interrupt_status() & 1, 0, "InterruptStatus after InterruptACK");
    ensure!(spin_until(SOON, || !line.is(offset::ISPENDR)), "INTID {intid} is pending after InterruptACK");
    Ok(())
}
