//! API tokens: for tools, instead of a login.

use super::Role;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// What it may, as far as its user may.
    pub role: Role,
    /// When it was made.
    pub created_at: u64,
    /// When it ends; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for: 1 to 64 characters.
    pub name: String,
    /// What it may: at most what its maker may.
    pub role: Role,
    /// Days until it ends, 1 to 3650; without it, 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// A token that was made: the only time that its secret is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MadeToken {
    /// What goes into `Authorization: Bearer …`.
    pub secret: String,
    /// The token.
    pub token: Token,
}
