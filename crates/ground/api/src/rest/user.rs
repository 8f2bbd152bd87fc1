//! Users, and what they may.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What a user may; each may what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything but secrets, and changes nothing.
    Viewer,
    /// Powers VMs, uses consoles, takes snapshots, uploads.
    Operator,
    /// Everything.
    Administrator,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct User {
    /// 1 to 32 characters of a–z, 0–9, `.`, `_` and `-`.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// The password has to be changed before anything else.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: u64,
}

/// A user to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 32 characters of a–z, 0–9, `.`, `_` and `-`.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// For its first login, when it has to be changed; 10 to 256 characters.
    pub password: String,
}

/// What is to change of a user.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// What it may from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// For its next login, when it has to be changed; 10 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}
