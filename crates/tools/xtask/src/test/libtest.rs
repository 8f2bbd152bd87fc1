//! Runs cargo's tests and reads what Rust's test harness reports, test by test, with times.
//!
//! Cargo builds all test programs at once, so that each dependency is built once, for all of them; then they run one
//! after the other. The harness gives times and JSON only to those who set RUSTC_BOOTSTRAP: it is set for the test
//! programs alone, not for the compiler.

use super::tally::Tally;
use crate::run::quiet;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The arguments that make a test program talk JSON.
const REPORT: [&str; 4] = ["-Zunstable-options", "--format=json", "--report-time", "--show-output"];

/// A test program that cargo built.
pub struct Program {
    package: String,
    folder: PathBuf,
    executable: PathBuf,
}

impl Program {
    /// Its tests, to be run in the package's folder, as cargo does.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("RUSTC_BOOTSTRAP", "1").args(REPORT);
        command
    }

    /// The package that it tests.
    pub fn package(&self) -> &str {
        &self.package
    }
}

/// Builds what `cargo` (a `cargo test`) would run.
pub fn programs(cargo: &mut Command) -> Result<Vec<Program>> {
    let text = quiet(cargo.args(["--no-run", "--message-format=json"]))?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| program(&message)).collect())
}

fn program(message: &Value) -> Option<Program> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let executable = message["executable"].as_str().filter(|_| is_test)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    Some(Program {
        package: folder.file_name()?.to_string_lossy().into_owned(),
        folder: folder.to_owned(),
        executable: executable.into(),
    })
}

/// Runs a test program and counts its tests, their names after `prefix`.
pub fn count_tests(tally: &mut Tally, prefix: &str, command: &mut Command) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("no output to read");
    };
    // Read beside, or a full pipe would stop the child.
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).map(|_| text)
    });
    let mut seen = 0;
    let mut failed = 0;
    let mut stray = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if event["type"] == "test" => {
                let (one, bad) = count_event(tally, prefix, &event);
                seen += one;
                failed += bad;
            }
            Ok(Value::Object(_)) => {}
            _ => stray.push_str(&(line + "\n")),
        }
    }
    let status = child.wait()?;
    let errors = errors.join().ok().context("no standard error")??;
    if !status.success() && failed == 0 {
        bail!("{status} after {seen} tests:\n{stray}{}", last_lines(&String::from_utf8_lossy(&errors)));
    }
    Ok(())
}

/// Returns how many tests the event counts for: all, and failed.
fn count_event(tally: &mut Tally, prefix: &str, event: &Value) -> (usize, usize) {
    let name = format!("{prefix}{}", event["name"].as_str().unwrap_or("?"));
    let time = Duration::from_secs_f64(event["exec_time"].as_f64().unwrap_or(0.0));
    match event["event"].as_str() {
        Some("ok") => tally.passed(&name, time),
        // ("timeout" only says that it has run for a minute; its end comes as an event of its own.)
        Some("failed") => {
            tally.failed(&name, time, event["stdout"].as_str().unwrap_or("it said nothing"));
            return (1, 1);
        }
        _ => return (0, 0),
    }
    (1, 0)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Counts the lines `test result: ok. 3 passed; 0 failed; …` of a harness that can't talk JSON.
pub fn results(text: &str) -> (usize, usize) {
    let number = |line: &str, word: &str| {
        let before = line.split(word).next()?;
        before.split_whitespace().last()?.parse::<usize>().ok()
    };
    text.lines().filter(|line| line.starts_with("test result:")).fold((0, 0), |(passed, failed), line| {
        (passed + number(line, " passed").unwrap_or(0), failed + number(line, " failed").unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::{Tally, count_event, program, results};
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn only_test_programs_are_run() {
        let mut message = json!({
            "reason": "compiler-artifact",
            "manifest_path": "/x/crates/models/vgic/Cargo.toml",
            "profile": { "test": true },
            "executable": "/x/target/debug/deps/vgic-1",
        });
        let found = program(&message).unwrap();
        assert_eq!((found.package(), found.folder.as_path()), ("vgic", Path::new("/x/crates/models/vgic")));
        message["profile"]["test"] = json!(false);
        assert!(program(&message).is_none());
    }

    #[test]
    fn a_slow_test_is_no_failed_test() {
        let mut tally = Tally::default();
        let events = ["started", "timeout", "ok"].map(|event| json!({ "name": "slow", "event": event }));
        let counts = events.map(|event| count_event(&mut tally, "", &event));
        assert_eq!(counts, [(0, 0), (0, 0), (1, 0)]);
        assert!(tally.is_good());
    }

    #[test]
    fn results_add_up() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored\nx\ntest result: FAILED. 2 passed; 4 failed; 0 ignored";
        assert_eq!(results(text), (5, 4));
    }
}
