//! The resources of `/api/v1`, as they travel in JSON: what hostd answers, and what bramblectl and the web UI read.
//!
//! Sizes and times are numbers: bytes, seconds since 1970 (`…_at`), nanoseconds since the host started (`uptime_ns`).
//! What a client sends has no field that is not described here: another one is refused by name.

mod audit;
mod list;
mod problem;
mod root;
mod session;
mod token;
mod user;

pub use audit::{AuditEntry, AuditPage, AuditText};
pub use list::List;
pub use problem::ProblemDetails;
pub use root::ApiRoot;
pub use session::{Login, PasswordChange, Session};
pub use token::{MadeToken, NewToken, Token};
pub use user::{NewUser, Role, User, UserChange};
