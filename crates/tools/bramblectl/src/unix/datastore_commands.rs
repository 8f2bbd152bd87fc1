//! `bramblectl datastore …`

use super::inspect::{info, inspect, list, mib};
use super::measure::{self, MeasureOptions};
use super::session::Session;
use super::transfer::{export, import, send};
use super::{convert, fuse};
use super::{nbd, table};
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use datastore::{BlockPort, CheckOptions, MAX_SECTORS, Op, Target, format, run};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// A size: 512, 64K, 10M, 4G, 1T.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB") {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1u64 << 40,
        other => return Err(format!("unknown unit {other}")),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(|| "not a size".into())
}

/// Work on a datastore. STORE is a file, a partition, or a card whose GPT has one datastore partition. Volumes are
/// named VOLUME, snapshots VOLUME@SNAPSHOT, objects object:NAME.
#[derive(Subcommand)]
pub enum DatastoreCommand {
    /// Make a datastore (or, with --card, a boot partition and a datastore partition).
    Create {
        store: PathBuf,
        /// Size, if a file is to be made.
        #[arg(long, value_parser = size)]
        size: Option<u64>,
        /// Write a partition table with a FAT boot partition first.
        #[arg(long)]
        card: bool,
        /// Size of the boot partition.
        #[arg(long, value_parser = size, default_value = "256M")]
        boot_size: u64,
        /// Destroy what is there.
        #[arg(long)]
        force: bool,
    },
    /// Show size, use and health.
    Info { store: PathBuf },
    /// List volumes, snapshots and objects.
    Ls { store: PathBuf },
    /// Compare all metadata with the space map; with --data, read every block, too. Changes nothing.
    Check {
        store: PathBuf,
        #[arg(long)]
        data: bool,
    },
    /// Read everything, and write good copies over damaged ones.
    Scrub { store: PathBuf },
    /// Take the whole device after it grew.
    Grow {
        store: PathBuf,
        #[arg(long, value_parser = size)]
        size: Option<u64>,
    },
    /// Make an empty volume.
    Volume {
        store: PathBuf,
        name: String,
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Change a volume's size.
    Resize {
        store: PathBuf,
        name: String,
        #[arg(value_parser = size)]
        size: u64,
    },
    /// Make a volume (or object:NAME) from a file. qcow2 and VMDK need qemu-img.
    Import {
        store: PathBuf,
        file: PathBuf,
        name: String,
        /// raw, qcow2 or vmdk; guessed from the file's name.
        #[arg(long)]
        format: Option<String>,
    },
    /// Write a volume, snapshot or object to a file.
    Export {
        store: PathBuf,
        name: String,
        file: PathBuf,
        /// raw, qcow2, vmdk or vmdk-stream; guessed from the file's name.
        #[arg(long)]
        format: Option<String>,
        /// Write over a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Freeze a volume: VOLUME@SNAPSHOT.
    Snapshot { store: PathBuf, name: String },
    /// Make a volume with a volume's or snapshot's contents.
    Clone { store: PathBuf, from: String, to: String },
    /// Give a volume a snapshot's contents again: VOLUME@SNAPSHOT.
    Revert { store: PathBuf, name: String },
    /// Delete a volume, snapshot or object.
    Delete { store: PathBuf, name: String },
    /// Write a snapshot as a stream to standard output or a file; with --base, what changed since that one.
    Send {
        store: PathBuf,
        name: String,
        #[arg(long)]
        base: Option<String>,
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Make VOLUME@SNAPSHOT from a stream on standard input or in a file. What the volume has beyond the snapshot that the
    /// stream builds on is gone.
    Receive {
        store: PathBuf,
        name: String,
        #[arg(long, short)]
        input: Option<PathBuf>,
    },
    /// Measure a workload on a volume: one line of JSON.
    #[command(hide = true)]
    Measure(MeasureOptions),
    /// Serve a volume, snapshot or object by NBD on a Unix socket, until interrupted or (--once) the client leaves. The
    /// name "object:" shows all objects as files in a folder, by FUSE, until that is unmounted.
    Mount {
        store: PathBuf,
        name: String,
        /// Socket, or folder.
        at: PathBuf,
        #[arg(long)]
        once: bool,
    },
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The name of a new volume: one that no command takes for a snapshot's or an object's.
fn new_name(name: &str) -> Result<&str> {
    let plain = !name.contains('@') && !name.starts_with("object:");
    ensure!(plain, "\"{name}\": a volume's name has no '@' and does not begin with \"object:\"");
    Ok(name)
}

fn sectors(bytes: u64) -> Result<u64> {
    ensure!(bytes.is_multiple_of(4096), "{bytes} bytes: a volume's size is a multiple of 4096");
    ensure!(bytes / 512 <= MAX_SECTORS, "a volume has at most 64 TiB");
    Ok(bytes / 512)
}

fn snapshot_name(name: &str) -> Result<(&str, &str)> {
    name.rsplit_once('@').context("name a snapshot: VOLUME@SNAPSHOT")
}

impl DatastoreCommand {
    /// Does it.
    pub fn run(self, as_json: bool) -> Result<ExitCode> {
        match self {
            Self::Create { store, size, card, boot_size, force } => {
                create(&store, size, card.then_some(boot_size), force)
            }
            Self::Info { store } => info(&store, as_json),
            Self::Ls { store } => list(&store, as_json),
            Self::Check { store, data } => {
                return inspect(&store, CheckOptions { data, repair: false }, as_json);
            }
            Self::Scrub { store } => {
                return inspect(&store, CheckOptions { data: true, repair: true }, as_json);
            }
            Self::Grow { store, size } => grow(&store, size, as_json),
            Self::Volume { store, name, size } => with(&store, |s| {
                let (name, sectors) = (new_name(&name)?, sectors(size)?);
                s.change(|store| store.create_volume(name, sectors))
                    .map(drop)
                    .with_context(|| name.to_owned())
            }),
            Self::Resize { store, name, size } => with(&store, |s| {
                let target = Target::Volume(s.volume(&name)?);
                let sectors = sectors(size)?;
                Ok(s.request(target, Op::Resize { sectors }, &[], &mut Vec::new())?)
            }),
            Self::Import { store, file, name, format } => with(&store, |s| import(s, &file, &name, format)),
            Self::Export { store, name, file, format, force } => export(&store, &name, &file, format, force),
            Self::Snapshot { store, name } => with(&store, |s| {
                let (volume, snapshot) = snapshot_name(&name)?;
                let (id, guid) = (s.volume(volume)?, *uuid::Uuid::new_v4().as_bytes());
                s.change(|store| store.snapshot(&[id], snapshot, now(), guid))
                    .map(drop)
                    .with_context(|| name.clone())
            }),
            Self::Clone { store, from, to } => with(&store, |s| {
                let (source, to) = (s.target(&from)?, new_name(&to)?);
                s.change(|store| store.clone_volume(source, to)).map(drop).with_context(|| to.to_owned())
            }),
            Self::Revert { store, name } => with(&store, |s| {
                let (volume, _) = snapshot_name(&name)?;
                let Target::Snapshot(snapshot) = s.target(&name)? else { return Ok(()) };
                let id = s.volume(volume)?;
                s.change(|store| store.revert(&[(id, Some(snapshot))]))
            }),
            Self::Delete { store, name } => with(&store, |s| {
                let target = s.target(&name)?;
                s.change(|store| store.delete(&[target]))
            }),
            Self::Send { store, name, base, output } => {
                send(&store, &name, base.as_deref(), output.as_deref())
            }
            Self::Receive { store, name, input } => with(&store, |s| {
                let (volume, snapshot) = snapshot_name(&name)?;
                let mut from: Box<dyn Read> = match &input {
                    Some(path) => {
                        let file =
                            File::open(path).with_context(|| format!("can't read {}", path.display()))?;
                        Box::new(BufReader::new(file))
                    }
                    None => Box::new(std::io::stdin().lock()),
                };
                convert::receive(s, new_name(volume)?, snapshot, &mut from, now())
            }),
            Self::Measure(options) => measure::measure(&options),
            Self::Mount { store, name, at, .. } if name == "object:" => {
                fuse::mount(Session::open(&store, false)?, &at)
            }
            Self::Mount { store, name, at, once } => mount(&store, &name, &at, once),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Mounts, acts, and leaves everything on stable storage.
fn with(store: &Path, act: impl FnOnce(&mut Session) -> Result<()>) -> Result<()> {
    let mut session = Session::open(store, true)?;
    let result = act(&mut session);
    session.close()?;
    result
}

fn create(path: &Path, size: Option<u64>, boot: Option<u64>, force: bool) -> Result<()> {
    // Before a file's length is changed: what lies behind its new end would be gone.
    let whole = boot.is_some() || (size.is_some() && path.is_file());
    let free = force || !whole || !path.exists() || table::is_blank(path, 0)?;
    ensure!(free, "{} is not empty; --force destroys all of it", path.display());
    table::prepare(path, size)?;
    if let Some(boot) = boot {
        table::lay_out_card(path, boot)?;
    }
    let mut port = table::open(path, true)?;
    let free = force || boot.is_some() || table::is_blank(path, port.start())?;
    ensure!(free, "{} is not empty; --force destroys what is there", path.display());
    ensure!(port.blocks() * 4096 >= table::MIN_BYTES, "{} has less than 64 MiB for it", path.display());
    run(format(&mut port, *uuid::Uuid::new_v4().as_bytes()))?;
    Ok(())
}

fn grow(path: &Path, size: Option<u64>, as_json: bool) -> Result<()> {
    if let Some(size) = size {
        let now = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        ensure!(size >= now, "a datastore can't shrink");
        table::prepare(path, Some(size))?;
    }
    let say = |blocks| if as_json { format!("{{\"bytes\":{}}}", blocks * 4096) } else { mib(blocks) };
    with(path, |session| session.change(|store| store.grow()).map(|blocks| println!("{}", say(blocks))))
}

fn mount(store: &Path, name: &str, socket: &Path, once: bool) -> Result<()> {
    let mut session = Session::open(store, true)?;
    let target = session.target(name)?;
    // A socket that nobody listens to is one of an earlier mount, which was interrupted.
    let is_left = UnixStream::connect(socket).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    if is_left && socket.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(socket).ok();
    }
    let listener =
        UnixListener::bind(socket).with_context(|| format!("can't make the socket {}", socket.display()))?;
    println!("nbd+unix:///?socket={}", socket.display());
    loop {
        let (mut stream, _) = listener.accept()?;
        if let Err(error) = nbd::serve(&mut stream, &mut session, target) {
            eprintln!("bramblectl: a client was dropped: {error:#}");
        }
        // What a client flushed is safe; the rest is made so when it leaves.
        session.request(target, Op::Flush, &[], &mut Vec::new()).ok();
        if once {
            std::fs::remove_file(socket).ok();
            return session.close();
        }
    }
}
