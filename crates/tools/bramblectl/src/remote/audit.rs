//! `bramblectl audit …`: the chain of who did what, and whether it holds.

use super::Show;
use abi::record::AuditRecord;
use anyhow::{Context as _, Result, bail, ensure};
use api::rest::{AuditEntry, AuditPage};
use clap::Subcommand;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Work on a host's audit chain.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Print the entries.
    List,
    /// Write the whole chain to a file, an entry a line.
    Export { file: PathBuf },
    /// Check an exported chain, without a host: inner changes show always, a missing end only against a head kept elsewhere.
    Verify {
        file: PathBuf,
        /// NUMBER:HASH of an entry that was seen elsewhere: in a syslog line, a backup, the web UI.
        #[arg(long)]
        head: Option<String>,
    },
}

impl AuditCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        match self {
            Self::List => {
                for entry in fetch(show)? {
                    if show.json {
                        println!("{}", serde_json::to_string(&entry)?);
                    } else {
                        println!("{} {} {}", entry.number, entry.at, entry.text);
                    }
                }
                Ok(())
            }
            Self::Export { file } => {
                let out = File::create(&file).with_context(|| format!("can't write {}", file.display()))?;
                let mut out = BufWriter::new(out);
                let entries = fetch(show)?;
                for entry in &entries {
                    writeln!(out, "{}", serde_json::to_string(entry)?)?;
                }
                out.flush()?;
                let head = entries.last().map(|entry| format!(", head {}:{}", entry.number, entry.hash));
                println!("{} entries{}", entries.len(), head.unwrap_or_default());
                Ok(())
            }
            Self::Verify { file, head } => verify(&file, head.as_deref()),
        }
    }
}

fn fetch(show: &Show) -> Result<Vec<AuditEntry>> {
    let client = show.client()?;
    let mut all = Vec::new();
    let mut from = 1;
    loop {
        let page: AuditPage =
            serde_json::from_value(client.get(&format!("/api/v1/audit?from={from}&limit=500"))?)?;
        all.extend(page.items);
        match page.next {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}

fn verify(file: &Path, head: Option<&str>) -> Result<()> {
    let input = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
    let mut last: Option<AuditEntry> = None;
    let mut met_head = false;
    for (line, text) in BufReader::new(input).lines().enumerate() {
        let entry: AuditEntry = serde_json::from_str(&text?)
            .with_context(|| format!("line {} is no entry of the chain", line + 1))?;
        check(&entry, last.as_ref())?;
        met_head |= head == Some(format!("{}:{}", entry.number, entry.hash).as_str());
        last = Some(entry);
    }
    let last = last.with_context(|| format!("{} has no entries", file.display()))?;
    if let Some(head) = head {
        ensure!(met_head, "the chain does not have {head}: it was cut or exchanged since that was seen");
    }
    println!("the chain holds: {} entries, head {}:{}", last.number, last.number, last.hash);
    if head.is_none() {
        println!("whether its end is missing can't be known without --head");
    }
    Ok(())
}

fn check(entry: &AuditEntry, before: Option<&AuditEntry>) -> Result<()> {
    let number = entry.number;
    let (expected, hash_before) = match before {
        Some(before) => (before.number + 1, before.hash.clone()),
        None => (1, "0".repeat(64)),
    };
    ensure!(number == expected, "entry {expected} is missing: {number} comes in its place");
    ensure!(
        entry.before == hash_before,
        "entry {number} does not follow entry {}: one of them was changed",
        number - 1
    );
    let record = AuditRecord {
        number,
        unix_seconds: entry.at,
        uptime: entry.uptime_ns,
        generation: entry.generation,
        text_bytes: u32::try_from(entry.text.len())?,
        before: bytes(&entry.before)?,
        hash: [0; 32],
    };
    let head = record.to_bytes();
    let hash =
        Sha256::new().chain_update(&head[..AuditRecord::BYTES - 32]).chain_update(&entry.text).finalize();
    ensure!(hash[..] == bytes(&entry.hash)?, "entry {number} was changed: its hash is another");
    Ok(())
}

fn bytes(hex: &str) -> Result<[u8; 32]> {
    let pairs: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    match pairs.and_then(|pairs| pairs.try_into().ok()) {
        Some(bytes) => Ok(bytes),
        None => bail!("{hex} is no SHA-256"),
    }
}
