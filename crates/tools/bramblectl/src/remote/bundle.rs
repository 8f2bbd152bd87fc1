//! `bramblectl support-bundle`: what the API tells of a host, as one tar file. What can't be had is named in it.

use super::Show;
use super::client::Client;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name in the bundle, path of the API. None tells a secret.
const PARTS: [(&str, &str); 13] = [
    ("version.json", "/api/v1"),
    ("host.json", "/api/v1/host"),
    ("metrics.txt", "/metrics"),
    ("disks.json", "/api/v1/disks"),
    ("datastore.json", "/api/v1/datastore"),
    ("volumes.json", "/api/v1/volumes?limit=1000"),
    ("objects.json", "/api/v1/objects?limit=1000"),
    ("uploads.json", "/api/v1/uploads"),
    ("tasks.json", "/api/v1/tasks?limit=1000"),
    ("network.json", "/api/v1/network"),
    ("log.json", "/api/v1/host/logs"),
    ("history.json", "/api/v1/host/history?seconds=3600"),
    ("vms.json", "/api/v1/vms?limit=1000"),
];

/// Writes it.
pub fn write(show: &Show, file: &Path) -> Result<()> {
    let client = show.client()?;
    let out = File::create(file).with_context(|| format!("can't write {}", file.display()))?;
    let mut bundle = Bundle { client, out: tar::Builder::new(out), missing: String::new() };
    for (name, path) in PARTS {
        bundle.part(name, path)?;
    }
    for vm in bundle.client.list("/api/v1/vms")? {
        let name = vm["name"].as_str().unwrap_or_default();
        bundle.part(&format!("vms/{name}.json"), &format!("/api/v1/vms/{name}"))?;
        for console in vm["consoles"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()) {
            bundle.part(
                &format!("vms/{name}.{console}.txt"),
                &format!("/api/v1/vms/{name}/consoles/{console}"),
            )?;
        }
    }
    let missing = std::mem::take(&mut bundle.missing);
    bundle.add("missing.txt", missing.as_bytes())?;
    bundle.out.into_inner()?.sync_all()?;
    let note = if missing.is_empty() { "" } else { "; missing.txt in it names what could not be had" };
    eprintln!("{} is written{note}", file.display());
    Ok(())
}

struct Bundle {
    client: Client,
    out: tar::Builder<File>,
    missing: String,
}

impl Bundle {
    fn part(&mut self, name: &str, path: &str) -> Result<()> {
        match self.client.send("GET", path, "", &[]) {
            Ok(answer) => {
                // For people to read.
                let value = serde_json::from_slice(&answer.body).ok();
                let pretty = value.and_then(|value: Value| serde_json::to_vec_pretty(&value).ok());
                self.add(name, &pretty.unwrap_or(answer.body))
            }
            Err(error) => {
                self.missing.push_str(&format!("{name}: {error:#}\n"));
                Ok(())
            }
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()));
        Ok(self.out.append_data(&mut header, name, bytes)?)
    }
}
