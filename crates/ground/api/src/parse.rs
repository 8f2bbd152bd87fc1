//! Text → [`HostDocument`] and what is wrong with it. A bad VM does not take the good ones with it.
//!
//! Called by the vmkernel at start with the boot archive's `host.toml`, by hostd and by bramblectl. Three passes: TOML
//! (a syntax error costs the `[[vm]]` that it is in), the schema (VM by VM), the meaning (`check`).

use crate::check::Checker;
use crate::host::{Host, HostDocument, Vm};
use crate::problem::{Place, Problem, line_of};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A document and its problems. What is bad is not in the document.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parsed {
    /// The host, and the VMs without a problem.
    pub document: HostDocument,
    /// What was left out and why, in the order of the text.
    pub problems: Vec<Problem>,
}

impl HostDocument {
    /// Reads a document whose files are taken to exist.
    pub fn parse(text: &str) -> Parsed {
        Self::parse_with_files(text, &|_| true)
    }

    /// Reads a document; `exists` says whether a file that it names is there.
    pub fn parse_with_files(text: &str, exists: &dyn Fn(&str) -> bool) -> Parsed {
        let mut problems = Vec::new();
        let text = without_broken_blocks(text, &mut problems);
        let mut document = Self::default();
        // What is left parses; it is parsed again because the tables borrow the text.
        if let Ok(root) = DeTable::parse(&text) {
            let mut checker = Checker::new(exists);
            read_root(&text, root, &mut document, &mut checker);
            problems.append(&mut checker.problems);
        }
        problems.sort_by_key(|problem| problem.line);
        Parsed { document, problems }
    }
}

/// Blanks each block (from `[[vm]]` or `[host]` to the next of them) that has a syntax error. Lines stay where they are.
fn without_broken_blocks(text: &str, problems: &mut Vec<Problem>) -> String {
    let mut text = text.to_owned();
    loop {
        let error = match DeTable::parse(&text) {
            Ok(_) => return text,
            Err(error) => error,
        };
        let at = blamed(&text, error.span().map_or(0, |span| span.start));
        problems.push(Problem {
            line: line_of(&text, at),
            field: String::new(),
            what: format!("this is not TOML: {}", error.message()),
            remedy: String::from("correct this line; the rest of its [[vm]] was not read"),
        });
        let (start, end) = block_around(&text, at);
        let blanked = blank(&text, start, end);
        // A block that was blank already can't be the cause: give up rather than loop.
        if blanked == text {
            return String::new();
        }
        text = blanked;
    }
}

/// Where the fault is that the parser met at byte `at`. An open bracket or quote is met late, at the header of the next
/// block or at the end of the text: what stands before is to blame.
fn blamed(text: &str, at: usize) -> usize {
    let (start, _) = block_around(text, at);
    let before = match text.get(at..) {
        Some(rest) if !rest.trim().is_empty() => {
            let header = text.get(start..at).unwrap_or_default();
            if header.contains([']', '\n']) {
                return at;
            }
            text.get(..start).unwrap_or_default()
        }
        _ => text,
    };
    before.trim_end().len().checked_sub(1).unwrap_or(at)
}

/// Where the block around byte `at` starts and ends.
fn block_around(text: &str, at: usize) -> (usize, usize) {
    let (mut start, mut offset) = (0, 0);
    for line in text.split_inclusive('\n') {
        let compact: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if compact.starts_with("[[vm]]") || compact.starts_with("[host]") {
            if offset > at {
                return (start, offset);
            }
            start = offset;
        }
        offset = offset.saturating_add(line.len());
    }
    (start, text.len())
}

fn blank(text: &str, start: usize, end: usize) -> String {
    let blank = |(offset, c): (usize, char)| {
        let keep = c == '\n' || offset < start || offset >= end;
        // As many bytes as before, so that places in the text stay true.
        (0..if keep { 1 } else { c.len_utf8() }).map(move |_| if keep { c } else { ' ' })
    };
    text.char_indices().flat_map(blank).collect()
}

fn read_root<'a>(
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    document: &mut HostDocument,
    checker: &mut Checker<'_>,
) {
    for (key, value) in root.into_inner() {
        match key.get_ref().as_ref() {
            "host" => {
                let place = Place { text, table: &value, label: String::from("host") };
                if let Some(host) = read::<Host>(&place, checker) {
                    document.host = checker.check_host(host, &place);
                }
            }
            "vm" => read_vms(text, &value, document, checker),
            other => {
                checker.problems.push(Problem {
                    line: line_of(text, key.span().start),
                    field: other.to_string(),
                    what: String::from("there is no such field or table"),
                    remedy: String::from("a document has one [host] and a [[vm]] for each VM"),
                });
            }
        }
    }
}

fn read_vms<'a>(
    text: &'a str,
    value: &'a Spanned<DeValue<'a>>,
    document: &mut HostDocument,
    checker: &mut Checker<'_>,
) {
    let DeValue::Array(vms) = value.get_ref() else {
        let place = Place { text, table: value, label: String::from("vm") };
        let what = "this is no list of VMs";
        checker.problems.push(place.problem("", what, "write [[vm]], with two brackets, before each VM"));
        return;
    };
    for (index, table) in vms.iter().enumerate() {
        let name = table.get_ref().get("name").and_then(|name| name.get_ref().as_str());
        let label = name.map_or_else(|| format!("vm[{index}]"), |name| format!("vm[{name}]"));
        let place = Place { text, table, label };
        let Some(vm) = read::<Vm>(&place, checker) else { continue };
        if checker.check_vm(&vm, place) {
            document.vms.push(vm);
        }
    }
}

/// The schema's pass over one table.
fn read<'a, T: Deserialize<'a>>(place: &Place<'a>, checker: &mut Checker<'_>) -> Option<T> {
    let error = match T::deserialize(ValueDeserializer::from(place.table.clone())) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let at = error.span().map_or(place.table.span().start, |span| span.start);
    let path = place.path_at(at);
    let mut problem = place.problem(&path, error.message(), remedy_for(&path, error.message()));
    problem.line = line_of(place.text, at);
    checker.problems.push(problem);
    None
}

/// What a field wants, by its name.
const FIELDS: &[(&str, &str)] = &[
    ("name", "give a name in quotes, 1 to 32 of a-z, 0-9 and -"),
    ("console", "write \"menu\" or \"merged\""),
    ("vcpus", "give a number from 1 to 8"),
    ("memory", "give a size in quotes, such as \"512MiB\""),
    ("boot", "add a [vm.boot] with a kernel or a firmware"),
    ("kernel", "give the name of a file in quotes"),
    ("initrd", "give the name of a file in quotes"),
    ("command_line", "give the command line in quotes"),
    ("firmware", "give the name of a file in quotes"),
    ("disk", "write [[vm.disk]], with two brackets, before each disk"),
    ("image", "give the name of a file in quotes"),
    ("host_disk", "give the serial number of a disk of the host in quotes"),
    ("partition", "give the number of a partition, from 1"),
    ("volume", "give the name of a volume in quotes"),
    ("read_only", "write true or false"),
    ("autostart", "write true or false"),
    ("start_order", "give a whole number, 0 or more"),
    ("start_delay", "give a whole number of seconds"),
    ("nic", "write [[vm.nic]], with two brackets, before each network card"),
    ("mac", "give an address in quotes, such as \"52:54:00:12:34:56\""),
];

fn remedy_for(path: &str, message: &str) -> &'static str {
    if message.starts_with("unknown field") {
        return "remove it or correct its spelling; docs/host-toml.md has every field";
    }
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let name = missing.or_else(|| path.rsplit('.').find(|step| step.parse::<usize>().is_err()));
    let known = FIELDS.iter().find(|(field, _)| Some(*field) == name);
    known.map_or("docs/host-toml.md has every field", |(_, remedy)| remedy)
}
