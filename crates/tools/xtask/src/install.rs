//! What the machine itself needs: a QEMU that knows `raspi4b`, and the programs that make guests.
//!
//! Runs as root only after a question; where it can't ask, it prints the commands.

use crate::apt::{debian_suite, machine_sources};
use crate::run::{command, has, quiet, shown, step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use system::Artifacts;

/// The first QEMU with `raspi4b`.
const QEMU_WANTED: u32 = 9;
const BACKPORTS: &str = "/etc/apt/sources.list.d/bramble-backports.sources";

/// A program, and the Debian package that brings it.
pub type Need = (&'static str, &'static str);

/// What `up` needs beside QEMU.
pub const FOR_UP: &[Need] =
    &[("mke2fs", "e2fsprogs"), ("fakeroot", "fakeroot"), ("depmod", "kmod"), ("xz", "xz-utils")];

/// What `bench` needs beside that to measure the peers.
pub const FOR_PEERS: &[Need] = &[("dtc", "device-tree-compiler")];

/// What `test` needs beside that: the makers of the disks that firmware boots from, a linker for fuzz targets, and a
/// compiler of C for Windows.
pub const FOR_TEST: &[Need] = &[
    ("grub-mkrescue", "grub-common"),
    ("xorriso", "xorriso"),
    ("mformat", "mtools"),
    ("sfdisk", "fdisk"),
    ("g++", "g++"),
    ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
];

/// Installs QEMU, what `up` needs, and `more`, where they are missing.
pub fn ensure(at: &Artifacts, more: &[Need]) -> Result<()> {
    let missing = missing(FOR_UP.iter().chain(more));
    let qemu = qemu_major()?;
    if missing.is_empty() && qemu.is_some_and(|major| major >= QEMU_WANTED) {
        return Ok(());
    }
    let mut commands = vec![words("apt-get update")];
    if !missing.is_empty() {
        commands.push(install(&missing));
    }
    if qemu.is_none_or(|major| major < QEMU_WANTED) {
        commands.extend(qemu_commands(at)?);
    }
    as_root(&commands)
}

/// Installs `needs`, and nothing else, where they are missing.
pub fn programs(needs: &[Need]) -> Result<()> {
    let missing = missing(needs.iter());
    if missing.is_empty() { Ok(()) } else { as_root(&[words("apt-get update"), install(&missing)]) }
}

/// The packages of those that are not there.
fn missing<'a>(needs: impl Iterator<Item = &'a Need>) -> Vec<&'static str> {
    let present = |program: &str| {
        has(program) || ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file())
    };
    needs.filter(|(program, _)| !present(program)).map(|need| need.1).collect()
}

fn install(packages: &[&str]) -> Vec<String> {
    let mut install = words("apt-get install --yes --no-install-recommends");
    install.extend(packages.iter().map(|name| (*name).to_owned()));
    install
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn qemu_major() -> Result<Option<u32>> {
    if !has("qemu-system-aarch64") {
        return Ok(None);
    }
    let text = quiet(&mut command("qemu-system-aarch64", ["--version"]))?;
    let version = text.split("version ").nth(1).and_then(|rest| rest.split('.').next());
    Ok(version.and_then(|major| major.parse().ok()))
}

/// QEMU from the suite where that is new enough, else from its backports.
fn qemu_commands(at: &Artifacts) -> Result<Vec<Vec<String>>> {
    let suite = debian_suite()?;
    let install = words("apt-get install --yes --no-install-recommends qemu-system-arm qemu-utils ipxe-qemu");
    let policy = quiet(command("apt-cache", ["policy", "qemu-system-arm"]).env("LC_ALL", "C"))?;
    let candidate =
        policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:")).unwrap_or_default();
    let version =
        candidate.trim().rsplit(':').next().and_then(|v| v.split('.').next()).and_then(|v| v.parse().ok());
    if version.is_some_and(|major: u32| major >= QEMU_WANTED) {
        return Ok(vec![install]);
    }
    let backports = format!("{suite}-backports");
    let sources = machine_sources(&suite)?;
    let mut commands = Vec::new();
    if !sources.iter().any(|source| source.suites().any(|name| name == backports)) {
        let base = sources.into_iter().find(|source| source.suites().any(|name| name == suite));
        let base = base.with_context(|| format!("apt has no source with the suite {suite}"))?;
        fs::create_dir_all(at.out())?;
        let file = at.out().join("bramble-backports.sources");
        fs::write(&file, base.with_suite(&backports).text())?;
        commands.push(words(&format!("install -m 644 {} {BACKPORTS}", file.display())));
        commands.push(words("apt-get update"));
    }
    let mut from_backports = install;
    from_backports.extend(["-t".into(), backports]);
    commands.push(from_backports);
    Ok(commands)
}

/// Runs `commands` as root: at once, after a question, or not at all but printed.
fn as_root(commands: &[Vec<String>]) -> Result<()> {
    let lines: Vec<String> = commands.iter().map(|command| format!("    {}", command.join(" "))).collect();
    let is_root = quiet(&mut command("id", ["-u"]))?.trim() == "0";
    let prefix: &[&str] = if is_root { &[] } else { &["sudo"] };
    if !is_root {
        let may_ask = std::io::stdin().is_terminal();
        let agreed = std::env::var_os("BRAMBLE_ASSUME_YES").is_some();
        if !has("sudo") || !(agreed || may_ask) {
            bail!("please run these as root, then start again:\n{}", lines.join("\n"));
        }
        if !agreed && !asked(&lines)? {
            bail!("then please run these yourself, and start again:\n{}", lines.join("\n"));
        }
    }
    step("install what is missing from Debian (about 1 minute)", || {
        for words in commands {
            eprintln!("bramble:     {}", words.join(" "));
            let all: Vec<&str> = prefix.iter().copied().chain(words.iter().map(String::as_str)).collect();
            let (program, arguments) = all.split_first().context("no command")?;
            shown(
                command(program, arguments)
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .stdout(std::io::stderr()),
            )?;
        }
        Ok(())
    })
}

fn asked(lines: &[String]) -> Result<bool> {
    eprint!("bramble: may I run these with sudo?\n{}\n[y/N] ", lines.join("\n"));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
