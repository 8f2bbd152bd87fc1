//! Files to a host and from it: uploads and downloads that go on after a cut, and images of any format.

use super::Show;
use super::client::{Client, Refusal, TRIES, is_silent};
use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Upload a disk image, and make a volume of it.
#[derive(clap::Args)]
pub struct ImportOptions {
    /// The image: raw, qcow2 or VMDK, which its first bytes say.
    file: PathBuf,
    /// The volume's name [default: the file's].
    volume: Option<String>,
    /// Keep the uploaded image, too.
    #[arg(long)]
    keep: bool,
}

impl ImportOptions {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let volume = self.volume.or(stem).context("give the volume a name")?;
        let image = Image::of(&self.file)?;
        let object = format!("image:{volume}");
        upload(&client, &image.path, &object)?;
        let answer = client.make("/api/v1/imports", &json!({ "object": object, "volume": volume }))?;
        let task = client.ended(&answer)?;
        if !self.keep {
            let path = format!("/api/v1/objects/{}", super::escaped(&object));
            client.send("DELETE", &path, "", &[])?;
        }
        show.one(&task);
        Ok(())
    }
}

/// An image that hosts read: the file itself, or a qcow2 made of it, which goes with this value.
struct Image {
    path: PathBuf,
    is_ours: bool,
}

impl Image {
    fn of(file: &Path) -> Result<Self> {
        let mut head = Vec::new();
        let open = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
        open.take(1024).read_to_end(&mut head)?;
        let is_vmdk =
            head.starts_with(b"KDMV") || String::from_utf8_lossy(&head).contains("# Disk DescriptorFile");
        if !is_vmdk {
            return Ok(Self { path: file.to_owned(), is_ours: false });
        }
        let path = std::env::temp_dir().join(format!("bramblectl-{}.qcow2", std::process::id()));
        let image = Self { path, is_ours: true };
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "vmdk", "-O", "qcow2"]).arg(file).arg(&image.path);
        let status = convert.status().context("a VMDK needs qemu-img (Debian: qemu-utils): install it")?;
        ensure!(status.success(), "qemu-img can't read {}: is it whole, with all its parts?", file.display());
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Uploads a file: the upload, once it is whole.
pub fn upload(client: &Client, path: &Path, name: &str) -> Result<Value> {
    let mut file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut digest = Sha256::new();
    let bytes = io::copy(&mut file, &mut Hashing(&mut digest))?;
    let sha256 = hex(&digest.finalize());
    let begun = client.list("/api/v1/uploads")?;
    let same = |upload: &&Value| upload["name"] == name && upload["bytes"] == bytes;
    let upload = match begun.iter().find(same) {
        Some(upload) => upload.clone(),
        None => {
            let new = json!({ "name": name, "bytes": bytes, "sha256": sha256 });
            client.make("/api/v1/uploads", &new)?.json()?
        }
    };
    let at = format!("/api/v1/uploads/{}", upload["id"].as_str().context("the host gives no upload")?);
    let mut offset = upload["offset"].as_u64().unwrap_or(0);
    let progress = bar(bytes);
    let mut failed = 0;
    loop {
        file.seek(SeekFrom::Start(offset))?;
        let mut body = progress.wrap_read(&file).take(bytes - offset);
        progress.set_position(offset);
        let line = format!("Upload-Offset: {offset}\r\n");
        let why = match client.send_from("PATCH", &at, &line, bytes - offset, &mut body) {
            Ok(answer) => {
                let upload = answer.json()?;
                ensure!(
                    upload["sha256"] == sha256,
                    "{} was changed meanwhile: upload it anew",
                    path.display()
                );
                progress.finish_and_clear();
                return Ok(upload);
            }
            Err(why) if why.downcast_ref().is_some_and(|refusal: &Refusal| !refusal.may_pass()) => {
                return Err(why);
            }
            Err(why) => why,
        };
        let before = offset;
        offset = how_far(client, &at, why)?;
        failed = if offset > before { 0 } else { failed + 1 };
        ensure!(
            failed < TRIES,
            "the host takes nothing more: `bramblectl storage uploads` says how far it is"
        );
        // The host may not have noticed yet that the connection is gone.
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Where an upload stands after it was cut, once the host answers again.
pub(super) fn how_far(client: &Client, at: &str, why: anyhow::Error) -> Result<u64> {
    match client.get_patiently(at) {
        Ok(upload) => upload["offset"].as_u64().context("the host does not say how far it is"),
        Err(error) if is_silent(&error) => {
            Err(why.context("the host is gone: the same command goes on when it is back"))
        }
        // It knows of no such upload: what it said to the last piece tells more.
        Err(error) => Err(why.context(error)),
    }
}

/// Writes an object to a file.
pub fn download(client: &Client, object: &str, path: &Path) -> Result<()> {
    let part = path.with_extension("part");
    let open = OpenOptions::new().create(true).append(true).open(&part);
    let mut file = open.with_context(|| format!("can't write {}", part.display()))?;
    let at = format!("/api/v1/objects/{}", super::escaped(object));
    let found = client.list(&format!("/api/v1/objects?prefix={}", super::escaped(object)))?;
    let found = found.iter().find(|found| found["name"] == object);
    let bytes = found.and_then(|found| found["bytes"].as_u64());
    let bytes = bytes
        .with_context(|| format!("there is no object {object}: `bramblectl storage objects` lists them"))?;
    let progress = bar(bytes);
    let mut failed = 0;
    loop {
        let have = file.metadata()?.len();
        ensure!(have <= bytes, "{} is longer than {object}: remove it", part.display());
        if have == bytes {
            break;
        }
        progress.set_position(have);
        let got = client.fetch(&at, &format!("Range: bytes={have}-\r\n"), &mut progress.wrap_write(&file));
        let Err(why) = got else { continue };
        failed = if file.metadata()?.len() > have { 0 } else { failed + 1 };
        if failed >= TRIES || !is_silent(&why) && failed > 0 {
            bail!("{why:#}; the same command goes on where this one ended");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    file.flush()?;
    progress.finish_and_clear();
    std::fs::rename(&part, path).with_context(|| format!("can't write {}", path.display()))
}

struct Hashing<'d>(&'d mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
