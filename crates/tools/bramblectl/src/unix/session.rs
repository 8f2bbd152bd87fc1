//! A mounted store whose owner waits: what the tool's commands are written in.

use super::device::FilePort;
use anyhow::{Context, Result, anyhow, bail, ensure};
use datastore::{Entry, Error, Event, Op, Options, Progress, Store, Target, mount, run};
use std::path::Path;

/// Bytes of one request.
pub const PIECE: usize = 128 * 1024;

/// Changes gathered before a checkpoint. A PC has the memory to leave it to the log's length.
pub const GENERATION: usize = 1 << 21;

/// Memory for what the log may hold at mount: more than any log of ours needs.
const LOG_BYTES: usize = 1 << 30;

/// A mounted store.
pub struct Session {
    pub store: Store<FilePort>,
}

impl Session {
    /// Mounts the store in a file, partition or card.
    pub fn open(path: &Path, write: bool) -> Result<Self> {
        Self::open_with(path, write, GENERATION)
    }

    /// The same, with so many changes to a generation.
    pub fn open_with(path: &Path, write: bool, generation_weight: usize) -> Result<Self> {
        let port = super::table::open(path, write)?;
        let options = Options {
            io_pages: 2048,
            read_only: !write,
            generation_weight,
            log_bytes: LOG_BYTES,
            ..Options::default()
        };
        let store = run(mount(port, options)).map_err(|(_, error)| anyhow!("{}: {error}", path.display()))?;
        let mut session = Self { store };
        session.tell_events();
        Ok(session)
    }

    /// Says what the store noticed.
    pub fn tell_events(&mut self) {
        while let Some(event) = self.store.event() {
            match event {
                Event::OlderRoot { generation } => {
                    eprintln!("note: one root was unreadable; generation {generation} and the log were used");
                }
                Event::SuperblockCopy => eprintln!("note: the superblock is damaged; its copy was used"),
                Event::MetadataCopy { block } => {
                    eprintln!("note: metadata block {block} is damaged; its copy was used")
                }
                Event::Corrupt(error) => eprintln!("warning: {error}"),
                Event::BecameReadOnly(why) => eprintln!("warning: the datastore is read-only: {why}"),
                Event::Scrubbed(_) => {}
                Event::GroupLost { group } => {
                    eprintln!("warning: the space map of group {group} is unreadable")
                }
            }
        }
    }

    /// One poll; where only the device can get on, waits for it.
    pub fn turn(&mut self) -> Progress {
        let progress = self.store.poll();
        if progress == Progress::Waiting {
            self.store.port().wait();
        }
        progress
    }

    /// One request, waited for. A read's bytes are appended to `into`.
    pub fn request(&mut self, target: Target, op: Op, from: &[u8], into: &mut Vec<u8>) -> Result<(), Error> {
        let mut fill = |offset: usize, page: &mut [u8]| {
            let bytes = from.get(offset..).unwrap_or_default();
            let n = page.len().min(bytes.len());
            page[..n].copy_from_slice(&bytes[..n]);
            page[n..].fill(0);
        };
        loop {
            match self.store.submit(0, target, op, &mut fill) {
                Ok(()) => break,
                Err(Error::Busy) => drop(self.turn()),
                Err(error) => return Err(error),
            }
        }
        loop {
            self.turn();
            let Some(done) = self.store.completion() else { continue };
            done.for_each(|_, bytes| into.extend_from_slice(bytes));
            self.store.recycle(done.pages);
            return done.result;
        }
    }

    /// Reads `bytes` bytes (a multiple of 512) at `at`.
    pub fn read(&mut self, target: Target, at: u64, bytes: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        let op = Op::Read { sector: at / 512, sectors: (bytes / 512) as u32 };
        self.request(target, op, &[], into)
    }

    /// Writes bytes at `at`; the last sector is filled up with zeroes.
    pub fn write(&mut self, target: Target, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let sectors = bytes.len().div_ceil(512) as u32;
        let op = Op::Write { sector: at / 512, sectors, durable: false };
        self.request(target, op, bytes, &mut Vec::new())
    }

    /// Tries a change of the catalog until the log has room.
    pub fn change<T>(&mut self, mut act: impl FnMut(&mut Store<FilePort>) -> Result<T, Error>) -> Result<T> {
        loop {
            match act(&mut self.store) {
                Err(Error::Busy) => drop(self.turn()),
                other => return Ok(other?),
            }
        }
    }

    /// Writes everything into the tree and flushes: the log is empty afterwards.
    pub fn settle(&mut self) {
        while self.store.read_only().is_none() {
            self.store.request_checkpoint();
            let mut idle = 0;
            while idle < 100 {
                idle = if self.turn() == Progress::More { 0 } else { idle + 1 };
            }
            if !self.store.collecting() && self.store.is_settled() {
                break;
            }
        }
    }

    /// Leaves the store in order.
    pub fn close(mut self) -> Result<()> {
        self.settle();
        // What that checkpoint freed is spared for the older root; one more, and it is room.
        if self.store.usage().freed > 0 {
            self.settle();
        }
        self.tell_events();
        match self.store.read_only() {
            Some(why) => bail!("the datastore became read-only: {why}"),
            None => Ok(()),
        }
    }

    /// A volume by name.
    pub fn volume(&self, name: &str) -> Result<u64> {
        self.store.catalog().volume(name).with_context(|| format!("there is no volume \"{name}\""))
    }

    /// "volume", "volume@snapshot" or "object:name".
    pub fn target(&self, name: &str) -> Result<Target> {
        let catalog = self.store.catalog();
        // One of a host's may be called like that.
        if let Some(id) = catalog.volume(name) {
            return Ok(Target::Volume(id));
        }
        if let Some(object) = name.strip_prefix("object:") {
            let id = catalog.object(object).with_context(|| format!("there is no object \"{object}\""))?;
            return Ok(Target::Object(id));
        }
        let Some((volume, snapshot)) = name.rsplit_once('@') else {
            return Ok(Target::Volume(self.volume(name)?));
        };
        // Snapshots outlive their volume; `ls` names them so.
        let deleted = volume.strip_prefix("(deleted ").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
        let id = deleted.map_or_else(|| self.volume(volume), Ok)?;
        let found = catalog.snapshot(id, snapshot);
        Ok(Target::Snapshot(found.with_context(|| format!("\"{volume}\" has no snapshot \"{snapshot}\""))?))
    }

    /// Makes a volume and fills it. It has its name once it is whole: until then, and if that is interrupted, it is "NAME
    /// (unfinished)", which the next attempt begins anew.
    pub fn fill_volume(
        &mut self,
        name: &str,
        bytes: u64,
        fill: impl FnOnce(&mut Self, Target) -> Result<()>,
    ) -> Result<()> {
        ensure!(self.store.catalog().volume(name).is_none(), "there is a volume \"{name}\" already");
        let unfinished = format!("{name} (unfinished)");
        if let Some(id) = self.store.catalog().volume(&unfinished) {
            self.change(|store| store.delete(&[Target::Volume(id)]))?;
        }
        let id = self
            .change(|store| store.create_volume(&unfinished, bytes / 512))
            .with_context(|| format!("volume \"{name}\""))?;
        let filled =
            fill(self, Target::Volume(id)).and_then(|()| self.change(|store| store.rename_volume(id, name)));
        if filled.is_err() {
            self.change(|store| store.delete(&[Target::Volume(id)])).ok();
        }
        filled
    }

    /// Blocks that only this target holds: what deleting it gives back.
    pub fn exclusive(&mut self, target: Target) -> Result<u64> {
        let (mut from, mut blocks) = (0, 0);
        loop {
            match self.change(|store| store.exclusive(target, from, &mut blocks))? {
                Some(next) => from = next,
                None => return Ok(blocks),
            }
        }
    }

    /// Size of a target in bytes.
    pub fn size(&self, target: Target) -> u64 {
        let id = match target {
            Target::Volume(id) | Target::Snapshot(id) | Target::Object(id) => id,
            _ => return 0,
        };
        match self.store.catalog().get(id) {
            Some(Entry::Volume { sectors, .. } | Entry::Snapshot { sectors, .. }) => sectors * 512,
            Some(Entry::Object { bytes, .. }) => *bytes,
            _ => 0,
        }
    }
}
