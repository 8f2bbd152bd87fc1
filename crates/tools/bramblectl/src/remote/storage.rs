//! `bramblectl storage …`: a host's datastore, its volumes and objects. (`bramblectl datastore` works on files and cards.)

use super::Show;
use super::client::Client;
use super::transfer;
use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

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
    /// Show a volume.
    Volume { volume: String },
    /// Make an empty volume.
    Create {
        name: String,
        /// 512M, 4G, 1T.
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Make a volume with another one's contents.
    Clone { volume: String, name: String },
    /// Change a volume's size.
    Resize {
        volume: String,
        /// 512M, 4G, 1T.
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Delete a volume that no VM names, and its snapshots.
    Delete { volume: String },
    /// List images and other objects.
    Objects {
        /// Only those whose names start so.
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Upload a file, which becomes an object; goes on where an upload of it was cut.
    Upload {
        file: PathBuf,
        /// image:NAME, iso:NAME or firmware:NAME.
        name: String,
    },
    /// List uploads that are not whole.
    Uploads,
    /// Give an upload up.
    DropUpload { upload: String },
    /// Write an object to a file; goes on where a download to it was cut.
    Download { object: String, file: PathBuf },
    /// Delete an object.
    DeleteObject { object: String },
    /// Make a volume that tells a new guest who it is, by cloud-init: give it to the VM as a disk.
    Seed {
        volume: String,
        /// A file: #cloud-config, or a script.
        user_data: PathBuf,
        /// A file: cloud-init's network-config.
        #[arg(long, value_name = "FILE")]
        network: Option<PathBuf>,
    },
    /// Make a volume of an object that is a raw or qcow2 image.
    Import { object: String, volume: String },
}

/// A size in bytes, as people write it.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB") {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1_u64 << 40,
        other => return Err(format!("there is no unit {other}: write 512M, 4G or 1T")),
    };
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| String::from("this is no size: write 512M, 4G or 1T"))
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
                let answer = client.make("/api/v1/datastore", &new)?;
                show.one(&client.ended(&answer)?);
            }
            Self::Volumes => {
                show.list(&client.list("/api/v1/volumes")?, &["id", "name", "bytes", "snapshots", "in_use"]);
            }
            Self::Volume { volume } => show.one(&client.get(&at(&client, &volume)?)?),
            Self::Create { name, size } => {
                let new = json!({ "name": name, "bytes": size });
                show.one(&client.make("/api/v1/volumes", &new)?.json()?);
            }
            Self::Clone { volume, name } => {
                let new = json!({ "name": name, "source": find(&client, &volume)?["id"] });
                show.one(&client.make("/api/v1/volumes", &new)?.json()?);
            }
            Self::Resize { volume, size } => {
                let at = at(&client, &volume)?;
                show.one(&client.json("PATCH", &at, &json!({ "bytes": size }))?.json()?);
            }
            Self::Delete { volume } => drop(client.send("DELETE", &at(&client, &volume)?, "", &[])?),
            Self::Objects { prefix } => {
                let path = format!("/api/v1/objects?prefix={}", super::escaped(&prefix));
                show.list(&client.list(&path)?, &["name", "bytes"]);
            }
            Self::Upload { file, name } => show.one(&transfer::upload(&client, &file, &name)?),
            Self::Uploads => {
                show.list(&client.list("/api/v1/uploads")?, &["id", "name", "offset", "bytes"]);
            }
            Self::DropUpload { upload } => {
                drop(client.send("DELETE", &format!("/api/v1/uploads/{upload}"), "", &[])?);
            }
            Self::Download { object, file } => transfer::download(&client, &object, &file)?,
            Self::DeleteObject { object } => {
                let path = format!("/api/v1/objects/{}", super::escaped(&object));
                drop(client.send("DELETE", &path, "", &[])?);
            }
            Self::Seed { volume, user_data, network } => {
                let read = |file: &PathBuf| {
                    std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
                };
                let mut new = json!({ "volume": volume, "user_data": read(&user_data)? });
                if let Some(network) = &network {
                    new["network_config"] = read(network)?.into();
                }
                show.one(&client.make("/api/v1/seeds", &new)?.json()?);
            }
            Self::Import { object, volume } => {
                let new = json!({ "object": object, "volume": volume });
                let answer = client.make("/api/v1/imports", &new)?;
                show.one(&client.ended(&answer)?);
            }
        }
        Ok(())
    }
}

/// A volume by its name or id.
fn find(client: &Client, volume: &str) -> Result<Value> {
    let all = client.list("/api/v1/volumes")?;
    let named = all.iter().find(|found| found["name"] == volume);
    let id = volume.parse::<u64>().ok();
    let found = named.or_else(|| all.iter().find(|found| id.is_some() && found["id"].as_u64() == id));
    found
        .cloned()
        .with_context(|| format!("there is no volume {volume}: `bramblectl storage volumes` lists them"))
}

fn at(client: &Client, volume: &str) -> Result<String> {
    let id = &find(client, volume)?["id"];
    ensure!(id.is_u64(), "the host gives {volume} no id: is it newer than this program?");
    Ok(format!("/api/v1/volumes/{id}"))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert!(size("4X").is_err());
        assert!(size("big").is_err());
        assert!(size("18446744073709551615T").is_err());
    }
}
