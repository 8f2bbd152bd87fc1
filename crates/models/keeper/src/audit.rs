//! The audit chain: entries that are added and never changed, each with the hash of the one before.
//!
//! In the datastore it is a volume of its own, [`VOLUME`], that no request can name. It starts with an index, where the
//! *n*-th entry has the number of its first sector, 8 bytes, little-endian, 0 where there is none yet; entries
//! follow, each in sectors of its own: an [`AuditRecord`], its text, zeros. (A chain that moved here from RAM may have
//! lost its oldest entries there: its first one is not number 1.) An entry and its place in the index are written in one
//! transaction. At the first use the end is found by halving the index. Without a datastore the chain is in RAM, and
//! loses its oldest entries when it has [`RAM_BYTES`].

use crate::Keeper;
use crate::ask::{Ask, Environment, status};
use crate::job::{Job, Next, Stage, Step, sectors, start};
use abi::record::AuditRecord;
use abi::{Answer, RequestKind, Status};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use datastore::{BlockPort, Error, Op, Store, Target};
use sha2::{Digest, Sha256};

/// The chain's volume.
pub(crate) const VOLUME: &str = "audit:chain";
/// Entries at most, a million and some: a volume is thin, the room for them costs nothing.
const ENTRIES_MAX: u64 = 1 << 20;
/// Entries in a sector of the index.
const PER_SECTOR: u64 = 64;
const INDEX_SECTORS: u64 = ENTRIES_MAX / PER_SECTOR;
/// Sectors of the longest entry: 4,096 bytes of text.
const ENTRY_SECTORS: u64 = 9;
/// Size of the volume.
const SECTORS: u64 = INDEX_SECTORS + ENTRIES_MAX * ENTRY_SECTORS;
/// What the chain may take in RAM.
const RAM_BYTES: usize = 256 * 1024;
/// Bytes of an [`AuditRecord`] that its hash covers.
const HASHED: usize = 64;

/// The search for the chain's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// Sectors of the index below `low` are in use, those from `high` on are not; `middle` is being read.
    Halve { low: u64, high: u64, middle: u64 },
    /// The last sector in use is being read.
    Index { sector: u64 },
    /// The last entry is being read.
    Entry { count: u64, first: u64 },
}

/// The chain.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Number and hash of the last entry.
    last: u64,
    hash: [u8; 32],
    stored: Option<Stored>,
    /// Entries in RAM, the last one last.
    in_ram: VecDeque<Vec<u8>>,
    ram_bytes: usize,
    /// An entry is being added.
    is_busy: bool,
}

#[derive(Debug)]
struct Stored {
    volume: u64,
    /// Entries that there are.
    count: u64,
    /// The sector of the index that the next entry's place is in, and its number.
    index: [u8; 512],
    index_sector: u64,
    /// Where the next entry goes.
    next_sector: u64,
    /// Of the entry that is being written: hash, sectors.
    writing: ([u8; 32], u64),
}

impl Stored {
    /// The next entry's place is in another sector of the index once one is full.
    fn turn_page(&mut self) {
        if self.count.is_multiple_of(PER_SECTOR) && self.count != 0 {
            self.index = [0; 512];
            self.index_sector = self.count / PER_SECTOR;
        }
    }
}

impl Chain {
    /// The number of the first entry that is still there.
    fn first(&self) -> u64 {
        let count = self.stored.as_ref().map_or(self.in_ram.len() as u64, |stored| stored.count);
        self.last.saturating_sub(count).saturating_add(1)
    }

    /// The next entry: record and text.
    fn entry(&self, ask: &Ask, world: &impl Environment) -> Result<(Vec<u8>, [u8; 32]), Status> {
        let text_bytes = u32::try_from(ask.payload.len()).map_err(|_| Status::Invalid)?;
        let (unix_seconds, uptime) = world.now();
        let mut record = AuditRecord {
            number: self.last.saturating_add(1),
            unix_seconds,
            uptime,
            generation: ask.generation,
            text_bytes,
            before: self.hash,
            hash: [0; 32],
        };
        let hashed = record.to_bytes();
        let hash = Sha256::new()
            .chain_update(hashed.get(..HASHED).unwrap_or_default())
            .chain_update(&ask.payload)
            .finalize();
        record.hash = hash.into();
        let mut entry = record.to_bytes().to_vec();
        entry.extend_from_slice(&ask.payload);
        entry.resize(entry.len().next_multiple_of(8), 0);
        Ok((entry, record.hash))
    }

    pub fn append_in_ram(&mut self, ask: &Ask, world: &impl Environment) -> Step {
        let (entry, hash) = self.entry(ask, world)?;
        self.ram_bytes = self.ram_bytes.saturating_add(entry.len());
        self.in_ram.push_back(entry);
        while self.ram_bytes > RAM_BYTES
            && let Some(oldest) = self.in_ram.pop_front()
        {
            self.ram_bytes = self.ram_bytes.saturating_sub(oldest.len());
        }
        (self.last, self.hash) = (self.last.saturating_add(1), hash);
        Ok(Next::ok(self.last))
    }

    pub fn read_in_ram(&self, ask: &Ask) -> Step {
        let skip = usize::try_from(ask.argument.saturating_sub(self.first())).unwrap_or(usize::MAX);
        let mut given = Vec::new();
        for entry in self.in_ram.iter().skip(skip) {
            if given.len().saturating_add(entry.len()) > ask.room as usize {
                break;
            }
            given.extend_from_slice(entry);
        }
        Ok(Next::Done(Answer { status: Status::Ok as i64, value: self.last }, given))
    }

    /// The end was not found: it is looked for again.
    pub fn forget_place(&mut self) {
        self.stored = None;
        self.release();
    }

    /// Another entry may be added.
    pub fn release(&mut self) {
        self.is_busy = false;
    }
}

impl Keeper {
    pub(crate) fn append_audit<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        world: &impl Environment,
    ) -> Step {
        if self.audit.is_busy {
            return Ok(Next::Later);
        }
        let Some(stored) = &self.audit.stored else { return self.find_audit(job, store) };
        if stored.count >= ENTRIES_MAX {
            return Err(Status::NoSpace);
        }
        let (volume, sector) = (stored.volume, stored.next_sector);
        let (entry, hash) = if job.is_internal {
            // It was in RAM: as it is.
            let record = record_of(&job.ask.payload).ok_or(Status::Invalid)?;
            self.audit.last = record.number.saturating_sub(1);
            (job.ask.payload.clone(), record.hash)
        } else {
            self.audit.entry(&job.ask, world)?
        };
        let transaction = store.begin();
        let op = Op::Write { sector, sectors: sectors(entry.len()), durable: false };
        let target = Target::Transaction { id: transaction, volume };
        let step = start(job.place(), store, target, op, &entry, Stage::Entry { transaction });
        if matches!(step, Ok(Next::Wait)) {
            self.audit.is_busy = true;
            if let Some(stored) = &mut self.audit.stored {
                stored.writing = (hash, sectors(entry.len()).into());
            }
        } else {
            store.abort(transaction);
        }
        step
    }

    /// The entry is written: now its place in the index.
    pub(crate) fn entry_written<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        transaction: u64,
    ) -> Step {
        let Some(stored) = &self.audit.stored else { return Err(Status::Io) };
        let mut index = stored.index;
        put_place(&mut index, stored.count, stored.next_sector);
        let (sector, volume) = (stored.index_sector, stored.volume);
        let op = Op::Write { sector, sectors: 1, durable: false };
        let target = Target::Transaction { id: transaction, volume };
        start(job.place(), store, target, op, &index, Stage::Index { transaction })
    }

    /// Both are written: they count from the commit on.
    pub(crate) fn index_written<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        transaction: u64,
    ) -> Step {
        match store.commit_transaction(transaction) {
            Err(Error::Busy) => return Ok(Next::Later),
            other => other.map_err(status)?,
        }
        let Some(stored) = &mut self.audit.stored else { return Err(Status::Io) };
        put_place(&mut stored.index, stored.count, stored.next_sector);
        let (hash, sectors) = stored.writing;
        stored.next_sector = stored.next_sector.saturating_add(sectors);
        stored.count = stored.count.saturating_add(1);
        stored.turn_page();
        self.audit.last = self.audit.last.saturating_add(1);
        self.audit.hash = hash;
        self.audit.release();
        job.stage = Stage::Flush { value: self.audit.last };
        Ok(Next::On)
    }

    pub(crate) fn read_audit<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        if self.audit.stored.is_none() {
            return if self.audit.is_busy { Ok(Next::Later) } else { self.find_audit(job, store) };
        }
        let number = job.ask.argument.max(self.audit.first());
        job.ask.payload.clear();
        self.read_index(job, store, number)
    }

    fn read_index<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>, number: u64) -> Step {
        let Some(stored) = &self.audit.stored else { return Err(Status::Io) };
        if number > self.audit.last {
            return Ok(self.given(job));
        }
        let op = Op::Read { sector: number.saturating_sub(self.audit.first()) / PER_SECTOR, sectors: 1 };
        start(
            job.place(),
            store,
            Target::Volume(stored.volume),
            op,
            &[],
            Stage::Entries { number, sector: None },
        )
    }

    /// A sector of the index, or an entry, was read. One entry at a time: the chain is read seldom.
    pub(crate) fn read_entries<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        number: u64,
        sector: Option<u64>,
    ) -> Step {
        let Some(stored) = &self.audit.stored else { return Err(Status::Io) };
        let volume = Target::Volume(stored.volume);
        if sector.is_none() {
            let n = number.saturating_sub(self.audit.first());
            let first = place(&job.bytes, n).filter(|first| *first != 0).ok_or(Status::Io)?;
            let sectors = u32::try_from(ENTRY_SECTORS.min(SECTORS.saturating_sub(first))).unwrap_or(1);
            let op = Op::Read { sector: first, sectors };
            return start(
                job.place(),
                store,
                volume,
                op,
                &[],
                Stage::Entries { number, sector: Some(first) },
            );
        }
        let text = record_of(&job.bytes).ok_or(Status::Io)?.text_bytes as usize;
        let bytes = AuditRecord::BYTES.saturating_add(text).next_multiple_of(8);
        let entry = job.bytes.get(..bytes).ok_or(Status::Io)?;
        if job.ask.payload.len().saturating_add(bytes) > job.ask.room as usize {
            return Ok(self.given(job));
        }
        job.ask.payload.extend_from_slice(entry);
        self.read_index(job, store, number.saturating_add(1))
    }

    fn given(&self, job: &mut Job) -> Next {
        let answer = Answer { status: Status::Ok as i64, value: self.audit.last };
        Next::Done(answer, core::mem::take(&mut job.ask.payload))
    }

    /// Finds the chain's volume, or makes it, and starts to look for its end.
    fn find_audit<P: BlockPort>(&mut self, job: &mut Job, store: &mut Store<P>) -> Step {
        let Some(volume) = store.catalog().volume(VOLUME) else {
            return match store.create_volume(VOLUME, SECTORS) {
                Ok(_) => Ok(Next::On),
                Err(Error::Busy) => Ok(Next::Later),
                Err(error) => Err(status(error)),
            };
        };
        let step = self.halve(job, store, volume, 0, INDEX_SECTORS);
        self.audit.is_busy = matches!(step, Ok(Next::Wait));
        step
    }

    fn halve<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        volume: u64,
        low: u64,
        high: u64,
    ) -> Step {
        let (load, sector) = if low < high {
            let middle = low.midpoint(high);
            (Load::Halve { low, high, middle }, middle)
        } else {
            let sector = low.saturating_sub(1);
            (Load::Index { sector }, sector)
        };
        let op = Op::Read { sector, sectors: 1 };
        start(job.place(), store, Target::Volume(volume), op, &[], Stage::Loading(load))
    }

    pub(crate) fn load_audit<P: BlockPort>(
        &mut self,
        job: &mut Job,
        store: &mut Store<P>,
        load: Load,
    ) -> Step {
        let volume = store.catalog().volume(VOLUME).ok_or(Status::NotFound)?;
        match load {
            Load::Halve { low, high, middle } => {
                let in_use = place(&job.bytes, 0).is_some_and(|first| first != 0);
                let (low, high) = if in_use { (middle.saturating_add(1), high) } else { (low, middle) };
                self.halve(job, store, volume, low, high)
            }
            Load::Index { sector } => {
                let mut index = [0; 512];
                index.iter_mut().zip(&job.bytes).for_each(|(to, from)| *to = *from);
                let places = (0..PER_SECTOR).filter_map(|n| place(&index, n)).take_while(|first| *first != 0);
                let (here, first) =
                    places.fold((0_u64, 0), |(count, _), first| (count.saturating_add(1), first));
                let count = sector.saturating_mul(PER_SECTOR).saturating_add(here);
                let stored = Stored {
                    volume,
                    count,
                    index,
                    index_sector: sector,
                    next_sector: INDEX_SECTORS,
                    writing: ([0; 32], 0),
                };
                self.audit.stored = Some(stored);
                if count == 0 {
                    return Ok(self.loaded(job));
                }
                let op = Op::Read { sector: first, sectors: 1 };
                let then = Stage::Loading(Load::Entry { count, first });
                start(job.place(), store, Target::Volume(volume), op, &[], then)
            }
            Load::Entry { count, first } => {
                let record =
                    record_of(&job.bytes).filter(|record| record.number >= count).ok_or(Status::Io)?;
                (self.audit.last, self.audit.hash) = (record.number, record.hash);
                let bytes = AuditRecord::BYTES.saturating_add(record.text_bytes as usize);
                if let Some(stored) = &mut self.audit.stored {
                    stored.next_sector = first.saturating_add(sectors(bytes).into());
                    stored.turn_page();
                }
                Ok(self.loaded(job))
            }
        }
    }

    /// The end is known: the job can begin.
    fn loaded(&mut self, job: &mut Job) -> Next {
        self.audit.release();
        job.stage = Stage::Begin;
        Next::On
    }

    /// Entries in RAM move to the datastore, as they are: the chain goes on.
    pub(crate) fn adopt_audit(&mut self) {
        let entries = core::mem::take(&mut self.audit.in_ram);
        self.audit = Chain::default();
        for entry in entries {
            self.submit_own(RequestKind::AppendAudit, entry);
        }
    }
}

fn record_of(bytes: &[u8]) -> Option<AuditRecord> {
    bytes.first_chunk().map(AuditRecord::from_bytes)
}

/// The place that a sector of the index has for entry `n`.
fn place(sector: &[u8], n: u64) -> Option<u64> {
    let (words, _) = sector.as_chunks();
    words.get((n % PER_SECTOR) as usize).map(|word| u64::from_le_bytes(*word))
}

fn put_place(sector: &mut [u8; 512], n: u64, first: u64) {
    let (words, _) = sector.as_chunks_mut();
    if let Some(word) = words.get_mut((n % PER_SECTOR) as usize) {
        *word = first.to_le_bytes();
    }
}
