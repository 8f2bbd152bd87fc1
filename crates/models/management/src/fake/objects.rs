//! Objects and volumes in RAM.

use super::vmkernel::{Answered, name};
use crate::kept::name_field;
use crate::port::Request;
use abi::record::{ObjectRecord, VolumeRecord};
use abi::request::RUN;
use abi::{RequestKind, Status};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a piece of a volume.
const PIECE: u64 = 64 * 1024;

/// Objects.
#[derive(Default)]
pub(super) struct Objects(pub BTreeMap<String, Vec<u8>>);

impl Objects {
    /// Carries a request out.
    pub fn request(&mut self, request: &Request<'_>, send: &[u8]) -> Answered {
        let done = |value| Ok((value, Vec::new()));
        match request.kind {
            RequestKind::ListObjects => return self.list(send, request.argument),
            RequestKind::ReadObject => {
                let object = self.0.get(&name(send)?.0).ok_or((Status::NotFound, 0))?;
                let from = usize::try_from(request.argument).unwrap_or(usize::MAX).min(object.len());
                return Ok((object.len() as u64, object.get(from..).unwrap_or_default().to_owned()));
            }
            RequestKind::WriteObject => {
                let (name, bytes) = name(send)?;
                self.0.insert(name, bytes.to_owned());
            }
            RequestKind::AppendObject => {
                let (name, bytes) = name(send)?;
                let size = self.0.get(&name).map_or(0, |object| object.len() as u64);
                if size != request.argument {
                    return Err((Status::Conflict, size));
                }
                self.0.entry(name).or_default().extend_from_slice(bytes);
            }
            RequestKind::DeleteObject => {
                self.0.remove(&name(send)?.0).ok_or((Status::NotFound, 0))?;
            }
            RequestKind::RenameObject => {
                let (from, rest) = name(send)?;
                let (to, _) = name(rest)?;
                let object = self.0.remove(&from).ok_or((Status::NotFound, 0))?;
                self.0.insert(to, object);
            }
            _ => return Err((Status::NotSupported, 0)),
        }
        done(0)
    }

    fn list(&self, prefix: &[u8], skip: u64) -> Answered {
        let (prefix, _) = abi::name::split(prefix);
        let all: Vec<_> = self.0.iter().filter(|(name, _)| name.as_bytes().starts_with(prefix)).collect();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let record = |(name, bytes): &(&String, &Vec<u8>)| {
            let name = name_field(name).unwrap_or([0; 64]);
            ObjectRecord { name, bytes: bytes.len() as u64, reserved: 0 }.to_bytes()
        };
        Ok((all.len() as u64, all.iter().skip(skip).flat_map(record).collect()))
    }

    /// How many are the datastore's.
    pub fn count(&self) -> usize {
        self.0.keys().filter(|name| !name.starts_with(RUN)).count()
    }
}

struct Volume {
    id: u64,
    name: String,
    bytes: u64,
    /// What is not zero.
    pieces: BTreeMap<u64, Vec<u8>>,
}

/// Volumes.
#[derive(Default)]
pub(super) struct Volumes {
    list: Vec<Volume>,
    made: u64,
}

impl Volumes {
    fn volume(&mut self, id: u64) -> Result<&mut Volume, (Status, u64)> {
        self.list.iter_mut().find(|volume| volume.id == id).ok_or((Status::NotFound, 0))
    }

    /// All bytes of one.
    pub fn content(&mut self, id: u64) -> Vec<u8> {
        let read = self.volume(id).and_then(|volume| volume.read(0, usize::MAX));
        read.map(|(_, bytes)| bytes).unwrap_or_default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Carries a request out.
    pub fn request(&mut self, request: &Request<'_>, send: &[u8], room: usize) -> Answered {
        let Request { kind, target, argument, .. } = *request;
        match kind {
            RequestKind::ListVolumes => {
                let skip = usize::try_from(argument).unwrap_or(usize::MAX);
                let bytes = self.list.iter().skip(skip).flat_map(|volume| shown(volume).to_bytes()).collect();
                Ok((self.list.len() as u64, bytes))
            }
            RequestKind::CreateVolume => self.make(send, argument, BTreeMap::new()),
            RequestKind::CloneVolume => {
                let source = self.volume(target)?;
                let (bytes, pieces) = (source.bytes, source.pieces.clone());
                self.make(send, bytes, pieces)
            }
            RequestKind::DeleteVolume => {
                self.volume(target)?;
                self.list.retain(|volume| volume.id != target);
                Ok((0, Vec::new()))
            }
            RequestKind::ResizeVolume => {
                let volume = self.volume(target)?;
                volume.bytes = argument;
                volume.pieces.retain(|at, _| *at < argument.div_ceil(PIECE));
                Ok((0, Vec::new()))
            }
            RequestKind::ReadVolume => self.volume(target)?.read(argument, room),
            RequestKind::WriteVolume => self.volume(target)?.write(argument, send),
            RequestKind::FlushVolume => self.volume(target).map(|_| (0, Vec::new())),
            _ => Err((Status::NotSupported, 0)),
        }
    }

    fn make(&mut self, send: &[u8], bytes: u64, pieces: BTreeMap<u64, Vec<u8>>) -> Answered {
        let (name, _) = name(send)?;
        if !bytes.is_multiple_of(512) {
            return Err((Status::Invalid, 0));
        }
        if self.list.iter().any(|volume| volume.name == name) {
            return Err((Status::Conflict, 0));
        }
        self.made = self.made.saturating_add(1);
        self.list.push(Volume { id: self.made, name, bytes, pieces });
        Ok((self.made, Vec::new()))
    }
}

impl Volume {
    fn read(&self, at: u64, room: usize) -> Answered {
        let end = self.bytes.min(at.saturating_add(room as u64));
        let bytes = (at..end).map(|at| {
            let within = usize::try_from(at % PIECE).unwrap_or(0);
            self.pieces.get(&(at / PIECE)).and_then(|piece| piece.get(within)).copied().unwrap_or(0)
        });
        Ok((0, bytes.collect()))
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Answered {
        if at.saturating_add(data.len() as u64) > self.bytes {
            return Err((Status::Invalid, 0));
        }
        let (mut at, mut data) = (at, data);
        while !data.is_empty() {
            let within = usize::try_from(at % PIECE).unwrap_or(0);
            let room = usize::try_from(PIECE).unwrap_or(0);
            let piece = self.pieces.entry(at / PIECE).or_insert_with(|| vec![0; room]);
            let bytes = data.len().min(room.saturating_sub(within));
            let (head, rest) = data.split_at(bytes);
            if let Some(to) = piece.get_mut(within..within.saturating_add(bytes)) {
                to.copy_from_slice(head);
            }
            at = at.saturating_add(bytes as u64);
            data = rest;
        }
        Ok((0, Vec::new()))
    }
}

fn shown(volume: &Volume) -> VolumeRecord {
    VolumeRecord {
        name: name_field(&volume.name).unwrap_or([0; 64]),
        id: volume.id,
        bytes: volume.bytes,
        snapshots: 0,
        in_use: 0,
        reserved: 0,
    }
}
