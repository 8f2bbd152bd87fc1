//! `./bramble sim`: models under deterministic simulation, as long as one likes. Today there is one: the datastore.

use crate::build;
use crate::run::{quiet, shown};
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use system::Artifacts;

/// A model with a simulator.
#[derive(Clone, Copy, ValueEnum)]
enum Model {
    /// Power cuts at every write, and a disk that tears, reorders, loses, misdirects, fails and rots.
    Datastore,
}

/// What to simulate.
#[derive(Args, Clone)]
pub struct SimOptions {
    /// The model.
    model: Model,
    /// One seed gives one run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Power cuts, each followed by a mount and a comparison of everything.
    #[arg(long, default_value_t = 100_000)]
    cuts: u64,
    /// Threads [default: one per core].
    #[arg(long)]
    threads: Option<u64>,
    /// Only this life, as a finding names it.
    #[arg(long)]
    life: Option<u64>,
    /// Plant a defect: RootUnflushed, ReusedEarly, LogBelieved, FlushAhead, TornTransaction or ReadUnchecked.
    #[arg(long)]
    defect: Option<String>,
}

/// The datastore's simulator, built.
pub fn datastore(at: &Artifacts) -> Result<Command> {
    let package = ["--package", "datastore", "--features", "sim", "--bin", "datastore-sim"];
    quiet(build::cargo(at).args(["build", "--quiet", "--release"]).args(package))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| at.root().join("target"), PathBuf::from);
    Ok(Command::new(target.join("release/datastore-sim")))
}

/// Runs the simulator, its report shown as it comes.
pub fn sim(at: &Artifacts, options: &SimOptions) -> Result<ExitCode> {
    let Model::Datastore = options.model;
    let mut command = datastore(at)?;
    command.args(["--seed", &options.seed.to_string(), "--cuts", &options.cuts.to_string()]);
    let numbers = [("--threads", options.threads), ("--life", options.life)];
    for (name, value) in numbers {
        command.args(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }
    if let Some(defect) = &options.defect {
        command.args(["--defect", defect]);
    }
    shown(&mut command).map(|()| ExitCode::SUCCESS)
}
