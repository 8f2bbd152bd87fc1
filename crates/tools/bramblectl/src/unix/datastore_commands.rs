//! `bramblectl datastore …`

use super::convert;
use super::fuse;
use super::measure::{self, MeasureOptions};
use super::session::Session;
use super::{nbd, table};
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use datastore::{BlockPort, Catalog, CheckOptions, Entry, Finding, Op, Target, check, format, run};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
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
    /// Make VOLUME@SNAPSHOT from a stream on standard input or in a file.
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

fn snapshot_name(name: &str) -> Result<(&str, &str)> {
    name.rsplit_once('@').context("name a snapshot: VOLUME@SNAPSHOT")
}

impl DatastoreCommand {
    /// Does it.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Create { store, size, card, boot_size, force } => {
                create(&store, size, card.then_some(boot_size), force)
            }
            Self::Info { store } => info(&store),
            Self::Ls { store } => list(&store),
            Self::Check { store, data } => return inspect(&store, CheckOptions { data, repair: false }),
            Self::Scrub { store } => return inspect(&store, CheckOptions { data: true, repair: true }),
            Self::Grow { store, size } => grow(&store, size),
            Self::Volume { store, name, size } => {
                with(&store, |s| s.change(|store| store.create_volume(&name, size / 512)).map(drop))
            }
            Self::Resize { store, name, size } => with(&store, |s| {
                let target = Target::Volume(s.volume(&name)?);
                Ok(s.request(target, Op::Resize { sectors: size / 512 }, &[], &mut Vec::new())?)
            }),
            Self::Import { store, file, name, format } => with(&store, |s| import(s, &file, &name, format)),
            Self::Export { store, name, file, format } => export(&store, &name, &file, format),
            Self::Snapshot { store, name } => with(&store, |s| {
                let (volume, snapshot) = snapshot_name(&name)?;
                let (id, guid) = (s.volume(volume)?, *uuid::Uuid::new_v4().as_bytes());
                s.change(|store| store.snapshot(&[id], snapshot, now(), guid)).map(drop)
            }),
            Self::Clone { store, from, to } => with(&store, |s| {
                let source = s.target(&from)?;
                s.change(|store| store.clone_volume(source, &to)).map(drop)
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
                    Some(path) => Box::new(BufReader::new(File::open(path)?)),
                    None => Box::new(std::io::stdin().lock()),
                };
                convert::receive(s, volume, snapshot, &mut from, now())
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
    table::prepare(path, size)?;
    if let Some(boot) = boot {
        let free = force || table::is_blank(path, 0)?;
        ensure!(free, "{} is not empty; --force destroys all of it", path.display());
        table::lay_out_card(path, boot)?;
    }
    let mut port = table::open(path, true)?;
    let free = force || boot.is_some() || table::is_blank(path, port.start())?;
    ensure!(free, "{} is not empty; --force destroys what is there", path.display());
    ensure!(port.blocks() * 4096 >= table::MIN_BYTES, "{} has less than 64 MiB for it", path.display());
    run(format(&mut port, *uuid::Uuid::new_v4().as_bytes()))?;
    Ok(())
}

fn mib(blocks: u64) -> String {
    format!("{:.1} MiB", blocks as f64 / 256.0)
}

fn info(path: &Path) -> Result<()> {
    let session = Session::open(path, false)?;
    let usage = session.store.usage();
    println!("uuid       {}", uuid::Uuid::from_bytes(session.store.uuid()));
    println!("size       {}", mib(usage.total));
    println!("available  {}", mib(usage.available));
    println!("entries    {}", session.store.catalog().len());
    println!(
        "log        {}",
        if session.store.is_settled() { "empty" } else { "holds changes (replayed at mount)" }
    );
    Ok(())
}

fn list(path: &Path) -> Result<()> {
    let mut session = Session::open(path, false)?;
    let catalog = session.store.catalog();
    let lines: Vec<_> = catalog.iter().filter_map(|(id, entry)| line(catalog, id, entry)).collect();
    println!("{:<9} {:>14} {:>14}  name", "kind", "size", "exclusive");
    for (kind, target, size, name) in lines {
        // What two clones share is counted for neither.
        let exclusive = mib(session.exclusive(target)?);
        println!("{kind:<9} {size:>14} {exclusive:>14}  {name}");
    }
    Ok(())
}

fn line(catalog: &Catalog, id: u64, entry: &Entry) -> Option<(&'static str, Target, String, String)> {
    Some(match entry {
        Entry::Layer { .. } => return None,
        Entry::Volume { name, sectors, .. } => ("volume", Target::Volume(id), mib(sectors / 8), name.clone()),
        Entry::Snapshot { name, volume, sectors, .. } => {
            let of = match catalog.get(*volume) {
                Some(Entry::Volume { name, .. }) => name.as_str(),
                _ => "(deleted)",
            };
            ("snapshot", Target::Snapshot(id), mib(sectors / 8), format!("{of}@{name}"))
        }
        Entry::Object { name, bytes, .. } => {
            ("object", Target::Object(id), format!("{bytes} B"), format!("object:{name}"))
        }
    })
}

fn explain(finding: Finding) -> String {
    match finding {
        Finding::Superblock(b) => format!("the superblock in block {b} is damaged; its twin is good"),
        Finding::Root(b) => {
            format!("the root in block {b} is damaged; the other one is used (normal after a power cut)")
        }
        Finding::GroupTable(t) => {
            format!(
                "part {t} of the group table can't be read: free space there is unknown; `scrub` makes it anew"
            )
        }
        Finding::Bitmap(g) => {
            format!(
                "the space map of group {g} can't be read: nothing is allocated there; `scrub` makes it anew"
            )
        }
        Finding::Copy(b) => {
            format!("metadata block {b} is damaged, but its copy is good; `scrub` repairs it")
        }
        Finding::Page(b, 0, id) => format!("block {b} is damaged: catalog entry {id} is lost"),
        Finding::Page(b, layer, chunk) => {
            format!(
                "block {b} is damaged: where {} MiB of layer {layer} lie is lost (from {} MiB on)",
                2,
                chunk * 2
            )
        }
        Finding::Node(b) => format!("block {b} is damaged: a part of the tree is lost"),
        Finding::Order(b) => format!("the keys in block {b} are not in order"),
        Finding::Data(b, layer, at) => {
            format!("block {b} is corrupt: 4 KiB of data at {} KiB of layer {layer}", at * 4)
        }
        Finding::Twice(b) => format!("block {b} is used twice"),
        Finding::InUseButFree(b) => format!("block {b} is in use, but the space map calls it free"),
        Finding::Leaked(b) => format!("block {b} is free, but the space map calls it used"),
        Finding::Orphan(layer) => format!("layer {layer} has data, but is not in the catalog"),
        Finding::Dangling(id) => format!("catalog entry {id} names a layer that is not there"),
        Finding::FreeCount(g) => format!("group {g} counts its free blocks wrong"),
    }
}

fn inspect(path: &Path, options: CheckOptions) -> Result<ExitCode> {
    let mut port = table::open(path, options.repair)?;
    let mut told = 0u64;
    let summary = run(check(&mut port, options, &mut |finding| {
        told += 1;
        if told <= 100 {
            println!("{}", explain(finding));
        }
    }))?;
    if told > 100 {
        println!("… and {} more", told - 100);
    }
    let (data, metadata, free) = (mib(summary.data), mib(summary.metadata), mib(summary.free));
    println!("generation {}: {data} of data, {metadata} of metadata, {free} free", summary.generation);
    if summary.repaired > 0 {
        println!("{} damaged blocks were written anew", summary.repaired);
    }
    if summary.findings == summary.repaired {
        println!("sound");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} findings", summary.findings);
    Ok(ExitCode::FAILURE)
}

fn grow(path: &Path, size: Option<u64>) -> Result<()> {
    if let Some(size) = size {
        ensure!(size >= std::fs::metadata(path)?.len(), "a datastore can't shrink");
        table::prepare(path, Some(size))?;
    }
    with(path, |session| session.change(|store| store.grow()).map(|blocks| println!("{}", mib(blocks))))
}

fn guess(file: &Path, format: Option<String>) -> String {
    format.unwrap_or_else(|| match file.extension().and_then(|e| e.to_str()) {
        Some(known @ ("qcow2" | "vmdk")) => known.into(),
        _ => "raw".into(),
    })
}

fn import(session: &mut Session, path: &Path, name: &str, format: Option<String>) -> Result<()> {
    let format = guess(path, format);
    if let Some(object) = name.strip_prefix("object:") {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let staging = session.change(|store| store.begin_object())?;
        convert::copy_in(session, staging, &mut file, bytes)?;
        let transaction = session.store.begin();
        session.store.put_object(transaction, object, staging, bytes)?;
        return session.change(|store| store.commit_transaction(transaction));
    }
    if format == "raw" {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let volume = session.change(|store| store.create_volume(name, bytes.next_multiple_of(4096) / 512))?;
        return convert::copy_in(session, Target::Volume(volume), &mut file, bytes);
    }
    let bytes = convert::image_size(path)?.next_multiple_of(4096);
    let volume = session.change(|store| store.create_volume(name, bytes / 512))?;
    let source = path.display().to_string();
    let arguments = |url: &str| {
        ["convert", "-p", "-n", "-f", &format, "-O", "raw", &source, url].map(String::from).to_vec()
    };
    convert::with_qemu_img(session, Target::Volume(volume), arguments)
}

fn export(store: &Path, name: &str, path: &Path, format: Option<String>) -> Result<()> {
    let mut session = Session::open(store, false)?;
    let target = session.target(name)?;
    let format = guess(path, format);
    if format == "raw" {
        return convert::copy_out(&mut session, target, path);
    }
    let (kind, options) = match format.as_str() {
        "vmdk-stream" => ("vmdk", "subformat=streamOptimized"),
        "vmdk" => ("vmdk", "subformat=monolithicSparse"),
        _ => ("qcow2", "compat=1.1"),
    };
    let file = path.display().to_string();
    let arguments = |url: &str| {
        ["convert", "-p", "-f", "raw", "-O", kind, "-o", options, url, &file].map(String::from).to_vec()
    };
    convert::with_qemu_img(&mut session, target, arguments)
}

fn send(store: &Path, name: &str, base: Option<&str>, output: Option<&Path>) -> Result<()> {
    let mut session = Session::open(store, false)?;
    let id = |session: &Session, name: &str| match session.target(name)? {
        Target::Snapshot(id) => Ok(id),
        _ => anyhow::bail!("name a snapshot: VOLUME@SNAPSHOT"),
    };
    let to = id(&session, name)?;
    let base = base.map(|base| id(&session, base)).transpose()?;
    let mut out: Box<dyn Write> = match output {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(std::io::stdout().lock()),
    };
    convert::send(&mut session, to, base, &mut out)
}

fn mount(store: &Path, name: &str, socket: &Path, once: bool) -> Result<()> {
    let mut session = Session::open(store, true)?;
    let target = session.target(name)?;
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
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
