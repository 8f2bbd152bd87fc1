//! Partitions of a host disk: read once when the disk is found, before anyone shares it.

use crate::host_devices::{DMA, PATIENCE};
use crate::host_disk::{DiskDriver, HostDisk};
use alloc::format;
use alloc::string::String;
use drivers::hardware::{Dma, DmaBuffer};
use drivers::partition::{PartitionTable, Scan, Want};
use el2::ram::HostMemory;
use ports::{BlockBackend, BlockOp, BlockRequest, Sector, Submitted, Token};

const SECTOR: usize = 512;

/// Reads the table of a disk. At start only: it waits for the disk.
pub fn read_table(driver: &mut DiskDriver) -> PartitionTable {
    let mut scan = Scan::new(driver.geometry().sectors);
    let Some(buffer) = DMA.allocate(SECTOR) else { return scan.finish() };
    while let Want::Sector(sector) = scan.want() {
        match read_sector(driver, &buffer, sector) {
            Some(bytes) => scan.take(&bytes),
            None => scan.take_error(),
        }
    }
    scan.finish()
}

fn read_sector(driver: &mut DiskDriver, buffer: &impl DmaBuffer, sector: Sector) -> Option<[u8; SECTOR]> {
    let span = buffer.span(0, u32::try_from(SECTOR).ok()?)?;
    let request =
        BlockRequest { token: Token(0), op: BlockOp::Read, sector, data: &[span], memory: &HostMemory };
    let result = match driver.submit(&request) {
        Submitted::Done(result) => Some(result),
        Submitted::Full => None,
        Submitted::InFlight => (0..PATIENCE).find_map(|_| {
            driver.acknowledge();
            driver.complete().map(|completion| completion.result)
        }),
    };
    result?.ok()?;
    let mut bytes = [0; SECTOR];
    buffer.read(0, &mut bytes);
    Some(bytes)
}

/// First sector and sectors of partition `number` of a disk, or of the whole disk without a number.
pub fn range(disk: &HostDisk, number: Option<u32>) -> Result<(u64, u64), String> {
    let Some(number) = number else { return Ok((0, disk.sectors())) };
    let partitions = &disk.table.partitions;
    let found = partitions.iter().find(|partition| partition.number == number);
    found.map(|partition| (partition.first.0, partition.sectors)).ok_or_else(|| {
        format!("disk \"{}\" has no partition {number}: it has {}", disk.serial, partitions.len())
    })
}
