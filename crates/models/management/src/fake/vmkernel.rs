//! A vmkernel in RAM: objects and the audit chain.

use crate::port::{Received, Refused, Request, Vmkernel};
use abi::record::AuditRecord;
use abi::request::OBJECT_NAME_BYTES;
use abi::{Call, RequestKind, Status};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use sha2::{Digest, Sha256};

/// What a vmkernel in RAM takes from outside.
pub trait Environment {
    /// Time since the host started.
    fn uptime(&self) -> Duration;
    /// Seconds since 1970.
    fn unix_seconds(&self) -> u64;
    /// Random bytes.
    fn random(&self, into: &mut [u8]);
    /// A line of the host's log.
    fn log(&self, line: &str);
}

/// The vmkernel.
pub struct RamVmkernel {
    environment: Box<dyn Environment>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    ahead: u64,
    log: Vec<String>,
    objects: BTreeMap<String, Vec<u8>>,
    audit: Vec<(AuditRecord, Vec<u8>)>,
}

impl RamVmkernel {
    /// One without anything.
    pub fn new(environment: impl Environment + 'static) -> Self {
        Self { environment: Box::new(environment), state: RefCell::default() }
    }

    /// Its objects.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.borrow().objects.clone()
    }

    /// Puts an object there.
    pub fn put_object(&self, name: &str, bytes: &[u8]) {
        self.state.borrow_mut().objects.insert(name.to_owned(), bytes.to_owned());
    }

    /// Sets the time of day ahead by so many seconds.
    pub fn set_clock_ahead(&self, seconds: u64) {
        self.state.borrow_mut().ahead = seconds;
    }

    /// The lines of the host's log.
    pub fn log(&self) -> Vec<String> {
        self.state.borrow().log.clone()
    }
}

/// The value of an answer, and the bytes after it; or why there is none.
type Answered = Result<(u64, Vec<u8>), (Status, u64)>;

impl Vmkernel for RamVmkernel {
    fn call(&self, call: Call, buffer: &mut [u8], _: [u64; 3]) -> Result<[u64; 3], Status> {
        match call {
            Call::Version => Ok([u64::from(abi::VERSION), 1, 0]),
            Call::Heartbeat => Ok([0; 3]),
            Call::Log => {
                let line = String::from_utf8_lossy(buffer).into_owned();
                self.environment.log(&line);
                self.state.borrow_mut().log.push(line);
                Ok([0; 3])
            }
            Call::Random => {
                self.environment.random(buffer);
                Ok([0; 3])
            }
            Call::Time => {
                let uptime = u64::try_from(self.environment.uptime().as_nanos()).unwrap_or(u64::MAX);
                let ahead = self.state.borrow().ahead;
                Ok([self.environment.unix_seconds().saturating_add(ahead), uptime, 0])
            }
            _ => Err(Status::NotSupported),
        }
    }

    async fn request(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        let send = request.send.concat();
        let mut state = self.state.borrow_mut();
        let answered = match request.kind {
            RequestKind::AppendAudit => state.append_audit(&*self.environment, &send),
            RequestKind::ReadAudit => Ok(state.read_audit(request.argument, receive.len())),
            _ => state.request(&request, &send),
        };
        match answered {
            Ok((value, bytes)) => {
                let given = bytes.len().min(receive.len());
                for (to, from) in receive.iter_mut().zip(bytes) {
                    *to = from;
                }
                Ok(Received { value, bytes: given })
            }
            Err((status, value)) => Err(Refused { status, received: Received { value, bytes: 0 } }),
        }
    }
}

impl State {
    fn append_audit(&mut self, environment: &dyn Environment, text: &[u8]) -> Answered {
        let before = self.audit.last().map_or([0; 32], |(record, _)| record.hash);
        let mut record = AuditRecord {
            number: (self.audit.len() as u64).saturating_add(1),
            unix_seconds: environment.unix_seconds(),
            uptime: u64::try_from(environment.uptime().as_nanos()).unwrap_or(u64::MAX),
            generation: 1,
            text_bytes: u32::try_from(text.len()).map_err(|_| (Status::Invalid, 0))?,
            before,
            hash: [0; 32],
        };
        let bytes = record.to_bytes();
        let hashed = bytes.get(..AuditRecord::BYTES.saturating_sub(32)).unwrap_or_default();
        record.hash = Sha256::new().chain_update(hashed).chain_update(text).finalize().into();
        self.audit.push((record, text.to_owned()));
        Ok((record.number, Vec::new()))
    }

    fn read_audit(&self, from: u64, room: usize) -> (u64, Vec<u8>) {
        let mut bytes = Vec::new();
        for (record, text) in self.audit.iter().filter(|(record, _)| record.number >= from) {
            let mut entry = record.to_bytes().to_vec();
            entry.extend_from_slice(text);
            entry.resize(entry.len().next_multiple_of(8), 0);
            if bytes.len().saturating_add(entry.len()) > room {
                break;
            }
            bytes.append(&mut entry);
        }
        (self.audit.len() as u64, bytes)
    }

    fn request(&mut self, request: &Request<'_>, send: &[u8]) -> Answered {
        match request.kind {
            RequestKind::Echo => Ok((request.argument, Vec::new())),
            RequestKind::ReadObject => {
                let (name, _) = name(send)?;
                let object = self.objects.get(&name).ok_or((Status::NotFound, 0))?;
                let from = usize::try_from(request.argument).unwrap_or(usize::MAX).min(object.len());
                Ok((object.len() as u64, object.get(from..).unwrap_or_default().to_owned()))
            }
            RequestKind::WriteObject => {
                let (name, bytes) = name(send)?;
                self.objects.insert(name, bytes.to_owned());
                Ok((0, Vec::new()))
            }
            RequestKind::AppendObject => {
                let (name, bytes) = name(send)?;
                let size = self.objects.get(&name).map_or(0, |object| object.len() as u64);
                if size != request.argument {
                    return Err((Status::Conflict, size));
                }
                self.objects.entry(name).or_default().extend_from_slice(bytes);
                Ok((0, Vec::new()))
            }
            RequestKind::DeleteObject => {
                let (name, _) = name(send)?;
                self.objects.remove(&name).map(|_| (0, Vec::new())).ok_or((Status::NotFound, 0))
            }
            _ => Err((Status::NotSupported, 0)),
        }
    }
}

/// A name at the start of what was sent, and the rest.
fn name(send: &[u8]) -> Result<(String, &[u8]), (Status, u64)> {
    let (name, rest) = send.split_at_checked(OBJECT_NAME_BYTES).ok_or((Status::Invalid, 0))?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(OBJECT_NAME_BYTES);
    let text = name.get(..end).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or_default();
    let is_good = !text.is_empty() && !text.contains('/') && !text.chars().any(char::is_control);
    if is_good { Ok((text.to_owned(), rest)) } else { Err((Status::Invalid, 0)) }
}
