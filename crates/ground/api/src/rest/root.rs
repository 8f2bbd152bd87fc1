//! What anyone may know before a login.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Where the API starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApiRoot {
    /// `Bramble`.
    pub product: String,
    /// Of this host's software.
    pub version: String,
    /// Where the description of the API is.
    pub openapi: String,
}
