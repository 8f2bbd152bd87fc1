//! `bramblectl support-bundle`: the host makes it, and it is written as it comes.

use super::Show;
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::Path;

/// Writes it. One that was cut leaves no file of that name.
pub fn write(show: &Show, file: &Path) -> Result<()> {
    let client = show.client()?;
    let part = file.with_extension("part");
    let mut out = File::create(&part).with_context(|| format!("can't write {}", part.display()))?;
    let written = client.fetch("/api/v1/host/support-bundle", "", &mut out).and_then(|_| Ok(out.sync_all()?));
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&part);
    }
    written?;
    fs::rename(&part, file).with_context(|| format!("can't write {}", file.display()))?;
    eprintln!("{} is written; missing.txt in it names what could not be had", file.display());
    Ok(())
}
