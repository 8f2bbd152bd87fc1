//! The stage `api`: schemathesis asks hostd on this machine what its description allows, and what it does not.

use super::Run;
use crate::run::{command, has, quiet};
use anyhow::Result;
use std::path::PathBuf;
use system::Artifacts;

/// The version that is known to agree with us on what OpenAPI means.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// What it is asked for. Values that a schema allows and a rule refuses (a name that is taken, a disk that is not there)
/// are no fault: `positive_data_acceptance`.
const OPTIONS: &str = "--phases coverage,fuzzing --seed 1 --generation-deterministic --exclude-checks positive_data_acceptance \
     --warnings off";

/// Runs it.
pub fn api(run: &mut Run<'_>) -> Result<()> {
    let schemathesis = match installed(run.at) {
        Ok(program) => program,
        Err(error) => {
            run.tally.skipped("schemathesis", &format!("can't be installed from PyPI: {error:#}"));
            return Ok(());
        }
    };
    let mut build = run.cargo();
    let root = run.at.root().to_owned();
    let (seconds, examples) = if run.options.long { ("900", "200") } else { ("40", "4") };
    run.work("schemathesis", || {
        quiet(build.args(["build", "--quiet", "--package", "hostd-pc"]))?;
        let paths = [root.join("tests/schemathesis/run.py"), root.join("target/debug/hostd-pc")];
        let mut python = command("python3", paths);
        python.arg(schemathesis).args(OPTIONS.split_whitespace());
        // What it remembers of its runs lies there.
        python
            .args(["--max-time", seconds, "--max-examples", examples])
            .current_dir(root.join("target/schemathesis"));
        quiet(&mut python).map(|_| ())
    });
    Ok(())
}

/// The program, in an environment of its own under `target/`; installed where it is missing.
fn installed(at: &Artifacts) -> Result<PathBuf> {
    anyhow::ensure!(has("python3"), "there is no python3");
    let folder = at.root().join("target/schemathesis/venv");
    let program = folder.join("bin/schemathesis");
    if !program.is_file() {
        quiet(command("python3", ["-m", "venv"]).arg(&folder))?;
        let pip = folder.join("bin/pip").display().to_string();
        quiet(&mut command(&pip, ["install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS]))?;
    }
    Ok(program)
}
