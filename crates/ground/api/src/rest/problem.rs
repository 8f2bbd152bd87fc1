//! Errors: RFC 9457 (Problem Details for HTTP APIs).

use alloc::borrow::Cow;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Why a call was refused, or failed, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProblemDetails {
    /// `urn:bramble:problem:` and the reason.
    #[serde(rename = "type")]
    pub kind: String,
    /// The phrase of the status.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, as a sentence.
    pub detail: String,
    /// What is wrong, as a word that does not change.
    pub reason: Cow<'static, str>,
    /// What to do.
    pub remedy: String,
    /// The field of the request that is meant, such as `memory`; none where it is not about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl ProblemDetails {
    /// Its media type.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";
}
