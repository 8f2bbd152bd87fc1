//! The audit chain.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What an entry tells: the text in the chain, as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditText {
    /// The user, or `host`.
    pub who: String,
    /// The address, or `console`.
    pub from: String,
    /// `session`, or `token` and its id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Such as `user.create`.
    pub what: String,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// How it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
    /// Why it was refused; none where it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// How many alike are told by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// An entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// From 1.
    pub number: u64,
    /// When.
    pub at: u64,
    /// Nanoseconds since the host started.
    pub uptime_ns: u64,
    /// hostd's generation.
    pub generation: u32,
    /// SHA-256 of the entry before, in hexadecimal.
    pub before: String,
    /// SHA-256 of this entry, in hexadecimal.
    pub hash: String,
    /// The text, byte by byte as it is in the chain.
    pub text: String,
}

/// Some entries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditPage {
    /// In order.
    pub items: Vec<AuditEntry>,
    /// Number of the last entry that there is: 0 without any.
    pub last: u64,
    /// Where to go on: `from` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
