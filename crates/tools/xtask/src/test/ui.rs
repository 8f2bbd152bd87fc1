//! The stage `ui`: Vitest, then Playwright in Debian's Chromium against hostd on this machine, and the main journey against a
//! host in QEMU.

mod host;

use super::Run;
use crate::browser::Browser;
use crate::run::quiet;
use crate::web;
use anyhow::{Context, Result};
use host::Host;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What runs on the host in QEMU, by its name in `web/e2e`.
const JOURNEY: &str = "host";

/// Runs it.
pub fn ui(run: &mut Run<'_>) -> Result<()> {
    let at = run.at;
    web::modules(at)?;
    run.work("vitest", || quiet(web::npm(at).args(["test", "--silent"])).map(|_| ()));
    let browser = Browser::ready(at)?;
    count_tests(run, browser.playwright())?;
    let text = fs::read_to_string(web::folder(at).join(format!("e2e/{JOURNEY}.task.ts")))?;
    if run.options.filter.as_ref().is_some_and(|filter| !text.contains(filter)) {
        return Ok(());
    }
    let host = Host::start(at)?;
    let mut playwright = browser.task(JOURNEY);
    host.tell(&mut playwright);
    count_tests(run, playwright)
}

/// Runs Playwright, and counts its tests.
fn count_tests(run: &mut Run<'_>, mut playwright: Command) -> Result<()> {
    let results = run.at.out().join("ui/results.json");
    // Of an earlier run.
    let _ = fs::remove_file(&results);
    playwright.arg("--pass-with-no-tests");
    if let Some(filter) = &run.options.filter {
        playwright.args(["--grep", &literal(filter)]);
    }
    // That tests failed is told by the results.
    let output = playwright.output().context("can't start npm")?;
    let text = fs::read_to_string(&results).with_context(|| {
        let said = [output.stdout, output.stderr].concat();
        format!("Playwright left no results:\n{}", String::from_utf8_lossy(&said))
    })?;
    let results: Value = serde_json::from_str(&text)?;
    for suite in results["suites"].as_array().into_iter().flatten() {
        count(run, suite);
    }
    Ok(())
}

/// A regular expression of JavaScript that matches these words and nothing else.
fn literal(words: &str) -> String {
    let escape = |letter: char| [letter.is_ascii_punctuation().then_some('\\'), Some(letter)];
    words.chars().flat_map(escape).flatten().collect()
}

/// Counts the tests of a suite and of those in it.
fn count(run: &mut Run<'_>, suite: &Value) {
    for spec in suite["specs"].as_array().into_iter().flatten() {
        let name = spec["title"].as_str().unwrap_or("?");
        let attempts = || {
            spec["tests"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|test| test["results"].as_array())
                .flatten()
        };
        let time: u64 = attempts().filter_map(|attempt| attempt["duration"].as_u64()).sum();
        let time = Duration::from_millis(time);
        if spec["ok"] == true {
            run.tally.passed(name, time);
        } else {
            let errors = attempts().flat_map(|attempt| attempt["errors"].as_array()).flatten();
            let words: Vec<&str> = errors.filter_map(|error| error["message"].as_str()).collect();
            run.tally.failed(name, time, &words.join("\n"));
        }
    }
    for inner in suite["suites"].as_array().into_iter().flatten() {
        count(run, inner);
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_filter_is_words_and_no_expression() {
        assert_eq!(literal("eight tabs"), "eight tabs");
        assert_eq!(literal("10,000 (all)"), r"10\,000 \(all\)");
    }
}
