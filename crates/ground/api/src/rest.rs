//! The resources of `/api/v1`, as they travel in JSON: what hostd answers, and what bramblectl and the web UI read.
//!
//! Sizes and times are numbers: bytes, seconds since 1970 (`…_at`), nanoseconds since the host started (`uptime_ns`).
//! What a client sends has no field that is not described here: another one is refused by name.

mod audit;
mod event;
mod host;
mod list;
mod log;
mod network;
mod problem;
mod root;
mod session;
mod settings;
mod statistics;
mod storage;
mod task;
mod token;
mod user;
mod vm;

pub use audit::{AuditEntry, AuditPage, AuditText};
pub use event::Event;
pub use host::{HostAction, HostPowerRequest, HostState};
pub use list::List;
pub use log::{LogLine, LogPage, VmLog};
pub use network::{Address, Network, Port, PortGroup, PortKind};
pub use problem::ProblemDetails;
pub use root::ApiRoot;
pub use session::{LockOut, Login, OpenSession, PasswordChange, Session};
pub use settings::{
    HostCertificate, HostNetwork, HostSettings, HostSettingsState, HostTime, Ipv4Method, Ipv4Settings,
    Ipv6Method, Ipv6Settings, NtpServer, SettingsTrial,
};
pub use statistics::{History, VmStatistics};
pub use storage::{
    Datastore, Disk, DiskState, NewDatastore, NewImport, NewUpload, NewVolume, Object, Upload, Volume,
    VolumeChange,
};
pub use task::{Task, TaskState};
pub use token::{MadeToken, NewToken, Token};
pub use user::{NewUser, Role, User, UserChange};
pub use vm::{
    Console, Exits, NewClone, NewSeed, NewSnapshot, Origin, Power, PowerAction, PowerRequest, Snapshot, Vm,
    VmDetail,
};
