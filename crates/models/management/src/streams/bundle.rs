//! The support bundle: what the API tells of a host, as one tar file, made part by part as it is sent.
//!
//! A part is what the operation at its path answers, so it tells nothing that the API would not: no key, no password, no
//! hash of one. What guests said on their consoles is theirs and stays out. What can't be had is named in `missing.txt`.

use crate::auth::Caller;
use crate::http::response::{end_chunks, write_chunk};
use crate::http::{Content, Ended, Head, Wire};
use crate::operations::{self, Call, Outcome, logs};
use crate::port::Port;
use crate::problem::Problem;
use crate::route::{self, Found};
use crate::{Management, ask, audit, inventory, tar, unix_seconds};
use abi::record::CrashRecord;
use abi::{ExitReason, Status};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::SocketAddr;
use embedded_io_async::{Read, Write};
use serde_json::{Value, json};

/// Name in the bundle, path of the API.
const PARTS: [(&str, &str); 17] = [
    ("host.json", "/api/v1/host"),
    ("settings.json", "/api/v1/host/settings"),
    ("addresses.json", "/api/v1/host/network"),
    ("time.json", "/api/v1/host/time"),
    ("certificate.json", "/api/v1/host/certificate"),
    ("history.json", "/api/v1/host/history?seconds=3600"),
    ("metrics.txt", "/metrics"),
    ("network.json", "/api/v1/network"),
    ("disks.json", "/api/v1/disks"),
    ("datastore.json", "/api/v1/datastore"),
    ("volumes.json", "/api/v1/volumes?limit=1000"),
    ("objects.json", "/api/v1/objects?limit=1000"),
    ("uploads.json", "/api/v1/uploads"),
    ("tasks.json", "/api/v1/tasks?limit=1000"),
    ("users.json", "/api/v1/users?limit=1000"),
    ("tokens.json", "/api/v1/tokens?limit=1000"),
    ("vms.json", "/api/v1/vms?limit=1000"),
];
/// The same of a VM: what follows its name.
const VM_PARTS: [(&str, &str); 5] = [
    (".json", ""),
    (".log.json", "/log"),
    (".snapshots.json", "/snapshots"),
    (".statistics.json", "/statistics"),
    (".history.json", "/history?seconds=3600"),
];
/// Entries of the audit chain, the last ones.
const AUDIT: u64 = 100;

/// Who asked for one.
pub(crate) struct Bundle {
    pub caller: Caller,
    pub peer: SocketAddr,
}

impl Bundle {
    /// Writes it, in chunks.
    pub async fn run<S: Read + Write, P: Port>(
        self,
        management: &Management<P>,
        wire: &mut Wire<'_, S, P>,
    ) -> Result<(), Ended> {
        let port = &management.port;
        let mut out = Out { wire, unix_seconds: unix_seconds(port), missing: String::new() };
        out.part("version.json", Ok(version(port))).await?;
        out.part("crashes.json", Ok(crashes(port))).await?;
        out.part("log.txt", log(port)).await?;
        out.part("audit.jsonl", audit_tail(port).await).await?;
        for (name, path) in PARTS {
            out.part(name, self.answer(management, path).await).await?;
        }
        for vm in inventory::list(port).unwrap_or_default() {
            let vm = ask::text(&vm.name);
            for (end, rest) in VM_PARTS {
                let answer = self.answer(management, &format!("/api/v1/vms/{vm}{rest}")).await;
                out.part(&format!("vms/{vm}{end}"), answer).await?;
            }
        }
        out.end().await
    }

    /// What the operation at a path answers; or why it does not.
    async fn answer<P: Port>(&self, management: &Management<P>, path: &str) -> Part {
        let request = format!("GET {path} HTTP/1.1\r\nHost: host\r\n\r\n");
        let Ok(Some((head, _))) = Head::parse(request.as_bytes()) else { return Err(no_answer()) };
        let Found::Route(route, segments) = route::find(head.method, &head.path) else {
            return Err(no_answer());
        };
        let caller = Some(self.caller.clone());
        let call = Call { management, peer: self.peer, head: &head, segments, caller, body: Vec::new() };
        // On the heap: a connection's own memory has no room for an operation within another.
        match Box::pin(operations::carry_out(route.operation, &call)).await {
            Ok(Outcome::Response(response)) => match response.content {
                Content::Bytes(bytes) => Ok(bytes.into_owned()),
                _ => Err(no_answer()),
            },
            Ok(_) => Err(no_answer()),
            Err(problem) => Err(why(&problem)),
        }
    }
}

/// A part's bytes, or why there are none.
type Part = Result<Vec<u8>, String>;

fn no_answer() -> String {
    String::from("the API answers otherwise than was expected: this is a defect")
}

fn why(problem: &Problem) -> String {
    problem.details().detail.clone()
}

fn refused(status: Status) -> String {
    why(&operations::refused(status))
}

/// The archive.
struct Out<'o, 'p, S, P> {
    wire: &'o mut Wire<'p, S, P>,
    unix_seconds: u64,
    missing: String,
}

impl<S: Read + Write, P: Port> Out<'_, '_, S, P> {
    async fn part(&mut self, name: &str, part: Part) -> Result<(), Ended> {
        match part {
            Ok(bytes) => self.add(name, &bytes).await,
            Err(why) => {
                let _ = writeln!(self.missing, "{name}: {why}");
                Ok(())
            }
        }
    }

    async fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Ended> {
        write_chunk(self.wire, &tar::header(name, bytes.len() as u64, self.unix_seconds)).await?;
        write_chunk(self.wire, bytes).await?;
        write_chunk(self.wire, tar::padding(bytes.len())).await
    }

    async fn end(mut self) -> Result<(), Ended> {
        let missing = core::mem::take(&mut self.missing);
        self.add("missing.txt", missing.as_bytes()).await?;
        write_chunk(self.wire, &tar::END).await?;
        end_chunks(self.wire).await
    }
}

fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What was built: hostd, and the contract that it and the vmkernel speak.
fn version<P: Port>(port: &P) -> Vec<u8> {
    let [spoken, generation, _] = port.call(abi::Call::Version, &mut [], [0; 3]).unwrap_or_default();
    text(&json!({
        "hostd": env!("CARGO_PKG_VERSION"),
        "hostd_abi": abi::VERSION,
        "vmkernel_abi": spoken,
        "generation": generation,
    }))
}

/// How generations of hostd ended, the last first: as many as the vmkernel has kept.
fn crashes<P: Port>(port: &P) -> Vec<u8> {
    let mut all = Vec::new();
    let mut bytes = [0; CrashRecord::BYTES];
    while port.call(abi::Call::ReadCrash, &mut bytes, [all.len() as u64, 0, 0]).is_ok() {
        all.push(crash(&CrashRecord::from_bytes(&bytes)));
    }
    text(&Value::from(all))
}

fn crash(record: &CrashRecord) -> Value {
    let reason = ExitReason::from_raw(record.reason);
    let words = record.words.get(..record.words_bytes as usize).unwrap_or_default();
    let registers = (record.has_registers == 1).then(|| {
        let x: Vec<Value> = record.x.iter().map(|x| hex(*x)).collect();
        json!({ "pc": hex(record.pc), "pstate": hex(record.pstate), "x": x })
    });
    json!({
        "generation": record.generation,
        "reason": reason.map_or_else(|| record.reason.to_string(), |reason| format!("{reason:?}").to_lowercase()),
        "uptime_ns": record.at,
        "address": hex(record.address),
        "vcpu": record.vcpu,
        "words": String::from_utf8_lossy(words),
        "registers": registers,
    })
}

fn hex(number: u64) -> Value {
    Value::from(format!("{number:#x}"))
}

/// The host's log, as far as the vmkernel has kept it.
fn log<P: Port>(port: &P) -> Part {
    let (mut text, mut from) = (Vec::new(), 0);
    loop {
        let page = logs::read(port, from).map_err(|problem| why(&problem))?;
        for line in &page.lines {
            text.extend_from_slice(line.text.as_bytes());
            text.push(b'\n');
        }
        if page.lines.is_empty() || page.next <= from {
            return Ok(text);
        }
        from = page.next;
    }
}

/// The end of the audit chain, a line for each entry, as `bramblectl audit export` writes the whole of it.
async fn audit_tail<P: Port>(port: &P) -> Part {
    let mut buffer = alloc::vec![0; 32 * 1024];
    let (_, last) = audit::read(port, 1, &mut buffer).await.map_err(refused)?;
    let (mut lines, mut from) = (Vec::new(), last.saturating_sub(AUDIT).saturating_add(1));
    while from <= last {
        let (entries, _) = audit::read(port, from, &mut buffer).await.map_err(refused)?;
        let Some(end) = entries.last() else { break };
        from = end.number.saturating_add(1);
        for entry in &entries {
            lines.extend_from_slice(&serde_json::to_vec(entry).unwrap_or_default());
            lines.push(b'\n');
        }
    }
    Ok(lines)
}
