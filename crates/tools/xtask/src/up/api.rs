//! `./bramble up --check`, the part that a person would do with `bramblectl`: trust the host, log in, look at the VMs.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use system::{Artifacts, Machine, console};

/// The host's certificate is for this name.
const NAME: &str = "bramble.local";
/// What the check chooses, since the first password is for one login.
const PASSWORD: &str = "a word from the check";
/// A hung host is told from a slow machine by this.
const ANSWER: Duration = Duration::from_secs(300);

/// `bramblectl`, with contexts of its own.
pub struct Cli {
    program: PathBuf,
    contexts: PathBuf,
}

impl Cli {
    /// Trusts the host behind this port of the loopback interface, and logs in as its log says.
    pub fn log_in(at: &Artifacts, machine: &mut Machine, port: u16) -> Result<Self> {
        let cli = Self { program: at.bramblectl(), contexts: at.run().join("check-contexts.json") };
        // Of an earlier check.
        let _ = std::fs::remove_file(&cli.contexts);
        console::select(machine, "host log")?;
        let [fingerprint, password] = ["CA certificate, SHA-256: ", "first login: user admin, password "]
            .map(|words| said_after(machine, words));
        let url = format!("https://127.0.0.1:{port}");
        cli.run(
            &["context", "add", "check", &url, "--fingerprint", &fingerprint?, "--server-name", NAME],
            "",
        )?;
        cli.run(&["login"], &format!("{}\n{PASSWORD}\n{PASSWORD}\n", password?))?;
        Ok(cli)
    }

    /// The VMs, by their names, with their power.
    pub fn vms(&self) -> Result<Vec<(String, String)>> {
        let said = self.run(&["--json", "vm", "list"], "")?;
        let list: Vec<Value> = serde_json::from_str(&said).with_context(|| format!("no list: {said}"))?;
        let text = |vm: &Value, field: &str| vm[field].as_str().unwrap_or("?").to_owned();
        Ok(list.iter().map(|vm| (text(vm, "name"), text(vm, "power"))).collect())
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("BRAMBLECTL_CONTEXTS", &self.contexts);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("no {}", self.program.display()))?;
        // One that asks nothing does not read it.
        let _ = process.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = process.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bramblectl {}: {}", arguments.join(" "), errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What the machine said behind these words, up to the end of the line, once it has.
pub fn said_after(machine: &mut Machine, words: &str) -> Result<String> {
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
