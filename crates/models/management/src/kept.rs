//! A value that outlives hostd: in memory to be read, as JSON in an object of the vmkernel's.
//!
//! hostd is the only one who writes it, so what is in memory is true. A change is written first and seen after that.

use crate::bell::Turn;
use crate::port::{Port, Request};
use crate::problem::Problem;
use abi::request::{OBJECT_NAME_BYTES, PAYLOAD_MAX};
use abi::{RequestKind, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value and its object.
pub struct Kept<T> {
    object: &'static str,
    value: RefCell<T>,
    /// It was read, or there was none: it may be written.
    is_loaded: Cell<bool>,
    turn: Turn,
}

/// What became of a load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// It was there.
    Found,
    /// There is no such object.
    Missing,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Kept<T> {
    /// In this object.
    pub fn new(object: &'static str) -> Self {
        Self { object, value: RefCell::default(), is_loaded: Cell::new(false), turn: Turn::default() }
    }

    /// Reads the object. What can't be read is an error, and stays as it is.
    pub async fn load<P: Port>(&self, port: &P) -> Result<Loaded, String> {
        let _turn = self.turn.take().await;
        let bytes = match read_object(port, self.object).await {
            Ok(bytes) => bytes,
            Err(Status::NotFound) => {
                self.is_loaded.set(true);
                return Ok(Loaded::Missing);
            }
            Err(status) => return Err(format!("{} can't be read: {status:?}", self.object)),
        };
        let value = serde_json::from_slice(&bytes);
        *self.value.borrow_mut() = value.map_err(|error| format!("{} is damaged: {error}", self.object))?;
        self.is_loaded.set(true);
        Ok(Loaded::Found)
    }

    /// Gives up what could not be read, and starts with nothing.
    pub fn forget(&self) {
        self.is_loaded.set(true);
    }

    /// Reads the value.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value.borrow())
    }

    /// Changes the value in memory only.
    pub fn touch<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.value.borrow_mut())
    }

    /// Changes the value; where `change` refuses, or it can't be written, nothing is changed.
    pub async fn change<P: Port, R>(
        &self,
        port: &P,
        change: impl FnOnce(&mut T) -> Result<R, Problem>,
    ) -> Result<R, Problem> {
        let _turn = self.turn.take().await;
        if !self.is_loaded.get() {
            let detail = format!("the host could not read {}, and does not write over it", self.object);
            return Err(Problem::new(
                503,
                "not-loaded",
                detail,
                "the console's log says what is wrong with it",
            ));
        }
        let mut value = self.value.borrow().clone();
        let result = change(&mut value)?;
        let bytes = serde_json::to_vec(&value).unwrap_or_default();
        write_object(port, self.object, &bytes).await.map_err(|status| not_written(self.object, status))?;
        *self.value.borrow_mut() = value;
        Ok(result)
    }
}

fn not_written(object: &str, status: Status) -> Problem {
    let detail = format!("{object} can't be written: {status:?}");
    Problem::new(507, "not-written", detail, "the datastore may be full or read-only: see /api/v1/datastore")
}

/// A name as it is sent.
pub fn name_field(name: &str) -> Option<[u8; OBJECT_NAME_BYTES]> {
    (name.len() <= OBJECT_NAME_BYTES).then(|| abi::name::field(name))
}

/// A whole object, of at most [`PAYLOAD_MAX`] bytes.
pub async fn read_object<P: Port>(port: &P, name: &str) -> Result<Vec<u8>, Status> {
    let field = name_field(name).ok_or(Status::Invalid)?;
    let mut bytes = vec![0; usize::try_from(PAYLOAD_MAX).unwrap_or(0)];
    let request = Request { kind: RequestKind::ReadObject, target: 0, argument: 0, send: [&field, &[]] };
    let received = port.request(request, &mut bytes).await.map_err(|refused| refused.status)?;
    if received.value != received.bytes as u64 {
        return Err(Status::Failed);
    }
    bytes.truncate(received.bytes);
    Ok(bytes)
}

/// Writes a whole object, of at most [`PAYLOAD_MAX`] bytes.
pub async fn write_object<P: Port>(port: &P, name: &str, bytes: &[u8]) -> Result<(), Status> {
    let field = name_field(name).ok_or(Status::Invalid)?;
    if bytes.len() as u64 > u64::from(PAYLOAD_MAX) {
        return Err(Status::Invalid);
    }
    let request = Request { kind: RequestKind::WriteObject, target: 0, argument: 0, send: [&field, bytes] };
    port.request(request, &mut []).await.map(|_| ()).map_err(|refused| refused.status)
}
