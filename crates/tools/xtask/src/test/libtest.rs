//! Runs cargo's tests and reads what Rust's test harness reports, test by test, with times.
//!
//! The harness gives times and JSON only to those who set RUSTC_BOOTSTRAP. It is set for the test programs alone (as
//! their "runner"), not for the compiler.

use super::tally::Tally;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The arguments that make every test program talk JSON; they go before `--`.
pub const AS_RUNNER: [&str; 2] = ["--config", "target.'cfg(all())'.runner = ['env', 'RUSTC_BOOTSTRAP=1']"];

/// The arguments for the test programs; they go after `--`.
pub const REPORT: [&str; 4] = ["-Zunstable-options", "--format=json", "--report-time", "--show-output"];

/// Runs `command` (a `cargo test` that reports JSON) and counts its tests, their names after `prefix`.
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
        Some("failed" | "timeout") => {
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
    use super::results;

    #[test]
    fn results_add_up() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored\nx\ntest result: FAILED. 2 passed; 4 failed; 0 ignored";
        assert_eq!(results(text), (5, 4));
    }
}
