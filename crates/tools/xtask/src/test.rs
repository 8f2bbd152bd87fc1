//! `./bramble test`: every test of the project, in stages; what CI runs.

mod api;
mod libtest;
mod stages;
mod tally;
mod ui;

use crate::run::seconds;
use crate::{build, install, rules};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;
use std::time::Instant;
use system::Artifacts;
use tally::Tally;

/// What to test.
#[derive(Args, Clone)]
pub struct TestOptions {
    /// Large counts: more cases, longer fuzzing.
    #[arg(long)]
    pub long: bool,
    /// Only these stages, with commas between them (`./bramble test --list` names them).
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Name the stages.
    #[arg(long)]
    pub list: bool,
    /// Only tests with this in their name, in the stages that have many.
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write the files that today's sources are compared with (the unsafe budget) anew, and test nothing.
    #[arg(long)]
    pub bless: bool,
}

/// What a stage works with.
pub struct Run<'a> {
    at: &'a Artifacts,
    options: &'a TestOptions,
    tally: Tally,
}

/// Runs the stages and prints their outcome.
pub fn test(at: &Artifacts, options: &TestOptions) -> Result<ExitCode> {
    if options.list {
        for stage in stages::ALL {
            println!("{:<12} {}", stage.name, stage.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.bless {
        rules::unsafe_budget::bless(at.root())?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in &options.only {
        anyhow::ensure!(stages::ALL.iter().any(|stage| stage.name == name), "no stage {name:?}, see --list");
    }
    install::ensure(at, install::FOR_TEST)?;
    let mut run = Run { at, options, tally: Tally::default() };
    for stage in stages::ALL {
        if options.only.is_empty() || options.only.iter().any(|name| name == stage.name) {
            run.stage(stage);
        }
    }
    run.tally.print(options.json);
    Ok(if run.tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run<'_> {
    fn stage(&mut self, stage: &stages::Stage) {
        eprintln!("== {}: {}", stage.name, stage.what);
        let start = Instant::now();
        self.tally.enter(stage.name);
        if let Err(error) = (stage.run)(self) {
            self.tally.failed("(the stage itself)", start.elapsed(), &format!("{error:#}"));
        }
        let time = start.elapsed();
        self.tally.stage_took(time);
        eprintln!("== {}: {}", stage.name, seconds(time));
    }

    /// Counts one check that says what is wrong, a line each.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Vec<String>>) {
        let start = Instant::now();
        match check() {
            Ok(faults) if faults.is_empty() => self.tally.passed(name, start.elapsed()),
            Ok(faults) => self.tally.failed(name, start.elapsed(), &faults.join("\n")),
            Err(error) => self.tally.failed(name, start.elapsed(), &format!("{error:#}")),
        }
    }

    /// Counts one piece of work that succeeds or not.
    fn work(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        self.check(name, || work().map(|()| Vec::new()));
    }

    fn cargo(&self) -> std::process::Command {
        build::cargo(self.at)
    }
}
