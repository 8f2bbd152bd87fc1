//! Which operation a request asks for, who may, what it takes and gives: one table, from which the description of the
//! API is made too. What an operation does stands in [`crate::operations`].

use crate::http::Method;
use crate::http::head::decode;
use Takes::{Bytes, Json, Nothing};
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::Role;

/// An operation's row.
#[derive(Debug)]
pub struct Route {
    /// Which.
    pub operation: Operation,
    /// Its name in the description.
    pub name: &'static str,
    /// Of the request.
    pub method: Method,
    /// Of the request; a segment `{x}` stands for any.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What the body has to be.
    pub takes: Takes,
    /// Status of success, and the resource that it gives; empty: none.
    pub gives: (u16, &'static str),
    /// What may stand in the query: names of [`PARAMETERS`].
    pub query: &'static [&'static str],
    /// What it is good for.
    pub summary: &'static str,
}

impl Route {
    /// Whether a key (`Idempotency-Key`) gives the same answer again: for what makes things. Not for what tells a secret
    /// once, which would have to be kept.
    pub fn is_idempotent(&self) -> bool {
        let tells_secrets = matches!(self.operation, Operation::LogIn | Operation::CreateToken);
        self.method == Method::Post
            && self.access != Access::Open
            && self.access != Access::Login
            && !tells_secrets
    }
}

/// Who may ask for an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone.
    Open,
    /// Who has logged in, even with a password that has to be changed.
    Login,
    /// Who has at least this role.
    Role(Role),
}

/// What the body of a request has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// This resource.
    Json(&'static str),
    /// Bytes, as many as there are; they are taken piece by piece.
    Bytes,
}

/// What may stand in a query: name, `integer` or `string`, meaning.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("skip", "integer", "How many to leave out"),
    ("limit", "integer", "How many to give at most"),
    ("from", "integer", "Number of the first entry, or position of the first byte, wanted"),
    ("after", "integer", "Id of the last event seen; Last-Event-ID is taken before it"),
    ("seconds", "integer", "The last so many seconds; without it 300"),
    ("step", "integer", "Seconds that a value stands for; without it as few as there may be"),
    ("prefix", "string", "How names start"),
    ("volumes", "string", "`true`: with its volumes and snapshots, which are lost"),
];

const VIEWER: Access = Access::Role(Role::Viewer);
const OPERATOR: Access = Access::Role(Role::Operator);
const ADMINISTRATOR: Access = Access::Role(Role::Administrator);
const PAGE: &[&str] = &["skip", "limit"];

macro_rules! routes {
    ($($name:ident: $method:ident $path:literal, $access:expr, $takes:expr => $gives:expr, $query:expr, $summary:literal;)*) => {
        /// What can be asked for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)]
        pub enum Operation {
            $($name,)*
        }

        /// Every operation.
        pub const ROUTES: &[Route] = &[$(Route {
            operation: Operation::$name,
            name: stringify!($name),
            method: Method::$method,
            path: $path,
            access: $access,
            takes: $takes,
            gives: $gives,
            query: $query,
            summary: $summary,
        },)*];
    };
}

routes! {
    ShowRoot: Get "/api/v1", Access::Open, Nothing => (200, "ApiRoot"), &[], "What this is, before a login";

    ShowDescription: Get "/api/v1/openapi.json", Access::Open, Nothing => (200, "OpenApi"), &[],
        "This description";

    ShowCa: Get "/api/v1/ca.pem", Access::Open, Nothing => (200, "text"), &[],
        "The host's CA, as PEM: to be trusted if its SHA-256 is the one that the console shows";

    LogIn: Post "/api/v1/session", Access::Open, Json("Login") => (201, "Session"), &[], "Log in";
    ShowSession: Get "/api/v1/session", Access::Login, Nothing => (200, "Session"), &[], "Who am I";
    LogOut: Delete "/api/v1/session", Access::Login, Nothing => (204, ""), &[], "Log out";
    ChangePassword: Post "/api/v1/session/password", Access::Login, Json("PasswordChange") => (204, ""), &[],
        "Change one's own password";

    ListSessions: Get "/api/v1/sessions", VIEWER, Nothing => (200, "List<OpenSession>"), PAGE,
        "One's own sessions that have not ended; an administrator's are all of them";
    EndSession: Delete "/api/v1/sessions/{session}", VIEWER, Nothing => (204, ""), &[], "End a session";
    ListLockOuts: Get "/api/v1/lock-outs", ADMINISTRATOR, Nothing => (200, "List<LockOut>"), PAGE,
        "Who has to wait after wrong passwords";
    ClearLockOut: Delete "/api/v1/lock-outs/{lock_out}", ADMINISTRATOR, Nothing => (204, ""), &[],
        "Have a user wait no more: the wrong passwords are forgotten";

    ListUsers: Get "/api/v1/users", ADMINISTRATOR, Nothing => (200, "List<User>"), PAGE, "All users";
    CreateUser: Post "/api/v1/users", ADMINISTRATOR, Json("NewUser") => (201, "User"), &[], "Make a user";
    ShowUser: Get "/api/v1/users/{user}", ADMINISTRATOR, Nothing => (200, "User"), &[], "A user";
    ChangeUser: Patch "/api/v1/users/{user}", ADMINISTRATOR, Json("UserChange") => (200, "User"), &[],
        "Change a user's role or reset its password";
    DeleteUser: Delete "/api/v1/users/{user}", ADMINISTRATOR, Nothing => (204, ""), &[],
        "Delete a user, its sessions and its tokens";

    ListTokens: Get "/api/v1/tokens", VIEWER, Nothing => (200, "List<Token>"), PAGE,
        "One's own tokens; an administrator's are all of them";
    CreateToken: Post "/api/v1/tokens", VIEWER, Json("NewToken") => (201, "MadeToken"), &[], "Make a token for a tool";
    DeleteToken: Delete "/api/v1/tokens/{token}", VIEWER, Nothing => (204, ""), &[], "Delete a token";

    ListAudit: Get "/api/v1/audit", ADMINISTRATOR, Nothing => (200, "AuditPage"), &["from", "limit"],
        "Entries of the audit chain";

    ListVms: Get "/api/v1/vms", VIEWER, Nothing => (200, "List<Vm>"), PAGE, "All VMs, by name";
    CreateVm: Post "/api/v1/vms", ADMINISTRATOR, Json("VmConfiguration") => (201, "VmDetail"), &[], "Make a VM";
    ShowVm: Get "/api/v1/vms/{vm}", VIEWER, Nothing => (200, "VmDetail"), &[], "A VM and its configuration";
    ChangeVm: Put "/api/v1/vms/{vm}", ADMINISTRATOR, Json("VmConfiguration") => (200, "VmDetail"), &[],
        "Change a VM; what a running one can't take on waits for its next start. Needs If-Match";
    DeleteVm: Delete "/api/v1/vms/{vm}", ADMINISTRATOR, Nothing => (204, ""), &["volumes"],
        "Forget a VM that does not run";
    PowerVm: Post "/api/v1/vms/{vm}/power", OPERATOR, Json("PowerRequest") => (202, "Task"), &[],
        "Start a VM, press its power button, turn it off, reset, pause or resume it";
    ShowVmStatistics: Get "/api/v1/vms/{vm}/statistics", VIEWER, Nothing => (200, "VmStatistics"), &[],
        "Where a VM's time goes: exits, their time, by reason";
    ShowVmHistory: Get "/api/v1/vms/{vm}/history", VIEWER, Nothing => (200, "History"), &["seconds", "step"],
        "What a VM used in the last seconds: PEs, memory, disks, network";
    ShowVmLog: Get "/api/v1/vms/{vm}/log", VIEWER, Nothing => (200, "VmLog"), &[],
        "Lines of the host's log and events about a VM";
    OpenConsole: Get "/api/v1/vms/{vm}/consoles/{console}", VIEWER, Nothing => (200, "bytes"), &["from"],
        "A console: by WebSocket, live; else the bytes that are remembered. An operator may type";
    CloneVm: Post "/api/v1/vms/{vm}/clone", ADMINISTRATOR, Json("NewClone") => (202, "Task"), &[],
        "Make a VM of a VM, or of a snapshot of it";
    ResetFirmware: Post "/api/v1/vms/{vm}/firmware/reset", OPERATOR, Nothing => (204, ""), &[],
        "Make the firmware variables of a VM that does not run as new ones are";
    ListSnapshots: Get "/api/v1/vms/{vm}/snapshots", VIEWER, Nothing => (200, "List<Snapshot>"), PAGE,
        "A VM's snapshots";
    CreateSnapshot: Post "/api/v1/vms/{vm}/snapshots", OPERATOR, Json("NewSnapshot") => (201, "Snapshot"), &[],
        "Take a snapshot of all of a VM's volumes";
    RevertSnapshot: Post "/api/v1/vms/{vm}/snapshots/{snapshot}/revert", OPERATOR, Nothing => (204, ""), &[],
        "Put a VM that does not run back to a snapshot";
    DeleteSnapshot: Delete "/api/v1/vms/{vm}/snapshots/{snapshot}", OPERATOR, Nothing => (204, ""), &[],
        "Delete a snapshot";

    ListDisks: Get "/api/v1/disks", VIEWER, Nothing => (200, "List<Disk>"), PAGE, "The host's disks";
    ShowDatastore: Get "/api/v1/datastore", VIEWER, Nothing => (200, "Datastore"), &[], "The datastore";
    MakeDatastore: Post "/api/v1/datastore", ADMINISTRATOR, Json("NewDatastore") => (202, "Task"), &[],
        "Make a datastore in free space, or on a whole disk";
    ListVolumes: Get "/api/v1/volumes", VIEWER, Nothing => (200, "List<Volume>"), PAGE, "Volumes";
    CreateVolume: Post "/api/v1/volumes", OPERATOR, Json("NewVolume") => (201, "Volume"), &[],
        "Make a thin volume, or clone one";
    CreateSeed: Post "/api/v1/seeds", OPERATOR, Json("NewSeed") => (201, "Volume"), &[],
        "Make a volume that tells a new guest who it is (cloud-init's NoCloud)";
    ShowVolume: Get "/api/v1/volumes/{volume}", VIEWER, Nothing => (200, "Volume"), &[], "A volume";
    ChangeVolume: Patch "/api/v1/volumes/{volume}", ADMINISTRATOR, Json("VolumeChange") => (200, "Volume"), &[],
        "Resize a volume";
    DeleteVolume: Delete "/api/v1/volumes/{volume}", ADMINISTRATOR, Nothing => (204, ""), &[],
        "Delete a volume that no VM names, and its snapshots";
    ListObjects: Get "/api/v1/objects", VIEWER, Nothing => (200, "List<Object>"), &["prefix", "skip", "limit"],
        "Images and other objects";
    DownloadObject: Get "/api/v1/objects/{object}", OPERATOR, Nothing => (200, "bytes"), &[],
        "An object's bytes, or the part that Range names";
    DeleteObject: Delete "/api/v1/objects/{object}", ADMINISTRATOR, Nothing => (204, ""), &[], "Delete an object";
    Import: Post "/api/v1/imports", OPERATOR, Json("NewImport") => (202, "Task"), &[],
        "Make a volume of an object that is a raw image";

    ListUploads: Get "/api/v1/uploads", OPERATOR, Nothing => (200, "List<Upload>"), PAGE, "Uploads that are not whole";
    BeginUpload: Post "/api/v1/uploads", OPERATOR, Json("NewUpload") => (201, "Upload"), &[], "Begin an upload";
    ShowUpload: Get "/api/v1/uploads/{upload}", OPERATOR, Nothing => (200, "Upload"), &[], "How far an upload is";
    SendUpload: Patch "/api/v1/uploads/{upload}", OPERATOR, Bytes => (200, "Upload"), &[],
        "Send a piece of an upload, from Upload-Offset on; the last one makes the object";
    DropUpload: Delete "/api/v1/uploads/{upload}", OPERATOR, Nothing => (204, ""), &[], "Give an upload up";

    ListTasks: Get "/api/v1/tasks", VIEWER, Nothing => (200, "List<Task>"), PAGE, "Tasks, the newest first";
    ShowTask: Get "/api/v1/tasks/{task}", VIEWER, Nothing => (200, "Task"), &[], "A task";
    CancelTask: Post "/api/v1/tasks/{task}/cancel", OPERATOR, Nothing => (202, "Task"), &[], "Ask a task to end";

    WatchEvents: Get "/api/v1/events", VIEWER, Nothing => (200, "events"), &["after"],
        "Events by server-sent events (Event as JSON), or by WebSocket";
    ShowHost: Get "/api/v1/host", VIEWER, Nothing => (200, "HostState"), &[], "The host";
    ShowSettings: Get "/api/v1/host/settings", VIEWER, Nothing => (200, "HostSettingsState"), &[],
        "The host's name, addresses, DNS and NTP servers";
    ChangeSettings: Put "/api/v1/host/settings", ADMINISTRATOR, Json("HostSettings") => (200, "HostSettingsState"), &[],
        "Change the settings. Another address is on trial for two minutes, and is kept when it is confirmed. Needs If-Match";
    ConfirmSettings: Post "/api/v1/host/settings/confirm", ADMINISTRATOR, Nothing => (200, "HostSettingsState"), &[],
        "Keep the settings that are on trial";
    RevertSettings: Post "/api/v1/host/settings/revert", ADMINISTRATOR, Nothing => (200, "HostSettingsState"), &[],
        "End the trial at once: the settings from before are in force again";
    ShowHostNetwork: Get "/api/v1/host/network", VIEWER, Nothing => (200, "HostNetwork"), &[],
        "The management network as it is now";
    ShowHostTime: Get "/api/v1/host/time", VIEWER, Nothing => (200, "HostTime"), &[],
        "The time of day, whether it is known, and what NTP servers said";
    ShowCertificate: Get "/api/v1/host/certificate", VIEWER, Nothing => (200, "HostCertificate"), &[],
        "The host's certificate and the fingerprint of its CA";
    RenewCertificate: Post "/api/v1/host/certificate/renew", ADMINISTRATOR, Nothing => (200, "HostCertificate"), &[],
        "Make a new key and certificate of the same CA";
    PowerHost: Post "/api/v1/host/power", ADMINISTRATOR, Json("HostPowerRequest") => (202, "Task"), &[],
        "Restart the host or turn it off";
    ShowHostHistory: Get "/api/v1/host/history", VIEWER, Nothing => (200, "History"), &["seconds", "step"],
        "What the host used in the last seconds: PEs, memory, disks, network";
    ShowHostLog: Get "/api/v1/host/logs", VIEWER, Nothing => (200, "LogPage"), &["from"], "The host's log";
    DownloadSupportBundle: Get "/api/v1/host/support-bundle", ADMINISTRATOR, Nothing => (200, "tar"), &[],
        "What helps to find a fault, as a tar file: the host, its VMs, settings, log, audit chain, counters, crashes of hostd";
    ShowNetwork: Get "/api/v1/network", VIEWER, Nothing => (200, "Network"), &[],
        "The switch: uplinks, port groups, who is connected, addresses";
    ShowMetrics: Get "/metrics", VIEWER, Nothing => (200, "text"), &[], "Counters for Prometheus";
}

/// Where a request leads.
#[derive(Debug)]
pub enum Found {
    /// To an operation, with what stands for `{…}` in its path, decoded.
    Route(&'static Route, Vec<String>),
    /// To a path that has other methods only.
    Methods(Vec<Method>),
    /// Nowhere.
    Nothing,
}

/// Finds what a method and a path lead to. HEAD is GET without content.
pub fn find(method: Method, path: &str) -> Found {
    let wanted = if method == Method::Head { Method::Get } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(segments) = matches(route.path, path) else { continue };
        if route.method == wanted {
            return Found::Route(route, segments);
        }
        others.push(route.method);
        if route.method == Method::Get {
            others.push(Method::Head);
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::Methods(others) }
}

/// What stands for each `{…}` of a pattern; `None` where the path is another one.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            segments.push(decode(part).filter(|part| !part.is_empty())?);
        } else if part != wanted {
            return None;
        }
    }
    parts.next().is_none().then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whole_segments() {
        assert_eq!(matches("/a/{b}/c", "/a/x%2Fy/c"), Some(alloc::vec![String::from("x/y")]));
        assert_eq!(matches("/a/{b}/c", "/a/x/c/"), None);
        assert_eq!(matches("/a/{b}/c", "/a//c"), None);
        assert_eq!(matches("/a/{b}", "/a/%ff"), None);
    }

    #[test]
    fn no_row_hides_another() {
        for (index, route) in ROUTES.iter().enumerate() {
            let Found::Route(found, _) = find(route.method, route.path) else {
                panic!("{} leads nowhere", route.name)
            };
            assert_eq!(found.operation, route.operation, "row {index}");
        }
    }
}
