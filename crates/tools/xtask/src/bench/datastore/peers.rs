//! The peers: `qemu-img bench` on an image, and valgrind's count of instructions.

use super::Work;
use crate::run::{command, quiet};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// An image of qemu's; the file goes with it.
pub struct QemuImg {
    path: PathBuf,
    format: &'static str,
}

impl Drop for QemuImg {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

impl QemuImg {
    /// A new image.
    pub fn create(path: PathBuf, format: &'static str, options: &[&str], mib: u64) -> Result<Self> {
        let image = Self { path, format };
        let mut create = command("qemu-img", ["create", "-q", "-f", format]);
        quiet(create.args(options).arg(&image.path).arg(format!("{mib}M")))?;
        Ok(image)
    }

    /// Operations per second.
    pub fn bench(&self, work: Work) -> Result<f64> {
        // It wants no more requests in flight than there are between two flushes.
        let depth = if work.flush_every > 0 { work.flush_every.min(32) } else { 32 };
        let mut bench = command("qemu-img", ["bench", "-f", self.format, "-d", &depth.to_string()]);
        bench.args(["-c", &work.count.to_string(), "-s", &work.bytes.to_string()]);
        bench.args(["-S", &work.step.to_string()]);
        if work.write {
            bench.arg("-w");
        }
        if work.flush_every > 0 {
            bench.args(["--flush-interval", &work.flush_every.to_string()]);
        }
        let text = quiet(bench.arg(&self.path))?;
        let seconds = text.split("completed in ").nth(1).and_then(|rest| rest.split(' ').next());
        let seconds: f64 = seconds.and_then(|s| s.parse().ok()).context("qemu-img bench printed no time")?;
        #[allow(clippy::cast_precision_loss)]
        let count = work.count as f64;
        Ok(count / seconds)
    }

    /// Makes (`-c`) or deletes (`-d`) the one snapshot.
    pub fn snapshot(&self, verb: &str) -> Result<()> {
        quiet(command("qemu-img", ["snapshot", verb, "amid"]).arg(&self.path)).map(drop)
    }
}

/// Instructions of a whole run of the tool.
pub fn instructions(tool: &Path, store: &Path, what: &str, arguments: &[String]) -> Result<f64> {
    let mut grind = command("valgrind", ["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    grind.arg(tool).args(["datastore", "measure"]).arg(store).args(["bench", what]).args(arguments);
    let output = grind.output().context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = text.split("Collected :").nth(1).and_then(|rest| rest.split_whitespace().next());
    collected.and_then(|n| n.parse().ok()).with_context(|| format!("callgrind counted nothing:\n{text}"))
}
