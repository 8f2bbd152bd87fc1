//! `bramblectl host …`, `task …`, `events` and `api`: the host itself, and what it does.

use super::Show;
use super::client::{Client, TRIES};
use super::settings::HostSettings;
use super::websocket::{next_frame, write_frame};
use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Work on a host itself.
#[derive(Subcommand)]
pub enum HostCommand {
    /// Show the host: version, memory, time, hostd.
    Show,
    /// Restart the host; its VMs are shut down first.
    Restart {
        /// Don't wait for the VMs: what they did not write is lost.
        #[arg(long)]
        now: bool,
    },
    /// Turn the host off; its VMs are shut down first.
    Off {
        /// Don't wait for the VMs: what they did not write is lost.
        #[arg(long)]
        now: bool,
    },
    /// Show the host's settings (name, addresses, DNS and NTP servers), or change them.
    Settings(HostSettings),
    /// Keep the settings that are on trial.
    Confirm,
    /// End the trial of settings: those from before are in force again.
    Revert,
    /// Show the host's addresses as they are.
    Addresses,
    /// Show the time of day, whether the host knows it, and what NTP servers said.
    Time,
    /// Show the host's certificate and the fingerprint of its CA.
    Certificate,
    /// Have a new certificate made, of the same CA.
    RenewCertificate,
    /// Print the counters, as Prometheus reads them.
    Metrics,
    /// Show what the host used in the last seconds.
    History {
        #[command(flatten)]
        span: Span,
    },
    /// Print the host's log, as far as it remembers it.
    Log,
    /// Show the switch: its port groups and ports.
    Network,
    /// Print the host's CA, as PEM.
    Ca,
    /// Print what the API is before a login: its version.
    Version,
    /// Print the API's description (OpenAPI).
    Description,
}

impl HostCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let power = |action: &str, now: bool| -> Result<()> {
            let request = json!({ "action": action, "at_once": now });
            show.one(&client.make("/api/v1/host/power", &request)?.json()?);
            Ok(())
        };
        match self {
            Self::Show => show.one(&client.get("/api/v1/host")?),
            Self::Restart { now } => power("restart", now)?,
            Self::Off { now } => power("turn-off", now)?,
            Self::Settings(settings) => settings.run(&client, show)?,
            Self::Confirm => {
                show.one(&client.send("POST", "/api/v1/host/settings/confirm", "", &[])?.json()?)
            }
            Self::Revert => show.one(&client.send("POST", "/api/v1/host/settings/revert", "", &[])?.json()?),
            Self::Addresses => show.one(&client.get("/api/v1/host/network")?),
            Self::Time => show.one(&client.get("/api/v1/host/time")?),
            Self::Certificate => show.one(&client.get("/api/v1/host/certificate")?),
            Self::RenewCertificate => {
                show.one(&client.send("POST", "/api/v1/host/certificate/renew", "", &[])?.json()?);
            }
            Self::Metrics => print(&client, "/metrics")?,
            Self::History { span } => span.show(show, &client, "/api/v1/host/history")?,
            Self::Log => print_log(show, &client.get("/api/v1/host/logs")?),
            Self::Network => {
                let network = client.get("/api/v1/network")?;
                if show.json {
                    show.one(&network);
                } else {
                    let ports = network["ports"].as_array().cloned().unwrap_or_default();
                    show.list(
                        &ports,
                        &["number", "kind", "vm", "port_group", "mac", "is_up", "bytes_in", "bytes_out"],
                    );
                }
            }
            Self::Ca => print(&client, "/api/v1/ca.pem")?,
            Self::Version => show.one(&client.get("/api/v1")?),
            Self::Description => print(&client, "/api/v1/openapi.json")?,
        }
        Ok(())
    }
}

/// Which seconds of a history.
#[derive(clap::Args)]
pub struct Span {
    /// The last so many.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Means of so many each.
    #[arg(long, value_name = "N", default_value_t = 10)]
    step: u64,
}

impl Span {
    pub fn show(self, show: &Show, client: &Client, path: &str) -> Result<()> {
        show.one(&client.get(&format!("{path}?seconds={}&step={}", self.seconds, self.step))?);
        Ok(())
    }
}

/// Prints lines of the host's log.
pub fn print_log(show: &Show, log: &Value) {
    if show.json {
        return show.one(log);
    }
    for line in log["lines"].as_array().into_iter().flatten() {
        println!("{}", line["text"].as_str().unwrap_or_default());
    }
}

fn print(client: &Client, path: &str) -> Result<()> {
    client.fetch(path, "", &mut io::stdout().lock()).map(|_| ())
}

/// Look after long work.
#[derive(Subcommand)]
pub enum TaskCommand {
    /// List the tasks, the newest first.
    List,
    /// Show a task.
    Show { task: String },
    /// Ask a task to end.
    Cancel { task: String },
}

impl TaskCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let at = |task: &str| format!("/api/v1/tasks/{}", super::escaped(task));
        match self {
            Self::List => {
                let columns = ["id", "what", "target", "user", "state", "progress"];
                show.list(&client.list("/api/v1/tasks")?, &columns);
            }
            Self::Show { task } => show.one(&client.get(&at(&task))?),
            Self::Cancel { task } => {
                show.one(&client.send("POST", &format!("{}/cancel", at(&task)), "", &[])?.json()?);
            }
        }
        Ok(())
    }
}

/// Print what happens on a host, an event a line, until interrupted.
#[derive(clap::Args)]
pub struct EventsOptions {
    /// Go on after the event of this id.
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl EventsOptions {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let mut events = Events { after: self.after, left: self.count.unwrap_or(u64::MAX) };
        let mut failed = 0;
        while events.left > 0 {
            let before = events.after;
            if let Err(error) = events.watch(&client)
                && error.downcast_ref::<io::Error>().is_none()
            {
                return Err(error);
            }
            failed = if events.after == before { failed + 1 } else { 0 };
            ensure!(failed < TRIES, "the host is gone: try again when it is back");
            if events.left > 0 {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Ok(())
    }
}

/// Which event was the last, and how many more are wanted.
struct Events {
    after: Option<u64>,
    left: u64,
}

impl Events {
    /// Prints events until enough came or the connection is gone.
    fn watch(&mut self, client: &Client) -> Result<()> {
        let query = self.after.map(|id| format!("?after={id}")).unwrap_or_default();
        let (mut connection, mut bytes) = client.websocket(&format!("/api/v1/events{query}"))?;
        let mut piece = [0; 4096];
        loop {
            while let Some((opcode, payload)) = next_frame(&mut bytes) {
                match opcode {
                    1 => {
                        let text = String::from_utf8_lossy(&payload);
                        println!("{text}");
                        let event: Value = serde_json::from_str(&text).unwrap_or_default();
                        self.after = event["id"].as_u64().or(self.after);
                        self.left -= 1;
                        if self.left == 0 {
                            return Ok(());
                        }
                    }
                    8 => return Ok(()),
                    9 => write_frame(&mut connection, 10, &payload)?,
                    _ => {}
                }
            }
            match connection.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ask for a path of the API as it is: what this version has no command for.
#[derive(clap::Args)]
pub struct ApiOptions {
    /// GET, POST, PUT, PATCH or DELETE.
    method: String,
    /// The path, such as /api/v1/host.
    path: String,
    /// A body of JSON: a file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A header, such as "If-Match: TAG". May be repeated.
    #[arg(long, value_name = "LINE")]
    header: Vec<String>,
}

impl ApiOptions {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        ensure!(self.path.starts_with('/'), "{} is no path: it begins with /", self.path);
        let mut body = Vec::new();
        let mut lines = String::new();
        if let Some(file) = &self.body {
            if file.as_os_str() == "-" {
                io::stdin().lock().read_to_end(&mut body)?;
            } else {
                body = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
            }
            let _: Value = serde_json::from_slice(&body).context("the body is no JSON")?;
            lines.push_str("Content-Type: application/json\r\n");
        }
        for header in &self.header {
            ensure!(!header.contains(['\r', '\n']), "a header has one line");
            lines.push_str(&format!("{header}\r\n"));
        }
        let answer = client.send(&self.method.to_uppercase(), &self.path, &lines, &body)?;
        io::stdout().lock().write_all(&answer.body)?;
        Ok(())
    }
}
