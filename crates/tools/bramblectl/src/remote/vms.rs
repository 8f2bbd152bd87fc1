//! `bramblectl vm …`

use super::client::Client;
use super::host::{Span, print_log};
use super::{Show, configure, console};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use configure::Settings;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Work on a host's VMs.
#[derive(Subcommand)]
pub enum VmCommand {
    /// List the VMs.
    List,
    /// Show a VM and its configuration.
    Show { vm: String },
    /// Print a VM's configuration as a host.toml.
    Configuration { vm: String },
    /// Make a VM: of a file, or of what the options say.
    Create {
        /// A host.toml with one [[vm]], or the new VM's name.
        vm: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change a VM: to what a file says, or in what the options say. What a running one can't take on waits for its next start.
    Edit {
        vm: String,
        /// A host.toml with one [[vm]]: all of the configuration.
        file: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
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
    /// Hold a VM's vCPUs.
    Pause { vm: String },
    /// Let a VM's vCPUs go on.
    Resume { vm: String },
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
    /// Show where a VM's time goes: its exits, by reason.
    Statistics { vm: String },
    /// Show what a VM used in the last seconds.
    History {
        vm: String,
        #[command(flatten)]
        span: Span,
    },
    /// Print what the host's log has about a VM.
    Log { vm: String },
    /// Make a VM of a VM, with volumes of its own.
    Clone {
        vm: String,
        /// The new VM's name.
        name: String,
        /// Of what it had then: a snapshot's name or id.
        #[arg(long)]
        snapshot: Option<String>,
    },
    /// Make the firmware variables of a VM that does not run as new ones are.
    ResetFirmware { vm: String },
    /// Take a snapshot of a VM.
    Snapshot { vm: String, name: String },
    /// List a VM's snapshots.
    Snapshots { vm: String },
    /// Put a VM that does not run back to a snapshot.
    Revert {
        vm: String,
        /// Its name or id.
        snapshot: String,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        vm: String,
        /// Its name or id.
        snapshot: String,
    },
}

impl VmCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        match self {
            Self::List => {
                let vms = client.list("/api/v1/vms")?;
                show.list(&vms, &["name", "power", "vcpus", "memory_bytes", "touched_bytes"]);
            }
            Self::Show { vm } => show.one(&client.get(&at(&vm))?),
            Self::Configuration { vm } => configure::print(&client.get(&at(&vm))?)?,
            Self::Create { vm, settings } => {
                let made = client.make("/api/v1/vms", &configure::new(&vm, &settings)?)?;
                show.one(&made.json()?);
            }
            Self::Edit { vm, file, settings } => {
                let answer = client.send("GET", &at(&vm), "", &[])?;
                let tag = answer.header("etag").context("the host does not say which version this is")?;
                let wanted = configure::changed(&answer.json()?, file.as_deref(), &settings)?;
                let lines = format!("If-Match: {tag}\r\nContent-Type: application/json\r\n");
                let changed = client.send("PUT", &at(&vm), &lines, wanted.to_string().as_bytes())?;
                show.one(&changed.json()?);
            }
            Self::Delete { vm, volumes } => {
                drop(client.send("DELETE", &format!("{}?volumes={volumes}", at(&vm)), "", &[])?);
            }
            Self::Start { vm } => power(show, &client, &vm, "on")?,
            Self::Stop { vm, now } => power(show, &client, &vm, if now { "off" } else { "shut-down" })?,
            Self::Reset { vm } => power(show, &client, &vm, "reset")?,
            Self::Pause { vm } => power(show, &client, &vm, "pause")?,
            Self::Resume { vm } => power(show, &client, &vm, "resume")?,
            Self::Console { vm, console, log } => console::attend(&client, &vm, &console, log)?,
            Self::Statistics { vm } => show.one(&client.get(&format!("{}/statistics", at(&vm)))?),
            Self::History { vm, span } => span.show(show, &client, &format!("{}/history", at(&vm)))?,
            Self::Log { vm } => print_log(show, &client.get(&format!("{}/log", at(&vm)))?),
            Self::Clone { vm, name, snapshot } => {
                let mut new = json!({ "name": name });
                if let Some(snapshot) = snapshot {
                    new["snapshot"] = find_snapshot(&client, &vm, &snapshot)?;
                }
                let begun = client.make(&format!("{}/clone", at(&vm)), &new)?;
                show.one(&client.ended(&begun)?);
            }
            Self::ResetFirmware { vm } => {
                drop(client.send("POST", &format!("{}/firmware/reset", at(&vm)), "", &[])?);
            }
            Self::Snapshot { vm, name } => {
                let made = client.make(&format!("{}/snapshots", at(&vm)), &json!({ "name": name }))?;
                show.one(&made.json()?);
            }
            Self::Snapshots { vm } => {
                let snapshots = client.list(&format!("{}/snapshots", at(&vm)))?;
                show.list(&snapshots, &["id", "name", "parent", "is_current"]);
            }
            Self::Revert { vm, snapshot } => {
                let path = format!("{}/revert", snapshot_at(&client, &vm, &snapshot)?);
                drop(client.send("POST", &path, "", &[])?);
            }
            Self::DeleteSnapshot { vm, snapshot } => {
                drop(client.send("DELETE", &snapshot_at(&client, &vm, &snapshot)?, "", &[])?);
            }
        }
        Ok(())
    }
}

fn at(vm: &str) -> String {
    format!("/api/v1/vms/{}", super::escaped(vm))
}

fn power(show: &Show, client: &Client, vm: &str, action: &str) -> Result<()> {
    let answer = client.make(&format!("{}/power", at(vm)), &json!({ "action": action }))?;
    let task = client.ended(&answer)?;
    if show.json {
        println!("{task}");
    }
    Ok(())
}

/// Where a snapshot is, by its name or id.
fn snapshot_at(client: &Client, vm: &str, snapshot: &str) -> Result<String> {
    Ok(format!("{}/snapshots/{}", at(vm), find_snapshot(client, vm, snapshot)?))
}

/// A snapshot's id, by its name or id.
fn find_snapshot(client: &Client, vm: &str, snapshot: &str) -> Result<Value> {
    let all = client.list(&format!("{}/snapshots", at(vm)))?;
    let id = snapshot.parse::<u64>().ok();
    let has_id = |found: &&Value| id.is_some() && found["id"].as_u64() == id;
    let found = all.iter().find(|found| found["name"] == snapshot).or_else(|| all.iter().find(has_id));
    let found = found.with_context(|| {
        format!("{vm} has no snapshot {snapshot}: `bramblectl vm snapshots {vm}` lists them")
    })?;
    Ok(found["id"].clone())
}
