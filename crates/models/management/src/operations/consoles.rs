//! `/api/v1/vms/{vm}/consoles/{console}`: by WebSocket, or what the ring has.

use super::{Call, Outcome};
use crate::auth;
use crate::http::websocket;
use crate::http::{Content, Response};
use crate::inventory::{self, CONSOLES};
use crate::port::Port;
use crate::problem::Problem;
use crate::streams::ConsoleStream;
use alloc::format;
use alloc::vec::Vec;
use api::rest::Role;

/// Most bytes of one answer.
const ANSWER: usize = 64 * 1024;

pub(super) fn open<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let console =
        CONSOLES.iter().position(|name| *name == call.segment(1)).ok_or_else(no_such_console)? as u64;
    let from = call.number("from", 0)?;
    if websocket::is_asked_for(call.head) {
        auth::is_from_here(call.head)?;
        let may_type = call.caller()?.role >= Role::Operator;
        let stream = ConsoleStream { handle: vm.handle, console, from, may_type };
        return Ok(Outcome::Console(websocket::accept(call.head)?, stream));
    }
    let mut all = Vec::new();
    let mut first = None;
    let mut at = from;
    loop {
        let (position, bytes, end) =
            inventory::read_console(port, vm.handle, console, at).map_err(super::refused)?;
        if bytes.is_empty()
            || all.len().saturating_add(bytes.len()) > ANSWER
            || first.is_some() && position != at
        {
            let offset = format!("{}", first.unwrap_or(position));
            let next = format!("{}", if all.is_empty() { end } else { at });
            let response = Response::with(200, "application/octet-stream", Content::Bytes(all.into()));
            return Ok(response.header("X-Bramble-Offset", offset).header("X-Bramble-Next", next).into());
        }
        first = first.or(Some(position));
        at = position.saturating_add(bytes.len() as u64);
        all.extend_from_slice(&bytes);
    }
}

fn no_such_console() -> Problem {
    Problem::new(404, "no-such-console", "a VM has no such console", "use uart or virtio")
}
