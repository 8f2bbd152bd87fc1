//! Objects in RAM: those of [`RUN`], which outlive hostd and not the host; and all others while there is no datastore.

use crate::ask::{Ask, name};
use crate::job::{Next, Step};
use abi::request::{OBJECT_NAME_BYTES, RUN, RUN_BYTES};
use abi::{Answer, RequestKind, Status};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Named byte strings, at most [`RUN_BYTES`] in all, names included.
#[derive(Debug, Default)]
pub struct Objects(BTreeMap<String, Vec<u8>>);

/// Whether an object of that name is kept in RAM even where there is a datastore.
pub fn is_for_ram(name: &str) -> bool {
    name.starts_with(RUN)
}

impl Objects {
    /// Names and sizes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.len() as u64))
    }

    /// Takes out what a datastore is to keep.
    pub fn take_others(&mut self) -> Vec<(String, Vec<u8>)> {
        let (ours, others) = core::mem::take(&mut self.0).into_iter().partition(|(name, _)| is_for_ram(name));
        self.0 = ours;
        others.into_iter().collect()
    }

    /// A request about one object.
    pub fn carry_out(&mut self, ask: &Ask) -> Step {
        let (name, rest) = ask.named()?;
        match ask.kind {
            RequestKind::ReadObject => self.read(&name, ask),
            RequestKind::WriteObject => self.put(name, 0, rest),
            RequestKind::AppendObject => {
                let size = self.0.get(&name).map(|bytes| bytes.len() as u64);
                if size.unwrap_or(0) != ask.argument {
                    return Ok(conflict(size.unwrap_or(0)));
                }
                let kept = self.0.get(&name).map_or(0, Vec::len);
                self.put(name, kept, rest)
            }
            RequestKind::DeleteObject => self.0.remove(&name).map(|_| Next::ok(0)).ok_or(Status::NotFound),
            RequestKind::RenameObject => self.rename(&name, rest),
            _ => Err(Status::NotSupported),
        }
    }

    fn read(&self, name: &str, ask: &Ask) -> Step {
        let bytes = self.0.get(name).ok_or(Status::NotFound)?;
        let from = usize::try_from(ask.argument).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(from..).unwrap_or_default();
        let given = rest.get(..rest.len().min(ask.room as usize)).unwrap_or_default();
        Ok(Next::Done(Answer { status: Status::Ok as i64, value: bytes.len() as u64 }, given.to_vec()))
    }

    /// The first `kept` bytes stay, `more` follows them.
    fn put(&mut self, name: String, kept: usize, more: &[u8]) -> Step {
        let others: usize = self
            .0
            .iter()
            .filter(|(other, _)| **other != name)
            .map(|(name, bytes)| name.len() + bytes.len())
            .sum();
        let size = kept.saturating_add(more.len()).saturating_add(name.len()).saturating_add(others);
        if size as u64 > RUN_BYTES {
            return Err(Status::NoSpace);
        }
        let bytes = self.0.entry(name).or_default();
        bytes.truncate(kept);
        bytes.try_reserve(more.len()).map_err(|_| Status::NoSpace)?;
        bytes.extend_from_slice(more);
        Ok(Next::ok(bytes.len() as u64))
    }

    fn rename(&mut self, old: &str, field: &[u8]) -> Step {
        let new = new_name(field)?;
        let bytes = self.0.remove(old).ok_or(Status::NotFound)?;
        self.0.insert(new, bytes);
        Ok(Next::ok(0))
    }
}

/// The second name of a request that has two.
pub(crate) fn new_name(field: &[u8]) -> Result<String, Status> {
    if field.len() == OBJECT_NAME_BYTES { name(field) } else { Err(Status::Invalid) }
}

/// The object has another size than the request says.
pub(crate) const fn conflict(size: u64) -> Next {
    Next::Done(Answer { status: Status::Conflict as i64, value: size }, Vec::new())
}
