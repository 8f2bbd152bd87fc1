//! Events: by server-sent events, or by WebSocket as one text frame each.
//!
//! Source: HTML Living Standard, 9.2 "Server-sent events".

use super::{Ground, is_allowed};
use crate::Management;
use crate::http::Ended;
use crate::http::response::write_chunk;
use crate::http::websocket::{CloseCode, Link, Opcode};
use crate::port::Port;
use crate::unix_seconds;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::Event;
use core::time::Duration;
use embassy_futures::select::select;
use embedded_io_async::{Read, Write};

/// A comment goes out so often, so that silence is not taken for death.
const ALIVE: Duration = Duration::from_secs(15);
/// Events in one write.
const AT_ONCE: usize = 16;

/// Events that are watched.
pub(crate) struct EventStream {
    /// The last id seen.
    pub seen: u64,
    pub by_websocket: bool,
}

impl EventStream {
    pub async fn run<S: Read + Write, P: Port>(mut self, ground: Ground<'_, '_, S, P>) -> Ended {
        if self.by_websocket { self.frames(ground).await } else { self.lines(ground).await }
    }

    fn more<P: Port>(&mut self, management: &Management<P>) -> Vec<Event> {
        let events = management.events.after(self.seen, unix_seconds(&management.port), AT_ONCE);
        self.seen = events.last().map_or(self.seen, |event| event.id);
        events
    }

    async fn lines<S: Read + Write, P: Port>(&mut self, ground: Ground<'_, '_, S, P>) -> Ended {
        let Ground { management, wire, head, caller, mut checked } = ground;
        let mut text = String::from("retry: 2000\n\n");
        loop {
            let heard = management.events.bell.rings();
            for event in self.more(management) {
                let data = serde_json::to_string(&event).unwrap_or_default();
                text.push_str(&format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.kind));
            }
            if text.is_empty() {
                let wait = select(management.events.bell.after(heard), management.port.sleep(ALIVE)).await;
                if matches!(wait, embassy_futures::select::Either::Second(())) {
                    text.push_str(":\n\n");
                } else {
                    continue;
                }
            }
            if !is_allowed(management, head, caller, &mut checked) {
                return Ended::Closed;
            }
            if let Err(ended) = write_chunk(wire, text.as_bytes()).await {
                return ended;
            }
            text.clear();
        }
    }

    async fn frames<S: Read + Write, P: Port>(&mut self, ground: Ground<'_, '_, S, P>) -> Ended {
        let Ground { management, wire, head, caller, mut checked } = ground;
        let mut link = Link::new(wire);
        loop {
            // What a client says has no meaning here.
            match link.received().await {
                Err(ended) => return ended,
                Ok(Some(_)) => continue,
                Ok(None) => {}
            }
            let heard = management.events.bell.rings();
            let events = self.more(management);
            for event in &events {
                let data = serde_json::to_vec(event).unwrap_or_default();
                if let Err(ended) = link.send(Opcode::Text, &data).await {
                    return ended;
                }
            }
            if !is_allowed(management, head, caller, &mut checked) {
                return link.close(CloseCode::Policy).await;
            }
            if !events.is_empty() {
                continue;
            }
            let news = async {
                select(management.events.bell.after(heard), management.port.sleep(ALIVE)).await;
            };
            if let Err(ended) = link.wait(news).await {
                return ended;
            }
        }
    }
}
