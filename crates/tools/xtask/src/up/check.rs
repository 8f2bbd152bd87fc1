//! `./bramble up --check`: what a person would try first, done by a program.
//!
//! Each guest is chosen on the console's menu, must show a login prompt, and computes something that only a running
//! shell can know.

use crate::run::seconds;
use anyhow::{Context, Result};
use api::host::Vm;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use system::{ArchiveBuilder, Machine, MachineConfig, console};

/// A hung guest is told from a slow machine by this.
const BOOT: Duration = Duration::from_secs(300);
const ANSWER: Duration = Duration::from_secs(60);

/// Boots, checks every guest, and ends the machine.
pub fn check(config: &MachineConfig, archive: &ArchiveBuilder, as_json: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let mut machine = Machine::start(config)?;
    let mut seen = Vec::new();
    for vm in &archive.document.vms {
        let outcome = check_guest(&mut machine, vm);
        let ok = outcome.is_ok();
        let text = match &outcome {
            Ok(answer) => format!("login prompt, and the answer {answer}"),
            Err(error) => format!("FAILED: {error:#}"),
        };
        let (file, sum) = kernel_sum(archive, vm)?;
        if !as_json {
            println!("{}: {text} ({} after the start)", vm.name, seconds(start.elapsed()));
            println!("{}: SHA-256 of {file}: {sum}", vm.name);
        }
        seen.push(json!({ "vm": vm.name, "ok": ok, "seen": text, "boots": file, "sha256": sum }));
    }
    let passed = !seen.is_empty() && seen.iter().all(|vm| vm["ok"] == true);
    if as_json {
        println!("{}", json!({ "board": config.board.name(), "ok": passed, "guests": seen }));
    } else {
        let result = if passed { "passed" } else { "FAILED" };
        println!("check of {}: {result}", config.board);
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Logs in and has the guest multiply two numbers it can't have known.
fn check_guest(machine: &mut Machine, vm: &Vm) -> Result<u64> {
    console::select(machine, &vm.name)?;
    machine.expect("login:", BOOT)?;
    machine.send("root\r")?;
    machine.expect("#", ANSWER).context("no shell after the login")?;
    let (a, b) = nonce()?;
    machine.send(&format!("echo answer-$(({a} * {b}))-\r"))?;
    machine.expect(&format!("answer-{}-", a * b), ANSWER).context("the shell did not answer")?;
    Ok(a * b)
}

fn nonce() -> Result<(u64, u64)> {
    let mut bytes = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let [a, b, c, d] = bytes.map(u64::from);
    Ok((a << 8 | b | 1 << 16, c << 8 | d | 1 << 16))
}

/// What the VM boots, and its sum.
fn kernel_sum(archive: &ArchiveBuilder, vm: &Vm) -> Result<(String, String)> {
    let name = vm.boot.kernel.as_ref().or(vm.boot.firmware.as_ref());
    let name = name.with_context(|| format!("{} boots nothing", vm.name))?;
    let path = archive.path_of(name).with_context(|| format!("no file {name}"))?;
    Ok((name.clone(), sha256(path)?))
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}
