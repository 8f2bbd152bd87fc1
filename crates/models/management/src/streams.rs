//! Responses that go on: consoles, events, downloads, support bundles. They have the wire to themselves until they end.

mod bundle;
mod console;
mod download;
mod events;

pub(crate) use bundle::Bundle;
pub(crate) use console::ConsoleStream;
pub(crate) use download::Download;
pub(crate) use events::EventStream;

use crate::Management;
use crate::auth::Caller;
use crate::http::{Head, Wire};
use crate::port::Port;
use core::time::Duration;
use embedded_io_async::{Read, Write};

/// The login behind a stream is looked at so often: when it ends, the stream does.
const CHECK: Duration = Duration::from_secs(10);

/// Where a stream runs.
pub(crate) struct Ground<'g, 'p, S, P> {
    pub management: &'p Management<P>,
    pub wire: &'g mut Wire<'p, S, P>,
    pub head: &'g Head,
    pub caller: &'g Caller,
    checked: Duration,
}

impl<'g, 'p, S: Read + Write, P: Port> Ground<'g, 'p, S, P> {
    pub fn new(
        management: &'p Management<P>,
        wire: &'g mut Wire<'p, S, P>,
        head: &'g Head,
        caller: &'g Caller,
    ) -> Self {
        Self { management, wire, head, caller, checked: management.port.now() }
    }
}

/// Whether who asked may still do so; looked at now and then.
fn is_allowed<P: Port>(
    management: &Management<P>,
    head: &Head,
    caller: &Caller,
    checked: &mut Duration,
) -> bool {
    let now = management.port.now();
    if now.saturating_sub(*checked) < CHECK {
        return true;
    }
    *checked = now;
    let still = management.authority.caller(&management.port, head).ok().flatten();
    still.is_some_and(|still| still.user == caller.user && still.role >= caller.role)
}
