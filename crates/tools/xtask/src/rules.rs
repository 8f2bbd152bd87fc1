//! The rules of the house that a program can check: one test each in `./bramble test`, see docs/rules.
//!
//! Each check returns what breaks it, a line per fault; none means that it holds.

pub mod floors;
pub mod journeys;
pub mod licences;
pub mod opcodes;
pub mod rust_text;
pub mod sizes;
pub mod unsafe_budget;

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of ours, as paths from the root of the checkout.
pub fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["crates", "tests", "fuzz"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    Ok(files.iter().filter_map(|file| file.strip_prefix(root).ok().map(Path::to_owned)).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads a file of the checkout.
pub fn read(root: &Path, path: impl AsRef<Path>) -> Result<String> {
    let path = root.join(path);
    fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
}

/// The lines of a list file: `name rest`, without comments and blank lines.
pub fn list(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()))
    })
}
