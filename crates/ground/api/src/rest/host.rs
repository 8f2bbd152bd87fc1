//! The host itself.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostState {
    /// Of its software.
    pub version: String,
    /// PEs that run.
    pub pes: u32,
    /// Memory that VMs can still have.
    pub free_bytes: u64,
    /// The host's own memory.
    pub host_bytes: u64,
    /// hostd's memory.
    pub hostd_bytes: u64,
    /// Of it, what was touched.
    pub hostd_touched_bytes: u64,
    /// Seconds since the host started.
    pub uptime_seconds: u64,
    /// The time of day.
    pub now: u64,
    /// The time of day is known to be right.
    pub is_synchronized: bool,
    /// hostd's generation: 1 is the first since the host started.
    pub generation: u32,
    /// Why the generation before ended; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
}

/// A restart or the end of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HostAction {
    /// End all VMs and restart.
    Restart,
    /// End all VMs and turn off.
    TurnOff,
}

/// A request for the host's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostPowerRequest {
    /// What to do.
    pub action: HostAction,
    /// Do not press guests' power buttons first: **what they did not write is lost**.
    #[serde(default)]
    pub at_once: bool,
}
