//! What the host's log says.

use super::Event;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A line of the host's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// Position of its first byte in the log.
    pub position: u64,
    /// Without its end; it starts with the seconds since the host started.
    pub text: String,
}

/// Some of the host's log: a ring that the last 64 KiB are kept of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogPage {
    /// Whole lines, in order.
    pub lines: Vec<LogLine>,
    /// Position of the first byte that is remembered: what was before is forgotten.
    pub start: u64,
    /// `from` of the next page, which has something once the log has grown.
    pub next: u64,
}

/// What is known of a VM's life.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VmLog {
    /// Lines of the host's log about it.
    pub lines: Vec<LogLine>,
    /// Events about it, as long as hostd remembers them.
    pub events: Vec<Event>,
}
