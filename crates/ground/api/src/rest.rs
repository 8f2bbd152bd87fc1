//! The resources of `/api/v1`, as they travel in JSON: what hostd answers, and what bramblectl and the web UI read.
//!
//! Sizes and times are numbers: bytes, seconds since 1970 (`…_at`), milliseconds since the host started (`uptime_ms`).
//! What a client sends has no field that is not described here: another one is refused by name.

mod problem;
mod root;

pub use problem::ProblemDetails;
pub use root::ApiRoot;
