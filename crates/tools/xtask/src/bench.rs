//! `./bramble bench`: path lengths in executed instructions, beside the suite's KVM and Xen.
//!
//! The same guest runs everywhere, at one instruction per nanosecond of virtual time (`-icount shift=0`, a counter of
//! 1 GHz). This is a length of paths: caches, TLBs and barriers cost nothing here.

mod datastore;
mod host;
mod kvm;
mod ours;
mod pi;
mod rows;
mod ui;
mod xen;

use crate::guests::Guests;
use crate::run::step;
use crate::{build, install};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use system::{Artifacts, Board, MachineConfig};

/// What to measure.
#[derive(Args, Clone)]
pub struct BenchOptions {
    /// What is measured.
    #[arg(value_enum, default_value_t = Subject::Bramble)]
    subject: Subject,
    /// Leave the peers out.
    #[arg(long)]
    ours: bool,
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    datastore: datastore::DatastoreOptions,
}

/// What can be measured.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// Exits, interrupts, memory.
    Bramble,
    /// Managing a host: its memory, its API, a VM's start.
    Host,
    /// The drivers of a Raspberry Pi 4.
    Pi,
    /// The datastore beside qemu-img on qcow2 and raw, natively.
    Datastore,
    /// The web UI: bytes to load it, clicks to a new guest's prompt.
    Ui,
}

/// Figures by row.
pub type Figures = BTreeMap<String, f64>;

/// Measures and prints the table.
pub fn bench(at: &Artifacts, options: &BenchOptions) -> Result<ExitCode> {
    if options.subject == Subject::Host {
        return host::bench(at, options.json);
    }
    if options.subject == Subject::Pi {
        return pi::bench(at, options.json);
    }
    if options.subject == Subject::Datastore {
        return datastore::bench(at, &options.datastore, options.json);
    }
    if options.subject == Subject::Ui {
        return ui::bench(at, options.json);
    }
    install::ensure(at, if options.ours { &[] } else { install::FOR_PEERS })?;
    build::test_guests(at)?;
    build::image(at)?;
    let guests = Guests::open(at)?;
    guests.small()?;
    let bramble = ours::measure(at)?;
    let mut peers = BTreeMap::new();
    if !options.ours {
        peers.insert("KVM", peer("KVM", || kvm::measure(at, &guests)));
        peers.insert("Xen", peer("Xen", || xen::measure(at, &guests)));
    }
    rows::print(&rows::rows(), &bramble, &peers, options.json);
    if !options.json {
        println!(
            "Each entry from a guest has 27 instructions, in its target too, that overwrite the branch history."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A peer that can't be measured leaves its column empty, and says why.
fn peer(name: &str, measure: impl FnOnce() -> Result<Figures>) -> Figures {
    match step(&format!("measure {name}"), measure) {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("bramble: {name} is left out: {error:#}");
            Figures::new()
        }
    }
}

/// A `virt` machine that counts instructions, entering `image`.
fn machine(board: Board, image: &Path, log: &Path) -> MachineConfig {
    let mut config = MachineConfig::new(board, image, log);
    config.cpus = 1;
    config.memory_mib = 1024;
    config.cpu = String::from("cortex-a72,cntfrq=1000000000");
    config.icount = true;
    config
}

/// The lines `BENCH <operation> n=<count> ns/op=<figure>` of a guest, whatever stands before them.
fn figures(text: &str) -> Figures {
    let figure = |line: &str| {
        let mut words = line.split_once("BENCH ")?.1.split_whitespace();
        let name = words.next()?.to_owned();
        let value = words.find_map(|word| word.strip_prefix("ns/op="))?.parse().ok()?;
        Some((name, value))
    };
    text.lines().filter_map(figure).collect()
}

/// The figures with the name of a variant.
fn variant(figures: Figures, variant: &str) -> Figures {
    figures.into_iter().map(|(name, value)| (format!("{name}@{variant}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_hosts_are_read() {
        let text =
            "bench| BENCH hvc n=4096 ns/op=120.0\r\n(XEN) DOM1: BENCH sgi n=1 ns/op=7.5 EXC=1\nBENCH x\n";
        let read = variant(figures(text), "gicv2");
        assert_eq!(read.len(), 2);
        assert_eq!(read["hvc@gicv2"], 120.0);
        assert_eq!(read["sgi@gicv2"], 7.5);
    }
}
