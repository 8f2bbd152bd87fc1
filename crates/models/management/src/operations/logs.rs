//! `/api/v1/host/logs` and `/api/v1/vms/{vm}/log`.

use super::{Call, Outcome};
use crate::auth::{FIRST_LOGIN, FIRST_USER};
use crate::http::Response;
use crate::inventory;
use crate::port::Port;
use crate::problem::Problem;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{Event, LogLine, LogPage, VmLog};

/// Stands for the host in calls about consoles: its log is console 0.
const HOST: u64 = 0;
/// Most bytes of the lines of a page.
const PAGE: u64 = 64 * 1024;

pub(super) fn host<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let page = read(&call.management.port, call.number("from", 0)?)?;
    Ok(Response::json(200, &page).into())
}

pub(super) fn vm<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let name = call.segment(0);
    inventory::find(&call.management.port, name)?;
    let lines = read(&call.management.port, 0)?.lines;
    let lines = lines.into_iter().filter(|line| is_about(&line.text, name)).collect();
    let events = call.management.events.remembered(|event: &Event| event.subject == name);
    Ok(Response::json(200, &VmLog { lines, events }).into())
}

/// Whether a line of the log is about a VM: `[    1.970282] NAME: …`, or `… NAME/hvc0: …`.
fn is_about(line: &str, name: &str) -> bool {
    let said = line.split_once("] ").map_or(line, |(_, said)| said);
    said.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '/']))
}

/// A line as anyone may read it: a viewer who saw the one-time password of a lost one would be administrator.
fn without_password(line: &str) -> String {
    match line.split_once(FIRST_LOGIN) {
        Some((before, _)) => format!("{before}{FIRST_LOGIN}{FIRST_USER}, password on the console only"),
        None => String::from(line),
    }
}

/// Whole lines from a position on. A line that began before it, or before the ring's start, is none: without its start it
/// could not be told that the rest is a password.
pub(crate) fn read<P: Port>(port: &P, from: u64) -> Result<LogPage, Problem> {
    let mut page = LogPage { lines: Vec::new(), start: 0, next: from };
    let (start, ..) = inventory::read_console(port, HOST, 0, 0).map_err(super::refused)?;
    page.start = start;
    // The byte before tells whether a line starts here.
    let (mut at, mut is_whole) =
        if from <= start { (start, start == 0) } else { (from.saturating_sub(1), false) };
    let (mut line, mut line_at): (Vec<u8>, _) = (Vec::new(), None);
    loop {
        let (first, bytes, end) = inventory::read_console(port, HOST, 0, at).map_err(super::refused)?;
        if first != at {
            // The ring has gone on: what is left of a line is no line.
            (line, line_at, is_whole) = (Vec::new(), None, false);
        }
        page.next = line_at.unwrap_or_else(|| first.min(end));
        if bytes.is_empty() || first.saturating_sub(from.max(start)) >= PAGE {
            return Ok(page);
        }
        for (byte, position) in bytes.iter().zip(first..) {
            if *byte == b'\n' {
                if is_whole {
                    let text = without_password(&String::from_utf8_lossy(line.trim_ascii_end()));
                    page.lines.push(LogLine { position: line_at.unwrap_or(position), text });
                }
                (line, line_at, is_whole) = (Vec::new(), None, true);
            } else if is_whole {
                line_at = line_at.or(Some(position));
                line.push(*byte);
            }
        }
        at = first.saturating_add(bytes.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::is_about;

    #[test]
    fn a_line_is_about_whose_name_it_starts_with() {
        assert!(is_about("[    1.970282] web: 1 vCPUs, 128 MiB", "web"));
        assert!(is_about("[12345.970282] web/hvc0: a line", "web"));
        assert!(!is_about("[    1.970282] web-2: 1 vCPUs", "web"));
        assert!(!is_about("[    1.970282] uplink: link up", "web"));
    }
}
