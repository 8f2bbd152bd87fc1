//! Lists.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Some of a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct List<T> {
    /// These.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
    /// Where to go on: `skip` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
