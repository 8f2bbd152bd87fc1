//! Files into a datastore, and out of it.

use super::convert;
use super::session::Session;
use anyhow::{Context, Result, ensure};
use datastore::{BLOCK_BYTES, Target};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;

const FORMATS: [&str; 4] = ["raw", "qcow2", "vmdk", "vmdk-stream"];

fn guess(file: &Path, format: Option<String>) -> Result<String> {
    let format = format.unwrap_or_else(|| match file.extension().and_then(|e| e.to_str()) {
        Some(known @ ("qcow2" | "vmdk")) => known.into(),
        _ => "raw".into(),
    });
    ensure!(FORMATS.contains(&format.as_str()), "\"{format}\" is none of the formats {}", FORMATS.join(", "));
    Ok(format)
}

/// Opens a file to be read, and says how long it is.
fn source(path: &Path) -> Result<(File, u64)> {
    let what = || format!("can't read {}", path.display());
    ensure!(!path.is_dir(), "{} is a folder; name a file", path.display());
    let mut file = File::open(path).with_context(what)?;
    // A device has its length at its end only.
    let bytes = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).with_context(what)?;
    std::io::Seek::rewind(&mut file).with_context(what)?;
    Ok((file, bytes))
}

pub fn import(session: &mut Session, path: &Path, name: &str, format: Option<String>) -> Result<()> {
    if let Some(object) = name.strip_prefix("object:") {
        let (mut file, bytes) = source(path)?;
        let staging = session.change(|store| store.begin_object())?;
        convert::copy_in(session, staging, &mut file, bytes).with_context(|| path.display().to_string())?;
        let transaction = session.store.begin();
        session.store.put_object(transaction, object, staging, bytes)?;
        return session.change(|store| store.commit_transaction(transaction));
    }
    let format = guess(path, format)?;
    let (mut file, file_bytes) = source(path)?;
    let bytes = if format == "raw" { file_bytes } else { convert::image_size(path, image_kind(&format))? };
    session.fill_volume(name, bytes.next_multiple_of(BLOCK_BYTES as u64), |session, volume| {
        if format == "raw" {
            return convert::copy_in(session, volume, &mut file, bytes)
                .with_context(|| path.display().to_string());
        }
        let source = path.display().to_string();
        let arguments = |url: &str| converting(&["-n", "-f", image_kind(&format), "-O", "raw", &source, url]);
        convert::with_qemu_img(session, volume, arguments)
    })
}

/// What `qemu-img` calls it.
fn image_kind(format: &str) -> &str {
    if format == "vmdk-stream" { "vmdk" } else { format }
}

/// The arguments of a `qemu-img convert`, which shows its progress on a terminal.
fn converting(rest: &[&str]) -> Vec<String> {
    let progress = std::io::stdout().is_terminal().then_some("-p");
    ["convert"].into_iter().chain(progress).chain(rest.iter().copied()).map(String::from).collect()
}

pub fn export(store: &Path, name: &str, path: &Path, format: Option<String>, force: bool) -> Result<()> {
    let mut session = Session::open(store, false)?;
    let target = session.target(name)?;
    let format = guess(path, format)?;
    let free = force || path.symlink_metadata().is_err();
    ensure!(free, "{} is there already; --force writes over it", path.display());
    let is_new = !path.exists();
    let written = write_out(&mut session, target, path, &format);
    if written.is_err() && is_new {
        // Half of it is of use to nobody.
        std::fs::remove_file(path).ok();
    }
    written.with_context(|| format!("can't write {}", path.display()))
}

fn write_out(session: &mut Session, target: Target, path: &Path, format: &str) -> Result<()> {
    if format == "raw" {
        return convert::copy_out(session, target, path);
    }
    let options = match format {
        "vmdk-stream" => "subformat=streamOptimized",
        "vmdk" => "subformat=monolithicSparse",
        _ => "compat=1.1",
    };
    let file = path.display().to_string();
    let arguments =
        |url: &str| converting(&["-f", "raw", "-O", image_kind(format), "-o", options, url, &file]);
    convert::with_qemu_img(session, target, arguments)
}

pub fn send(store: &Path, name: &str, base: Option<&str>, output: Option<&Path>) -> Result<()> {
    let mut session = Session::open(store, false)?;
    let id = |session: &Session, name: &str| match session.target(name)? {
        Target::Snapshot(id) => Ok(id),
        _ => anyhow::bail!("\"{name}\" is no snapshot; name one: VOLUME@SNAPSHOT"),
    };
    let to = id(&session, name)?;
    let base = base.map(|base| id(&session, base)).transpose()?;
    let mut out: Box<dyn Write> = match output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => {
            ensure!(
                !std::io::stdout().is_terminal(),
                "a stream is not for a terminal: name a file by --output"
            );
            Box::new(std::io::stdout().lock())
        }
    };
    convert::send(&mut session, to, base, &mut out)
}
