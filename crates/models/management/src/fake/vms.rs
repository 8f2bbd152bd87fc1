//! VMs that only say that they run: each console greets and answers, counters move, the switch knows their cards.

use super::activity::{Activity, nanoseconds};
use super::shell::{Effect, Guest, Shell};
use super::vmkernel::Answered;
use crate::configuration;
use crate::kept::name_field;
use abi::record::{self, AddressRecord, PortRecord, SnapshotRecord, VmRecord};
use abi::{Call, Status, VmHandle};
use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::host::{self, parse_memory};
use core::time::Duration;

/// Bytes that a console remembers.
const RING: usize = 64 * 1024;

/// A VM's first address is seen so long after its start.
const ADDRESS_AFTER: Duration = Duration::from_secs(3);

/// What a console said.
#[derive(Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Ring {
    pub fn say(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.end = self.end.saturating_add(bytes.len() as u64);
        let over = self.bytes.len().saturating_sub(RING);
        self.bytes.drain(..over);
    }

    fn start(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }

    /// From a position on: where the first byte stands, how many were given, the end.
    pub fn read(&self, from: u64, buffer: &mut [u8]) -> [u64; 3] {
        let first = from.clamp(self.start(), self.end);
        let skip = usize::try_from(first - self.start()).unwrap_or(usize::MAX);
        let mut given = 0;
        for (to, byte) in buffer.iter_mut().zip(self.bytes.iter().skip(skip)) {
            *to = *byte;
            given += 1;
        }
        [first, given, self.end]
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
    shells: [Shell; 2],
    activity: Activity,
    past: Done,
    snapshots: Vec<SnapshotRecord>,
}

/// Nanoseconds of PEs, and bytes as [`Activity::bytes`] has them.
type Done = (u64, [u64; 4]);

impl Vm {
    fn configuration(&self) -> host::Vm {
        configuration::from_document(&self.document).unwrap_or_default()
    }

    fn ram_bytes(&self) -> u64 {
        parse_memory(&self.configuration().memory).unwrap_or(0)
    }

    fn start(&mut self, now: Duration) {
        self.stop(now);
        let place = u64::from(VmHandle::from_raw(self.handle).place);
        self.power = record::RUNNING;
        self.starts += 1;
        self.activity = Activity::start(now, place, self.configuration().vcpus.into());
        self.shells = Default::default();
        let greeting = format!("Welcome to {}, start {}\r\nlogin: ", self.name, self.starts);
        self.consoles.iter_mut().for_each(|console| console.say(greeting.as_bytes()));
    }

    fn stop(&mut self, now: Duration) {
        self.past = self.done(now);
        self.power = record::OFF;
        self.activity = Activity::default();
    }

    /// What it did, also in earlier lives.
    fn done(&self, now: Duration) -> Done {
        add(self.past, (self.activity.run_time(now), self.activity.bytes(now)))
    }

    fn is_on(&self) -> bool {
        matches!(self.power, record::RUNNING | record::PAUSED)
    }

    /// Keys to a console.
    fn keys(&mut self, console: usize, keys: &[u8], now: Duration) -> Result<(), Status> {
        let configuration = self.configuration();
        let guest = Guest {
            name: &self.name,
            vcpus: configuration.vcpus.into(),
            memory_mib: self.ram_bytes() >> 20,
            up: self.activity.went_on(now),
        };
        let ring = self.consoles.get_mut(console).ok_or(Status::Invalid)?;
        let shell = self.shells.get_mut(console).ok_or(Status::Invalid)?;
        let mut effect = Effect::Nothing;
        for key in keys {
            let (said, does) = shell.key(*key, &guest);
            ring.say(said.as_bytes());
            if does != Effect::Nothing {
                effect = does;
                break;
            }
        }
        match effect {
            Effect::Nothing => {}
            Effect::Off => self.stop(now),
            Effect::Restart => self.start(now),
        }
        Ok(())
    }
}

/// The VMs.
#[derive(Default)]
pub(super) struct Vms {
    list: Vec<Vm>,
    made: u32,
    snapshots: u64,
    /// What VMs did that are no more.
    gone: Done,
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
    pub fn call(
        &mut self,
        call: Call,
        buffer: &mut [u8],
        [a, b, c]: [u64; 3],
        now: Duration,
    ) -> Result<[u64; 3], Status> {
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
                let record = inspect(self.vm(a).map_err(|(status, _)| status)?, now);
                fill(buffer, &record.to_bytes());
                Ok([0; 3])
            }
            Call::GetVmStatistics => {
                let vm = self.vm(a).map_err(|(status, _)| status)?;
                if !vm.is_on() {
                    return Err(Status::Conflict);
                }
                fill(buffer, &vm.activity.statistics(now).to_bytes());
                Ok([0; 3])
            }
            Call::ReadConsole => {
                let vm = self.vm(a).map_err(|(status, _)| status)?;
                let console = vm.consoles.get(usize::try_from(b).unwrap_or(9)).ok_or(Status::Invalid)?;
                Ok(console.read(c, buffer))
            }
            Call::WriteConsole => {
                let vm = self.vm(a).map_err(|(status, _)| status)?;
                match vm.power {
                    record::RUNNING => vm.keys(usize::try_from(b).unwrap_or(9), buffer, now)?,
                    // The UART's queue is full.
                    record::PAUSED => return Err(Status::Busy),
                    _ => return Err(Status::Conflict),
                }
                Ok([buffer.len() as u64, 0, 0])
            }
            _ => Err(Status::NotSupported),
        }
    }

    /// Turns power on or off; what the host's log says of it.
    pub fn power(
        &mut self,
        kind: abi::RequestKind,
        handle: u64,
        now: Duration,
    ) -> Result<String, (Status, u64)> {
        use abi::RequestKind::{Pause, PowerOff, PowerOn, Reset, Resume, ShutDown};
        let vm = self.vm(handle)?;
        let said = match (kind, vm.power) {
            (PowerOn, record::OFF) | (Reset, record::RUNNING | record::PAUSED) => {
                vm.start(now);
                format!("{} vCPUs, {} MiB", vm.configuration().vcpus, vm.ram_bytes() >> 20)
            }
            (PowerOff, record::RUNNING | record::PAUSED) | (ShutDown, record::RUNNING) => {
                vm.stop(now);
                String::from("off")
            }
            (Pause, record::RUNNING) => {
                vm.activity.pause(now);
                vm.power = record::PAUSED;
                String::from("paused")
            }
            (Resume, record::PAUSED) => {
                vm.activity.resume(now);
                vm.power = record::RUNNING;
                String::from("resumed")
            }
            (PowerOn | PowerOff | Reset | ShutDown | Pause | Resume, _) => return Err((Status::Conflict, 0)),
            _ => return Err((Status::NotSupported, 0)),
        };
        Ok(format!("{}: {said}", vm.name))
    }

    /// Makes firmware variables new.
    pub fn reset_firmware(&mut self, handle: u64) -> Answered {
        let vm = self.vm(handle)?;
        match (vm.configuration().boot.firmware, vm.power) {
            (None, _) => Err((Status::NotFound, 0)),
            (Some(_), record::OFF) => Ok((0, Vec::new())),
            (Some(_), _) => Err((Status::Conflict, 0)),
        }
    }

    /// The host goes: all VMs end, and those that start with a host that comes back do so.
    pub fn end_all(&mut self, comes_back: bool, now: Duration) -> Vec<String> {
        let mut said = Vec::new();
        for vm in &mut self.list {
            if vm.is_on() {
                vm.stop(now);
                said.push(format!("{}: off", vm.name));
            }
            if comes_back && vm.configuration().autostart {
                vm.start(now);
                said.push(format!("{}: started with the host", vm.name));
            }
        }
        said
    }

    /// What all VMs did since the host started.
    pub fn all_done(&self, now: Duration) -> Done {
        self.list.iter().fold(self.gone, |sum, vm| add(sum, vm.done(now)))
    }

    /// Free memory of so much.
    pub fn free_of(&self, all: u64) -> u64 {
        self.list.iter().filter(|vm| vm.is_on()).fold(all, |free, vm| free.saturating_sub(vm.ram_bytes()))
    }

    /// The ports of VMs' cards, from number `first` on.
    pub fn ports(&self, first: u32, now: Duration) -> Vec<PortRecord> {
        let cards = self.list.iter().filter(|vm| vm.is_on()).flat_map(|vm| {
            let configuration = vm.configuration();
            let cards = configuration.nics.len().max(1) as u64;
            let [_, _, received, sent] = vm.activity.bytes(now).map(|bytes| bytes / cards);
            let macs: Vec<_> = (0..configuration.nics.len()).map(|card| mac(&configuration, card)).collect();
            (0..).zip(macs).map(move |(card, mac)| PortRecord {
                vm: vm.handle,
                card,
                mac,
                ..port(record::VM_CARD, "VM Network", [sent, received])
            })
        });
        (first..).zip(cards).map(|(number, record)| PortRecord { port: number, ..record }).collect()
    }

    /// Addresses that they use.
    pub fn addresses(&self, now: Duration) -> Vec<AddressRecord> {
        let with_address = |vm: &&Vm| vm.is_on() && vm.activity.went_on(now) >= ADDRESS_AFTER;
        let cards = self.list.iter().filter(with_address).flat_map(|vm| {
            let configuration = vm.configuration();
            let place = VmHandle::from_raw(vm.handle).place.to_le_bytes();
            let since = nanoseconds(vm.activity.started() + ADDRESS_AFTER);
            let macs: Vec<_> = (0..configuration.nics.len()).map(|card| mac(&configuration, card)).collect();
            (0_u8..).zip(macs).map(move |(card, mac)| address(vm.handle, card, place, mac, since))
        });
        cards.flatten().collect()
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
        let (shells, activity, past) = Default::default();
        let vm = Vm {
            handle,
            name: new.name,
            document,
            is_from_boot,
            power: record::OFF,
            starts: 0,
            consoles,
            shells,
            activity,
            past,
            snapshots,
        };
        self.list.push(vm);
        Ok((handle, Vec::new()))
    }

    /// Makes a VM of another one, or of a snapshot of it.
    pub fn make_of(&mut self, handle: u64, snapshot: u64, document: &[u8]) -> Answered {
        let source = self.vm(handle)?;
        if snapshot != 0 && !source.snapshots.iter().any(|known| known.id == snapshot) {
            return Err((Status::NotFound, 0));
        }
        self.put(0, document, false)
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
        let past = vm.past;
        self.gone = add(self.gone, past);
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

fn inspect(vm: &Vm, now: Duration) -> VmRecord {
    let ram_bytes = vm.ram_bytes();
    let [uart, virtio] = &vm.consoles;
    let [read, ..] = vm.activity.bytes(now);
    let touched = ram_bytes / 4 + (read / 4).min(ram_bytes / 2);
    VmRecord {
        handle: vm.handle,
        name: abi::name::field(&vm.name),
        power: vm.power,
        vcpus: vm.configuration().vcpus.into(),
        ram_bytes,
        touched_bytes: if vm.is_on() { touched & !4095 } else { 0 },
        starts: vm.starts,
        exits: if vm.is_on() { vm.activity.exits(now) } else { [0; 7] },
        console_end: [uart.end, virtio.end],
        reserved: [0; 2],
    }
}

fn add((ran, mut bytes): Done, (more, others): Done) -> Done {
    bytes.iter_mut().zip(others).for_each(|(sum, more)| *sum += more);
    (ran + more, bytes)
}

pub(super) fn fill(buffer: &mut [u8], bytes: &[u8]) {
    buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// A port whose link is up. `bytes`: into the switch, and out of it.
pub(super) fn port(kind: u32, group: &str, bytes: [u64; 2]) -> PortRecord {
    let [bytes_in, bytes_out] = bytes;
    PortRecord {
        port: 0,
        kind,
        vm: 0,
        card: 0,
        vlan: 0,
        policy: 0,
        link: 1,
        mac: [0; 8],
        group: abi::name::field(group),
        frames_in: bytes_in / 700,
        bytes_in,
        frames_out: bytes_out / 700,
        bytes_out,
        undelivered: 0,
        refused: 0,
        reserved: [0; 3],
    }
}

fn mac(configuration: &host::Vm, card: usize) -> [u8; 8] {
    let [a, b, c, d, e, f] = configuration.mac_address(card).map_or([0; 6], |mac| mac.0);
    [a, b, c, d, e, f, 0, 0]
}

/// An address of IPv4, and the one of IPv6 that a card makes of its MAC address (RFC 4291, appendix A).
fn address(vm: u64, card: u8, place: [u8; 4], mac: [u8; 8], since: u64) -> [AddressRecord; 2] {
    let [a, b, c, d, e, f, ..] = mac;
    let [place, ..] = place;
    let mut v4 = [0; 16];
    fill(&mut v4, &[10, 0, 2 + card, 20 + place % 200]);
    let v6 = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    [(record::IPV4, v4), (record::IPV6, v6)].map(|(family, address)| AddressRecord {
        vm,
        card: card.into(),
        family,
        address,
        mac,
        since,
        reserved: [0; 2],
    })
}
