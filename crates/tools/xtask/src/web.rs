//! Builds the web UI (`web/`) by npm and Vite, and packs it for hostd.
//!
//! What npm fetches comes from the registry that this machine is set to, and stays under `web/node_modules` and
//! `target/npm`.

use crate::install::{self, Need};
use crate::run::{command, quiet, step};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{fs, io};
use system::Artifacts;

/// What the build needs.
const NEEDS: &[Need] = &[("node", "nodejs"), ("npm", "npm")];
/// The oldest node that its tools run on.
const NODE_WANTED: u32 = 18;
/// What is not a source.
const MADE: &[&str] = &["node_modules", "dist", "e2e", "test-results"];

/// The folder of its sources.
pub fn folder(at: &Artifacts) -> PathBuf {
    at.root().join("web")
}

/// Builds and packs it where it is older than its sources; returns the pack.
pub fn pack(at: &Artifacts) -> Result<PathBuf> {
    let pack = at.web();
    // The client's types are made of the API's description.
    let description = at.root().join("crates/models/management/src/openapi.json");
    let newest = newest(&folder(at))?.max(fs::metadata(&description).and_then(|file| file.modified())?);
    if fs::metadata(&pack).and_then(|file| file.modified()).is_ok_and(|made| made > newest) {
        return Ok(pack);
    }
    modules(at)?;
    step("build the web UI", || {
        quiet(npm(at).args(["run", "build"]))?;
        fs::create_dir_all(at.out())?;
        let script = folder(at).join("scripts/pack.mjs");
        quiet(&mut command("node", [&script, &folder(at).join("dist"), &pack]))?;
        Ok(pack)
    })
}

/// Fetches what the lock file names, where that is not there yet.
pub fn modules(at: &Artifacts) -> Result<()> {
    install::programs(NEEDS)?;
    let version = quiet(&mut command("node", ["--version"]))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE_WANTED),
        "node is {}, and the web UI's tools need {NODE_WANTED}: remove it, and Debian's is installed",
        version.trim()
    );
    let modified = |path: &str| fs::metadata(folder(at).join(path)).and_then(|file| file.modified());
    // npm writes the former when it is done.
    let (done, wanted) = (modified("node_modules/.package-lock.json"), modified("package-lock.json"));
    if done.is_ok_and(|done| wanted.is_ok_and(|wanted| done >= wanted)) {
        return Ok(());
    }
    step("fetch what the web UI is built of (about 1 minute)", || {
        quiet(npm(at).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])).map(|_| ())
    })
}

/// npm in `web/`, its cache under `target/`.
pub fn npm(at: &Artifacts) -> Command {
    let mut npm = command("npm", [""; 0]);
    npm.current_dir(folder(at)).env("npm_config_cache", at.root().join("target/npm"));
    npm.env("npm_config_update_notifier", "false");
    npm
}

/// When the newest of the sources was changed.
fn newest(folder: &Path) -> Result<SystemTime> {
    let mut newest = modified(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        let path = entry.path();
        newest = newest.max(if path.is_dir() { self::newest(&path)? } else { modified(&path)? });
    }
    Ok(newest)
}

fn modified(path: &Path) -> Result<SystemTime> {
    let time: io::Result<SystemTime> = fs::metadata(path).and_then(|file| file.modified());
    time.with_context(|| format!("can't read {}", path.display()))
}
