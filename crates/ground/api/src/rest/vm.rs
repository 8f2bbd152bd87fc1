//! VMs: what they are, what they do, what is asked of them.

use super::Address;
use crate::host;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a VM does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It does not run.
    Off,
    /// It runs.
    Running,
    /// It is about to stop, or to start anew.
    Stopping,
    /// It runs, but its vCPUs rest until it is resumed.
    Paused,
    /// Something that this version does not know.
    Unknown,
}

/// A VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Vm {
    /// Its name: no other VM of the host has it.
    pub name: String,
    /// What it does.
    pub power: Power,
    /// vCPUs.
    pub vcpus: u32,
    /// RAM.
    pub memory_bytes: u64,
    /// RAM that it has touched.
    pub touched_bytes: u64,
    /// How often it was powered on since the host started.
    pub starts: u64,
    /// Exits by reason since it was powered on.
    pub exits: Exits,
    /// Its consoles.
    pub consoles: Vec<Console>,
}

/// A VM and its configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VmDetail {
    /// The VM.
    #[serde(flatten)]
    pub vm: Vm,
    /// Where its configuration is.
    pub origin: Origin,
    /// Addresses that the switch saw its cards use.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Its configuration: one `[[vm]]` of `host.toml`.
    pub configuration: host::Vm,
    /// Fields of the configuration that the running VM does not have yet: they wait for its next start.
    #[serde(default)]
    pub waits_for_start: Vec<String>,
}

/// A VM that is to be made of another one, with volumes of its own that hold what that one's hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewClone {
    /// Its name: 1 to 32 characters of a–z, 0–9 and `-`. Its volumes are called after it. It does not start with the
    /// host, and its cards have addresses of their own.
    pub name: String,
    /// The id of a snapshot: what the VM had then; else what it has now, at one moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
}

/// A volume that tells a new guest who it is: cloud-init's NoCloud, a file system called `cidata`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSeed {
    /// Name of the volume that it becomes: to be a read-only disk of the VM.
    pub volume: String,
    /// The file `user-data`: `#cloud-config`, or a script.
    pub user_data: String,
    /// The file `meta-data`; without it the volume's name is the `instance-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<String>,
    /// The file `network-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
}

/// Where a VM's configuration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the boot archive: it can be powered, and not changed.
    Boot,
    /// In the datastore.
    Datastore,
}

/// Of a VM's vCPUs' exits to the vmkernel, by reason: how many, or how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exits {
    /// Calls: PSCI, SMCCC.
    pub call: u64,
    /// System registers.
    pub register: u64,
    /// Devices' registers.
    pub device: u64,
    /// Memory that was not mapped yet.
    pub memory: u64,
    /// Waits for interrupts.
    pub wait: u64,
    /// Interrupts of the host.
    pub interrupt: u64,
    /// Others.
    pub other: u64,
}

/// A console of a VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Console {
    /// `uart`, or `virtio`.
    pub name: String,
    /// Position after the last byte that it has said.
    pub end: u64,
}

/// What a VM is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PowerAction {
    /// Start it.
    On,
    /// Press its power button.
    ShutDown,
    /// Turn it off at once: what it did not write is lost.
    Off,
    /// Restart it at once: what it did not write is lost.
    Reset,
    /// Stop its vCPUs.
    Pause,
    /// Let them go on.
    Resume,
}

/// A request for a VM's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    /// What to do.
    pub action: PowerAction,
}

/// A snapshot of a VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The one that it was taken after; none: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// When it was taken.
    pub created_at: u64,
    /// What the VM has now came from this one.
    pub is_current: bool,
}

/// A snapshot to be taken, of all of a VM's volumes at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSnapshot {
    /// 1 to 64 bytes without control characters and `/`.
    pub name: String,
}
