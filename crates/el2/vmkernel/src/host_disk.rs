//! What a guest's disk is: an image in RAM, or a disk of the host or a partition of it.
//!
//! Several guests may share a host disk's driver: a request's token becomes one of the disk's own, and its completion
//! finds the way back. Lock order: guest's requests → driver; completions are handed out with no lock of the driver held.

use crate::disk::RamDisk;
use crate::signals::Signals;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use drivers::partition::PartitionTable;
use drivers::sdhci::Sdhci;
use drivers::virtio_blk::{SLOTS, VirtioBlk};
use el2::DeviceRegisters;
use el2::dma::HostDma;
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Submitted, Token,
};
use specs::Intid;
use spin::Mutex;

/// The driver of a host disk.
pub enum DiskDriver {
    /// A virtio disk.
    Virtio(Box<VirtioBlk<DeviceRegisters, HostDma>>),
    /// An SD card.
    Sd(Box<Sdhci<DeviceRegisters, HostDma>>),
}

impl DiskDriver {
    /// The device's interrupt, or a look at it; when to look again at the latest.
    pub fn acknowledge(&mut self) -> Option<u64> {
        match self {
            Self::Virtio(driver) => {
                driver.acknowledge();
                None
            }
            Self::Sd(driver) => driver.poll(el2::regs::counter()),
        }
    }
}

impl BlockBackend for DiskDriver {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::Virtio(driver) => driver.geometry(),
            Self::Sd(driver) => driver.geometry(),
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        match self {
            Self::Virtio(driver) => driver.submit(request),
            Self::Sd(driver) => driver.submit(request),
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        match self {
            Self::Virtio(driver) => driver.complete(),
            Self::Sd(driver) => driver.complete(),
        }
    }
}

/// A disk of the host, shared by its users.
pub struct HostDisk {
    /// Serial number.
    pub serial: String,
    /// Its interrupt.
    pub intid: Option<Intid>,
    /// Its partitions.
    pub table: PartitionTable,
    driver: Mutex<DiskDriver>,
    routes: Mutex<Vec<Option<Route>>>,
}

/// Whose request a token of the disk's is, and what it is called there.
type Route = (Arc<Client>, Token);

/// One user of a host disk.
pub struct Client {
    done: Mutex<VecDeque<BlockCompletion>>,
    /// Something is in `done`.
    pub ready: AtomicBool,
    /// Whose it is, and which disk of theirs.
    pub owner: (Arc<Signals>, u8),
}

impl HostDisk {
    /// A disk with its driver.
    pub fn new(driver: DiskDriver, serial: String, intid: Option<Intid>, table: PartitionTable) -> Self {
        let routes = Mutex::new((0..SLOTS).map(|_| None).collect());
        Self { serial, intid, table, driver: Mutex::new(driver), routes }
    }

    /// Its driver is to be polled by time, too.
    pub fn goes_by_time(&self) -> bool {
        matches!(*self.driver.lock(), DiskDriver::Sd(_))
    }

    /// Capacity in sectors.
    pub fn sectors(&self) -> u64 {
        self.driver.lock().geometry().sectors
    }

    fn submit(&self, client: &Arc<Client>, request: &BlockRequest<'_>) -> Submitted {
        let mut routes = self.routes.lock();
        let Some((index, route)) = routes.iter_mut().enumerate().find(|(_, route)| route.is_none()) else {
            return Submitted::Full;
        };
        let token = Token(u32::try_from(index).unwrap_or(0));
        let own = BlockRequest {
            token,
            op: request.op,
            sector: request.sector,
            data: request.data,
            memory: request.memory,
        };
        let submitted = self.driver.lock().submit(&own);
        if submitted == Submitted::InFlight {
            *route = Some((client.clone(), request.token));
        }
        submitted
    }

    /// The disk's interrupt: takes what is finished; the users that have something to take are returned, and when to
    /// look again at the latest.
    pub fn take_completions(&self) -> (Vec<(Arc<Signals>, u8)>, Option<u64>) {
        let mut woken = Vec::new();
        let mut driver = self.driver.lock();
        let due = driver.acknowledge();
        while let Some(completion) = driver.complete() {
            let index = usize::try_from(completion.token.0).unwrap_or(usize::MAX);
            let route = self.routes.lock().get_mut(index).and_then(Option::take);
            let Some((client, token)) = route else { continue };
            client.done.lock().push_back(BlockCompletion { token, result: completion.result });
            if !client.ready.swap(true, Ordering::Relaxed) {
                woken.push(client.owner.clone());
            }
        }
        (woken, due)
    }
}

/// A window of a host disk, as a guest's disk.
pub struct Window {
    disk: Arc<HostDisk>,
    client: Arc<Client>,
    first: u64,
    sectors: u64,
    read_only: bool,
}

impl Window {
    /// `sectors` sectors from `first` on.
    pub fn new(
        disk: Arc<HostDisk>,
        owner: (Arc<Signals>, u8),
        (first, sectors): (u64, u64),
        read_only: bool,
    ) -> Self {
        let done = Mutex::new(VecDeque::with_capacity(SLOTS));
        let client = Arc::new(Client { done, ready: AtomicBool::new(false), owner });
        Self { disk, client, first, sectors, read_only }
    }

    fn place(&self, request: &BlockRequest<'_>) -> Result<Sector, BlockError> {
        let bytes: u64 = request.data.iter().map(|span| u64::from(span.bytes)).sum();
        let sectors = match request.op {
            BlockOp::Discard { sectors } | BlockOp::WriteZeroes { sectors } => u64::from(sectors),
            _ => bytes / Sector::BYTES,
        };
        let end = request.sector.0.checked_add(sectors).ok_or(BlockError::OutOfRange)?;
        if end > self.sectors {
            return Err(BlockError::OutOfRange);
        }
        if self.read_only && !matches!(request.op, BlockOp::Read | BlockOp::Flush) {
            return Err(BlockError::ReadOnly);
        }
        request.sector.0.checked_add(self.first).map(Sector).ok_or(BlockError::OutOfRange)
    }
}

/// What a guest's disk is.
pub enum Backend {
    /// An image in RAM.
    Ram(RamDisk),
    /// A window of a host disk.
    Host(Window),
}

impl BlockBackend for Backend {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::Ram(disk) => disk.geometry(),
            Self::Host(window) => BlockGeometry {
                sectors: window.sectors,
                read_only: window.read_only,
                ..window.disk.driver.lock().geometry()
            },
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        match self {
            Self::Ram(disk) => disk.submit(request),
            Self::Host(window) => match window.place(request) {
                Ok(sector) => {
                    let BlockRequest { token, op, data, memory, .. } = *request;
                    window.disk.submit(&window.client, &BlockRequest { token, op, sector, data, memory })
                }
                Err(error) => Submitted::Done(Err(error)),
            },
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        match self {
            Self::Ram(disk) => disk.complete(),
            Self::Host(window) => {
                let mut done = window.client.done.lock();
                window.client.ready.store(done.len() > 1, Ordering::Relaxed);
                done.pop_front()
            }
        }
    }
}
