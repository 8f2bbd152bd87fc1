//! `/api/v1/events`: by server-sent events, or by WebSocket where that is asked for.

use super::{Call, Outcome};
use crate::auth;
use crate::http::websocket;
use crate::http::{Content, Response};
use crate::port::Port;
use crate::problem::Problem;
use crate::streams::EventStream;

pub(super) fn watch<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let last = call.management.events.last();
    let seen = match call.head.header("last-event-id") {
        Some(text) => text.trim().parse().map_err(|_| {
            let remedy = "give the id of the last event that came";
            Problem::new(400, "bad-parameter", "Last-Event-ID is no number", remedy).of_field("Last-Event-ID")
        })?,
        None => call.number("after", last)?,
    };
    if websocket::is_asked_for(call.head) {
        auth::is_from_here(call.head)?;
        let stream = EventStream { seen, by_websocket: true };
        return Ok(Outcome::Events(websocket::accept(call.head)?, stream));
    }
    let response = Response::with(200, "text/event-stream", Content::Chunks);
    Ok(Outcome::Events(response, EventStream { seen, by_websocket: false }))
}
