//! What happened, for whoever watches.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// An event. Watchers that were away name the last id that they saw and get what came after it; where that is not known
/// any more, the first event is `reset`: everything is to be asked for anew.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// It rises with each event, also when hostd was restarted.
    pub id: u64,
    /// When.
    pub at: u64,
    /// Such as `vm.power`, `vm.added`, `vm.removed`, `vm.changed`, `task`, `datastore`, `upload`, `reset`.
    pub kind: String,
    /// What it is about: a name or an id.
    pub subject: String,
    /// The resource as it is now, where it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}
