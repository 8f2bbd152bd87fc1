//! Requests, answers, and what the keeper asks of the world around it.

use abi::record::NAME_BYTES;
use abi::request::OBJECT_NAME_BYTES;
use abi::{Answer, RequestKind, Status};
use alloc::string::String;
use alloc::vec::Vec;
use datastore::Error;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Given back with the answer.
    pub id: u64,
    /// What is asked for.
    pub kind: RequestKind,
    /// The generation of the world that asks.
    pub generation: u32,
    /// As the kind says.
    pub target: u64,
    /// As the kind says.
    pub argument: u64,
    /// What it sends.
    pub payload: Vec<u8>,
    /// Bytes that it has room for.
    pub room: u32,
}

/// A request that is done.
#[derive(Debug)]
pub struct Finished {
    /// As given.
    pub id: u64,
    /// How it ended.
    pub answer: Answer,
    /// What it gives back.
    pub payload: Vec<u8>,
}

/// Who has a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// No VM names it.
    Free,
    /// A VM that does not run names it.
    Named,
    /// A VM that runs has it.
    Running,
}

/// A VM as far as snapshots go.
#[derive(Clone, Debug)]
pub struct VmView {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub is_running: bool,
    /// It runs no more, and what its firmware left is being saved.
    pub is_ending: bool,
    /// Its volumes, without the one of its firmware variables.
    pub volumes: Vec<String>,
}

/// The world around the keeper.
pub trait Environment {
    /// Seconds since 1970, nanoseconds since the host started.
    fn now(&self) -> (u64, u64);
    /// Random bytes; `None` while there is no seed.
    fn random(&mut self) -> Option<[u8; 16]>;
    /// Who has the volume of that name.
    fn volume_use(&self, name: &str) -> Use;
    /// Whether a VM that runs has the object of that name as a CD.
    fn is_in_drive(&self, object: &str) -> bool;
    /// The VM of a handle.
    fn vm(&self, handle: u64) -> Result<VmView, Status>;
    /// The serial number of the datastore's disk.
    fn serial(&self) -> [u8; NAME_BYTES];
}

/// What a status says about an error of the store.
pub(crate) fn status(error: Error) -> Status {
    match error {
        Error::OutOfRange | Error::BadRequest | Error::BadName => Status::Invalid,
        Error::ReadOnly(_) => Status::ReadOnly,
        Error::NoSpace | Error::Limit => Status::NoSpace,
        Error::Io { .. } | Error::Corrupt { .. } => Status::Io,
        Error::NotFound => Status::NotFound,
        Error::Exists => Status::Conflict,
        Error::Busy => Status::Busy,
    }
}

/// The name in a field: text, then zeros.
pub(crate) fn name(field: &[u8]) -> Result<String, Status> {
    let (text, rest) = abi::name::split(field);
    let text = core::str::from_utf8(text).map_err(|_| Status::Invalid)?;
    let plain = text.chars().all(|c| !c.is_control() && c != '/') && text != "." && text != "..";
    let is_name = plain && !text.is_empty() && rest.iter().all(|byte| *byte == 0);
    is_name.then(|| String::from(text)).ok_or(Status::Invalid)
}

impl Ask {
    /// Whether a world names an object or a volume of the host's own.
    pub(crate) fn is_denied(&self) -> bool {
        use RequestKind as Kind;
        let is_private =
            |field: Option<&[u8]>| field.is_some_and(|name| name.starts_with(crate::PRIVATE.as_bytes()));
        let names = match self.kind {
            Kind::ReadObject | Kind::WriteObject | Kind::AppendObject | Kind::DeleteObject => [true, false],
            Kind::CreateVolume | Kind::CloneVolume => [true, false],
            Kind::RenameObject => [true, true],
            _ => [false, false],
        };
        let fields = [Some(self.payload.as_slice()), self.payload.get(OBJECT_NAME_BYTES..)];
        self.generation != 0 && fields.into_iter().zip(names).any(|(field, named)| named && is_private(field))
    }

    /// The name that the payload starts with, and what follows it.
    pub(crate) fn named(&self) -> Result<(String, &[u8]), Status> {
        let (field, rest) = self.payload.split_at_checked(OBJECT_NAME_BYTES).ok_or(Status::Invalid)?;
        Ok((name(field)?, rest))
    }

    /// A part of a list of records: from `argument` on, as many as there is room for; and how many there are.
    pub(crate) fn page<const N: usize>(&self, records: impl Iterator<Item = [u8; N]>) -> (Answer, Vec<u8>) {
        let most = self.room as usize / N;
        let mut count = 0_u64;
        let mut given = Vec::new();
        for record in records {
            if count >= self.argument && given.len() < most.saturating_mul(N) {
                given.extend_from_slice(&record);
            }
            count = count.saturating_add(1);
        }
        (Answer { status: Status::Ok as i64, value: count }, given)
    }
}
