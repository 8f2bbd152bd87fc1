//! The stages of `./bramble test`, in their order: what is quick and likely to fail comes first.

use super::Run;
use super::api::api;
use super::libtest::{count_tests, programs, results};
use super::ui::ui;
use crate::build;
use crate::guests::Guests;
use crate::rules;
use crate::run::{command, has, quiet};
use crate::web;
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Instant;

/// A stage.
pub struct Stage {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&mut Run<'_>) -> Result<()>,
}

/// All of them.
pub const ALL: &[Stage] = &[
    Stage { name: "format", what: "rustfmt", run: format },
    Stage { name: "rules", what: "floors, unsafe budget, sizes, journeys, licences", run: house_rules },
    Stage { name: "lint", what: "clippy and tsc, warnings are errors", run: lint },
    Stage { name: "unit", what: "unit and property tests on this machine", run: unit },
    Stage { name: "image", what: "the image and the test guests, and the instructions in them", run: image },
    Stage {
        name: "datastore",
        what: "power cuts and disk faults in the datastore's simulator",
        run: datastore,
    },
    Stage { name: "api", what: "schemathesis against hostd on this machine", run: api },
    Stage {
        name: "ui",
        what: "the web UI: Vitest, and Playwright in Chromium against hostd on this machine and in QEMU",
        run: ui,
    },
    Stage { name: "fuzz", what: "each fuzz target for a fixed count", run: fuzz },
    Stage { name: "miri", what: "unit tests of the floors without unsafe, under Miri", run: miri },
    Stage { name: "system", what: "the image with guests in QEMU", run: system_tests },
];

fn format(run: &mut Run<'_>) -> Result<()> {
    let mut cargo = run.cargo();
    run.work("cargo fmt", || quiet(cargo.args(["fmt", "--all", "--check"])).map(|_| ()));
    Ok(())
}

fn house_rules(run: &mut Run<'_>) -> Result<()> {
    let root = run.at.root().to_owned();
    let ours = build::metadata(run.at)?;
    let all = quiet(run.cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let all = serde_json::from_str(&all)?;
    run.check("floors", || rules::floors::check(&root, &ours));
    run.check("unsafe budget", || rules::unsafe_budget::check(&root));
    run.check("sizes", || rules::sizes::check(&root));
    run.check("licences", || rules::licences::check(&all));
    run.check("journeys", || rules::journeys::check(&rules::read(&root, "ARCHITECTURE.md")?, &ours));
    cargo_deny(run);
    for (file, lines) in rules::sizes::over_soft_limit(&root)? {
        eprintln!("   {file} has {lines} lines; 400 are wanted");
    }
    Ok(())
}

/// cargo-deny where it is installed; with `--long` it is (docs/adr/0010-cargo-deny-and-our-own-check.md).
fn cargo_deny(run: &mut Run<'_>) {
    let tools = run.at.root().join("target/tools");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", tools.join("bin").display());
    let check = ["deny", "--offline", "check", "bans", "licenses", "sources"];
    let is_there = has("cargo-deny") || tools.join("bin/cargo-deny").is_file();
    if !is_there && run.options.long {
        let mut install = run.cargo();
        install.args(["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&tools);
        run.work("cargo install cargo-deny", || quiet(&mut install).map(|_| ()));
    } else if !is_there {
        return run.tally.skipped("cargo deny", "not installed, --long installs it");
    }
    let mut cargo = run.cargo();
    run.work("cargo deny", || quiet(cargo.env("PATH", path).args(check)).map(|_| ()));
}

fn lint(run: &mut Run<'_>) -> Result<()> {
    let lints = ["--", "-D", "warnings", "-D", "clippy::too_many_lines"];
    let mut cargo = run.cargo();
    // With the feature, the system tests are read, too.
    cargo.args(["clippy", "--quiet", "--all-targets", "--features", "system/qemu"]).args(lints);
    run.work("clippy", || quiet(&mut cargo).map(|_| ()));
    let bare = build::packages_on(run.at, &["el2", "el1"])?;
    let mut cargo = run.cargo();
    cargo.args(["clippy", "--quiet", "--target", build::TARGET]);
    for package in &bare {
        cargo.args(["--package", package]);
    }
    run.work("clippy for bare metal", || quiet(cargo.args(lints)).map(|_| ()));
    windows(run);
    let at = run.at;
    web::modules(at)?;
    run.work("types of the web UI", || quiet(web::npm(at).args(["run", "check"])).map(|_| ()));
    run.work("types of its tests", || quiet(web::npm(at).args(["run", "check:e2e"])).map(|_| ()));
    Ok(())
}

/// Where bramblectl works on hosts, too (docs/adr/0060-bramblectl-beyond-unix.md).
const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// Nothing of bramblectl but one module needs Unix.
fn windows(run: &mut Run<'_>) {
    if !has("rustup") {
        return run
            .tally
            .skipped("bramblectl for Windows", "needs rustup, which alone has that target's library");
    }
    let mut cargo = run.cargo();
    run.work("bramblectl for Windows", || {
        quiet(&mut command("rustup", ["target", "add", WINDOWS]))?;
        quiet(cargo.args(["check", "--quiet", "--package", "bramblectl", "--target", WINDOWS])).map(|_| ())
    });
}

fn unit(run: &mut Run<'_>) -> Result<()> {
    let programs = programs(run.cargo().args(["test", "--quiet", "--lib", "--bins", "--tests"]))?;
    for program in programs {
        let mut tests = program.command();
        tests.args(&run.options.filter);
        if run.options.long {
            tests.env("PROPTEST_CASES", "20000").env("BRAMBLE_LONG", "1");
        }
        count_tests(&mut run.tally, &format!("{} ", program.package()), &mut tests)?;
    }
    Ok(())
}

fn image(run: &mut Run<'_>) -> Result<()> {
    let at = run.at;
    run.work("build of the test guests", || build::test_guests(at).map(|_| ()));
    run.work("build of the image", || build::image(at).map(|_| ()));
    run.check("no instruction that a Pi 4 lacks", || rules::opcodes::check(&at.image_elf()));
    run.check("nor in hostd", || rules::opcodes::check(&build::hostd_elf(at)));
    Ok(())
}

fn datastore(run: &mut Run<'_>) -> Result<()> {
    let mut simulator = crate::sim::datastore(run.at)?;
    let cuts = if run.options.long { "1000000" } else { "100000" };
    run.work(&format!("{cuts} cuts"), || {
        quiet(simulator.args(["--seed", "1", "--cuts", cuts])).map(|report| eprint!("{report}"))
    });
    Ok(())
}

/// libFuzzer's coverage instrumentation, as cargo-fuzz sets it. The sanitizers need a nightly compiler; safe Rust has
/// less to gain from them than from debug assertions.
const FUZZ_FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1";

fn fuzz(run: &mut Run<'_>) -> Result<()> {
    let folder = run.at.root().join("fuzz");
    let target = folder.join("target");
    let manifest =
        quiet(run.cargo().current_dir(&folder).args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let host = quiet(&mut command("rustc", ["-vV"]))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    let mut cargo = run.cargo();
    cargo.current_dir(&folder).env("RUSTFLAGS", FUZZ_FLAGS);
    // With a target named, the flags do not go to build scripts.
    quiet(cargo.args(["build", "--quiet", "--release", "--target", &host]))?;
    let runs = if run.options.long { 1_000_000 } else { 10_000 };
    for bin in manifest["packages"][0]["targets"].as_array().into_iter().flatten() {
        let Some(name) = bin["name"].as_str().filter(|_| bin["kind"][0] == "bin") else { continue };
        let program = target.join(&host).join("release").join(name);
        let artifacts = format!("-artifact_prefix={}/", target.display());
        let mut fuzzer =
            command(&program.display().to_string(), [&format!("-runs={runs}"), "-seed=1", &artifacts]);
        fuzzer.args(["-max_len=4096", "-timeout=60", "-rss_limit_mb=2048", "-verbosity=0"]);
        let corpus = folder.join("corpus").join(name);
        if corpus.is_dir() {
            fuzzer.arg(corpus);
        }
        run.work(name, || quiet(&mut fuzzer).map(|_| ()));
    }
    Ok(())
}

const NIGHTLY: &str = "nightly";

/// What Miri gets through within the budget of a test run, by package and test name: first what several threads do,
/// under its weak memory. `--long` gives it all of the two floors.
const QUICK_UNDER_MIRI: [(&str, &str); 6] = [
    ("specs", ""),
    ("abi", ""),
    ("machine", ""),
    ("vgic", "posting"),
    ("virtio", "threads"),
    // An SD card is brought up through the firmware's mailbox.
    ("drivers", "slot::tests"),
];

fn miri(run: &mut Run<'_>) -> Result<()> {
    if !has("rustup") {
        run.tally.skipped("miri", "needs rustup, which alone has nightly compilers");
        return Ok(());
    }
    let rustup = |arguments: &[&str]| quiet(&mut command("rustup", arguments));
    if rustup(&["run", NIGHTLY, "cargo", "miri", "--version"]).is_err()
        && let Err(error) =
            rustup(&["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "miri,rust-src"])
    {
        run.tally.skipped("miri", &format!("rustup can't install it: {error:#}"));
        return Ok(());
    }
    // Of the other floors only the drivers run on this machine.
    let floors = build::packages_on(run.at, &["ground", "models"])?;
    for package in floors.into_iter().chain([String::from("drivers")]) {
        let quick = QUICK_UNDER_MIRI.iter().find(|(name, _)| *name == package);
        let filter = match quick {
            _ if run.options.long => "",
            Some((_, filter)) => filter,
            None => continue,
        };
        let start = Instant::now();
        let mut cargo =
            command("rustup", ["run", NIGHTLY, "cargo", "miri", "test", "--quiet", "--package", &package]);
        cargo
            .args(["--lib", "--tests", "--", filter])
            .current_dir(run.at.root())
            .env("MIRIFLAGS", "-Zmiri-disable-isolation");
        cargo
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env("CARGO_TARGET_DIR", miri_target(run.at.root()));
        cargo.env("PROPTEST_CASES", "4");
        let output = cargo.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (passed, failed) = results(&text);
        let time = start.elapsed();
        let name = format!("{package}: {passed} tests");
        if output.status.success() && failed == 0 {
            run.tally.passed(&name, time);
        } else {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            run.tally.failed(&name, time, &format!("{text}\n{errors}"));
        }
    }
    Ok(())
}

fn miri_target(root: &Path) -> std::path::PathBuf {
    root.join("target/miri")
}

fn system_tests(run: &mut Run<'_>) -> Result<()> {
    if !run.at.image().is_file() {
        bail!("there is no image: the stage `image` makes it");
    }
    let guests = Guests::open(run.at)?;
    guests.small()?;
    guests.firmware()?;
    guests.pi4_tree()?;
    // The tests make and check datastores with it.
    quiet(run.cargo().args(["build", "--quiet", "--package", "bramblectl"]))?;
    // The Pi's drivers by themselves on QEMU's devices; then the image.
    for (package, prefix) in [("drivers", "drivers "), ("system", "")] {
        let mut cargo = run.cargo();
        cargo.args(["test", "--quiet", "--package", package, "--features", "qemu", "--test", "*"]);
        for program in programs(&mut cargo)? {
            // Each test boots a machine, which itself uses threads.
            let mut tests = program.command();
            tests.args(&run.options.filter).args(["--test-threads", "2"]);
            if run.options.long {
                tests.arg("--include-ignored");
            }
            count_tests(&mut run.tally, prefix, &mut tests)?;
        }
    }
    Ok(())
}
