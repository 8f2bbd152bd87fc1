//! A guest's disk that is a volume of the datastore, or an object that nobody writes: from the guest's device to the home, and
//! back.
//!
//! The device fills a slot of its [`Client`], sets the slot's bit and, where no bit was set before, puts the client into its
//! PE's inbox of the home: two words and one SGI, and no lock that the home holds for long. The home copies between the
//! guest's spans and the store's pages. All slots taken is back-pressure on the virtqueue. A VM's reset or end moves its
//! clients' epochs on: from then on no byte of an earlier request is copied, whatever becomes of its RAM.
//! Lock order: a slot → the client's epoch; both are leaves but for each other.

use crate::home::{Asker, HomeShared};
use crate::host::Host;
use crate::host_disk::Owner;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use datastore::{Ask, Buffers, Error, Target, Wanted};
use el2::ram::HostMemory;
use ports::{
    BlockBackend, BlockCompletion, BlockError, BlockGeometry, BlockOp, BlockRequest, GuestMemory, Sector,
    Span, Submitted, Token,
};
use specs::Pa;
use spin::Mutex;

/// Requests of one disk in flight.
const SLOTS: usize = 16;

/// A request as the guest's device gave it.
struct Request {
    token: Token,
    ask: Ask,
    sector: u64,
    sectors: u64,
    spans: heapless::Vec<Span, { virtio::BLOCK_SPANS_MAX }>,
    epoch: u32,
    /// The span that was copied last, and the offset of its first byte.
    cursor: (usize, u64),
}

impl Request {
    const fn none() -> Self {
        Self {
            token: Token(0),
            ask: Ask::Flush,
            sector: 0,
            sectors: 0,
            spans: heapless::Vec::new(),
            epoch: 0,
            cursor: (0, 0),
        }
    }

    /// The parts of the guest's memory that hold the bytes from `offset` on, one after another.
    fn parts(&mut self, offset: u64, bytes: usize, mut each: impl FnMut(Span, usize)) {
        if offset < self.cursor.1 {
            self.cursor = (0, 0);
        }
        let mut done = 0;
        while done < bytes {
            let (index, start) = self.cursor;
            let Some(span) = self.spans.get(index).copied() else { return };
            let inside = offset.saturating_add(done as u64).saturating_sub(start);
            let left = u64::from(span.bytes).saturating_sub(inside);
            if left == 0 {
                self.cursor = (index.saturating_add(1), start.saturating_add(span.bytes.into()));
                continue;
            }
            let part = u32::try_from(left.min(bytes.saturating_sub(done) as u64)).unwrap_or(0);
            each(Span { start: Pa(span.start.0.saturating_add(inside)), bytes: part }, done);
            done = done.saturating_add(part as usize);
        }
    }
}

/// One user of a volume.
pub struct Client {
    target: Target,
    slots: Box<[Mutex<Request>]>,
    /// A bit for each slot that the home has not seen.
    asked: AtomicU32,
    done: Mutex<VecDeque<BlockCompletion>>,
    freed: AtomicU32,
    /// Something is in `done`.
    ready: AtomicBool,
    epoch: Mutex<u32>,
    owner: Owner,
}

impl Client {
    /// What was asked before is nobody's any more: no byte of it is copied from now on.
    pub fn forget(&self) {
        let mut epoch = self.epoch.lock();
        *epoch = epoch.wrapping_add(1);
    }

    /// Takes the slots that the home has not seen.
    pub(super) fn take_asked(&self) -> u32 {
        self.asked.swap(0, Ordering::AcqRel)
    }

    /// Slots that there was no place for: they are asked again.
    pub(super) fn put_back(&self, slots: u32) {
        self.asked.fetch_or(slots, Ordering::AcqRel);
    }

    /// What a slot wants of the store.
    pub(super) fn wanted(self: &Arc<Self>, slot: u32) -> Option<Wanted<Asker>> {
        let request = self.slots.get(slot as usize)?.lock();
        let (ask, sector, sectors) = (request.ask, request.sector, request.sectors);
        drop(request);
        Some(Wanted {
            target: self.target,
            ask,
            sector,
            sectors,
            buffers: Asker::Guest(Ticket { client: self.clone(), slot }),
        })
    }
}

/// A client's request on its way through the store.
pub struct Ticket {
    client: Arc<Client>,
    slot: u32,
}

impl Ticket {
    /// Calls with the request, unless its guest has been reset or is gone.
    fn with(&self, act: impl FnOnce(&mut Request)) -> bool {
        let Some(slot) = self.client.slots.get(self.slot as usize) else { return false };
        let mut request = slot.lock();
        let epoch = self.client.epoch.lock();
        if *epoch != request.epoch {
            return false;
        }
        act(&mut request);
        true
    }

    /// Ends the request; whom to wake.
    pub(super) fn complete(self, result: Result<(), Error>) -> Option<Owner> {
        let token = self.client.slots.get(self.slot as usize)?.lock().token;
        let result = result.map_err(|error| match error {
            Error::OutOfRange | Error::BadRequest => BlockError::OutOfRange,
            Error::ReadOnly(_) => BlockError::ReadOnly,
            Error::NoSpace => BlockError::NoSpace,
            _ => BlockError::Io,
        });
        let client = self.client;
        client.freed.fetch_or(1 << self.slot, Ordering::Release);
        client.done.lock().push_back(BlockCompletion { token, result });
        (!client.ready.swap(true, Ordering::AcqRel)).then(|| client.owner.clone())
    }
}

impl Buffers for Ticket {
    fn fetch(&mut self, offset: u64, into: &mut [u8]) {
        let held = self.with(|request| {
            let bytes = into.len();
            request.parts(offset, bytes, |span, done| {
                HostMemory.read_span(span, into.get_mut(done..).unwrap_or_default());
            });
        });
        if !held {
            into.fill(0);
        }
    }

    fn deliver(&mut self, offset: u64, from: &[u8]) {
        self.with(|request| {
            request.parts(offset, from.len(), |span, done| {
                HostMemory.write_span(span, from.get(done..).unwrap_or_default());
            });
        });
    }
}

/// A volume, or an object, as a guest's disk.
pub struct VolumeDisk {
    host: &'static Host,
    client: Arc<Client>,
    volume: u64,
    sectors: u64,
    read_only: bool,
    free: u32,
}

impl VolumeDisk {
    /// The volume of that name, for a disk of the VM called `user`.
    pub fn open(
        host: &'static Host,
        name: &str,
        owner: Owner,
        user: &str,
        read_only: bool,
    ) -> Result<Self, String> {
        let (volume, sectors) = host.home.claim(name, user, read_only)?;
        Ok(Self::new(host, Target::Volume(volume), (volume, sectors), owner, read_only))
    }

    /// The object `iso:NAME` or `file:NAME`, for a CD of the VM called `user`.
    pub fn open_cd(host: &'static Host, name: &str, owner: Owner, user: &str) -> Result<Self, String> {
        let (object, sectors) = host.home.claim_cd(name, user)?;
        Ok(Self::new(host, Target::Object(object), (object, sectors), owner, true))
    }

    /// Of what was claimed: its id and sectors.
    fn new(
        host: &'static Host,
        target: Target,
        (volume, sectors): (u64, u64),
        owner: Owner,
        read_only: bool,
    ) -> Self {
        let slots: Box<[_]> = (0..SLOTS).map(|_| Mutex::new(Request::none())).collect();
        let client = Client {
            target,
            slots,
            asked: AtomicU32::new(0),
            done: Mutex::new(VecDeque::with_capacity(SLOTS)),
            freed: AtomicU32::new(0),
            ready: AtomicBool::new(false),
            epoch: Mutex::new(0),
            owner,
        };
        host.home.expect_client();
        let free = u32::MAX >> (32 - SLOTS);
        Self { host, client: Arc::new(client), volume, sectors, read_only, free }
    }

    /// For [`Client::forget`].
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn ask(&self, request: &BlockRequest<'_>) -> Result<(Ask, u64), BlockError> {
        let bytes: u64 = request.data.iter().map(|span| u64::from(span.bytes)).sum();
        let (ask, sectors) = match request.op {
            BlockOp::Read => (Ask::Read, bytes / Sector::BYTES),
            BlockOp::Write => (Ask::Write, bytes / Sector::BYTES),
            BlockOp::Flush => return Ok((Ask::Flush, 0)),
            BlockOp::Discard { sectors } => (Ask::Discard, sectors.into()),
            BlockOp::WriteZeroes { sectors } => (Ask::Zero, sectors.into()),
        };
        if request.sector.0.checked_add(sectors).is_none_or(|end| end > self.sectors) {
            return Err(BlockError::OutOfRange);
        }
        if self.read_only && ask != Ask::Read {
            return Err(BlockError::ReadOnly);
        }
        Ok((ask, sectors))
    }
}

impl Drop for VolumeDisk {
    fn drop(&mut self) {
        self.client.forget();
        self.host.home.release(self.volume);
    }
}

impl BlockBackend for VolumeDisk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry {
            sectors: self.sectors,
            read_only: self.read_only,
            block_bytes: 4096,
            discard: !self.read_only,
        }
    }

    fn submit(&mut self, request: &BlockRequest<'_>) -> Submitted {
        let (ask, sectors) = match self.ask(request) {
            Ok((_, 0)) if request.op != BlockOp::Flush => return Submitted::Done(Ok(())),
            Ok(asked) => asked,
            Err(error) => return Submitted::Done(Err(error)),
        };
        self.free |= self.client.freed.swap(0, Ordering::Acquire);
        let index = self.free.trailing_zeros();
        let Some(slot) = self.client.slots.get(index as usize) else { return Submitted::Full };
        let mut place = slot.lock();
        place.spans.clear();
        if place.spans.extend_from_slice(request.data).is_err() {
            return Submitted::Done(Err(BlockError::Unsupported));
        }
        (place.token, place.ask, place.sector, place.sectors) =
            (request.token, ask, request.sector.0, sectors);
        (place.cursor, place.epoch) = ((0, 0), *self.client.epoch.lock());
        drop(place);
        self.free &= !(1 << index);
        if self.client.asked.fetch_or(1 << index, Ordering::AcqRel) == 0 {
            HomeShared::ask(self.host, self.client.clone());
        }
        Submitted::InFlight
    }

    fn complete(&mut self) -> Option<BlockCompletion> {
        let mut done = self.client.done.lock();
        self.client.ready.store(done.len() > 1, Ordering::Release);
        done.pop_front()
    }
}
