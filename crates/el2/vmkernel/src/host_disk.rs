//! What a guest's disk is: an image in RAM, a disk of the host or a partition of it, or a volume of the datastore.
//!
//! Several guests may share a host disk's driver: a request's token becomes one of the disk's own, and its completion
//! finds the way back. Lock order: guest's requests → disk → its users' queues of completions.

use crate::disk::RamDisk;
use crate::home::volume::VolumeDisk;
use crate::host::Host;
use crate::log;
use crate::services::Services;
use crate::signals::Signals;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use drivers::hardware::{Dma, DmaBuffer};
use drivers::partition::{BUFFER_BYTES, PartitionTable, Reader};
use drivers::sdhci::{Sdhci, Trouble};
use drivers::selftest::CardFacts;
use drivers::slot::Slot;
use drivers::virtio_blk::{SLOTS, VirtioBlk};
use el2::DeviceRegisters;
use el2::dma::{HostBuffer, HostDma};
use el2::ram::HostMemory;
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, Sector, Submitted, Token,
};
use specs::Intid;
use spin::{Mutex, Once};

/// Steps of a driver and its slot's board in one look.
const SLOT_STEPS: u32 = 8;
/// Seconds after which a disk that says nothing is not waited for: an emulated one may wait for its turn on a busy machine.
const PATIENCE_SECONDS: u64 = 30;

/// The driver of a host disk.
pub enum DiskDriver {
    /// A virtio disk.
    Virtio(Box<VirtioBlk<DeviceRegisters, HostDma>>),
    /// An SD card, and the wire from its controller to the board's slot.
    Sd(Box<Sdhci<DeviceRegisters, HostDma>>, Slot),
}

impl DiskDriver {
    /// The device's interrupt, or a look at it; when to look again at the latest.
    fn poll(&mut self, host: &Host, services: &Mutex<Services>, now: u64) -> u64 {
        let mut due = None;
        for _ in 0..SLOT_STEPS {
            match self {
                Self::Virtio(driver) => {
                    driver.acknowledge();
                    return u64::MAX;
                }
                Self::Sd(driver, _) => due = driver.poll(now),
            }
            if !services.lock().pass(host, self, now) {
                break;
            }
        }
        due.unwrap_or(u64::MAX)
    }

    /// Its serial number, once it is known.
    fn serial(&self) -> Option<String> {
        match self {
            Self::Virtio(driver) => {
                let bytes = driver.serial()?.iter().take_while(|byte| **byte != 0);
                Some(bytes.map(|byte| char::from(*byte)).collect())
            }
            Self::Sd(driver, _) => driver.card().map(|card| format!("sd-{:08x}", card.cid.serial())),
        }
    }

    /// It is not going to be known by itself: no card, or no answer that makes sense.
    fn is_hopeless(&self) -> bool {
        match self {
            Self::Virtio(driver) => driver.is_broken(),
            Self::Sd(driver, _) => driver.is_settled() && driver.card().is_none(),
        }
    }
}

impl BlockBackend for DiskDriver {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::Virtio(driver) => driver.geometry(),
            Self::Sd(driver, _) => driver.geometry(),
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        match self {
            Self::Virtio(driver) => driver.submit(request),
            Self::Sd(driver, _) => driver.submit(request),
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        match self {
            Self::Virtio(driver) => driver.complete(),
            Self::Sd(driver, _) => driver.complete(),
        }
    }
}

/// What a disk is called and holds; read when it is first seen, before anyone shares it.
#[derive(Debug)]
pub struct Identity {
    /// Serial number.
    pub serial: String,
    /// Its partitions.
    pub table: PartitionTable,
}

/// A disk of the host, shared by its users.
pub struct HostDisk {
    /// Its interrupt.
    pub intid: Option<Intid>,
    dma: HostDma,
    /// What messages call it while it has no serial number.
    place: String,
    identity: Once<Identity>,
    inner: Mutex<Inner>,
    users: AtomicU32,
}

/// One lock for driver and routes: a request and its completion take the way through them in opposite directions.
struct Inner {
    driver: DiskDriver,
    /// Of the requests in flight, by token.
    routes: Vec<Option<Route>>,
    /// For the partition table.
    buffer: Option<HostBuffer>,
    reader: Option<Reader>,
    /// It may be used: the firmware has said what the slot's clock is.
    started: bool,
    wait_until: u64,
    told: Option<Trouble>,
}

/// Whose request a token of the disk's is, and what it is called there.
type Route = (Arc<Client>, Token);

/// Who uses a disk.
#[derive(Clone)]
pub enum Owner {
    /// A guest, and which disk of it.
    Guest(Arc<Signals>, u8),
    /// The host itself, which looks by itself.
    Host,
    /// The datastore's home.
    Datastore,
}

/// One user of a host disk.
pub struct Client {
    done: Mutex<VecDeque<BlockCompletion>>,
    /// Something is in `done`.
    pub ready: AtomicBool,
    /// Requests that the disk has.
    in_flight: AtomicU32,
    owner: Owner,
}

impl Client {
    /// Whether the disk reads and writes no memory for this user: what it named may be another's.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
    }
}

/// What came of a look at a disk.
pub struct Looked {
    /// Users that have something to take.
    pub woken: Vec<Owner>,
    /// When to look again at the latest.
    pub due: u64,
    /// The disk became known.
    pub news: bool,
}

impl HostDisk {
    /// A disk with its driver.
    pub fn new(driver: DiskDriver, dma: &HostDma, place: String, intid: Option<Intid>) -> Self {
        let inner = Inner {
            driver,
            routes: (0..SLOTS).map(|_| None).collect(),
            buffer: dma.allocate(4096),
            reader: None,
            started: false,
            wait_until: el2::regs::counter().saturating_add(el2::regs::counter_hz() * PATIENCE_SECONDS),
            told: None,
        };
        Self {
            intid,
            dma: *dma,
            place,
            identity: Once::new(),
            inner: Mutex::new(inner),
            users: AtomicU32::new(0),
        }
    }

    /// What it is, once it was read.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// Whether the card in it may be another one tomorrow.
    pub fn is_removable(&self) -> bool {
        matches!(self.inner.lock().driver, DiskDriver::Sd(..))
    }

    /// The search for what it is has come to an end: it is known, or nobody waits for it any more.
    pub fn is_settled(&self) -> bool {
        let inner = self.inner.lock();
        let hopeless = inner.started && inner.reader.is_none() && inner.driver.is_hopeless();
        self.identity.is_completed() || hopeless || el2::regs::counter() >= inner.wait_until
    }

    /// Something is wrong with it that a person should know.
    pub fn is_in_trouble(&self) -> bool {
        let told = self.inner.lock().told;
        told.is_some_and(|trouble| trouble != Trouble::NoCard || self.identity.is_completed())
    }

    /// Whether anyone uses it.
    pub fn is_used(&self) -> bool {
        self.users.load(Ordering::Relaxed) != 0
    }

    /// How its device reaches memory.
    pub fn dma(&self) -> HostDma {
        self.dma
    }

    /// Whether it takes no writes.
    pub fn is_read_only(&self) -> bool {
        self.inner.lock().driver.geometry().read_only
    }

    /// Capacity in sectors.
    pub fn sectors(&self) -> u64 {
        self.inner.lock().driver.geometry().sectors
    }

    /// For the self-test's page, where it is an SD controller; the checks are still to be made.
    pub fn card_facts(&self) -> Option<CardFacts<'_>> {
        let inner = self.inner.lock();
        let DiskDriver::Sd(driver, _) = &inner.driver else { return None };
        Some(CardFacts {
            name: &self.place,
            card: driver.card().copied(),
            trouble: driver.trouble(),
            hertz: driver.hertz(),
            dma: driver.uses_dma(),
            statistics: driver.statistics(),
            read: None,
            write: None,
        })
    }

    fn submit(&self, client: &Arc<Client>, request: &BlockRequest<'_>) -> Submitted {
        let mut inner = self.inner.lock();
        let Inner { driver, routes, .. } = &mut *inner;
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
        let submitted = driver.submit(&own);
        if submitted == Submitted::InFlight {
            client.in_flight.fetch_add(1, Ordering::SeqCst);
            *route = Some((client.clone(), request.token));
        }
        submitted
    }

    /// The disk's interrupt, or a look at it: finds out what it is, then takes what is finished.
    pub fn look(&self, host: &Host, services: &Mutex<Services>) -> Looked {
        let now = el2::regs::counter();
        let mut inner = self.inner.lock();
        if !inner.started {
            let services = services.lock();
            if !services.are_known() {
                return Looked { woken: Vec::new(), due: now + el2::regs::counter_hz() / 1000, news: false };
            }
            if let (DiskDriver::Sd(driver, _), Some(firmware)) = (&mut inner.driver, &services.firmware)
                && let Some(hertz) = firmware.slot_hertz()
            {
                driver.set_base_hertz(hertz);
            }
            inner.started = true;
        }
        let mut due = inner.driver.poll(host, services, now);
        self.tell_trouble(host, &mut inner);
        let mut news = false;
        if !self.identity.is_completed() {
            news = self.identify(host, &mut inner);
        }
        if !self.identity.is_completed() && now < inner.wait_until {
            due = due.min(inner.wait_until);
        }
        if inner.reader.is_some() {
            // The next sector was asked for after the poll: its limit is not in what that said.
            due = due.min(now + el2::regs::counter_hz() / 1000);
        }
        let woken = if self.identity.is_completed() { self.hand_out(&mut inner) } else { Vec::new() };
        Looked { woken, due, news }
    }

    /// Takes completions to their users; those that had nothing yet are returned.
    fn hand_out(&self, inner: &mut Inner) -> Vec<Owner> {
        let mut woken = Vec::new();
        while let Some(completion) = inner.driver.complete() {
            let index = usize::try_from(completion.token.0).unwrap_or(usize::MAX);
            let route = inner.routes.get_mut(index).and_then(Option::take);
            let Some((client, token)) = route else { continue };
            client.in_flight.fetch_sub(1, Ordering::SeqCst);
            client.done.lock().push_back(BlockCompletion { token, result: completion.result });
            if !client.ready.swap(true, Ordering::Relaxed) {
                woken.push(client.owner.clone());
            }
        }
        woken
    }

    /// Reads serial number and partition table; `true` once both are known.
    fn identify(&self, host: &Host, inner: &mut Inner) -> bool {
        let Some(serial) = inner.driver.serial() else {
            // It went away meanwhile: what was asked has failed.
            inner.reader = None;
            while inner.driver.complete().is_some() {}
            return false;
        };
        let span = inner.buffer.as_ref().and_then(|buffer| buffer.span(0, BUFFER_BYTES));
        let Some(span) = span else { return false };
        let sectors = inner.driver.geometry().sectors;
        let reader = inner.reader.get_or_insert_with(|| Reader::new(sectors, span));
        if !reader.poll(&mut inner.driver, &HostMemory) {
            return false;
        }
        let table = inner.reader.take().map(Reader::finish).unwrap_or_default();
        match &inner.driver {
            DiskDriver::Virtio(_) => log!(host.console, "disk \"{serial}\": {} MiB", sectors >> 11),
            DiskDriver::Sd(driver, _) => {
                if let Some(card) = driver.card() {
                    let megahertz = driver.hertz() / 1_000_000;
                    let size = sectors >> 11;
                    log!(host.console, "disk \"{serial}\": {size} MiB, {}, {megahertz} MHz", card.cid);
                }
            }
        }
        for complaint in table.complaints.iter().filter(|_| !table.partitions.is_empty()) {
            log!(host.console, "disk \"{serial}\": {complaint}");
        }
        self.identity.call_once(|| Identity { serial, table });
        true
    }

    /// Logs what went wrong with the card, and that it is well again.
    fn tell_trouble(&self, host: &Host, inner: &mut Inner) {
        let DiskDriver::Sd(driver, _) = &inner.driver else { return };
        let (before, trouble) = (inner.told, driver.trouble());
        if before == trouble || !driver.is_settled() {
            return;
        }
        inner.told = trouble;
        let name = self.identity().map_or(&self.place, |identity| &identity.serial);
        match trouble {
            // A slot may be empty: only a card that was there is missed.
            Some(Trouble::NoCard) if self.identity.is_completed() => {
                log!(host.console, "disk \"{name}\": its card was taken out; put it back");
            }
            Some(Trouble::NoCard) => {}
            Some(trouble) => log!(host.console, "{name}: {trouble}"),
            None if self.identity.is_completed() => log!(host.console, "disk \"{name}\": works again"),
            None => {}
        }
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
    pub fn new(disk: Arc<HostDisk>, owner: Owner, (first, sectors): (u64, u64), read_only: bool) -> Self {
        disk.users.fetch_add(1, Ordering::Relaxed);
        let done = Mutex::new(VecDeque::with_capacity(SLOTS));
        let (ready, in_flight) = (AtomicBool::new(false), AtomicU32::new(0));
        let client = Arc::new(Client { done, ready, in_flight, owner });
        Self { disk, client, first, sectors, read_only }
    }

    /// For [`Client::is_quiet`].
    pub fn client(&self) -> &Arc<Client> {
        &self.client
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

impl Drop for Window {
    fn drop(&mut self) {
        self.disk.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BlockBackend for Window {
    fn geometry(&self) -> BlockGeometry {
        let geometry = self.disk.inner.lock().driver.geometry();
        let read_only = self.read_only || geometry.read_only;
        BlockGeometry { sectors: self.sectors, read_only, ..geometry }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        match self.place(request) {
            Ok(sector) => {
                let BlockRequest { token, op, data, memory, .. } = *request;
                self.disk.submit(&self.client, &BlockRequest { token, op, sector, data, memory })
            }
            Err(error) => Submitted::Done(Err(error)),
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        let mut done = self.client.done.lock();
        self.client.ready.store(done.len() > 1, Ordering::Relaxed);
        done.pop_front()
    }
}

/// First sector and sectors of partition `number` of a disk, or of the whole disk without a number.
pub fn range(disk: &HostDisk, number: Option<u32>) -> Result<(u64, u64), String> {
    let Some(number) = number else { return Ok((0, disk.sectors())) };
    let Some(Identity { serial, table }) = disk.identity() else { return Err(String::from("unknown")) };
    let found = table.partitions.iter().find(|partition| partition.number == number);
    found.map(|partition| (partition.first.0, partition.sectors)).ok_or_else(|| {
        format!("disk \"{serial}\" has no partition {number}: it has {}", table.partitions.len())
    })
}

/// What a guest's disk is.
pub enum Backend {
    /// An image in RAM.
    Ram(RamDisk),
    /// A window of a host disk.
    Host(Window),
    /// A volume of the datastore.
    Volume(VolumeDisk),
}

impl BlockBackend for Backend {
    fn geometry(&self) -> BlockGeometry {
        match self {
            Self::Ram(disk) => disk.geometry(),
            Self::Host(window) => window.geometry(),
            Self::Volume(volume) => volume.geometry(),
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        match self {
            Self::Ram(disk) => disk.submit(request),
            Self::Host(window) => window.submit(request),
            Self::Volume(volume) => volume.submit(request),
        }
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        match self {
            Self::Ram(disk) => disk.complete(),
            Self::Host(window) => window.complete(),
            Self::Volume(volume) => volume.complete(),
        }
    }
}
