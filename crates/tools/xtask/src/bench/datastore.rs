//! `./bramble bench datastore`: the datastore beside `qemu-img bench` on qcow2 and raw, on a file and on a RAM disk.
//!
//! Both sides run natively, in turn; a ratio is one of medians. `qemu-img bench` has no random mode: both sides step by
//! 224,737 blocks of 4 KiB. Both go through the host's page cache, as `qemu-img bench` does by default.

mod peers;
mod table;

use crate::build;
use crate::run::{command, has, quiet, step};
use anyhow::{Context, Result, ensure};
use peers::QemuImg;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use system::Artifacts;
use table::{Row, print};

/// Steps through an image like a random mode would.
const SCATTER: u64 = 920_522_752;
const RUNS: usize = 5;

/// What to measure.
#[derive(clap::Args, Clone)]
pub struct DatastoreOptions {
    /// Datastore: MiB of the image on each side.
    #[arg(long, default_value_t = 4096)]
    size: u64,
    /// Datastore: requests of a scattered run.
    #[arg(long, default_value_t = 65536)]
    count: u64,
    /// Datastore: folder of the file [default: target/bramble/bench].
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Datastore: folder of the RAM disk.
    #[arg(long, default_value = "/dev/shm")]
    ram: PathBuf,
}

/// A store with a volume, in a file.
struct Ours {
    tool: PathBuf,
    store: PathBuf,
}

/// One run's figures.
type Figures = serde_json::Value;

impl Ours {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let (verb, rest) = arguments.split_first().context("a verb")?;
        let store = self.store.display().to_string();
        quiet(&mut command(&self.tool.display().to_string(), ["datastore", verb, &store].iter().chain(rest)))
    }

    /// All blocks of a file are there, as a partition has them: allocating them is the file system's time, not the store's.
    /// In pieces as the peers' images are filled: the page cache's folios, and what a write to one costs, follow them.
    fn lay_out(store: &Path, mib: u64) -> Result<()> {
        let mut file = std::fs::File::create(store)?;
        for _ in 0..8 * mib {
            std::io::Write::write_all(&mut file, &[0; 128 << 10])?;
        }
        Ok(file.sync_all()?)
    }

    /// A store of `all` MiB with a volume of `mib`.
    fn create(tool: &Path, store: PathBuf, all: u64, mib: u64) -> Result<Self> {
        let ours = Self { tool: tool.to_owned(), store };
        ours.run(&["create", "--force", "--size", &format!("{all}M")])?;
        ours.run(&["volume", "bench", &format!("{mib}M")])?;
        Ok(ours)
    }

    fn measure(&self, volume: &str, what: &str, arguments: &[String]) -> Result<Figures> {
        let mut all = vec!["measure", volume, what];
        all.extend(arguments.iter().map(String::as_str));
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }
}

fn number(figures: &Figures, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or(f64::NAN)
}

fn per_second(figures: &Figures) -> f64 {
    number(figures, "ops") / number(figures, "seconds")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A workload in the words of both sides.
#[derive(Clone, Copy)]
struct Work {
    write: bool,
    bytes: u64,
    step: u64,
    count: u64,
    flush_every: u64,
}

impl Work {
    fn arguments(self) -> Vec<String> {
        let fields = [
            ("--bytes", self.bytes),
            ("--step", self.step),
            ("--count", self.count),
            ("--flush-every", self.flush_every),
        ];
        fields.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect()
    }
}

/// A PC's tool gathers more changes before a checkpoint than `datastore::Options::default()`; what is written below is
/// counted with the latter.
fn by_default() -> Vec<String> {
    vec![String::from("--generation"), String::from("8192")]
}

/// Both sides in turn; (ours, theirs) in operations per second. Each begins when nothing waits to be written: ours ends
/// its runs so, `qemu-img bench` leaves all to the kernel, which then slows down whoever writes next.
fn duel(
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let settle = || quiet(&mut command("sync", [""; 0]));
    for _ in 0..RUNS {
        settle()?;
        a.push(ours()?);
        settle()?;
        b.push(theirs()?);
    }
    Ok((median(a), median(b)))
}

struct Bench<'a> {
    options: &'a DatastoreOptions,
    tool: PathBuf,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// Keeps a row, and shows it: the whole takes minutes.
    fn push(&mut self, row: Row) {
        eprintln!("bramble: {}", row.line());
        self.rows.push(row);
    }

    fn scattered(&self, write: bool) -> Work {
        Work { write, bytes: 4096, step: SCATTER, count: self.options.count, flush_every: 0 }
    }

    fn sequential(&self, write: bool, bytes: u64) -> Work {
        let count = (self.options.size << 20) / bytes;
        let count = if bytes == 4096 { count.min(self.options.count) } else { count };
        Work { write, bytes, step: bytes, count, flush_every: 0 }
    }

    fn run(&self, ours: &Ours, work: Work) -> Result<f64> {
        let what = if work.write { "write" } else { "read" };
        Ok(per_second(&ours.measure("bench", what, &work.arguments())?))
    }

    fn versus(&mut self, name: &str, place: &str, target: Option<f64>, peer: &'static str, both: (f64, f64)) {
        self.push(Row::ratio(name, place, target, peer, both));
    }

    /// The rows that compare, on one medium.
    fn compare(&mut self, place: &'static str, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mib = self.options.size;
        let fill = self.sequential(true, 128 << 10);
        // Room for the volume and a whole pass over it, as a disk has that is half full.
        let (store, all) = (folder.join("bramble-bench.store"), 2 * mib + mib / 8 + 64);
        Ours::lay_out(&store, all)?;
        let ours = Ours::create(&self.tool, store, all, mib)?;
        // Twice: the first pass takes one part of the store's blocks, the second the others.
        for _ in 0..2 {
            self.run(&ours, fill)?;
        }
        let raw = QemuImg::create(folder.join("bramble-bench.raw"), "raw", &[], mib)?;
        raw.bench(fill)?;
        for (name, write) in [("seq_read_128k_vs_raw", false), ("seq_write_128k_vs_raw", true)] {
            let work = self.sequential(write, 128 << 10);
            let both = duel(|| self.run(&ours, work), || raw.bench(work))?;
            self.versus(name, place, Some(0.8), "raw", both);
        }
        let work = self.scattered(true);
        let both = duel(|| self.run(&ours, work), || raw.bench(work))?;
        self.versus("rand_write_4k_vs_raw", place, None, "raw", both);
        drop(raw);
        let qcow2 = QemuImg::create(folder.join("bramble-bench.qcow2"), "qcow2", &[], mib)?;
        qcow2.bench(fill)?;
        self.against_qcow2(place, &ours, &qcow2)?;
        self.after_snapshots(place, &ours, &qcow2)?;
        drop(qcow2);
        self.first_writes(place, folder, &ours)?;
        std::fs::remove_file(&ours.store)?;
        Ok(())
    }

    fn against_qcow2(&mut self, place: &'static str, ours: &Ours, qcow2: &QemuImg) -> Result<()> {
        let flushes = Work { count: 1000, flush_every: 1, ..self.scattered(true) };
        let works = [
            ("rand_write_4k_vs_qcow2", self.scattered(true), Some(1.0)),
            ("rand_read_4k_vs_qcow2", self.scattered(false), None),
            ("seq_write_4k_vs_qcow2", self.sequential(true, 4096), None),
            ("seq_read_4k_vs_qcow2", self.sequential(false, 4096), None),
            ("flush_write_4k_vs_qcow2", flushes, None),
        ];
        for (name, work, target) in works {
            let both = duel(|| self.run(ours, work), || qcow2.bench(work))?;
            self.versus(name, place, target, "qcow2", both);
        }
        Ok(())
    }

    fn after_snapshots(&mut self, place: &'static str, ours: &Ours, qcow2: &QemuImg) -> Result<()> {
        let work = Work { count: self.options.count / 4, ..self.scattered(true) };
        let fresh = || {
            ours.run_named("snapshot", "bench@amid")?;
            let speed = self.run(ours, work)?;
            ours.run_named("delete", "bench@amid")?;
            Ok(speed)
        };
        let theirs = || {
            qcow2.snapshot("-c")?;
            let speed = qcow2.bench(work)?;
            qcow2.snapshot("-d")?;
            Ok(speed)
        };
        let both = duel(fresh, theirs)?;
        self.versus("rand_write_4k_after_snapshot_vs_qcow2", place, Some(3.0), "qcow2", both);
        Ok(())
    }

    /// Thin disks that are still empty.
    fn first_writes(&mut self, place: &'static str, folder: &Path, ours: &Ours) -> Result<()> {
        let work = Work { count: self.options.count / 2, ..self.scattered(true) };
        let size = format!("{}M", self.options.size);
        let mut fresh = || {
            ours.run_named("delete", "bench")?;
            ours.run(&["volume", "bench", &size])?;
            self.run(ours, work)
        };
        let path = folder.join("bramble-bench.thin.qcow2");
        let theirs = |options: &[&str]| {
            let thin = QemuImg::create(path.clone(), "qcow2", options, self.options.size)?;
            thin.bench(work)
        };
        let both = duel(&mut fresh, || theirs(&[]))?;
        let lazy = duel(&mut fresh, || theirs(&["-o", "lazy_refcounts=on"]))?;
        self.versus("first_write_4k_vs_qcow2", place, Some(1.5), "qcow2", both);
        self.versus("first_write_4k_vs_qcow2_lazy", place, None, "qcow2 (lazy refcounts)", lazy);
        Ok(())
    }

    /// What is written below for what is written above; the medium does not matter.
    fn amplification(&mut self, folder: &Path) -> Result<()> {
        let mib = self.options.size;
        let ours = Ours::create(&self.tool, folder.join("bramble-bench.store"), 2 * mib + 1024, mib)?;
        let settled = |work: Work| {
            let arguments = [work.arguments(), by_default(), vec![String::from("--settled")]].concat();
            ours.measure("bench", "write", &arguments)
        };
        let amp = |f: &Figures| number(f, "blocks_written") * 4096.0 / number(f, "bytes_above");
        let sequential = settled(self.sequential(true, 128 << 10))?;
        self.push(Row::lower("write_amp_sequential", "bytes/byte", Some(1.1), amp(&sequential)));
        let many = Work { count: 2 * self.options.count, flush_every: 64, ..self.scattered(true) };
        self.push(Row::lower("write_amp_random_flush64", "bytes/byte", Some(2.5), amp(&settled(many)?)));
        // A journal: a ring of 64 MiB, written from its beginning to its end.
        let journal = Work { count: 16384, flush_every: 1, ..self.sequential(true, 4096) };
        let figures = settled(journal)?;
        self.push(Row::lower("write_amp_flush1", "bytes/byte", Some(2.2), amp(&figures)));
        // Without the end, where the tool leaves nothing in the log.
        let figures = ours.measure("bench", "write", &[journal.arguments(), by_default()].concat())?;
        let flushes = number(&figures, "flushes_below") / number(&figures, "flushes_above");
        self.push(Row::lower("device_flushes_per_flush", "flushes", Some(1.0), flushes));
        let all_over = settled(Work { count: 16384, flush_every: 1, ..self.scattered(true) })?;
        self.push(Row::lower("write_amp_flush1_scattered", "bytes/byte", None, amp(&all_over)));
        let idle = ours.measure("bench", "idle", &[String::from("--count"), String::from("1000000")])?;
        let idle = number(&idle, "blocks_written") * 4096.0;
        self.push(Row::lower("idle_bytes_written", "bytes", Some(0.0), idle));
        let blocks = |what: &str, volume: &str| ours.measure(volume, what, &[String::from("--settled")]);
        let snapshot = blocks("snapshot", "bench")?;
        self.push(Row::lower("snapshot_blocks", "blocks", Some(20.0), number(&snapshot, "blocks_written")));
        self.push(Row::lower("snapshot", "ms", None, number(&snapshot, "seconds") * 1e3));
        let amid = [String::from("--snapshot-amid")];
        let work = self.scattered(true);
        let loaded = ours.measure("bench", "write", &[work.arguments(), amid.to_vec()].concat())?;
        let calm = per_second(&ours.measure("bench", "write", &work.arguments())?);
        self.push(Row::higher("snapshot_under_load", "of the speed without", per_second(&loaded) / calm));
        ours.run(&["volume", "ten", "10G"])?;
        let scattered = Work { count: 32768, ..self.scattered(true) };
        ours.measure("ten", "write", &scattered.arguments())?;
        let clone = blocks("clone", "ten")?;
        self.push(Row::lower("clone_blocks", "blocks", Some(20.0), number(&clone, "blocks_written")));
        self.push(Row::lower("clone_10g", "ms", None, number(&clone, "seconds") * 1e3));
        std::fs::remove_file(&ours.store)?;
        Ok(())
    }

    /// Instructions per 4 KiB: two runs of different length under callgrind, so that mounting is not counted.
    fn instructions(&mut self, folder: &Path) -> Result<()> {
        if !has("valgrind") {
            eprintln!("bramble: no valgrind, no count of instructions (Debian: valgrind)");
            return Ok(());
        }
        let ours = Ours::create(&self.tool, folder.join("bramble-bench.store"), 400, 256)?;
        ours.measure(
            "bench",
            "write",
            &Work { step: 4096, count: 65536, ..self.scattered(true) }.arguments(),
        )?;
        let count = |write: bool, count: u64, bytes: u64, step: u64| {
            let work = Work { write, count, bytes, step, flush_every: 0 };
            peers::instructions(
                &ours.tool,
                &ours.store,
                if write { "write" } else { "read" },
                &work.arguments(),
            )
        };
        let rows = [
            ("instructions_write_4k", true, 4096, SCATTER),
            ("instructions_read_4k", false, 4096, SCATTER),
            ("instructions_write_4k_of_128k", true, 128 << 10, 128 << 10),
            ("instructions_read_4k_of_128k", false, 128 << 10, 128 << 10),
        ];
        for (name, write, bytes, step) in rows {
            let (few, many) = (1024 * 4096 / bytes, 9216 * 4096 / bytes);
            let spent = count(write, many, bytes, step)? - count(write, few, bytes, step)?;
            self.push(Row::lower(name, "instructions", None, spent / 8192.0));
        }
        std::fs::remove_file(&ours.store)?;
        Ok(())
    }
}

impl Ours {
    fn run_named(&self, verb: &str, name: &str) -> Result<()> {
        self.run(&[verb, name]).map(drop)
    }
}

/// Measures and prints the table.
pub fn bench(at: &Artifacts, options: &DatastoreOptions, as_json: bool) -> Result<ExitCode> {
    ensure!(has("qemu-img"), "the peers need qemu-img (Debian: qemu-utils)");
    quiet(build::cargo(at).args(["build", "--quiet", "--release", "--package", "bramblectl"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| at.root().join("target"), PathBuf::from);
    let folder = options.folder.clone().unwrap_or_else(|| at.root().join("target/bramble/bench"));
    let mut bench = Bench { options, tool: target.join("release/bramblectl"), rows: Vec::new() };
    step("measure on a RAM disk", || bench.compare("ram", &options.ram))?;
    step("measure on a file", || bench.compare("file", &folder))?;
    step("measure amplification", || bench.amplification(&options.ram))?;
    step("count instructions", || bench.instructions(&options.ram))?;
    print(&bench.rows, as_json);
    Ok(ExitCode::SUCCESS)
}
