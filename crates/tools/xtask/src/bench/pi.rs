//! `./bramble bench pi`: the Pi's drivers at EL2, in instructions.
//!
//! QEMU has no GENET, and its SD controllers cost what its own model costs, so the shipped drivers run over `el2`'s own
//! DMA against registers that answer at once (`crates/el2/bramble/src/bin/bench-pi`): a load or store is some ten
//! instructions there and a handful on a board. Maintenance of caches is counted as it is on a board, two instructions a
//! line of 64 bytes and pass; for 128 KiB it has a row of its own, since no driver can shorten it.

use super::rows::{self, Row};
use super::{figures, machine};
use crate::build;
use crate::install;
use crate::run::step;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use system::{Artifacts, Board, Machine};

/// Wall time until a run is given up.
const LIMIT: Duration = Duration::from_secs(120);

/// Rows and their targets.
const ROWS: [(&str, Option<f64>); 7] = [
    ("sd_read_4k", Some(1500.0)),
    ("sd_write_4k", Some(1500.0)),
    ("sd_read_128k", Some(4000.0)),
    ("sd_read_128k_caches", None),
    ("genet_frame_tx", Some(600.0)),
    ("genet_frame_rx", Some(600.0)),
    ("genet_frame_copy", None),
];

/// Measures and prints the table; fails when a target is missed.
pub fn bench(at: &Artifacts, as_json: bool) -> Result<ExitCode> {
    install::ensure(at, &[])?;
    let image = build::bench_pi(at)?;
    let config = machine(Board::VirtGicv2, &image, &at.run().join("bench-pi.log"));
    let figures = step("measure the Pi's drivers", || {
        let mut machine = Machine::start(&config)?;
        machine.expect("TESTS DONE", LIMIT)?;
        Ok(figures(&machine.text()))
    })?;
    let rows = ROWS.map(|(name, target)| Row { name: name.to_owned(), unit: "instructions", target });
    rows::print(&rows, &figures, &BTreeMap::new(), as_json);
    for row in &rows {
        ensure!(figures.contains_key(&row.name), "{} was not measured", row.name);
    }
    let missed = rows.iter().any(|row| row.target.is_some_and(|target| figures[&row.name] > target));
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
