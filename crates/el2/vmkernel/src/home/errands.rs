//! What a world asks of the datastore, and the host's own errands: carried out by `keeper` over the mounted store.
//!
//! Called by: [`super`], on the home; [`crate::desk`] hands requests over ([`HomeShared::hand`]). Calls: `keeper`,
//! [`crate::inventory`], and [`crate::desk::deliver`] with the answers. A VM's record is the object `vm:NAME`: its contents
//! are a `host.toml` with one `[[vm]]`. It is written before the inventory knows of it, and read at mount.

mod variables;

use crate::assemble::Source;
use crate::home::HomeShared;
use crate::home::keepsakes::{self, Keepsakes};
use crate::home::port::Port;
use crate::home::variables::Saves;
use crate::host::Host;
use crate::{desk, log};
use abi::record::{NAME_BYTES, ObjectRecord};
use abi::request::{OBJECT_NAME_BYTES, PAYLOAD_MAX};
use abi::{Answer, RequestKind, Status, VmHandle};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use api::host::HostDocument;
use datastore::{Completion, Store};
use el2::page::Page;
use keeper::variables::volume_name;
use keeper::{Ask, Environment, Finished, Keeper, Use, VmView};
use ports::Entropy;
use virtio::calls::{Asked, Token};

/// What a VM's record is called.
const RECORD: &str = "vm:";
/// Ids of the host's own requests; a world's are its tokens.
const OWN: u64 = 1 << 63;

/// A VM's record that a world sent.
struct Put {
    token: Token,
    source: Box<Source>,
    text: String,
}

impl Put {
    fn name(&self) -> &str {
        self.source.document.as_ref().map(|vm| vm.name.as_str()).unwrap_or_default()
    }
}

/// What one of the host's own requests is for.
enum Errand {
    /// The names of all records.
    List,
    /// A record.
    Read(String),
    /// A world wants a VM to be made or changed: its record.
    Put(Put),
    /// What the firmware of a new one begins with; then its record.
    Begin(Put),
    /// A world wants a VM to be forgotten.
    Delete { token: Token, target: VmHandle, volumes: Vec<String> },
    /// A world wants a VM's firmware variables to be new.
    Reset(Token),
    /// The time when the host ran last.
    Time,
    /// The seed that an earlier start left.
    Seed,
    /// Its successor is being written; then it counts.
    Successor([u8; 32]),
    /// Nobody waits for it.
    Drop,
}

/// All of them.
#[derive(Default)]
pub struct Errands {
    keeper: Keeper,
    own: BTreeMap<u64, Errand>,
    next: u64,
    /// The records have been read.
    known: bool,
    /// Requests about the host's disks: not the keeper's.
    about_disks: VecDeque<Asked>,
    keepsakes: Keepsakes,
    saves: Saves,
    /// The random generator has a seed since the last question.
    seeded: bool,
}

/// Whether a request is the home's.
pub const fn takes(kind: RequestKind) -> bool {
    use RequestKind as Kind;
    matches!(
        kind,
        Kind::PutVm
            | Kind::CloneVm
            | Kind::GetVm
            | Kind::DeleteVm
            | Kind::ResetFirmwareVariables
            | Kind::SnapshotVm
            | Kind::RevertVm
            | Kind::DeleteVmSnapshot
            | Kind::ListVmSnapshots
            | Kind::ListDisks
            | Kind::MakeDatastore
            | Kind::InspectDatastore
            | Kind::ListObjects
            | Kind::ReadObject
            | Kind::WriteObject
            | Kind::AppendObject
            | Kind::DeleteObject
            | Kind::RenameObject
            | Kind::ListVolumes
            | Kind::CreateVolume
            | Kind::DeleteVolume
            | Kind::ResizeVolume
            | Kind::CloneVolume
            | Kind::ReadVolume
            | Kind::WriteVolume
            | Kind::FlushVolume
            | Kind::AppendAudit
            | Kind::ReadAudit
    )
}

/// What the keeper may know of the host.
struct World<'a> {
    host: &'static Host,
    serial: &'a str,
}

impl Environment for World<'_> {
    fn now(&self) -> (u64, u64) {
        (self.host.unix_seconds(), self.host.nanoseconds())
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        self.host.random.fill(&mut bytes).ok().map(|()| bytes)
    }

    fn volume_use(&self, name: &str) -> Use {
        if self.host.home.is_in_use(name, false) {
            return Use::Running;
        }
        let named = self.host.inventory.any(|known| volumes(&known.source).any(|volume| volume == name));
        if named { Use::Named } else { Use::Free }
    }

    fn is_in_drive(&self, object: &str) -> bool {
        self.host.home.is_in_use(object, true)
    }

    fn vm(&self, handle: u64) -> Result<VmView, Status> {
        let mut vm = self.host.inventory.read(VmHandle::from_raw(handle), |known| VmView {
            name: known.name.clone(),
            is_running: known.vm.is_some(),
            is_ending: false,
            volumes: volumes(&known.source).cloned().collect(),
        })?;
        vm.is_ending = !vm.is_running && self.host.home.is_unsaved(&vm.name);
        Ok(vm)
    }

    fn serial(&self) -> [u8; NAME_BYTES] {
        abi::name::field(self.serial)
    }
}

fn volumes(source: &Source) -> impl Iterator<Item = &String> {
    source.document.iter().flat_map(|vm| &vm.disks).filter_map(|disk| disk.volume.as_ref())
}

fn field(name: &str) -> Vec<u8> {
    abi::name::field::<OBJECT_NAME_BYTES>(name).to_vec()
}

fn id_of(token: Token) -> u64 {
    u64::from(token.epoch) << 16 | u64::from(token.head)
}

fn token_of(id: u64) -> Token {
    let [a, b, c, d, e, f, ..] = id.to_le_bytes();
    Token { epoch: u32::from_le_bytes([c, d, e, f]), head: u16::from_le_bytes([a, b]) }
}

impl Errands {
    /// Asks for the VM records of a store that was just mounted.
    pub(super) fn read_records(&mut self) {
        self.submit(RequestKind::ReadObject, field(keepsakes::TIME), Errand::Time);
        self.submit(RequestKind::ReadObject, field(keepsakes::SEED), Errand::Seed);
        self.submit(RequestKind::ListObjects, field(RECORD), Errand::List);
    }

    /// The records have been read.
    pub(super) fn are_records_known(&self) -> bool {
        self.known
    }

    fn submit(&mut self, kind: RequestKind, payload: Vec<u8>, errand: Errand) {
        self.submit_to(kind, 0, payload, errand);
    }

    fn submit_to(&mut self, kind: RequestKind, target: u64, payload: Vec<u8>, errand: Errand) {
        self.submit_with(kind, (target, 0), payload, errand);
    }

    fn submit_with(
        &mut self,
        kind: RequestKind,
        (target, argument): (u64, u64),
        payload: Vec<u8>,
        errand: Errand,
    ) {
        self.next = self.next.wrapping_add(1);
        let id = OWN | self.next;
        self.own.insert(id, errand);
        self.keeper.submit(Ask { id, kind, generation: 0, target, argument, payload, room: PAYLOAD_MAX });
    }

    /// Goes on; whether there is more to do at once.
    pub(super) fn step(
        &mut self,
        host: &'static Host,
        mut store: Option<&mut Store<Port>>,
        serial: &str,
    ) -> bool {
        if let Some(asked) = host.home.take_handed() {
            self.take(host, asked, store);
            return true;
        }
        if let Some(store) = store.as_deref_mut()
            && self.saves.step(host, store)
        {
            return true;
        }
        if let Some((what, target)) = host.home.take_note() {
            // As `api::rest::AuditText` has it; neither word needs an escape.
            let text = format!(r#"{{"who":"host","from":"console","what":"{what}","target":"{target}"}}"#);
            self.submit(RequestKind::AppendAudit, text.into_bytes(), Errand::Drop);
            return true;
        }
        if store.is_some() && self.known {
            for object in self.keepsakes.take_due(host) {
                self.submit(RequestKind::WriteObject, object, Errand::Drop);
            }
        }
        let more = self.keeper.step(store.as_deref_mut(), &mut World { host, serial });
        let Some(Finished { id, answer, payload }) = self.keeper.finished() else { return more };
        if let Some(store) = &store {
            super::shared::publish(host, store);
        }
        match self.own.remove(&id) {
            Some(errand) => self.go_on(host, errand, answer, &payload, store),
            None => desk::deliver(host, token_of(id), answer, payload),
        }
        true
    }

    /// When something of the host's own is to be written.
    pub(super) fn due(&self) -> u64 {
        if self.known { self.keepsakes.due().min(self.saves.due()) } else { u64::MAX }
    }

    /// Whether the random generator has got its seed since the last question.
    pub(super) fn take_seeded(&mut self) -> bool {
        core::mem::take(&mut self.seeded)
    }

    /// The next request about disks.
    pub(super) fn take_about_disks(&mut self) -> Option<Asked> {
        self.about_disks.pop_front()
    }

    /// A datastore was made: what was kept in RAM moves there.
    pub(super) fn adopt(&mut self) {
        self.keeper.adopt();
    }

    /// One of the keeper's requests to the store has ended, or one of a save.
    pub(super) fn complete(&mut self, completion: &Completion<Page>) {
        if !self.saves.complete(completion) {
            self.keeper.complete(completion);
        }
    }

    /// A world's request.
    fn take(&mut self, host: &'static Host, asked: Asked, store: Option<&mut Store<Port>>) {
        let (token, target) = (asked.token, VmHandle::from_raw(asked.request.target));
        let refused = match asked.kind {
            RequestKind::ListDisks | RequestKind::MakeDatastore => {
                self.about_disks.push_back(asked);
                Ok(())
            }
            RequestKind::PutVm | RequestKind::CloneVm => self.put(host, asked),
            RequestKind::ResetFirmwareVariables => self.reset_variables(host, token, target, store),
            RequestKind::GetVm => get(host, token, target),
            RequestKind::DeleteVm => self.delete(host, token, target, asked.request.argument),
            _ => {
                self.keeper.submit(Ask {
                    id: id_of(token),
                    kind: asked.kind,
                    generation: asked.request.generation,
                    target: asked.request.target,
                    argument: asked.request.argument,
                    payload: asked.payload,
                    room: asked.room,
                });
                Ok(())
            }
        };
        if let Err((status, why)) = refused {
            desk::deliver(host, token, Answer::of(status), why.into_bytes());
        }
    }

    fn put(&mut self, host: &'static Host, asked: Asked) -> Result<(), (Status, String)> {
        let invalid = |why: String| (Status::Invalid, why);
        let bare = |status: Status| (status, String::new());
        if !host.home.is_mounted() {
            return Err(bare(Status::NoDatastore));
        }
        let text = String::from_utf8(asked.payload).map_err(|_| invalid("this is not UTF-8".to_string()))?;
        let source = source_of(&text).map_err(invalid)?;
        let put = Put { token: asked.token, source: Box::new(source), text };
        let name = put.name();
        let of = (asked.request.target, asked.request.argument);
        if asked.kind == RequestKind::CloneVm || of.0 == 0 {
            if host.inventory.any(|known| known.name == name) {
                return Err((Status::Conflict, format!("there is a VM called {name} already")));
            }
            self.submit_with(RequestKind::CloneVm, of, field(name), Errand::Begin(put));
            return Ok(());
        }
        let (old, stored) = host
            .inventory
            .read(VmHandle::from_raw(of.0), |known| (known.name.clone(), known.source.stored))
            .map_err(bare)?;
        if !stored {
            return Err((Status::Conflict, "it is of the boot archive: change it there".to_string()));
        }
        if old != name {
            return Err(invalid(format!("name: it is {old}, and stays so")));
        }
        self.write_record(put);
        Ok(())
    }

    fn write_record(&mut self, put: Put) {
        let mut payload = field(&format!("{RECORD}{}", put.name()));
        payload.extend_from_slice(put.text.as_bytes());
        self.submit(RequestKind::WriteObject, payload, Errand::Put(put));
    }

    fn delete(
        &mut self,
        host: &'static Host,
        token: Token,
        target: VmHandle,
        argument: u64,
    ) -> Result<(), (Status, String)> {
        let bare = |status: Status| (status, String::new());
        let (name, stored, off, named) = host
            .inventory
            .read(target, |known| {
                let named = volumes(&known.source).cloned().collect::<Vec<_>>();
                (known.name.clone(), known.source.stored, known.vm.is_none(), named)
            })
            .map_err(bare)?;
        if !stored || !off {
            return Err(bare(Status::Conflict));
        }
        let volumes = if argument == 1 { named } else { Vec::new() };
        let errand = Errand::Delete { token, target, volumes };
        self.submit(RequestKind::DeleteObject, field(&format!("{RECORD}{name}")), errand);
        Ok(())
    }

    fn go_on(
        &mut self,
        host: &'static Host,
        errand: Errand,
        answer: Answer,
        payload: &[u8],
        store: Option<&mut Store<Port>>,
    ) {
        let ok = answer.status == Status::Ok as i64;
        match errand {
            Errand::List => {
                let (records, _) = payload.as_chunks();
                for record in records.iter().map(ObjectRecord::from_bytes) {
                    let name = record.name.split(|byte| *byte == 0).next().unwrap_or_default();
                    let name = String::from_utf8_lossy(name).into_owned();
                    self.submit(RequestKind::ReadObject, field(&name), Errand::Read(name));
                }
            }
            Errand::Read(name) => {
                let text = String::from_utf8_lossy(payload).into_owned();
                match source_of(&text) {
                    Ok(source) if ok => drop(host.inventory.put(host, source, text)),
                    Ok(_) => log!(host.console, "record {name}: it can't be read"),
                    Err(why) => log!(host.console, "record {name}: {why}"),
                }
            }
            Errand::Begin(put) if ok => self.write_record(put),
            Errand::Begin(put) => desk::deliver(host, put.token, answer, Vec::new()),
            Errand::Put(Put { token, source, text }) => {
                let handle = if ok { host.inventory.put(host, *source, text) } else { None };
                let value = handle.map_or(0, VmHandle::to_raw);
                desk::deliver(host, token, Answer { status: answer.status, value }, Vec::new());
            }
            Errand::Delete { token, target, mut volumes } => {
                if let Some(store) = store.filter(|_| ok) {
                    let name = host.inventory.read(target, |known| known.name.clone()).unwrap_or_default();
                    self.saves.forget(host, store, &name);
                    volumes.push(volume_name(&name));
                    host.inventory.forget(target);
                    let ids = volumes.iter().filter_map(|name| store.catalog().volume(name));
                    for id in ids.collect::<Vec<_>>() {
                        self.submit_to(RequestKind::DeleteVolume, id, Vec::new(), Errand::Drop);
                    }
                }
                desk::deliver(host, token, answer, Vec::new());
            }
            Errand::Reset(token) => desk::deliver(host, token, answer, Vec::new()),
            Errand::Time => {
                if let Some(seconds) = payload.first_chunk().filter(|_| ok) {
                    host.clock.was(u64::from_le_bytes(*seconds), host.nanoseconds());
                }
            }
            Errand::Seed => {
                if let Some(seed) = payload.first_chunk().filter(|_| ok)
                    && let Some(next) = keepsakes::successor(seed)
                {
                    let object = keepsakes::object(keepsakes::SEED, &next);
                    self.submit(RequestKind::WriteObject, object, Errand::Successor(*seed));
                }
            }
            Errand::Successor(seed) => {
                let was_seeded = host.random.is_seeded();
                host.random.absorb(&seed, if ok { seed.len() } else { 0 });
                if !was_seeded && host.random.is_seeded() {
                    log!(host.console, "random generator: seeded by the datastore");
                    self.seeded = true;
                }
            }
            Errand::Drop => {}
        }
        let reading = |errand: &Errand| matches!(errand, Errand::List | Errand::Read(_));
        self.known |= !self.own.values().any(reading);
    }
}

/// What a VM is made from, by the text of its record.
fn source_of(text: &str) -> Result<Source, String> {
    let mut parsed = HostDocument::parse(text);
    if let Some(problem) = parsed.problems.first() {
        return Err(problem.to_string());
    }
    match (parsed.document.vms.pop(), parsed.document.vms.is_empty()) {
        (Some(vm), true) if vm.disks.iter().any(|disk| disk.image.is_some()) => {
            Err(format!("vm[{}].disk: an image goes with a boot archive; give a volume or an iso", vm.name))
        }
        (Some(vm), true) => Ok(Source { document: Some(vm), stored: true, ..Source::default() }),
        _ => Err("this is not a document with one [[vm]]".to_string()),
    }
}

fn get(host: &'static Host, token: Token, target: VmHandle) -> Result<(), (Status, String)> {
    let (document, stored, text) = host
        .inventory
        .read(target, |known| (known.source.document.clone(), known.source.stored, known.text.clone()))
        .map_err(|status| (status, String::new()))?;
    let vms = document.into_iter().collect();
    let text = text.or_else(|| toml::to_string(&HostDocument { vms, ..HostDocument::default() }).ok());
    let answer = Answer { status: Status::Ok as i64, value: u64::from(!stored) };
    desk::deliver(host, token, answer, text.unwrap_or_default().into_bytes());
    Ok(())
}

impl HomeShared {
    /// Takes a world's request for the home.
    pub fn hand(host: &'static Host, asked: Asked) {
        host.home.handed.lock().push_back(asked);
        Self::wake(host);
    }

    fn take_handed(&self) -> Option<Asked> {
        self.handed.lock().pop_front()
    }

    fn take_note(&self) -> Option<(&'static str, String)> {
        self.notes.lock().pop_front()
    }
}
