//! A world: a VM with a role. The same plan, tables, vGIC and devices as any VM's; in addition a manifest, a generation,
//! a call queue, and somebody who looks after it ([`crate::supervisor`]).
//!
//! Called by: [`crate::assemble`] (once), exits (its calls), [`crate::vm`] (its end).
//! Concurrency: the generation is one word; how a generation ends is written once, under its lock, a leaf.

use crate::Parked;
use crate::assemble::Source;
use crate::desk::Tray;
use crate::host::Host;
use abi::record::{CrashRecord, WORDS_BYTES};
use abi::{Call, ExitReason, RequestKind};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use machine::BootSpec;
use spin::Mutex;

/// What a world may call and own.
#[derive(Debug)]
pub struct Manifest {
    /// Its name in the log and on the console.
    pub name: &'static str,
    /// vCPUs.
    pub vcpus: u8,
    /// RAM, as a document has it.
    pub memory: &'static str,
    /// Its card's port group.
    pub network: vswitch::Group,
    /// Calls by HVC.
    pub calls: &'static [Call],
    /// Requests to the call queue.
    pub requests: &'static [RequestKind],
}

/// hostd's. 24 MiB: its image, 14 MiB of heap, the rest for buffers.
pub static HOSTD: Manifest = Manifest {
    name: "hostd",
    vcpus: 2,
    memory: "24 MiB",
    network: crate::network::MANAGEMENT,
    calls: &[
        Call::Version,
        Call::Heartbeat,
        Call::Log,
        Call::Exit,
        Call::Random,
        Call::Time,
        Call::ListVms,
        Call::InspectVm,
        Call::ReadConsole,
        Call::WriteConsole,
        Call::InspectHost,
        Call::ReadCrash,
        Call::GetVmStatistics,
        Call::GetHostUse,
        Call::ReadPresence,
        Call::AcknowledgePresence,
        Call::SetTime,
    ],
    requests: &[
        RequestKind::Echo,
        RequestKind::PowerOn,
        RequestKind::PowerOff,
        RequestKind::Reset,
        RequestKind::ShutDown,
        RequestKind::Pause,
        RequestKind::Resume,
        RequestKind::PutVm,
        RequestKind::CloneVm,
        RequestKind::GetVm,
        RequestKind::DeleteVm,
        RequestKind::SnapshotVm,
        RequestKind::RevertVm,
        RequestKind::DeleteVmSnapshot,
        RequestKind::ListVmSnapshots,
        RequestKind::ResetFirmwareVariables,
        RequestKind::ListDisks,
        RequestKind::MakeDatastore,
        RequestKind::InspectDatastore,
        RequestKind::ListObjects,
        RequestKind::ReadObject,
        RequestKind::WriteObject,
        RequestKind::AppendObject,
        RequestKind::DeleteObject,
        RequestKind::RenameObject,
        RequestKind::ListVolumes,
        RequestKind::CreateVolume,
        RequestKind::DeleteVolume,
        RequestKind::ResizeVolume,
        RequestKind::CloneVolume,
        RequestKind::ReadVolume,
        RequestKind::WriteVolume,
        RequestKind::FlushVolume,
        RequestKind::AppendAudit,
        RequestKind::ReadAudit,
        RequestKind::RestartHost,
        RequestKind::TurnHostOff,
        RequestKind::ListPorts,
        RequestKind::ListAddresses,
    ],
};

/// The role of a VM that is a world.
pub struct World {
    /// What it may do.
    pub manifest: &'static Manifest,
    /// The host.
    pub host: &'static Host,
    /// Where its requests are carried out.
    pub tray: Arc<Tray>,
    ending: Mutex<Option<CrashRecord>>,
}

impl World {
    /// Of a manifest, before its first generation.
    pub fn new(host: &'static Host, manifest: &'static Manifest) -> Self {
        Self { manifest, host, tray: Arc::new(Tray::new(manifest)), ending: Mutex::new(None) }
    }

    /// Why the present generation ends; what was said first stands.
    pub fn ends(&self, reason: ExitReason, vcpu: u8, address: u64, words: &[u8]) {
        let mut ending = self.ending.lock();
        if ending.is_none() {
            *ending = Some(record(reason, vcpu, address, words));
        }
    }

    /// A vCPU has left for good: where it was, if the end is about it.
    pub fn note_position(&self, parked: &Parked) {
        let mut ending = self.ending.lock();
        if let Some(crash) = ending.as_mut().filter(|crash| crash.vcpu == u32::from(parked.index.0)) {
            let position = parked.position();
            (crash.x, crash.pc, crash.pstate) = (position.x, position.pc, position.pstate);
            crash.has_registers = 1;
        }
    }

    /// How the generation ended. Without a word it was by PSCI: it turned its machine off, or restarted it.
    pub fn take_ending(&self) -> CrashRecord {
        self.ending.lock().take().unwrap_or_else(|| record(ExitReason::Power, 0, 0, b""))
    }
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("name", &self.manifest.name).finish_non_exhaustive()
    }
}

fn record(reason: ExitReason, vcpu: u8, address: u64, words: &[u8]) -> CrashRecord {
    let mut kept = [0; WORDS_BYTES];
    let mut count = 0_u32;
    for (to, from) in kept.iter_mut().zip(words) {
        *to = *from;
        count = count.saturating_add(1);
    }
    CrashRecord {
        generation: 0,
        reason: reason as u32,
        at: 0,
        address,
        vcpu: vcpu.into(),
        words_bytes: count,
        x: [0; 31],
        pc: 0,
        pstate: 0,
        has_registers: 0,
        reserved: 0,
        words: kept,
        reserved_end: [0; 5],
    }
}

/// What a world is made from: a document like any VM's, and the image that is part of the host's own.
pub fn source(host: &'static Host, manifest: &'static Manifest, image: &'static [u8]) -> Source {
    let boot = api::host::Boot { command_line: Some(arguments(host)), ..api::host::Boot::default() };
    Source {
        document: Some(api::host::Vm {
            name: manifest.name.to_string(),
            vcpus: manifest.vcpus,
            memory: manifest.memory.to_string(),
            boot,
            nics: [api::host::Nic::default()].to_vec(),
            ..api::host::Vm::default()
        }),
        boot: Some(BootSpec::kernel(image, 0)),
        world: Some((manifest, image)),
        ..Source::default()
    }
}

/// The host's boot arguments that are for hostd: those that start with `hostd.`.
fn arguments(host: &Host) -> String {
    let words = host.board.boot_arguments.split(' ').filter(|word| word.starts_with("hostd."));
    words.collect::<Vec<_>>().join(" ")
}

/// Bytes from a world as one line of text.
pub fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }).collect()
}
