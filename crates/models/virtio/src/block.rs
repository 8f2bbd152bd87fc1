//! The block device: its configuration, and its one half behind a lock.
//!
//!
//! Called by: the transport; the vmkernel (`VirtioMmio::poll`) when the backend has completions.
//! Calls: `ports::BlockBackend`. The requests are in [`requests`].
//! Source: virtio 1.2, 5.2 "Block Device".
//! After a reset a request that the backend still has goes on: its completion is dropped, but the data of a read may
//! still land in the guest's RAM (drivers wait for their requests before they reset; a crash kernel keeps to its own RAM).
//! Concurrency: one lock. Lock order: block half → backend's own locks → interrupt line.

mod parse;
mod requests;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;

use crate::link::Link;
use crate::queue::Queue;
use crate::transport::{CONFIG_BYTES, Device, Progress};
use parse::Agreed;
use ports::{BlockBackend, BlockGeometry, GuestMemory, InterruptLine};
use requests::Requests;
use specs::virtio::{blk, device_id};
use spin::Mutex;

pub use requests::BlockCounters;

/// The most descriptors in the queue, and so the most requests in flight.
pub(crate) const QUEUE_SIZE: u16 = 128;

/// Runs of host memory in one request. RAM comes in blocks of 2 MiB, so a segment of at most [`SEGMENT_BYTES_MAX`]
/// crosses one border at most: two runs for each of the queue's descriptors.
pub const SPANS_MAX: usize = 256;

/// `size_max`.
const SEGMENT_BYTES_MAX: u32 = 1 << 20;

/// `seg_max`: a chain holds header and status, too.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// The most sectors of a discard or write-zeroes (1 GiB), so that no request is long beyond measure.
pub(crate) const RANGE_SECTORS_MAX: u32 = 1 << 21;

/// A virtio block device over a backend.
pub struct Block<B> {
    features: u64,
    serial: [u8; blk::ID_BYTES],
    requests: Mutex<Requests<B>>,
}

impl<B: BlockBackend> Block<B> {
    /// A device with this backend and the serial number that the guest reads (cut to 20 bytes).
    pub fn new(backend: B, serial: &str) -> Self {
        let geometry = backend.geometry();
        let mut id = [0; blk::ID_BYTES];
        for (into, from) in id.iter_mut().zip(serial.bytes()) {
            *into = from;
        }
        Self { features: offered(geometry), serial: id, requests: Mutex::new(Requests::new(backend)) }
    }

    /// What was done so far.
    pub fn counters(&self) -> BlockCounters {
        self.requests.lock().counters()
    }

    /// Requests that the backend still holds, those of before a reset included. The RAM must stay until this is 0.
    pub fn in_flight(&self) -> u32 {
        self.requests.lock().in_flight()
    }
}

fn offered(geometry: BlockGeometry) -> u64 {
    let mut features = blk::F_SIZE_MAX | blk::F_SEG_MAX | blk::F_BLK_SIZE | blk::F_FLUSH | blk::F_TOPOLOGY;
    if geometry.read_only {
        features |= blk::F_RO;
    } else if geometry.discard {
        features |= blk::F_DISCARD | blk::F_WRITE_ZEROES;
    }
    features
}

impl<B: BlockBackend, M: GuestMemory, L: InterruptLine> Device<M, L> for Block<B> {
    const ID: u32 = device_id::BLOCK;
    const QUEUES: usize = 1;
    const QUEUE_SIZE_MAX: u16 = QUEUE_SIZE;

    fn features(&self) -> u64 {
        self.features
    }

    fn config(&self, into: &mut [u8; CONFIG_BYTES]) {
        let geometry = self.requests.lock().geometry();
        let blocks = geometry.block_bytes.max(512) / 512;
        let exponent = u8::try_from(blocks.ilog2()).unwrap_or(0);
        let mut put = |at: usize, from: &[u8]| {
            for (into, from) in into.iter_mut().skip(at).zip(from) {
                *into = *from;
            }
        };
        put(blk::config::CAPACITY, &geometry.sectors.to_le_bytes());
        put(blk::config::SIZE_MAX, &SEGMENT_BYTES_MAX.to_le_bytes());
        put(blk::config::SEG_MAX, &SEGMENTS_MAX.to_le_bytes());
        put(blk::config::BLK_SIZE, &512_u32.to_le_bytes());
        put(blk::config::PHYSICAL_BLOCK_EXP, &[exponent]);
        put(blk::config::MIN_IO_SIZE, &u16::try_from(blocks).unwrap_or(u16::MAX).to_le_bytes());
        put(blk::config::OPT_IO_SIZE, &blocks.to_le_bytes());
        if self.features & blk::F_DISCARD == 0 {
            return;
        }
        put(blk::config::MAX_DISCARD_SECTORS, &RANGE_SECTORS_MAX.to_le_bytes());
        put(blk::config::MAX_DISCARD_SEG, &1_u32.to_le_bytes());
        put(blk::config::DISCARD_SECTOR_ALIGNMENT, &blocks.to_le_bytes());
        put(blk::config::MAX_WRITE_ZEROES_SECTORS, &RANGE_SECTORS_MAX.to_le_bytes());
        put(blk::config::MAX_WRITE_ZEROES_SEG, &1_u32.to_le_bytes());
        put(blk::config::WRITE_ZEROES_MAY_UNMAP, &[1]);
    }

    fn attach(&self, _index: usize, queue: Queue, features: u64) {
        let agreed = Agreed {
            discard: features & blk::F_DISCARD != 0,
            write_zeroes: features & blk::F_WRITE_ZEROES != 0,
            flush: features & blk::F_FLUSH != 0,
        };
        self.requests.lock().attach(queue, agreed);
    }

    fn detach(&self, _index: usize) {
        self.requests.lock().detach();
    }

    fn notify(&self, link: &Link<M, L>, _index: usize) -> Progress {
        self.requests.lock().work(link, &self.serial)
    }

    fn poll(&self, link: &Link<M, L>) -> Progress {
        self.requests.lock().work(link, &self.serial)
    }
}
