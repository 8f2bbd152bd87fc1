//! `./bramble up --check`: what a person would try first, done by a program.
//!
//! The host is asked for its VMs by `bramblectl` (where it is on a network). Each guest is chosen on the console's menu, must show a login prompt on its PL011 and on its virtio console, and
//! computes on each something that only a running shell can know. The kernels are compared with Debian's packages.

use crate::guests::{Guests, sha256};
use crate::run::{seconds, step};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use system::cli::{self, Cli};
use system::{ArchiveBuilder, Artifacts, Machine, MachineConfig, console};

/// A hung guest is told from a slow machine by this.
const BOOT: Duration = Duration::from_secs(600);
const ANSWER: Duration = Duration::from_secs(120);

/// What the check chooses, since the first password is for one login.
const PASSWORD: &str = "a word from the check";

/// The kernels of an archive: their sums, and whether their packages have the same.
type Kernels = BTreeMap<String, (String, Result<String>)>;

/// Boots, checks every guest, and ends the machine.
pub fn check(
    at: &Artifacts,
    config: &MachineConfig,
    archive: &ArchiveBuilder,
    guests: &Guests<'_>,
    port: Option<u16>,
    as_json: bool,
) -> Result<ExitCode> {
    let kernels = step("compare the kernels with Debian's packages", || kernels(archive, guests))?;
    let start = Instant::now();
    eprintln!("bramble: booting {} with {} PEs, {} MiB", config.board, config.cpus, config.memory_mib);
    let mut machine = Machine::start(config)?;
    let mut report = Report { start, as_json, failed: 0, lines: Vec::new() };
    // Those of the datastore are on the console's menu once it is mounted; the host's log is shown until one is chosen.
    for vm in &archive.document.vms {
        cli::said_after(&machine, &format!("{}: {} vCPUs", vm.name, vm.vcpus))?;
    }
    for vm in &archive.document.vms {
        let kernel = vm.boot.kernel.as_ref().or(vm.boot.firmware.as_ref());
        if let Some((name, (sum, origin))) = kernel.and_then(|name| kernels.get_key_value(name)) {
            let ok = origin.is_ok();
            let origin = origin.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), Clone::clone);
            report.line(&vm.name, ok, &format!("SHA-256 of {name} {sum}, {origin}"));
        }
        for stream in [vm.name.clone(), format!("{}/hvc0", vm.name)] {
            match check_stream(&mut machine, &stream) {
                Ok(seen) => report.line(&stream, true, &seen),
                Err(error) => report.line(&stream, false, &format!("FAILED: {error:#}")),
            }
        }
    }
    if let Some(port) = port {
        match seen_by_api(at, &mut machine, port, archive) {
            Ok(seen) => report.line("API", true, &seen),
            Err(error) => report.line("API", false, &format!("FAILED: {error:#}")),
        }
    }
    drop(machine);
    report.line("host", true, "QEMU is stopped");
    Ok(report.end(config))
}

/// Every VM runs, as `bramblectl` sees it.
fn seen_by_api(at: &Artifacts, machine: &mut Machine, port: u16, archive: &ArchiveBuilder) -> Result<String> {
    let cli = Cli::new(&at.run().join("check-contexts.json"));
    cli.trust(machine, port)?;
    cli.log_in_first(machine, PASSWORD)?;
    let list = cli.json(&["vm", "list"])?;
    let vms: Vec<_> = list.as_array().into_iter().flatten().collect();
    for vm in &archive.document.vms {
        let found = vms.iter().find(|shown| shown["name"] == vm.name.as_str());
        let power = &found.with_context(|| format!("there is no VM {}", vm.name))?["power"];
        ensure!(power == "running", "{} is {power}", vm.name);
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let shown: Vec<String> =
        vms.iter().map(|vm| format!("{} {}", text(&vm["name"]), text(&vm["power"]))).collect();
    Ok(format!("logged in by bramblectl over TLS: {}", shown.join(", ")))
}

struct Report {
    start: Instant,
    as_json: bool,
    failed: usize,
    lines: Vec<serde_json::Value>,
}

impl Report {
    fn line(&mut self, who: &str, ok: bool, text: &str) {
        let after = self.start.elapsed();
        if !self.as_json {
            println!("{who}: {text} ({} after the start)", seconds(after));
        }
        self.failed += usize::from(!ok);
        self.lines.push(json!({ "who": who, "ok": ok, "seen": text, "seconds": after.as_secs_f64() }));
    }

    fn end(self, config: &MachineConfig) -> ExitCode {
        // The host's own line and at least one guest's.
        let passed = self.failed == 0 && self.lines.len() > 1;
        if self.as_json {
            println!("{}", json!({ "board": config.board.name(), "ok": passed, "lines": self.lines }));
        } else {
            let result = if passed { "passed" } else { "FAILED" };
            println!("check of {}: {result} in {}", config.board, seconds(self.start.elapsed()));
        }
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Logs in and has the guest multiply two numbers that it can't have known.
fn check_stream(machine: &mut Machine, stream: &str) -> Result<String> {
    console::select(machine, stream)?;
    let prompt = machine.expect("login:", BOOT)?;
    machine.send("root\r")?;
    machine.expect("#", ANSWER).context("no shell after the login")?;
    let (a, b) = nonce()?;
    machine.send(&format!("echo kernel-$(uname -r)-answer-$(({a} * {b}))-\r"))?;
    let said = machine.expect(&format!("-answer-{}-", a * b), ANSWER).context("the shell did not answer")?;
    let release = said.rsplit_once("kernel-").and_then(|(_, rest)| rest.split_once("-answer-"));
    let prompt = prompt.lines().next_back().unwrap_or_default().trim();
    Ok(format!("\"{prompt}\", runs Linux {}, {a} × {b} = {}", release.map_or("?", |(name, _)| name), a * b))
}

fn nonce() -> Result<(u64, u64)> {
    let mut bytes = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let [a, b, c, d] = bytes.map(u64::from);
    Ok((a << 8 | b | 1 << 16, c << 8 | d | 1 << 16))
}

/// The sum of each kernel that is booted, beside its package's.
fn kernels(archive: &ArchiveBuilder, guests: &Guests<'_>) -> Result<Kernels> {
    let mut found = Kernels::new();
    for vm in &archive.document.vms {
        let name = vm.boot.kernel.as_ref().or(vm.boot.firmware.as_ref());
        let name = name.with_context(|| format!("{} boots nothing", vm.name))?;
        if found.contains_key(name) {
            continue;
        }
        let path = archive.path_of(name).with_context(|| format!("no file {name}"))?;
        let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let sum = sha256(&bytes);
        let origin = match guests.origin(name)? {
            None => Ok(String::from("from --vm")),
            Some((package, bytes)) if sha256(&bytes) == sum => Ok(format!("equal to {package}'s")),
            Some((package, bytes)) => {
                Err(anyhow::anyhow!("{package} has {}: delete target/bramble/guests", sha256(&bytes)))
            }
        };
        found.insert(name.clone(), (sum, origin));
    }
    Ok(found)
}
