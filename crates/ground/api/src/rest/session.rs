//! Logins.

use super::Role;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A login.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Who is asking, by session or token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// The user's name.
    pub user: String,
    /// What this session or token may.
    pub role: Role,
    /// Nothing but a change of the password is allowed.
    pub must_change_password: bool,
    /// Goes with every request that changes something, as `X-Bramble-CSRF`; none with a token, which needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
    /// Seconds until the session ends if nothing is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
}

/// A change of one's own password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The one of now.
    pub current: String,
    /// The one from now on: 10 to 256 characters, not the user's name, not the one of now.
    pub new: String,
}

/// A session that has not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenSession {
    /// Its id; the audit chain has it, too.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The address from which it was begun.
    pub from: String,
    /// When it was begun.
    pub began_at: u64,
    /// When something was last asked in it.
    pub used_at: u64,
    /// It is the one in which this is asked.
    pub is_own: bool,
}

/// A user who has to wait after wrong passwords from somewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LockOut {
    /// Its id.
    pub id: String,
    /// The name that was given; there may be no such user.
    pub user: String,
    /// An address of IPv4, or a /64 of IPv6.
    pub from: String,
    /// Wrong passwords in a row.
    pub wrong: u32,
    /// Seconds until the next password is looked at.
    pub seconds: u64,
}
