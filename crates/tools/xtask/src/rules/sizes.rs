//! Rule `sizes`: files have at most 600 lines (400 wanted), exceptions are flat tables listed by name. (Clippy counts
//! the lines of functions.)

use super::{list, read, rust_files};
use anyhow::Result;
use std::path::Path;

const EXCEPTIONS: &str = "docs/rules/size-exceptions.txt";
const HARD: usize = 600;
const SOFT: usize = 400;

/// Files over the hard limit that no exception names, and exceptions for nothing.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let exceptions = read(root, EXCEPTIONS)?;
    let mut faults = Vec::new();
    let lengths = lengths(root)?;
    for (file, lines) in &lengths {
        if *lines > HARD && !list(&exceptions).any(|(name, _)| name == file) {
            faults.push(format!("{file} has {lines} lines, the limit is {HARD}"));
        }
    }
    for (name, reason) in list(&exceptions) {
        if !lengths.iter().any(|(file, lines)| file == name && *lines > HARD) {
            faults.push(format!("{EXCEPTIONS}: {name} needs no exception"));
        }
        if reason.is_empty() {
            faults.push(format!("{EXCEPTIONS}: {name} has no reason"));
        }
    }
    Ok(faults)
}

/// Files over the wanted length, longest first.
pub fn over_soft_limit(root: &Path) -> Result<Vec<(String, usize)>> {
    let mut long: Vec<_> = lengths(root)?.into_iter().filter(|(_, lines)| *lines > SOFT).collect();
    long.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    Ok(long)
}

fn lengths(root: &Path) -> Result<Vec<(String, usize)>> {
    let files = rust_files(root)?;
    files
        .into_iter()
        .map(|file| Ok((file.display().to_string(), read(root, &file)?.lines().count())))
        .collect()
}
