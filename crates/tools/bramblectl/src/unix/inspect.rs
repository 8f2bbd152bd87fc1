//! Looking at a datastore: its size, what is in it, and whether it is sound. For people, or as JSON.

use super::session::Session;
use super::table;
use anyhow::Result;
use datastore::{Catalog, CheckOptions, Entry, Finding, Target, check, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub fn mib(blocks: u64) -> String {
    format!("{:.1} MiB", blocks as f64 / 256.0)
}

pub fn info(path: &Path, as_json: bool) -> Result<()> {
    let session = Session::open(path, false)?;
    let usage = session.store.usage();
    let uuid = uuid::Uuid::from_bytes(session.store.uuid()).to_string();
    let (entries, settled) = (session.store.catalog().len(), session.store.is_settled());
    if as_json {
        let (bytes, available) = (usage.total * 4096, usage.available * 4096);
        let log = if settled { "empty" } else { "holds_changes" };
        println!(
            "{}",
            json!({"uuid": uuid, "bytes": bytes, "available": available, "entries": entries, "log": log})
        );
        return Ok(());
    }
    println!("uuid       {uuid}");
    println!("size       {}", mib(usage.total));
    println!("available  {}", mib(usage.available));
    println!("entries    {entries}");
    println!("log        {}", if settled { "empty" } else { "holds changes (replayed at mount)" });
    Ok(())
}

pub fn list(path: &Path, as_json: bool) -> Result<()> {
    let mut session = Session::open(path, false)?;
    let catalog = session.store.catalog();
    let lines: Vec<Line> = catalog.iter().filter_map(|(id, entry)| line(catalog, id, entry)).collect();
    let mut items = Vec::new();
    if !as_json {
        println!("{:<9} {:>14} {:>14}  name", "kind", "size", "exclusive");
    }
    for Line { kind, target, bytes, name } in lines {
        // What two clones share is counted for neither.
        let exclusive = session.exclusive(target)?;
        if as_json {
            items.push(json!({"kind": kind, "bytes": bytes, "exclusive": exclusive * 4096, "name": name}));
            continue;
        }
        let size = if kind == "object" { format!("{bytes} B") } else { mib(bytes / 4096) };
        println!("{kind:<9} {size:>14} {:>14}  {name}", mib(exclusive));
    }
    if as_json {
        println!("{}", Value::from(items));
    }
    Ok(())
}

/// What is listed of an entry; the name is what commands take.
struct Line {
    kind: &'static str,
    target: Target,
    bytes: u64,
    name: String,
}

fn line(catalog: &Catalog, id: u64, entry: &Entry) -> Option<Line> {
    let (kind, target, bytes, name) = match entry {
        Entry::Layer { .. } => return None,
        Entry::Volume { name, sectors, .. } => ("volume", Target::Volume(id), sectors * 512, name.clone()),
        Entry::Snapshot { name, volume, sectors, .. } => {
            let of = match catalog.get(*volume) {
                Some(Entry::Volume { name, .. }) => name.clone(),
                _ => format!("(deleted {volume})"),
            };
            ("snapshot", Target::Snapshot(id), sectors * 512, format!("{of}@{name}"))
        }
        Entry::Object { name, bytes, .. } => ("object", Target::Object(id), *bytes, format!("object:{name}")),
    };
    Some(Line { kind, target, bytes, name })
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

pub fn inspect(path: &Path, options: CheckOptions, as_json: bool) -> Result<ExitCode> {
    let mut port = table::open(path, options.repair)?;
    let mut told = Vec::new();
    let mut more = 0u64;
    let summary = run(check(&mut port, options, &mut |finding| {
        if told.len() == 100 {
            more += 1;
        } else {
            told.push(explain(finding));
        }
    }))?;
    let is_sound = summary.findings == summary.repaired;
    let code = if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if as_json {
        let (data, metadata, free) = (summary.data * 4096, summary.metadata * 4096, summary.free * 4096);
        println!(
            "{}",
            json!({"sound": is_sound, "generation": summary.generation, "data": data, "metadata": metadata, "free": free,
                   "findings": summary.findings, "repaired": summary.repaired, "what": told})
        );
        return Ok(code);
    }
    told.iter().for_each(|what| println!("{what}"));
    if more > 0 {
        println!("… and {more} more");
    }
    let (data, metadata, free) = (mib(summary.data), mib(summary.metadata), mib(summary.free));
    println!("generation {}: {data} of data, {metadata} of metadata, {free} free", summary.generation);
    if summary.repaired > 0 {
        println!("{} damaged blocks were written anew", summary.repaired);
    }
    if is_sound {
        println!("sound");
    } else {
        println!("{} findings", summary.findings);
    }
    Ok(code)
}
