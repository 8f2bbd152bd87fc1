//! `bramblectl vm …`

use super::{Show, console};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Work on a host's VMs.
#[derive(Subcommand)]
pub enum VmCommand {
    /// List the VMs.
    List,
    /// Show a VM and its configuration.
    Show { vm: String },
    /// Make a VM.
    Create {
        /// Its configuration: a host.toml with one [[vm]].
        file: PathBuf,
    },
    /// Delete a VM that does not run.
    Delete {
        vm: String,
        /// With its volumes and snapshots, which are lost.
        #[arg(long)]
        volumes: bool,
    },
    /// Start a VM.
    Start { vm: String },
    /// Press a VM's power button; with --now, turn it off: what it did not write is lost.
    Stop {
        vm: String,
        #[arg(long)]
        now: bool,
    },
    /// Restart a VM at once: what it did not write is lost.
    Reset { vm: String },
    /// Be at a VM's console; Ctrl-] ends it.
    Console {
        vm: String,
        /// uart or virtio.
        #[arg(long, default_value = "uart")]
        console: String,
        /// Print what the host remembers, and end.
        #[arg(long)]
        log: bool,
    },
    /// Take a snapshot of a VM.
    Snapshot { vm: String, name: String },
    /// List a VM's snapshots.
    Snapshots { vm: String },
    /// Put a VM that does not run back to a snapshot, by its id.
    Revert { vm: String, snapshot: u64 },
}

impl VmCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let at = |vm: &str| format!("/api/v1/vms/{vm}");
        let power = |vm: &str, action: &str| -> Result<()> {
            let answer = client.json("POST", &format!("{}/power", at(vm)), &json!({ "action": action }))?;
            let task = client.ended(&answer)?;
            if show.json {
                println!("{task}");
            }
            Ok(())
        };
        match self {
            Self::List => {
                let vms = client.list("/api/v1/vms")?;
                show.list(&vms, &["name", "power", "vcpus", "memory_bytes", "touched_bytes"]);
                Ok(())
            }
            Self::Show { vm } => {
                show.one(&client.get(&at(&vm))?);
                Ok(())
            }
            Self::Create { file } => {
                let made = client.json("POST", "/api/v1/vms", &configuration(&file)?)?;
                show.one(&made.json()?);
                Ok(())
            }
            Self::Delete { vm, volumes } => {
                client.send("DELETE", &format!("{}?volumes={volumes}", at(&vm)), "", &[]).map(|_| ())
            }
            Self::Start { vm } => power(&vm, "on"),
            Self::Stop { vm, now } => power(&vm, if now { "off" } else { "shut-down" }),
            Self::Reset { vm } => power(&vm, "reset"),
            Self::Console { vm, console, log } => console::attend(&client, &vm, &console, log),
            Self::Snapshot { vm, name } => {
                let made =
                    client.json("POST", &format!("{}/snapshots", at(&vm)), &json!({ "name": name }))?;
                show.one(&made.json()?);
                Ok(())
            }
            Self::Snapshots { vm } => {
                let snapshots = client.list(&format!("{}/snapshots", at(&vm)))?;
                show.list(&snapshots, &["id", "name", "parent", "is_current"]);
                Ok(())
            }
            Self::Revert { vm, snapshot } => {
                let path = format!("{}/snapshots/{snapshot}/revert", at(&vm));
                client.send("POST", &path, "", &[]).map(|_| ())
            }
        }
    }
}

/// The one VM of a document, as JSON. Its rules are checked here, so that a mistake is told with its line.
fn configuration(file: &PathBuf) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let parsed = api::HostDocument::parse(&text);
    if let Some(problem) = parsed.problems.first() {
        anyhow::bail!("{problem}");
    }
    let mut vms = parsed.document.vms.into_iter();
    match (vms.next(), vms.next()) {
        (Some(vm), None) => Ok(serde_json::to_value(vm)?),
        _ => anyhow::bail!("{} has to have exactly one [[vm]]", file.display()),
    }
}
