//! Where time goes, and what was used when.

use super::vm::Exits;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where a VM's time goes since it was powered on. Times are nanoseconds, summed over its vCPUs: `guest_ns`, `host_ns`,
/// `ready_ns` and `idle_ns` are all of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VmStatistics {
    /// When this was asked for, since the host started.
    pub uptime_ns: u64,
    /// When the VM was powered on, since the host started.
    pub started_ns: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Exits by reason.
    pub exits: Exits,
    /// The time that the host took for them, by the same reasons. Some exits are measured and stand for the others: rare
    /// and short ones are known only roughly.
    pub exit_ns: Exits,
    /// The guest's own code ran.
    pub guest_ns: u64,
    /// The host worked for the guest.
    pub host_ns: u64,
    /// vCPUs wanted a PE, and other vCPUs had it.
    pub ready_ns: u64,
    /// vCPUs had nothing to do.
    pub idle_ns: u64,
}

/// What the host or a VM used in the last seconds, from the oldest on: all series have as many values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// Nanoseconds since the host started at the last value; 0 without any.
    pub uptime_ns: u64,
    /// The time of day at the last value.
    pub at: u64,
    /// Seconds that a value stands for: it is the mean over them.
    pub step_seconds: u32,
    /// Seconds that are remembered at most, as many VMs as there are.
    pub remembered_seconds: u32,
    /// Time of all PEs, or of all the VM's vCPUs, that was used: per mille.
    pub cpu_permille: Vec<u32>,
    /// Memory that VMs, or the VM, touched: KiB.
    pub memory_kib: Vec<u32>,
    /// Bytes per second read from disks.
    pub disk_read: Vec<u32>,
    /// Bytes per second written to disks.
    pub disk_written: Vec<u32>,
    /// Bytes per second that came in by uplinks, or that the VM got.
    pub network_received: Vec<u32>,
    /// Bytes per second that went out by uplinks, or that the VM sent.
    pub network_sent: Vec<u32>,
}
