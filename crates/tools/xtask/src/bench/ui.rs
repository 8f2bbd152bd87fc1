//! `./bramble bench ui`: what the web UI costs to load and to use.

use super::Figures;
use super::rows::{self, Row};
use crate::browser::Browser;
use crate::build;
use crate::run::{quiet, step};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use system::Artifacts;

/// Rows: name, unit, target.
const ROWS: [(&str, &str, f64); 4] = [
    ("login_kb", "kB", 60.0),
    ("dashboard_kb", "kB", 250.0),
    ("clicks_to_prompt", "clicks", 8.0),
    ("image_mb", "MB", 6.0),
];

/// Measures and prints the table.
pub fn bench(at: &Artifacts, as_json: bool) -> Result<ExitCode> {
    let image = fs::metadata(build::image(at)?)?.len();
    let browser = Browser::ready(at)?;
    let file = at.out().join("ui/figures.json");
    step("measure in a browser", || {
        quiet(browser.task("figures").env("BRAMBLE_FIGURES", &file)).map(|_| ())
    })?;
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let mut figures: Figures = serde_json::from_str(&text)?;
    // Millionths of it do not count.
    figures.insert("image_mb".into(), f64::from(u32::try_from(image / 1000)?) / 1000.0);
    let rows: Vec<Row> =
        ROWS.map(|(name, unit, target)| Row { name: name.to_owned(), unit, target: Some(target) }).into();
    rows::print(&rows, &figures, &BTreeMap::new(), as_json);
    Ok(ExitCode::SUCCESS)
}
