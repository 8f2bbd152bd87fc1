//! `bramblectl` as a user has it: commands, passwords by a pipe, consoles that stay open.

use crate::machine::Machine;
use crate::serial::{Terminal, Transcript};
use crate::{Artifacts, console};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A host's certificate is for this name.
const NAME: &str = "bramble.local";
/// A hung host is told from a slow machine by this.
const ANSWER: Duration = Duration::from_secs(300);

/// A port of the loopback interface that nobody listens on: this one if it can be had.
pub fn free_port(wanted: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    Ok(listener.and_then(|listener| listener.local_addr()).context("no free port on 127.0.0.1")?.port())
}

/// What the machine said behind these words, up to the end of the line, once it has.
pub fn said_after(machine: &Machine, words: &str) -> Result<String> {
    let deadline = Instant::now() + ANSWER;
    while Instant::now() < deadline {
        let text = machine.text();
        if let Some((_, rest)) = text.rsplit_once(words)
            && let Some((line, _)) = rest.split_once(['\r', '\n'])
        {
            return Ok(line.trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("the host's log does not say \"{words}\"")
}

/// `bramblectl`, with contexts of its own.
pub struct Cli {
    program: PathBuf,
    contexts: PathBuf,
}

impl Cli {
    /// With no contexts yet.
    pub fn new(contexts: &Path) -> Self {
        let _ = std::fs::remove_file(contexts);
        Self { program: Artifacts::here().bramblectl(), contexts: contexts.to_owned() }
    }

    /// Trusts the host behind this port of the loopback interface, as its log says; the fingerprint.
    pub fn trust(&self, machine: &mut Machine, port: u16) -> Result<String> {
        console::select(machine, "host log")?;
        let fingerprint = said_after(machine, "CA certificate, SHA-256: ")?;
        let url = format!("https://127.0.0.1:{port}");
        self.run(
            &["context", "add", "host", &url, "--fingerprint", &fingerprint, "--server-name", NAME],
            "",
        )?;
        Ok(fingerprint)
    }

    /// The first login, by the password of the host's log, which is changed.
    pub fn log_in_first(&self, machine: &Machine, password: &str) -> Result<()> {
        let first = said_after(machine, "first login: user admin, password ")?;
        self.run(&["login"], &format!("{first}\n{password}\n{password}\n")).map(drop)
    }

    /// Runs it; what it says.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bramblectl {}: {}", arguments.join(" "), errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same, as JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.run(&[&["--json"], arguments].concat(), "")?;
        serde_json::from_str(&said).with_context(|| format!("bramblectl {}: {said}", arguments.join(" ")))
    }

    /// Runs what is to be refused; the reason.
    pub fn refused(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        ensure!(!output.status.success(), "bramblectl {} was not refused", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut process = self.start(arguments)?;
        // One that asks nothing does not read it.
        let _ = process.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        Ok(process.wait_with_output()?)
    }

    /// Starts it, and does not wait.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("BRAMBLECTL_CONTEXTS", &self.contexts);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = self.program.display();
        command.spawn().with_context(|| format!("no {program}: cargo build --package bramblectl"))
    }

    /// A VM's console, which stays open; `log` gets a copy of what it says.
    pub fn console(&self, vm: &str, log: &Path) -> Result<RemoteConsole> {
        let mut child = self.start(&["vm", "console", vm])?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("bramblectl has no pipes");
        };
        Ok(RemoteConsole { child, input, transcript: Transcript::start(output, log, None)? })
    }
}

/// A console at the other end of a network. Dropping it ends it.
pub struct RemoteConsole {
    child: Child,
    input: ChildStdin,
    transcript: Transcript,
}

impl RemoteConsole {
    /// Everything said so far.
    pub fn text(&self) -> String {
        self.transcript.text()
    }
}

impl Terminal for RemoteConsole {
    fn expect_match(
        &mut self,
        what: &str,
        within: Duration,
        find: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<String> {
        self.transcript.expect_match(what, within, find)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.input.write_all(text.as_bytes()).context("the console has ended")?;
        self.input.flush().context("the console has ended")
    }
}

impl Drop for RemoteConsole {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
