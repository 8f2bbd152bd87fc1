//! What operations do: [`carry_out`] says where each one is.

mod audit;
mod certificate;
mod clones;
mod consoles;
mod events;
mod host;
pub(crate) mod logs;
mod network;
mod power;
mod root;
mod seeds;
mod session;
mod sessions;
mod settings;
mod snapshots;
mod storage;
mod tasks;
mod tokens;
pub(crate) mod uploads;
mod usage;
mod users;
pub(crate) mod vms;

use crate::Management;
use crate::admission::Source;
use crate::auth::{self, Caller};
use crate::http::{Head, Response};
use crate::port::Port;
use crate::problem::Problem;
use crate::route::Operation;
use crate::streams::{Bundle, ConsoleStream, Download, EventStream};
use abi::Status;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use api::rest::List;
use core::net::SocketAddr;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request, read and allowed.
pub(crate) struct Call<'a, P> {
    pub management: &'a Management<P>,
    pub peer: SocketAddr,
    pub head: &'a Head,
    /// What stands for `{…}` in the path.
    pub segments: Vec<String>,
    /// Who asks; none only where anyone may.
    pub caller: Option<Caller>,
    /// The body.
    pub body: Vec<u8>,
}

impl<P> Call<'_, P> {
    /// Where it comes from, as people read it.
    pub fn address(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }

    /// Where it comes from, as counted.
    pub fn source(&self) -> Source {
        self.peer.ip().into()
    }
}

/// How it ends.
pub(crate) enum Outcome {
    /// With a response.
    Response(Response),
    /// With a response, and a console after it.
    Console(Response, ConsoleStream),
    /// With a response, and events after it.
    Events(Response, EventStream),
    /// With a response, and an object after it.
    Download(Response, Download),
    /// With a response, and a support bundle after it.
    Bundle(Response, Bundle),
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Carries an operation out.
pub(crate) async fn carry_out<P: Port>(operation: Operation, call: &Call<'_, P>) -> Result<Outcome, Problem> {
    match operation {
        Operation::ShowRoot => root::show(call),
        Operation::ShowDescription => root::describe(),
        Operation::ShowCa => root::show_ca(call).await,
        Operation::LogIn => session::log_in(call).await,
        Operation::ShowSession => session::show(call),
        Operation::LogOut => session::log_out(call).await,
        Operation::ChangePassword => session::change_password(call).await,
        Operation::ListSessions => sessions::list(call),
        Operation::EndSession => sessions::end(call).await,
        Operation::ListLockOuts => sessions::lock_outs(call),
        Operation::ClearLockOut => sessions::clear(call).await,
        Operation::ListUsers => users::list(call),
        Operation::CreateUser => users::create(call).await,
        Operation::ShowUser => users::show(call),
        Operation::ChangeUser => users::change(call).await,
        Operation::DeleteUser => users::delete(call).await,
        Operation::ListTokens => tokens::list(call),
        Operation::CreateToken => tokens::create(call).await,
        Operation::DeleteToken => tokens::delete(call).await,
        Operation::ListAudit => audit::list(call).await,
        Operation::ListVms => vms::list(call),
        Operation::CreateVm => vms::create(call).await,
        Operation::ShowVm => vms::show(call).await,
        Operation::ChangeVm => vms::change(call).await,
        Operation::DeleteVm => vms::delete(call).await,
        Operation::PowerVm => power::vm(call).await,
        Operation::ShowVmStatistics => usage::vm_statistics(call),
        Operation::ShowVmHistory => usage::vm_history(call),
        Operation::ShowVmLog => logs::vm(call),
        Operation::OpenConsole => consoles::open(call),
        Operation::CloneVm => clones::begin(call).await,
        Operation::ResetFirmware => vms::reset_firmware(call).await,
        Operation::ListSnapshots => snapshots::list(call).await,
        Operation::CreateSnapshot => snapshots::create(call).await,
        Operation::RevertSnapshot => snapshots::revert(call).await,
        Operation::DeleteSnapshot => snapshots::delete(call).await,
        Operation::ListDisks => storage::list_disks(call).await,
        Operation::ShowDatastore => storage::show_datastore(call).await,
        Operation::MakeDatastore => storage::make_datastore(call).await,
        Operation::ListVolumes => storage::list_volumes(call).await,
        Operation::CreateVolume => storage::create_volume(call).await,
        Operation::CreateSeed => seeds::create(call).await,
        Operation::ShowVolume => storage::show_volume(call).await,
        Operation::ChangeVolume => storage::change_volume(call).await,
        Operation::DeleteVolume => storage::delete_volume(call).await,
        Operation::ListObjects => storage::list_objects(call).await,
        Operation::DownloadObject => storage::download(call).await,
        Operation::DeleteObject => storage::delete_object(call).await,
        Operation::Import => storage::import(call).await,
        Operation::ListUploads => uploads::list(call),
        Operation::BeginUpload => uploads::begin(call).await,
        Operation::ShowUpload => uploads::show(call),
        // Its body is not read before it is carried out: `uploads::receive`.
        Operation::SendUpload => Err(refused(Status::Invalid)),
        Operation::DropUpload => uploads::drop_one(call).await,
        Operation::ListTasks => tasks::list(call),
        Operation::ShowTask => tasks::show(call),
        Operation::CancelTask => tasks::cancel(call).await,
        Operation::WatchEvents => events::watch(call),
        Operation::ShowHost => host::show(call),
        Operation::ShowSettings => settings::show(call),
        Operation::ChangeSettings => settings::change(call).await,
        Operation::ConfirmSettings => settings::confirm(call).await,
        Operation::RevertSettings => settings::revert(call).await,
        Operation::ShowHostNetwork => settings::show_network(call),
        Operation::ShowHostTime => settings::show_time(call),
        Operation::ShowCertificate => certificate::show(call).await,
        Operation::RenewCertificate => certificate::renew(call).await,
        Operation::PowerHost => power::host(call).await,
        Operation::ShowHostHistory => usage::host_history(call),
        Operation::ShowHostLog => logs::host(call),
        Operation::DownloadSupportBundle => host::support_bundle(call).await,
        Operation::ShowNetwork => network::show(call).await,
        Operation::ShowMetrics => host::metrics(call),
    }
}

impl<P> Call<'_, P> {
    /// Who asks.
    pub fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(|| auth::unauthorized("this needs a login"))
    }

    /// What stands for a `{…}` of the path.
    pub fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map_or("", String::as_str)
    }

    /// A number in the path.
    pub fn id(&self, index: usize) -> Result<u64, Problem> {
        self.segment(index).parse().map_err(|_| {
            let detail = format!("{} is no id", self.segment(index));
            Problem::new(404, "no-such-id", detail, "ids are whole numbers, as the lists give them")
        })
    }

    /// Refuses a change of what the client has not seen (RFC 9110, 13.1.1).
    pub fn if_match(&self, tag: &str) -> Result<(), Problem> {
        let Some(wanted) = self.head.header("if-match") else {
            let remedy = "send the ETag of what you saw as If-Match, or *";
            return Err(Problem::new(
                428,
                "if-match-needed",
                "this change has to say what it changes",
                remedy,
            ));
        };
        if wanted == "*" || wanted.split(',').any(|wanted| wanted.trim() == tag) {
            return Ok(());
        }
        let remedy = "ask for it anew, and change that";
        Err(Problem::new(412, "changed-meanwhile", "someone else changed it meanwhile", remedy))
    }

    /// The body, as a resource.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let kind = self.head.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let remedy = "send Content-Type: application/json";
            return Err(Problem::new(415, "not-json", "the body's type is not application/json", remedy));
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        let resource = serde_path_to_error::deserialize(&mut reader).map_err(|error| bad_field(&error))?;
        reader.end().map_err(|_| {
            Problem::new(
                400,
                "bad-json",
                "something follows the resource",
                "send one JSON object and nothing after it",
            )
        })?;
        Ok(resource)
    }

    /// A number in the query.
    pub fn number(&self, name: &'static str, default: u64) -> Result<u64, Problem> {
        match self.head.parameter(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                let detail = format!("{name} is no number");
                Problem::new(400, "bad-parameter", detail, "give a whole number").of_field(name)
            }),
        }
    }

    /// The part of a list that was asked for by `skip` and `limit`.
    pub fn page<T: Serialize>(&self, all: Vec<T>) -> Result<Outcome, Problem> {
        let (skip, limit) = (self.number("skip", 0)?, self.number("limit", 100)?.clamp(1, 1000));
        let total = all.len() as u64;
        let (from, count) = (usize::try_from(skip), usize::try_from(limit));
        let items: Vec<T> =
            all.into_iter().skip(from.unwrap_or(usize::MAX)).take(count.unwrap_or(usize::MAX)).collect();
        let end = skip.saturating_add(items.len() as u64);
        let next = (end < total && !items.is_empty()).then_some(end);
        Ok(Response::json(200, &List { items, total, next }).into())
    }
}

fn bad_field(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let inner = error.inner();
    if !inner.is_data() {
        let detail = format!("the body is no JSON: {inner}");
        return Problem::new(400, "bad-json", detail, "correct it there");
    }
    // serde's text ends in the place, which means nothing to who did not write the JSON by hand.
    let text = inner.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let named = text
        .split('`')
        .nth(1)
        .filter(|_| text.starts_with("missing field") || text.starts_with("unknown field"));
    let field = match (path.as_str(), named) {
        (".", Some(name)) => String::from(name),
        // The path of an unknown field has its name already.
        (path, Some(name)) if path.ends_with(name) => String::from(path),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => String::from(path),
    };
    let remedy = "GET /api/v1/openapi.json describes every field";
    Problem::new(422, "bad-field", text, remedy).of_field(field)
}

/// What a refusal of the vmkernel means to a client, where nothing better is known.
pub(crate) fn refused(status: Status) -> Problem {
    let (code, reason, detail, remedy) = match status {
        Status::NotFound => (404, "not-found", "there is no such thing", "list what there is"),
        Status::Stale => {
            (409, "stale", "what this was about is gone, and another has its place", "ask for it anew")
        }
        Status::Conflict => (409, "conflict", "it is not in a state for that", "ask for its state"),
        Status::Denied => {
            (403, "denied", "the host does not let its management do that", "it can't be done here")
        }
        Status::Invalid => {
            (422, "invalid", "the host does not take these values", "compare them with the description")
        }
        Status::NotSupported => (501, "not-supported", "this host can't do that yet", "a later version may"),
        Status::Unseeded => {
            (503, "no-random-numbers", "the host has no random numbers yet", "give it an rng-seed")
        }
        Status::Busy => (503, "busy", "the host is busy with what was asked before", "try again"),
        Status::NoSpace => (507, "no-space", "the datastore is full", "delete something, or grow it"),
        Status::ReadOnly => {
            (409, "read-only", "the datastore takes no writes", "the host's log says why; copy what it holds")
        }
        Status::Io => {
            (500, "disk-failed", "a disk failed, or what it holds is damaged", "the host's log says where")
        }
        Status::NoDatastore => (
            409,
            "no-datastore",
            "this needs a datastore, and the host has none",
            "make one: /api/v1/datastore",
        ),
        Status::Failed | Status::Ok => {
            (500, "failed", "the host tried and could not do it", "the host's log says why")
        }
    };
    let problem = Problem::new(code, reason, detail, remedy);
    if matches!(status, Status::Busy | Status::Unseeded) { problem.after(1) } else { problem }
}
