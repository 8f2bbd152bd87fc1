//! `bramblectl storage …`: a host's datastore, its volumes and objects. (`bramblectl datastore` works on files and cards.)

use super::Show;
use super::client::Client;
use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of one request of an upload.
const PIECE: usize = 1 << 20;

/// Work on a host's storage.
#[derive(Subcommand)]
pub enum StorageCommand {
    /// Show the datastore.
    Show,
    /// List the host's disks.
    Disks,
    /// Make a datastore in the free space of a disk.
    Make {
        /// The disk's serial number.
        disk: String,
        /// Take the whole disk: what is on it is lost.
        #[arg(long)]
        erase: bool,
    },
    /// List the volumes.
    Volumes,
    /// List images and other objects.
    Objects,
    /// Upload a file, which becomes an object; goes on where an upload of it was cut.
    Upload {
        file: PathBuf,
        /// image:NAME, iso:NAME or firmware:NAME.
        name: String,
    },
    /// Make a volume of an object that is a raw image.
    Import { object: String, volume: String },
}

impl StorageCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        match self {
            Self::Show => show.one(&client.get("/api/v1/datastore")?),
            Self::Disks => {
                show.list(&client.list("/api/v1/disks")?, &["serial", "bytes", "free_bytes", "state"]);
            }
            Self::Make { disk, erase } => {
                let new =
                    if erase { json!({ "disk": disk, "erase_disk": disk }) } else { json!({ "disk": disk }) };
                let answer = client.json("POST", "/api/v1/datastore", &new)?;
                show.one(&client.ended(&answer)?);
            }
            Self::Volumes => {
                show.list(&client.list("/api/v1/volumes")?, &["id", "name", "bytes", "snapshots", "in_use"]);
            }
            Self::Objects => show.list(&client.list("/api/v1/objects")?, &["name", "bytes"]),
            Self::Upload { file, name } => show.one(&upload(&client, &file, &name)?),
            Self::Import { object, volume } => {
                let new = json!({ "object": object, "volume": volume });
                let answer = client.json("POST", "/api/v1/imports", &new)?;
                show.one(&client.ended(&answer)?);
            }
        }
        Ok(())
    }
}

fn upload(client: &Client, path: &Path, name: &str) -> Result<serde_json::Value> {
    let mut file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut digest = Sha256::new();
    let bytes = std::io::copy(&mut file, &mut Hashing(&mut digest))?;
    let sha256: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let begun = client.list("/api/v1/uploads")?;
    let same = |upload: &&serde_json::Value| upload["name"] == name && upload["bytes"] == bytes;
    let upload = match begun.iter().find(same) {
        Some(upload) => upload.clone(),
        None => {
            let new = json!({ "name": name, "bytes": bytes, "sha256": sha256 });
            client.json("POST", "/api/v1/uploads", &new)?.json()?
        }
    };
    let at = format!("/api/v1/uploads/{}", upload["id"].as_str().context("the host gives no upload")?);
    let mut offset = upload["offset"].as_u64().unwrap_or(0);
    let progress = indicatif::ProgressBar::new(bytes);
    let mut piece = vec![0; PIECE];
    let mut failed = 0;
    loop {
        file.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while filled < PIECE {
            match file.read(&mut piece[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        match client.send("PATCH", &at, &format!("Upload-Offset: {offset}\r\n"), &piece[..filled]) {
            Ok(answer) => {
                let upload = answer.json()?;
                offset = upload["offset"].as_u64().context("the host does not say how far it is")?;
                failed = 0;
                if upload["sha256"].is_string() {
                    progress.finish_and_clear();
                    return Ok(upload);
                }
            }
            Err(error) if failed >= 10 => return Err(error),
            Err(_) => {
                failed += 1;
                std::thread::sleep(Duration::from_millis(500));
                let Ok(upload) = client.get(&at) else { bail!("the upload is gone: begin it anew") };
                offset = upload["offset"].as_u64().unwrap_or(offset);
            }
        }
        progress.set_position(offset);
    }
}

struct Hashing<'d>(&'d mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
