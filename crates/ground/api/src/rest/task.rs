//! Long work.

use super::ProblemDetails;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// How far a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// It waits or works.
    Running,
    /// It is done.
    Done,
    /// It failed: `problem` says why.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// hostd ended while it worked: whether it took effect shows in what it was about.
    Interrupted,
}

/// A task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What it does, such as `vm.power.on`.
    pub what: String,
    /// What it is about.
    pub target: String,
    /// Who asked for it.
    pub user: String,
    /// How far it is.
    pub state: TaskState,
    /// Per cent, where that is known.
    pub progress: u8,
    /// When it began.
    pub started_at: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// It can be cancelled.
    pub can_cancel: bool,
    /// What it made, as a path of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDetails>,
}
