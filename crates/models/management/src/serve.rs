//! A connection: its requests, one after another, until one side has enough.
//!
//! Called by hostd for each connection, once TLS stands; calls [`route::find`], then [`operations::carry_out`].

use crate::audit;
use crate::auth::{self, Caller};
use crate::http::head::{HEAD_MAX, Length};
use crate::http::wire::Patience;
use crate::http::{Body, BodyFault, Ended, Head, HeadFault, Method, Response, Wire};
use crate::idempotency::Known;
use crate::operations::{self, Call, Outcome};
use crate::port::Port;
use crate::problem::Problem;
use crate::route::{self, Access, Found, Operation, Route, Takes};
use crate::streams::Ground;
use crate::tls::{self, Tls};
use crate::{Management, Ticket};
use alloc::string::ToString;
use alloc::vec::Vec;
use api::rest::AuditText;
use core::net::SocketAddr;
use core::time::Duration;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};

/// Most bytes of a body that an operation gets whole.
const BODY_MAX: usize = 64 * 1024;

/// Serves one connection until it is over; then the stream is to be closed. Whether it ended by itself: one that gave way
/// is to be cut. `stream`: what TLS carries. A read of it that is dropped must have taken nothing.
pub async fn serve<S: Read + Write, P: Port>(
    management: &Management<P>,
    stream: S,
    peer: SocketAddr,
    ticket: Ticket<'_, P>,
) -> bool {
    let wire = Wire::new(stream, &management.port);
    let connection = Connection { management, peer, ticket: &ticket, wire, caller: None };
    matches!(select(connection.run(), ticket.given_up()).await, Either::First(()))
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts TLS on a connection, within its time, and for as long as the connection need not give way to another. `None`:
/// it is over.
pub async fn accept<S: Read + Write, P: Port>(
    config: &tls::Config,
    stream: S,
    ticket: &Ticket<'_, P>,
) -> Option<Tls<S>> {
    let port = &ticket.management.port;
    let handshake = Tls::accept(port, config, stream);
    match select3(handshake, port.sleep(HANDSHAKE), ticket.given_up()).await {
        Either3::First(Ok(tls)) => Some(tls),
        _ => None,
    }
}

struct Connection<'m, 't, S, P> {
    management: &'m Management<P>,
    peer: SocketAddr,
    ticket: &'t Ticket<'m, P>,
    wire: Wire<'m, S, P>,
    /// Who the request that is answered comes from.
    caller: Option<Caller>,
}

impl<S: Read + Write, P: Port> Connection<'_, '_, S, P> {
    async fn run(mut self) {
        let mut idle = Patience::STRANGER;
        loop {
            let head = match self.head(idle).await {
                Ok(Ok(head)) => head,
                Ok(Err(fault)) => {
                    let _ = respond(&mut self.wire, &refused_head(fault).into(), false, false).await;
                    return;
                }
                Err(_) => return,
            };
            match self.request(&head).await {
                Ok(true) => idle = Patience::IDLE,
                _ => return,
            }
        }
    }

    /// The next head; at the first level why there is none, at the second why it is bad.
    async fn head(&mut self, idle: Duration) -> Result<Result<Head, HeadFault>, Ended> {
        if self.wire.unread().is_empty() {
            self.wire.fill(idle).await?;
        }
        let end = self.management.port.now().saturating_add(Patience::HEAD);
        loop {
            // An empty line before a request is passed over (RFC 9112, 2.2).
            while self.wire.unread().starts_with(b"\r\n") {
                self.wire.take(2);
            }
            match Head::parse(self.wire.unread()) {
                Ok(Some((head, taken))) => {
                    self.wire.take(taken);
                    return Ok(Ok(head));
                }
                Ok(None) if self.wire.unread().len() < HEAD_MAX => {}
                Ok(None) => return Ok(Err(HeadFault::TooLarge)),
                Err(fault) => return Ok(Err(fault)),
            }
            let left = end.saturating_sub(self.management.port.now());
            self.wire.fill(left).await?;
        }
    }

    /// Answers one request; whether another may follow.
    async fn request(&mut self, head: &Head) -> Result<bool, Ended> {
        let mut body = Body::new(head.length);
        let outcome = match self.outcome(head, &mut body).await {
            Ok(outcome) => outcome,
            Err(Refusal::Problem(details)) => Outcome::Response(details.into()),
            Err(Refusal::Ended(ended)) => return Err(ended),
        };
        if !body.is_read() && !head.lists("expect", "100-continue") {
            // Refused before its body was asked for, which is on its way.
            let _ = body.read_all(&mut self.wire, BODY_MAX).await;
        }
        let keep_alive = head.keep_alive && body.is_read();
        self.send(head, outcome, keep_alive).await
    }

    /// Sends a response and what follows it; whether another request may come.
    async fn send(&mut self, head: &Head, outcome: Outcome, keep_alive: bool) -> Result<bool, Ended> {
        let head_only = head.method == Method::Head;
        let caller = self.caller.take();
        let response = match &outcome {
            Outcome::Response(response) | Outcome::Download(response, _) => response,
            Outcome::Console(response, _) | Outcome::Events(response, _) => response,
            Outcome::Bundle(response, _) => response,
        };
        let response = match self.management.watch.is_volatile() {
            true => &response.clone().header("X-Bramble-Datastore", "none"),
            false => response,
        };
        response.write(&mut self.wire, head_only, keep_alive).await?;
        let (management, wire) = (self.management, &mut self.wire);
        match (outcome, caller) {
            (Outcome::Download(_, download), _) if !head_only => download.run(&management.port, wire).await?,
            (Outcome::Bundle(_, bundle), _) if !head_only => bundle.run(management, wire).await?,
            (Outcome::Console(_, stream), Some(caller)) if !head_only => {
                return Err(stream.run(Ground::new(management, wire, head, &caller)).await);
            }
            (Outcome::Events(_, stream), Some(caller)) if !head_only => {
                return Err(stream.run(Ground::new(management, wire, head, &caller)).await);
            }
            _ => {}
        }
        Ok(keep_alive)
    }

    async fn outcome(&mut self, head: &Head, body: &mut Body) -> Result<Outcome, Refusal> {
        let (route, segments) = match route::find(head.method, &head.path) {
            Found::Route(route, segments) => (route, segments),
            Found::Methods(methods) if head.method == Method::Options => {
                return Ok(Response::empty(204).header("Allow", names(&methods)).into());
            }
            Found::Methods(methods) => return Ok(not_allowed(&methods).into()),
            Found::Nothing => {
                let answer = self.management.web.answer(head).ok_or_else(|| not_found(&head.path))?;
                return Ok(answer?.into());
            }
        };
        let caller = self.identify(route, head)?;
        if let Some(caller) = &caller
            && let Err(problem) = permit(route, head, caller)
        {
            self.note_refusal(route, caller, &problem).await;
            return Err(problem.into());
        }
        self.caller.clone_from(&caller);
        let mut call =
            Call { management: self.management, peer: self.peer, head, segments, caller, body: Vec::new() };
        self.go_on(head).await?;
        if route.takes == Takes::Bytes {
            return Ok(operations::uploads::receive(&call, &mut self.wire, body).await?);
        }
        call.body = self.body(head, body).await?;
        match head.header("idempotency-key").filter(|_| route.is_idempotent()) {
            Some(key) => self.once(route, &call, key).await,
            None => Ok(operations::carry_out(route.operation, &call).await?),
        }
    }

    /// Carries out what has not been, under this key; else tells how it was answered.
    async fn once(&self, route: &Route, call: &Call<'_, P>, key: &str) -> Result<Outcome, Refusal> {
        match self.management.answers.look_up(call, key)? {
            Known::Answered(response) => Ok(response.into()),
            Known::First(first) => {
                let outcome = operations::carry_out(route.operation, call).await?;
                first.answered(&self.management.port, &outcome).await;
                Ok(outcome)
            }
        }
    }

    /// Tells the audit chain of a request that someone may not make.
    async fn note_refusal(&self, route: &Route, caller: &Caller, problem: &Problem) {
        let port = &self.management.port;
        let from = self.peer.ip().to_canonical().to_string();
        let text = audit::text(Some(caller), from, route.name);
        let text = AuditText { refused: Some(problem.details().reason.to_string()), ..text };
        if let Some(text) = self.management.refusals.add(text, port.now()) {
            audit::append(port, &text).await;
        }
    }

    /// Who asks; none where anyone may.
    fn identify(&self, route: &Route, head: &Head) -> Result<Option<Caller>, Problem> {
        if route.access == Access::Open && route.operation != Operation::LogIn {
            return Ok(None);
        }
        let authority = &self.management.authority;
        if !authority.is_open() {
            let detail = "the host is starting, or can't read who may what";
            return Err(Problem::new(503, "starting", detail, "the host's console says more").after(2));
        }
        if route.access == Access::Open {
            return Ok(None);
        }
        let caller = authority.caller(&self.management.port, head);
        self.ticket.know(matches!(caller, Ok(Some(_))));
        let caller = caller?.ok_or_else(|| auth::unauthorized("this needs a login"))?;
        Ok(Some(caller))
    }

    /// Tells a client that waits for it to send its body.
    async fn go_on(&mut self, head: &Head) -> Result<(), Ended> {
        if !head.lists("expect", "100-continue") {
            return Ok(());
        }
        self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        self.wire.flush().await
    }

    async fn body(&mut self, head: &Head, body: &mut Body) -> Result<Vec<u8>, Refusal> {
        if head.length == Length::Bytes(0) {
            return Ok(Vec::new());
        }
        if matches!(head.length, Length::Bytes(bytes) if bytes > BODY_MAX as u64) {
            return Err(too_large().into());
        }
        match body.read_all(&mut self.wire, BODY_MAX).await {
            Ok(bytes) => Ok(bytes),
            Err(BodyFault::Ended(Ended::TimedOut)) => Err(too_slow().into()),
            Err(BodyFault::Ended(ended)) => Err(ended.into()),
            Err(BodyFault::TooLarge) => Err(too_large().into()),
            Err(BodyFault::Malformed) => Err(refused_head(HeadFault::Malformed).into()),
        }
    }
}

/// Whether who asks may.
fn permit(route: &Route, head: &Head, caller: &Caller) -> Result<(), Problem> {
    if !route.method.is_safe() {
        caller.forbid_forgery(head)?;
    }
    let Access::Role(role) = route.access else { return Ok(()) };
    if caller.must_change_password {
        let remedy = "change it by POST /api/v1/session/password";
        let detail = "the password of this user has to be changed first";
        return Err(Problem::new(403, "password-change-needed", detail, remedy));
    }
    if caller.role < role {
        let detail = alloc::format!("this needs the role {role:?}");
        let remedy = "ask an administrator to do it or to give you that role";
        return Err(Problem::new(403, "role-too-low", detail.to_lowercase(), remedy));
    }
    Ok(())
}

/// Why there is no outcome.
enum Refusal {
    Problem(Problem),
    Ended(Ended),
}

impl From<Problem> for Refusal {
    fn from(details: Problem) -> Self {
        Self::Problem(details)
    }
}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

async fn respond<S: Read + Write, P: Port>(
    wire: &mut Wire<'_, S, P>,
    response: &Response,
    head_only: bool,
    keep_alive: bool,
) -> Result<(), Ended> {
    response.write(wire, head_only, keep_alive).await
}

fn refused_head(fault: HeadFault) -> Problem {
    let (status, reason, detail) = match fault {
        HeadFault::Malformed => {
            (400, "malformed-request", "this is no HTTP/1.1 request, or one that can be read in two ways")
        }
        HeadFault::TooLarge => {
            (431, "head-too-large", "the head of the request is longer than 8 KiB, or has over 64 lines")
        }
        HeadFault::Coding => (501, "unknown-coding", "the body has a transfer coding other than chunked"),
    };
    Problem::new(status, reason, detail, "use a client that speaks HTTP/1.1 as in RFC 9112")
}

fn not_found(path: &str) -> Problem {
    let detail = alloc::format!("there is nothing at {path}");
    Problem::new(404, "no-such-path", detail, "GET /api/v1/openapi.json lists every path")
}

fn not_allowed(methods: &[Method]) -> Response {
    let allowed = names(methods);
    let remedy = alloc::format!("use one of {allowed}");
    let details = Problem::new(405, "method-not-allowed", "this path does not have that method", remedy);
    Response::from(details).header("Allow", allowed)
}

fn names(methods: &[Method]) -> alloc::string::String {
    let mut names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
    names.push("OPTIONS");
    names.join(", ")
}

fn too_large() -> Problem {
    let remedy = "send at most 64 KiB; files go to the datastore as uploads";
    Problem::new(413, "body-too-large", "the body is longer than this operation takes", remedy)
}

fn too_slow() -> Problem {
    Problem::new(
        408,
        "body-too-slow",
        "the body did not come within 30 seconds",
        "try again on a better line",
    )
}
