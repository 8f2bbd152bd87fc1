//! Into and out of volumes: raw files, qcow2 and VMDK by `qemu-img`, streams between snapshots.

use super::nbd;
use super::session::{PIECE, Session};
use anyhow::{Context, Result, bail, ensure};
use datastore::stream::{HEADER_BYTES, Header, MAX_BLOCKS, RECORD_BYTES, Record};
use datastore::{BLOCK_BYTES, Change, Entry, Op, Target};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command};

/// A bar over bytes.
pub fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Fills a target from a reader; whole zero blocks are skipped, since a new target is zero.
pub fn copy_in(session: &mut Session, target: Target, from: &mut impl Read, bytes: u64) -> Result<()> {
    let bar = bar(bytes);
    let mut at = 0;
    let mut buffer = vec![0; PIECE];
    while at < bytes {
        let n = (bytes - at).min(PIECE as u64) as usize;
        let piece = &mut buffer[..n];
        from.read_exact(piece)?;
        let mut first = 0;
        for run in piece.chunks(BLOCK_BYTES * 8) {
            if run.iter().any(|b| *b != 0) {
                session.write(target, at + first, run)?;
            }
            first += run.len() as u64;
        }
        at += n as u64;
        bar.set_position(at);
    }
    bar.finish();
    Ok(())
}

/// Writes a target's bytes to a file; blocks of zeroes become holes.
pub fn copy_out(session: &mut Session, target: Target, path: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let bytes = session.size(target);
    let file = File::create(path)?;
    // On a device there are no holes.
    let holes = file.metadata()?.is_file();
    if holes {
        file.set_len(bytes)?;
    }
    let bar = bar(bytes);
    let mut buffer = Vec::new();
    for at in (0..bytes).step_by(PIECE) {
        buffer.clear();
        let n = (bytes - at).min(PIECE as u64) as usize;
        session.read(target, at, n.next_multiple_of(512), &mut buffer)?;
        for (i, run) in buffer[..n].chunks(BLOCK_BYTES).enumerate() {
            if !holes || run.iter().any(|b| *b != 0) {
                file.write_all_at(run, at + (i * BLOCK_BYTES) as u64)?;
            }
        }
        bar.set_position(at + n as u64);
    }
    if holes {
        file.sync_all()?;
    } else {
        // A terminal or a pipe cannot.
        file.sync_all().ok();
    }
    bar.finish();
    Ok(())
}

/// Runs `qemu-img` with the target served to it on a socket of its own.
pub fn with_qemu_img(
    session: &mut Session,
    target: Target,
    arguments: impl Fn(&str) -> Vec<String>,
) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("bramblectl-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder)?;
    let socket = folder.join("nbd");
    let listener = UnixListener::bind(&socket)?;
    listener.set_nonblocking(true)?;
    let url = format!("nbd+unix:///?socket={}", socket.display());
    let child = Command::new("qemu-img").args(arguments(&url)).spawn();
    let result = match child {
        Ok(mut child) => serve_child(&listener, session, target, &mut child),
        Err(error) => Err(error).context("this format needs qemu-img (Debian: qemu-utils)"),
    };
    std::fs::remove_dir_all(&folder).ok();
    result
}

fn serve_child(
    listener: &UnixListener,
    session: &mut Session,
    target: Target,
    child: &mut Child,
) -> Result<()> {
    loop {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            // A client that goes away in the middle is its own affair; its exit status tells.
            nbd::serve(&mut stream, session, target).ok();
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "qemu-img failed");
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Virtual size of an image, as `qemu-img` says.
pub fn image_size(path: &Path, format: &str) -> Result<u64> {
    let out = Command::new("qemu-img")
        .args(["info", "--output=json", "-f", format])
        .arg(path)
        .output()
        .context("this format needs qemu-img (Debian: qemu-utils)")?;
    let why = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}", why.trim());
    let found: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    found["virtual-size"].as_u64().with_context(|| format!("qemu-img can't read {}", path.display()))
}

fn snapshot_guid(session: &Session, id: u64) -> Result<[u8; 16]> {
    match session.store.catalog().get(id) {
        Some(Entry::Snapshot { guid, .. }) => Ok(*guid),
        _ => bail!("not a snapshot"),
    }
}

/// Writes what snapshot `to` has and `base` has not.
pub fn send(session: &mut Session, to: u64, base: Option<u64>, out: &mut impl Write) -> Result<()> {
    let target = Target::Snapshot(to);
    let bytes = session.size(target);
    let base_guid = base.map_or(Ok([0; 16]), |base| snapshot_guid(session, base))?;
    let header = Header { sectors: bytes / 512, base: base_guid, to: snapshot_guid(session, to)? };
    out.write_all(&header.encode())?;
    let (mut at, mut records) = (0, 0);
    let bar = bar(bytes);
    while at < bytes / BLOCK_BYTES as u64 {
        let mut changes = Vec::new();
        at = session.change(|store| {
            changes.clear();
            store.changes(to, base, at, &mut changes)
        })?;
        for run in changes.chunk_by(|a, b| a.block + 1 == b.block && a.data == b.data) {
            for piece in run.chunks(MAX_BLOCKS as usize) {
                send_run(session, target, piece, out)?;
                records += 1;
            }
        }
        bar.set_position(at * BLOCK_BYTES as u64);
    }
    out.write_all(&Record::End { records }.encode())?;
    out.flush()?;
    bar.finish();
    Ok(())
}

fn send_run(session: &mut Session, target: Target, run: &[Change], out: &mut impl Write) -> Result<()> {
    let Some(first) = run.first() else { return Ok(()) };
    let (block, count) = (first.block, run.len() as u32);
    if !first.data {
        return Ok(out.write_all(&Record::Zero { block, count }.encode())?);
    }
    let mut bytes = Vec::new();
    session.read(target, block * BLOCK_BYTES as u64, run.len() * BLOCK_BYTES, &mut bytes)?;
    let crc = crc_fast::crc32_iscsi(&bytes);
    out.write_all(&Record::Data { block, count, crc }.encode())?;
    Ok(out.write_all(&bytes)?)
}

/// Makes a snapshot from a stream: in a new volume, or in the volume that has the stream's base. Until the end has
/// come, only the volume's head was changed; a stream that breaks off makes no snapshot, and no new volume.
pub fn receive(
    session: &mut Session,
    name: &str,
    snapshot: &str,
    from: &mut impl Read,
    now: u64,
) -> Result<()> {
    let mut head = [0; HEADER_BYTES];
    from.read_exact(&mut head).context("the stream ends before it has begun")?;
    let header = Header::decode(&head).context("this is not a stream of ours, or a damaged one")?;
    let volume = if header.base == [0; 16] {
        let made = session.change(|store| store.create_volume(name, header.sectors));
        made.with_context(|| {
            format!("a stream of all of a snapshot makes a volume; \"{name}\" can't be made")
        })?
    } else {
        let volume = session.volume(name)?;
        let is_base = |e: &Entry| matches!(e, Entry::Snapshot { volume: of, guid, .. } if *of == volume && *guid == header.base);
        let base = session.store.catalog().iter().find(|(_, e)| is_base(e)).map(|(id, _)| id);
        let base =
            base.with_context(|| format!("\"{name}\" has not the snapshot that this stream builds on"))?;
        session.change(|store| store.revert(&[(volume, Some(base))]))?;
        let op = Op::Resize { sectors: header.sectors };
        session.request(Target::Volume(volume), op, &[], &mut Vec::new())?;
        volume
    };
    let received = receive_records(session, Target::Volume(volume), from)
        .and_then(|()| session.change(|store| store.snapshot(&[volume], snapshot, now, header.to)).map(drop));
    if received.is_err() && header.base == [0; 16] {
        session.change(|store| store.delete(&[Target::Volume(volume)])).ok();
    }
    received
}

fn receive_records(session: &mut Session, target: Target, from: &mut impl Read) -> Result<()> {
    let mut records = 0;
    loop {
        let mut head = [0; RECORD_BYTES];
        from.read_exact(&mut head).context("the stream breaks off; no snapshot was made")?;
        match Record::decode(&head).context("the stream is damaged; no snapshot was made")? {
            Record::Data { block, count, crc } => {
                let mut bytes = vec![0; count as usize * BLOCK_BYTES];
                from.read_exact(&mut bytes)?;
                ensure!(crc_fast::crc32_iscsi(&bytes) == crc, "the stream is damaged; no snapshot was made");
                session.write(target, block * BLOCK_BYTES as u64, &bytes)?;
            }
            Record::Zero { block, count } => {
                nbd::zero(
                    session,
                    target,
                    block * BLOCK_BYTES as u64,
                    u64::from(count) * BLOCK_BYTES as u64,
                )?;
            }
            Record::End { records: all } => {
                ensure!(all == records, "the stream lacks records; no snapshot was made");
                return Ok(());
            }
        }
        records += 1;
    }
}
