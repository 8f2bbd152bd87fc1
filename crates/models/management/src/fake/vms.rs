//! VMs that only say that they run: each console greets, and echoes what is typed.

use super::vmkernel::Answered;
use crate::configuration;
use crate::kept::name_field;
use abi::record::{self, SnapshotRecord, VmRecord};
use abi::{Call, Status, VmHandle};
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::host::parse_memory;

/// Bytes that a console remembers.
const RING: usize = 64 * 1024;

/// What a console said.
#[derive(Default)]
struct Ring {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Ring {
    fn say(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.end = self.end.saturating_add(bytes.len() as u64);
        let over = self.bytes.len().saturating_sub(RING);
        self.bytes.drain(..over);
    }

    fn start(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }
}

struct Vm {
    handle: u64,
    name: String,
    document: String,
    is_from_boot: bool,
    power: u32,
    starts: u64,
    consoles: [Ring; 2],
    snapshots: Vec<SnapshotRecord>,
}

impl Vm {
    fn start(&mut self) {
        self.power = record::RUNNING;
        self.starts = self.starts.saturating_add(1);
        let greeting = format!("Welcome to {}, start {}\r\nlogin: ", self.name, self.starts);
        self.consoles.iter_mut().for_each(|console| console.say(greeting.as_bytes()));
    }
}

/// The VMs.
#[derive(Default)]
pub(super) struct Vms {
    list: Vec<Vm>,
    made: u32,
    snapshots: u64,
}

impl Vms {
    /// The VM of a handle.
    fn vm(&mut self, handle: u64) -> Result<&mut Vm, (Status, u64)> {
        let place = VmHandle::from_raw(handle).place;
        let is_stale = self.list.iter().any(|vm| VmHandle::from_raw(vm.handle).place == place);
        let missing = if is_stale { Status::Stale } else { Status::NotFound };
        self.list.iter_mut().find(|vm| vm.handle == handle).ok_or((missing, 0))
    }

    /// Bounded calls.
    pub fn call(&mut self, call: Call, buffer: &mut [u8], [a, b, c]: [u64; 3]) -> Result<[u64; 3], Status> {
        let total = self.list.len() as u64;
        match call {
            Call::ListVms => {
                let from = usize::try_from(a).unwrap_or(usize::MAX);
                let mut given = 0_u64;
                for (to, vm) in buffer.chunks_exact_mut(8).zip(self.list.iter().skip(from)) {
                    to.copy_from_slice(&vm.handle.to_le_bytes());
                    given = given.saturating_add(1);
                }
                Ok([given, total, 0])
            }
            Call::InspectVm => {
                let record = inspect(self.vm(a).map_err(|(status, _)| status)?);
                for (to, from) in buffer.iter_mut().zip(record.to_bytes()) {
                    *to = from;
                }
                Ok([0; 3])
            }
            Call::ReadConsole => {
                let vm = self.vm(a).map_err(|(status, _)| status)?;
                let console = vm.consoles.get(usize::try_from(b).unwrap_or(9)).ok_or(Status::Invalid)?;
                let first = c.clamp(console.start(), console.end);
                let skip = usize::try_from(first.saturating_sub(console.start())).unwrap_or(usize::MAX);
                let mut given = 0_u64;
                for (to, from) in buffer.iter_mut().zip(console.bytes.iter().skip(skip)) {
                    *to = *from;
                    given = given.saturating_add(1);
                }
                Ok([first, given, console.end])
            }
            Call::WriteConsole => {
                let vm = self.vm(a).map_err(|(status, _)| status)?;
                if vm.power != record::RUNNING {
                    return Err(Status::Conflict);
                }
                let console = vm.consoles.get_mut(usize::try_from(b).unwrap_or(9)).ok_or(Status::Invalid)?;
                for byte in buffer.iter() {
                    console.say(if *byte == b'\r' { b"\r\n$ " } else { core::slice::from_ref(byte) });
                }
                Ok([buffer.len() as u64, 0, 0])
            }
            _ => Err(Status::NotSupported),
        }
    }

    /// Turns power on or off.
    pub fn power(&mut self, kind: abi::RequestKind, handle: u64) -> Answered {
        use abi::RequestKind::{PowerOff, PowerOn, Reset, ShutDown};
        let vm = self.vm(handle)?;
        match (kind, vm.power) {
            (PowerOn, record::OFF) | (Reset, record::RUNNING) => vm.start(),
            (PowerOff | ShutDown, record::RUNNING) => vm.power = record::OFF,
            (PowerOn | PowerOff | Reset | ShutDown, _) => return Err((Status::Conflict, 0)),
            _ => return Err((Status::NotSupported, 0)),
        }
        Ok((0, Vec::new()))
    }

    /// Makes or changes a VM.
    pub fn put(&mut self, handle: u64, document: &[u8], is_from_boot: bool) -> Answered {
        let text = core::str::from_utf8(document).map_err(|_| (Status::Invalid, 0))?;
        let new = configuration::from_document(text).ok_or((Status::Invalid, 0))?;
        if handle != 0 {
            let vm = self.vm(handle)?;
            if vm.is_from_boot || vm.name != new.name {
                return Err((Status::Conflict, 0));
            }
            text.clone_into(&mut vm.document);
            return Ok((handle, Vec::new()));
        }
        if self.list.iter().any(|vm| vm.name == new.name) {
            return Err((Status::Conflict, 0));
        }
        let place =
            (0..).find(|place| self.list.iter().all(|vm| VmHandle::from_raw(vm.handle).place != *place));
        self.made = self.made.saturating_add(1);
        let handle = VmHandle { place: place.unwrap_or(0), generation: self.made }.to_raw();
        let document = text.to_owned();
        let (consoles, snapshots) = (Default::default(), Vec::new());
        let vm = Vm {
            handle,
            name: new.name,
            document,
            is_from_boot,
            power: record::OFF,
            starts: 0,
            consoles,
            snapshots,
        };
        self.list.push(vm);
        Ok((handle, Vec::new()))
    }

    /// A VM's document.
    pub fn get(&mut self, handle: u64) -> Answered {
        let vm = self.vm(handle)?;
        Ok((u64::from(vm.is_from_boot), vm.document.clone().into_bytes()))
    }

    /// Forgets a VM.
    pub fn delete(&mut self, handle: u64) -> Answered {
        let vm = self.vm(handle)?;
        if vm.power != record::OFF || vm.is_from_boot {
            return Err((Status::Conflict, 0));
        }
        self.list.retain(|vm| vm.handle != handle);
        Ok((0, Vec::new()))
    }

    /// Takes a snapshot.
    pub fn snapshot(&mut self, handle: u64, name: &str, created: u64) -> Answered {
        self.snapshots = self.snapshots.saturating_add(1);
        let id = self.snapshots;
        let vm = self.vm(handle)?;
        let parent =
            vm.snapshots.iter().find(|snapshot| snapshot.is_current == 1).map_or(0, |snapshot| snapshot.id);
        vm.snapshots.iter_mut().for_each(|snapshot| snapshot.is_current = 0);
        let name = name_field(name).ok_or((Status::Invalid, 0))?;
        vm.snapshots.push(SnapshotRecord { name, id, parent, created, is_current: 1, reserved: 0 });
        Ok((id, Vec::new()))
    }

    /// Goes back to a snapshot, or deletes it.
    pub fn change_snapshot(&mut self, handle: u64, id: u64, reverts: bool) -> Answered {
        let vm = self.vm(handle)?;
        if !vm.snapshots.iter().any(|snapshot| snapshot.id == id) {
            return Err((Status::NotFound, 0));
        }
        if reverts && vm.power != record::OFF {
            return Err((Status::Conflict, 0));
        }
        if reverts {
            vm.snapshots.iter_mut().for_each(|snapshot| snapshot.is_current = u32::from(snapshot.id == id));
        } else {
            vm.snapshots.retain(|snapshot| snapshot.id != id);
        }
        Ok((0, Vec::new()))
    }

    /// A VM's snapshots.
    pub fn snapshots(&mut self, handle: u64, skip: u64) -> Answered {
        let vm = self.vm(handle)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let bytes = vm.snapshots.iter().skip(skip).flat_map(SnapshotRecord::to_bytes).collect();
        Ok((vm.snapshots.len() as u64, bytes))
    }
}

fn inspect(vm: &Vm) -> VmRecord {
    let configuration = configuration::from_document(&vm.document);
    let name = abi::name::field(&vm.name);
    let ram_bytes = configuration.as_ref().and_then(|vm| parse_memory(&vm.memory)).unwrap_or(0);
    let [uart, virtio] = &vm.consoles;
    let is_running = u64::from(vm.power == record::RUNNING);
    VmRecord {
        handle: vm.handle,
        name,
        power: vm.power,
        vcpus: configuration.map_or(0, |vm| u32::from(vm.vcpus)),
        ram_bytes,
        touched_bytes: ram_bytes / 4 * is_running,
        starts: vm.starts,
        exits: [3, 40, 500, 64, 70, 80, 1].map(|count| count * is_running),
        console_end: [uart.end, virtio.end],
        reserved: [0; 2],
    }
}
