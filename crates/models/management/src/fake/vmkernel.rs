//! A vmkernel in RAM: which part of it answers a call or a request; the audit chain, disks and the datastore's record.

use super::activity::nanoseconds;
use super::objects::{Objects, Volumes};
use super::vms::{Ring, Vms, fill, port};
use crate::port::{Received, Refused, Request, Vmkernel};
use abi::record::{
    self, AddressRecord, AuditRecord, CrashRecord, DatastoreRecord, DiskRecord, HostRecord, HostUse,
    NAME_BYTES, PortRecord,
};
use abi::request::OBJECT_NAME_BYTES;
use abi::{Call, RequestKind, Status};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
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
    /// What `SetTime` was told: nanoseconds of the day and of uptime.
    set: Option<[u64; 2]>,
    /// Number and way of a notice that somebody is at the machine.
    presence: Option<(u64, u64)>,
    notices: u64,
    log: Vec<String>,
    /// The same with times, as the console has it.
    log_ring: Ring,
    objects: Objects,
    volumes: Volumes,
    vms: Vms,
    has_datastore: bool,
    crashes: Vec<CrashRecord>,
    audit: Vec<(AuditRecord, Vec<u8>)>,
}

impl RamVmkernel {
    /// One without anything.
    pub fn new(environment: impl Environment + 'static) -> Self {
        Self { environment: Box::new(environment), state: RefCell::default() }
    }

    /// Its objects.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.borrow().objects.0.clone()
    }

    /// All bytes of a volume.
    pub fn volume(&self, id: u64) -> Vec<u8> {
        self.state.borrow_mut().volumes.content(id)
    }

    /// Puts an object there.
    pub fn put_object(&self, name: &str, bytes: &[u8]) {
        self.state.borrow_mut().objects.0.insert(name.to_owned(), bytes.to_owned());
    }

    /// Makes a VM of a document with one; one of the boot archive can't be changed.
    pub fn put_vm(&self, document: &str, is_from_boot: bool) -> Option<u64> {
        self.state.borrow_mut().vms.put(0, document.as_bytes(), is_from_boot).ok().map(|(handle, _)| handle)
    }

    /// Starts a VM.
    pub fn power_on(&self, handle: u64) {
        // One that runs goes on.
        let _ = self.state.borrow_mut().power(&*self.environment, RequestKind::PowerOn, handle);
    }

    /// Sets the time of day ahead by so many seconds.
    pub fn set_clock_ahead(&self, seconds: u64) {
        self.state.borrow_mut().ahead = seconds;
    }

    /// Adds a line to the host's log.
    pub fn say(&self, line: &str) {
        self.state.borrow_mut().say(&*self.environment, line.to_owned());
    }

    /// Somebody shows that he is at the machine, in one of the ways of `abi::call`.
    pub fn show_presence(&self, how: u64) {
        let mut state = self.state.borrow_mut();
        state.notices = state.notices.saturating_add(1);
        state.presence = Some((state.notices, how));
    }

    /// A generation of hostd has ended like this.
    pub fn put_crash(&self, crash: CrashRecord) {
        self.state.borrow_mut().crashes.push(crash);
    }

    /// The lines of the host's log.
    pub fn log(&self) -> Vec<String> {
        self.state.borrow().log.clone()
    }

    fn host_use(&self) -> HostUse {
        let now = self.environment.uptime();
        let at = nanoseconds(now);
        let (ran, [_, _, uplink_in, uplink_out]) = self.state.borrow().vms.all_done(now);
        // The host itself takes a 50th of one PE.
        let idle_time = (at * u64::from(PES)).saturating_sub(ran + at / 50);
        let unix_seconds = self.environment.unix_seconds();
        HostUse { at, idle_time, pes: PES.into(), uplink_in, uplink_out, unix_seconds, reserved: [0; 2] }
    }
}

/// The value of an answer, and the bytes after it; or why there is none.
pub(super) type Answered = Result<(u64, Vec<u8>), (Status, u64)>;

impl Vmkernel for RamVmkernel {
    fn call(&self, call: Call, buffer: &mut [u8], arguments: [u64; 3]) -> Result<[u64; 3], Status> {
        match call {
            Call::Version => Ok([u64::from(abi::VERSION), 1, 0]),
            Call::Heartbeat => Ok([0; 3]),
            Call::Log => {
                let line = String::from_utf8_lossy(buffer).into_owned();
                self.state.borrow_mut().say(&*self.environment, line);
                Ok([0; 3])
            }
            Call::Random => {
                self.environment.random(buffer);
                Ok([0; 3])
            }
            Call::Time => {
                let uptime = u64::try_from(self.environment.uptime().as_nanos()).unwrap_or(u64::MAX);
                let (ahead, set) = (self.state.borrow().ahead, self.state.borrow().set);
                match set {
                    Some([unix, at]) => {
                        Ok([unix.saturating_add(uptime.saturating_sub(at)) / 1_000_000_000, uptime, 1])
                    }
                    None => Ok([self.environment.unix_seconds().saturating_add(ahead), uptime, 0]),
                }
            }
            Call::SetTime => {
                let [unix, at, _] = arguments;
                self.state.borrow_mut().set = Some([unix, at]);
                Ok([0; 3])
            }
            Call::ReadPresence => {
                Ok(self.state.borrow().presence.map_or([0; 3], |(notice, how)| [notice, how, 0]))
            }
            Call::AcknowledgePresence => {
                let [number, ..] = arguments;
                let mut state = self.state.borrow_mut();
                let is_its = state.presence.is_some_and(|(notice, _)| notice == number);
                if is_its {
                    state.presence = None;
                }
                if is_its { Ok([0; 3]) } else { Err(Status::NotFound) }
            }
            Call::InspectHost => {
                let record = HostRecord {
                    generation: 1,
                    restarts: 0,
                    last_reason: 0,
                    pes: PES,
                    free_bytes: self.state.borrow().vms.free_of(RAM_BYTES),
                    host_bytes: 8 << 20,
                    world_bytes: 24 << 20,
                    world_touched_bytes: 12 << 20,
                    world_exits: 0,
                    started_at: 0,
                };
                fill(buffer, &record.to_bytes());
                Ok([0; 3])
            }
            Call::GetHostUse => {
                fill(buffer, &self.host_use().to_bytes());
                Ok([0; 3])
            }
            Call::ReadConsole if arguments.starts_with(&[0, 0]) => {
                let [_, _, from] = arguments;
                Ok(self.state.borrow().log_ring.read(from, buffer))
            }
            Call::ReadCrash => {
                let later = usize::try_from(arguments[0]).unwrap_or(usize::MAX);
                let record = self.state.borrow().crashes.iter().rev().nth(later).copied();
                fill(buffer, &record.ok_or(Status::NotFound)?.to_bytes());
                Ok([0; 3])
            }
            Call::Exit => Err(Status::NotFound),
            call => {
                let now = self.environment.uptime();
                self.state.borrow_mut().vms.call(call, buffer, arguments, now)
            }
        }
    }

    async fn request(&self, request: Request<'_>, receive: &mut [u8]) -> Result<Received, Refused> {
        let send = request.send.concat();
        let mut state = self.state.borrow_mut();
        match state.request(&*self.environment, &request, &send, receive.len()) {
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
    fn say(&mut self, environment: &dyn Environment, line: String) {
        environment.log(&line);
        let up = environment.uptime();
        let told = format!("[{:5}.{:06}] {line}\n", up.as_secs(), up.subsec_micros());
        self.log_ring.say(told.as_bytes());
        self.log.push(line);
    }

    fn power(&mut self, environment: &dyn Environment, kind: RequestKind, handle: u64) -> Answered {
        let said = self.vms.power(kind, handle, environment.uptime())?;
        self.say(environment, said);
        Ok((0, Vec::new()))
    }

    fn ports(&self, now: Duration) -> Vec<PortRecord> {
        let (_, [_, _, received, sent]) = self.vms.all_done(now);
        let uplink = PortRecord { mac: UPLINK_MAC, ..port(record::UPLINK, "", [received, sent]) };
        let at = nanoseconds(now) / 1_000_000;
        let management = port(record::WORLD_CARD, "Management", [at * 2, at]);
        let management = PortRecord { port: 1, mac: HOSTD_MAC, ..management };
        let mut ports = Vec::from([uplink, management]);
        ports.extend(self.vms.ports(2, now));
        ports
    }

    fn addresses(&self, now: Duration) -> Vec<AddressRecord> {
        let mut address = [0; 16];
        fill(&mut address, &[10, 0, 2, 15]);
        let hostd = AddressRecord {
            vm: 0,
            card: 0,
            family: record::IPV4,
            address,
            mac: HOSTD_MAC,
            since: 1_000_000_000,
            reserved: [0; 2],
        };
        let mut addresses = Vec::from([hostd]);
        addresses.extend(self.vms.addresses(now));
        addresses
    }

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

    fn request(
        &mut self,
        environment: &dyn Environment,
        request: &Request<'_>,
        send: &[u8],
        room: usize,
    ) -> Answered {
        use RequestKind as Kind;
        let Request { kind, target, argument, .. } = *request;
        match kind {
            Kind::Echo => Ok((argument, Vec::new())),
            Kind::AppendAudit => self.append_audit(environment, send),
            Kind::ReadAudit => Ok(self.read_audit(argument, room)),
            Kind::PowerOn | Kind::PowerOff | Kind::Reset | Kind::ShutDown | Kind::Pause | Kind::Resume => {
                self.power(environment, kind, target)
            }
            Kind::PutVm => self.vms.put(target, send, false),
            Kind::CloneVm => self.vms.make_of(target, argument, send),
            Kind::GetVm => self.vms.get(target),
            Kind::DeleteVm => self.vms.delete(target),
            Kind::SnapshotVm => self.vms.snapshot(target, &name(send)?.0, environment.unix_seconds()),
            Kind::RevertVm => self.vms.change_snapshot(target, argument, true),
            Kind::DeleteVmSnapshot => self.vms.change_snapshot(target, argument, false),
            Kind::ListVmSnapshots => self.vms.snapshots(target, argument),
            Kind::ListDisks => Ok((1, self.disk().to_bytes().to_vec())),
            Kind::MakeDatastore if self.has_datastore => Err((Status::Conflict, 0)),
            Kind::MakeDatastore => {
                self.has_datastore = true;
                Ok((0, Vec::new()))
            }
            Kind::InspectDatastore => Ok((0, self.datastore().to_bytes().to_vec())),
            Kind::ListVolumes if !self.has_datastore => Ok((0, Vec::new())),
            Kind::CreateVolume | Kind::CloneVolume if !self.has_datastore => Err((Status::Conflict, 0)),
            Kind::ListVolumes
            | Kind::CreateVolume
            | Kind::CloneVolume
            | Kind::DeleteVolume
            | Kind::ResizeVolume
            | Kind::ReadVolume
            | Kind::WriteVolume
            | Kind::FlushVolume => self.volumes.request(request, send, room),
            Kind::ListPorts => Ok(page(&self.ports(environment.uptime()), argument, PortRecord::to_bytes)),
            Kind::ListAddresses => {
                Ok(page(&self.addresses(environment.uptime()), argument, AddressRecord::to_bytes))
            }
            Kind::ResetFirmwareVariables => self.vms.reset_firmware(target),
            Kind::RestartHost | Kind::TurnHostOff => {
                for said in self.vms.end_all(kind == Kind::RestartHost, environment.uptime()) {
                    self.say(environment, said);
                }
                Ok((0, Vec::new()))
            }
            _ => self.objects.request(request, send),
        }
    }

    fn disk(&self) -> DiskRecord {
        let state = if self.has_datastore { record::DATASTORE } else { record::BLANK };
        let free_bytes = if self.has_datastore { 0 } else { DISK_BYTES };
        DiskRecord { serial: serial(), bytes: DISK_BYTES, free_bytes, state, read_only: 0, reserved: 0 }
    }

    fn datastore(&self) -> DatastoreRecord {
        let bytes = if self.has_datastore { DISK_BYTES } else { 0 };
        DatastoreRecord {
            uuid: if self.has_datastore { *b"a datastore's id" } else { [0; 16] },
            serial: if self.has_datastore { serial() } else { [0; NAME_BYTES] },
            bytes,
            free_bytes: bytes,
            written_bytes: 0,
            volumes: u32::try_from(self.volumes.count()).unwrap_or(u32::MAX),
            objects: u32::try_from(self.objects.count()).unwrap_or(u32::MAX),
            flags: if self.has_datastore { 0 } else { record::VOLATILE },
            reserved: 0,
            reserved_end: [0; 5],
        }
    }
}

/// A part of a list.
fn page<R, const N: usize>(all: &[R], skip: u64, bytes: impl Fn(&R) -> [u8; N]) -> (u64, Vec<u8>) {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    (all.len() as u64, all.iter().skip(skip).flat_map(bytes).collect())
}

const PES: u32 = 4;
const RAM_BYTES: u64 = 8 << 30;
const UPLINK_MAC: [u8; 8] = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0];
const HOSTD_MAC: [u8; 8] = [0x52, 0x54, 0, 0, 0, 1, 0, 0];
/// Of the one disk.
const DISK_BYTES: u64 = 64 << 30;

fn serial() -> [u8; NAME_BYTES] {
    abi::name::field("FAKE0001")
}

/// A name at the start of what was sent, and the rest.
pub(super) fn name(send: &[u8]) -> Result<(String, &[u8]), (Status, u64)> {
    let (name, rest) = send.split_at_checked(OBJECT_NAME_BYTES).ok_or((Status::Invalid, 0))?;
    let text = core::str::from_utf8(abi::name::split(name).0).unwrap_or_default();
    let is_good = !text.is_empty() && !text.contains('/') && !text.chars().any(char::is_control);
    if is_good { Ok((text.to_owned(), rest)) } else { Err((Status::Invalid, 0)) }
}
