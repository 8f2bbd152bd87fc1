//! Volumes, snapshots, clones, objects and transactions: changes of the catalog.
//!
//! Called by: management (hostd's calls at EL2, `bramblectl`). Each is done in memory at once and whole; it is on
//! stable storage after the next FLUSH. `Err(Busy)`: the log has no room now; poll and try again.

use crate::catalog::{Catalog, Entry, MAX_ENTRIES, MAX_SECTORS, is_name};
use crate::error::Error;
use crate::log::{MAX_TRANSACTION, Record};
use crate::port::BlockPort;
use crate::request::{SECTORS, Target};
use crate::room::{EMERGENCY, FOR_DELETION};
use crate::store::Store;
use crate::tree::{CHUNK_BLOCKS, Mapping};
use crate::wire::count32;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Changes that count together or not at all.
#[derive(Default)]
pub(crate) struct Transaction {
    writes: Vec<(u64, Record)>,
    objects: Vec<(String, Option<(u64, u64)>)>,
}

impl Transaction {
    /// Map pages that it changes.
    fn chunks(&self) -> usize {
        let mut chunks = BTreeSet::new();
        for (volume, record) in &self.writes {
            if let Record::Map { block, crcs, .. } = record {
                let last = block.saturating_add(crcs.len() as u64).saturating_sub(1);
                chunks.extend((block / CHUNK_BLOCKS..=last / CHUNK_BLOCKS).map(|chunk| (*volume, chunk)));
            }
        }
        chunks.len()
    }

    /// Blocks that are written and not yet named.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.writes.iter().filter_map(|(_, record)| match record {
            Record::Map { first, crcs, .. } => Some((*first, count32(crcs.len()))),
            _ => None,
        })
    }
}

/// Space of a store in blocks of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// All blocks.
    pub total: u64,
    /// Blocks that can be written now.
    pub available: u64,
    /// Blocks that become available with the next checkpoint.
    pub freed: u64,
}

impl<P: BlockPort> Store<P> {
    /// All entries.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The store's identity.
    pub fn uuid(&self) -> [u8; 16] {
        self.superblock.uuid
    }

    /// Space.
    pub fn usage(&self) -> Usage {
        let available = self.space.available().saturating_sub(self.reserve());
        Usage { total: u64::from(self.space.geometry.blocks), available, freed: self.space.freed }
    }

    /// So many entries may be added; so many pages change with that.
    fn may_add(&mut self, entries: usize, pages: usize) -> Result<(), Error> {
        self.check_not_read_only()?;
        if self.catalog.len().saturating_add(entries) > MAX_ENTRIES {
            return Err(Error::Limit);
        }
        self.afford(pages, EMERGENCY)
    }

    fn put(id: u64, entry: &Entry) -> Record {
        Record::Entry { id, bytes: Some(entry.encode()) }
    }

    /// A volume of zeroes.
    pub fn create_volume(&mut self, name: &str, sectors: u64) -> Result<u64, Error> {
        self.may_add(2, 2)?;
        if !is_name(name) {
            return Err(Error::BadName);
        }
        if self.catalog.volume(name).is_some() {
            return Err(Error::Exists);
        }
        if !sectors.is_multiple_of(SECTORS) || sectors > MAX_SECTORS {
            return Err(Error::BadRequest);
        }
        let (head, id) = (self.next_id, self.next_id.saturating_add(1));
        let volume = Entry::Volume { name: String::from(name), sectors, head };
        self.commit(&[Self::put(head, &Entry::Layer { parent: 0 }), Self::put(id, &volume)])?;
        Ok(id)
    }

    /// Gives a volume another name.
    pub fn rename_volume(&mut self, id: u64, name: &str) -> Result<(), Error> {
        self.may_add(0, 1)?;
        if !is_name(name) {
            return Err(Error::BadName);
        }
        if self.catalog.volume(name).is_some() {
            return Err(Error::Exists);
        }
        let Some(Entry::Volume { sectors, head, .. }) = self.catalog.get(id).cloned() else {
            return Err(Error::NotFound);
        };
        self.commit(&[Self::put(id, &Entry::Volume { name: String::from(name), sectors, head })])
    }

    /// Freezes what volumes have now, each another one: all of them or, where the power is cut, none. `guid` names the
    /// contents (random, or the sender's). The id of the first one's.
    pub fn snapshot(
        &mut self,
        volumes: &[u64],
        name: &str,
        created: u64,
        guid: [u8; 16],
    ) -> Result<u64, Error> {
        self.may_add(volumes.len().saturating_mul(2), volumes.len().saturating_mul(3))?;
        if !is_name(name) {
            return Err(Error::BadName);
        }
        let first = self.next_id;
        let mut records = Vec::new();
        for (number, volume) in (0_u64..).zip(volumes) {
            let Some(Entry::Volume { name: of, sectors, head }) = self.catalog.get(*volume).cloned() else {
                return Err(Error::NotFound);
            };
            if self.catalog.snapshot(*volume, name).is_some() {
                return Err(Error::Exists);
            }
            let layer = first.saturating_add(number.saturating_mul(2));
            let name = String::from(name);
            let snapshot = Entry::Snapshot { name, volume: *volume, layer: head, sectors, created, guid };
            records.extend([
                Self::put(layer, &Entry::Layer { parent: head }),
                Self::put(*volume, &Entry::Volume { name: of, sectors, head: layer }),
                Self::put(layer.saturating_add(1), &snapshot),
            ]);
        }
        self.commit_several(volumes, &records)?;
        Ok(first.saturating_add(1))
    }

    /// Changes of several entries, each another one.
    fn commit_several(&mut self, ids: &[u64], records: &[Record]) -> Result<(), Error> {
        let is_again = |(at, id)| ids.iter().take(at).any(|other| other == id);
        if ids.is_empty() || ids.iter().enumerate().any(is_again) {
            return Err(Error::BadRequest);
        }
        if records.len() > MAX_WRITES {
            return Err(Error::Limit);
        }
        self.commit(records)
    }

    /// A new volume with a snapshot's, or a volume's present, contents.
    pub fn clone_volume(&mut self, source: Target, name: &str) -> Result<u64, Error> {
        self.may_add(3, 4)?;
        if !is_name(name) {
            return Err(Error::BadName);
        }
        if self.catalog.volume(name).is_some() {
            return Err(Error::Exists);
        }
        let (first, second, third) =
            (self.next_id, self.next_id.saturating_add(1), self.next_id.saturating_add(2));
        let entry = |parent| Entry::Layer { parent };
        match source {
            Target::Snapshot(id) => {
                let Some(Entry::Snapshot { layer, sectors, .. }) = self.catalog.get(id) else {
                    return Err(Error::NotFound);
                };
                let clone = Entry::Volume { name: String::from(name), sectors: *sectors, head: first };
                self.commit(&[Self::put(first, &entry(*layer)), Self::put(second, &clone)])?;
                Ok(second)
            }
            Target::Volume(id) => {
                let Some(Entry::Volume { name: of, sectors, head }) = self.catalog.get(id).cloned() else {
                    return Err(Error::NotFound);
                };
                let clone = Entry::Volume { name: String::from(name), sectors, head: second };
                self.commit(&[
                    Self::put(first, &entry(head)),
                    Self::put(id, &Entry::Volume { name: of, sectors, head: first }),
                    Self::put(second, &entry(head)),
                    Self::put(third, &clone),
                ])?;
                Ok(third)
            }
            _ => Err(Error::NotFound),
        }
    }

    /// Gives volumes, each another one, the contents and size of one of their snapshots again, or, where there is none,
    /// zeroes: all of them or, where the power is cut, none. What they had is gone. `Busy` while they are being written.
    pub fn revert(&mut self, parts: &[(u64, Option<u64>)]) -> Result<(), Error> {
        self.check_not_read_only()?;
        // A write of part of a block, half done, would bring the rest of it back.
        if parts.iter().any(|(volume, _)| self.is_written(*volume)) {
            return Err(Error::Busy);
        }
        self.afford(parts.len().saturating_mul(2), FOR_DELETION)?;
        let mut records = Vec::new();
        for (head, (volume, snapshot)) in (self.next_id..).zip(parts) {
            let Some(Entry::Volume { name, sectors, .. }) = self.catalog.get(*volume).cloned() else {
                return Err(Error::NotFound);
            };
            let (parent, sectors) = match snapshot.map(|id| self.catalog.get(id)) {
                None => (0, sectors),
                Some(Some(Entry::Snapshot { layer, sectors, volume: of, .. })) if of == volume => {
                    (*layer, *sectors)
                }
                Some(_) => return Err(Error::NotFound),
            };
            records.extend([
                Self::put(head, &Entry::Layer { parent }),
                Self::put(*volume, &Entry::Volume { name, sectors, head }),
            ]);
        }
        let volumes: Vec<u64> = parts.iter().map(|(volume, _)| *volume).collect();
        self.commit_several(&volumes, &records)
    }

    /// Deletes volumes, snapshots or objects: all of them or, where the power is cut, none. Their space comes back as
    /// soon as the collector is through; a volume's snapshots stay.
    pub fn delete(&mut self, targets: &[Target]) -> Result<(), Error> {
        self.check_not_read_only()?;
        self.afford_removal(targets.len())?;
        let id = |target: &Target| match (*target, self.target_layer(*target)) {
            (_, Err(error)) => Err(error),
            (Target::Volume(id) | Target::Snapshot(id) | Target::Object(id), Ok(_)) => Ok(id),
            _ => Err(Error::BadRequest),
        };
        let ids = targets.iter().map(id).collect::<Result<Vec<u64>, Error>>()?;
        let records: Vec<Record> = ids.iter().map(|id| Record::Entry { id: *id, bytes: None }).collect();
        self.commit_several(&ids, &records)
    }

    /// Starts an object's contents: write them to the target that is given back, then name them in a transaction.
    pub fn begin_object(&mut self) -> Result<Target, Error> {
        self.may_add(1, 1)?;
        let layer = self.next_id;
        self.writing.insert(layer, 0);
        let result = self.commit(&[Self::put(layer, &Entry::Layer { parent: 0 })]);
        if result.is_err() {
            self.writing.remove(&layer);
        }
        result.map(|()| Target::Staging(layer))
    }

    /// Forgets contents that were begun.
    pub fn drop_object(&mut self, staging: Target) {
        if let Target::Staging(layer) = staging {
            self.writing.remove(&layer);
            self.collector.look = true;
        }
    }

    /// Starts a transaction.
    pub fn begin(&mut self) -> u64 {
        self.request_count = self.request_count.saturating_add(1);
        self.transactions.insert(self.request_count, Transaction::default());
        self.request_count
    }

    /// Within a transaction: gives contents a name, replacing the object of that name.
    pub fn put_object(
        &mut self,
        transaction: u64,
        name: &str,
        staging: Target,
        bytes: u64,
    ) -> Result<(), Error> {
        if !is_name(name) {
            return Err(Error::BadName);
        }
        let Target::Staging(layer) = staging else { return Err(Error::BadRequest) };
        if bytes.div_ceil(512) > MAX_SECTORS {
            return Err(Error::BadRequest);
        }
        if !self.writing.contains_key(&layer) {
            return Err(Error::NotFound);
        }
        let open = self.transactions.get_mut(&transaction).ok_or(Error::NotFound)?;
        open.objects.retain(|(other, _)| other != name);
        open.objects.push((String::from(name), Some((layer, bytes))));
        Ok(())
    }

    /// Within a transaction: deletes an object.
    pub fn remove_object(&mut self, transaction: u64, name: &str) -> Result<(), Error> {
        self.catalog.object(name).ok_or(Error::NotFound)?;
        let open = self.transactions.get_mut(&transaction).ok_or(Error::NotFound)?;
        open.objects.retain(|(other, _)| other != name);
        open.objects.push((String::from(name), None));
        Ok(())
    }

    /// Where a block is that an open transaction has written.
    pub(crate) fn staged(&self, target: Target, wanted: u64) -> Option<Mapping> {
        let Target::Transaction { id, volume } = target else { return None };
        let writes = self.transactions.get(&id)?.writes.iter().rev().filter(|(of, _)| *of == volume);
        writes.into_iter().find_map(|(_, record)| record.mapping(wanted))
    }

    /// A transaction's write has its data on the device.
    pub(crate) fn stage(&mut self, id: u64, volume: u64, records: Vec<Record>) -> Result<(), Error> {
        let open = self.transactions.get_mut(&id).ok_or(Error::NotFound)?;
        if open.writes.len().saturating_add(records.len()) > MAX_WRITES {
            return Err(Error::Limit);
        }
        open.writes.extend(records.into_iter().map(|record| (volume, record)));
        Ok(())
    }

    /// Makes a transaction count. It is on stable storage, whole, after the next FLUSH; a power cut before leaves all
    /// of it or nothing. `Busy` leaves it open: poll and try again.
    pub fn commit_transaction(&mut self, id: u64) -> Result<(), Error> {
        let open = self.transactions.remove(&id).ok_or(Error::NotFound)?;
        let result = self.try_commit(&open);
        match result {
            Err(Error::Busy) => {
                self.transactions.insert(id, open);
            }
            Err(_) => self.give_back(&open),
            Ok(()) => {
                for (_, contents) in &open.objects {
                    if let Some((layer, _)) = contents {
                        self.writing.remove(layer);
                    }
                }
            }
        }
        result
    }

    fn try_commit(&mut self, open: &Transaction) -> Result<(), Error> {
        let named = open.objects.iter().filter(|(_, contents)| contents.is_some()).count();
        match open.chunks().saturating_add(named) {
            0 => self.afford_removal(open.objects.len())?,
            pages => self.may_add(named, pages)?,
        }
        let mut records = Vec::new();
        for (volume, record) in &open.writes {
            let (head, _) = self.target_layer(Target::Volume(*volume))?;
            let mut record = record.clone();
            if let Record::Map { layer, .. } = &mut record {
                *layer = head;
            }
            records.push(record);
        }
        let mut next = self.next_id;
        for (name, contents) in &open.objects {
            let old = self.catalog.object(name);
            match contents {
                Some((layer, bytes)) => {
                    let entry = Entry::Object { name: name.clone(), bytes: *bytes, layer: *layer };
                    let id = old.unwrap_or(next);
                    next = next.saturating_add(1);
                    records.push(Self::put(id, &entry));
                }
                None => records.extend(old.map(|id| Record::Entry { id, bytes: None })),
            }
        }
        if records.len() > MAX_WRITES {
            return Err(Error::Limit);
        }
        self.commit(&records)
    }

    /// Ends a transaction without any effect. Contents of objects are forgotten, too.
    pub fn abort(&mut self, id: u64) {
        if let Some(open) = self.transactions.remove(&id) {
            self.give_back(&open);
        }
    }

    fn give_back(&mut self, open: &Transaction) {
        let blocks: u64 = open.runs().map(|(_, n)| u64::from(n)).sum();
        self.space.taken = self.space.taken.saturating_sub(blocks);
        for (_, contents) in &open.objects {
            if let Some((layer, _)) = contents {
                self.drop_object(Target::Staging(*layer));
            }
        }
    }
}

/// Records of one transaction: what surely fits into [`MAX_TRANSACTION`] log blocks.
const MAX_WRITES: usize = MAX_TRANSACTION * 10;
