//! The command line.

use crate::bench::{self, BenchOptions};
use crate::guests::Guests;
use crate::pi::PiOptions;
use crate::sim::{self, SimOptions};
use crate::test::{self, TestOptions};
use crate::{browser, build, install, pi, up, web};
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use system::{Artifacts, Board};

/// An open type-1 hypervisor for 64-bit Arm: build it, boot it in QEMU, test it, measure it.
#[derive(Parser)]
#[command(name = "bramble", bin_name = "./bramble", version, infer_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build, and boot a host with two Debian guests in QEMU.
    Up(UpOptions),
    /// Attach to a guest's console (or, without a name, to the host's log) of the host that `up` runs.
    Console {
        /// The guest's name.
        name: Option<String>,
    },
    /// Run every test of the project.
    Test(TestOptions),
    /// Simulate a model: power cuts and disk faults from one seed.
    Sim(SimOptions),
    /// Measure path lengths in instructions, beside KVM and Xen.
    Bench(BenchOptions),
    /// Build the image and the test guests.
    Build {
        /// Print what was built as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the guests of the demo and the tests.
    Guests,
    /// Make the files for a Raspberry Pi 4's card.
    Pi(PiOptions),
    /// Run hostd on this machine, over a vmkernel in RAM: for work on the web UI and on clients.
    Hostd {
        /// As `./bramble hostd -- --help` says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Take the README's pictures of the web UI anew.
    Pictures,
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// What `up` boots.
#[derive(clap::Args, Clone)]
pub struct UpOptions {
    /// virt-gicv3, virt-gicv2 or raspi4b.
    #[arg(long, default_value = "virt-gicv3")]
    pub board: Board,
    /// Processing elements (raspi4b has exactly 4, GICv2 at most 8, Bramble at most 128) [default: 4].
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory, as 3072, 3072M or 4G (raspi4b has exactly 2 GiB) [default: 3072M].
    #[arg(long, value_name = "SIZE", value_parser = parse_mib)]
    pub memory: Option<u32>,
    /// Boot the VMs of this host document, from RAM, instead of the demo's; its files lie beside it. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub vm: Vec<PathBuf>,
    /// Make the host's datastore anew: what was in it is lost.
    #[arg(long, conflicts_with = "vm")]
    pub fresh: bool,
    /// Boot arguments for the host.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub append: String,
    /// Wait for every guest's login prompt, have each compute something, say what was seen, stop, and exit 0 or 1.
    #[arg(long)]
    pub check: bool,
    /// With --check: print what was seen as JSON.
    #[arg(long, requires = "check")]
    pub json: bool,
}

/// A size in MiB, as people write it.
pub fn parse_mib(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.trim_end_matches(['B', 'i']) {
        t if t.ends_with(['G', 'g']) => (&t[..t.len() - 1], 1024),
        t if t.ends_with(['M', 'm']) => (&t[..t.len() - 1], 1),
        t => (t, 1),
    };
    let size: Option<u32> = number.trim().parse().ok().and_then(|n: u32| n.checked_mul(unit));
    size.ok_or_else(|| String::from("a size is a number of MiB, or ends in M or G"))
}

/// Reads the command line and does what it says.
pub fn run() -> Result<ExitCode> {
    let at = Artifacts::here();
    match Cli::parse().command {
        Command::Up(options) => up::up(&at, &options),
        Command::Console { name } => up::attach(&at, name.as_deref()).map(|()| ExitCode::SUCCESS),
        Command::Test(options) => test::test(&at, &options),
        Command::Sim(options) => sim::sim(&at, &options),
        Command::Bench(options) => bench::bench(&at, &options),
        Command::Build { json } => {
            let guests = build::test_guests(&at)?;
            let image = build::image(&at)?;
            if json {
                println!("{}", serde_json::json!({ "image": image, "test_guests": guests }));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Guests => {
            install::ensure(&at, install::FOR_TEST)?;
            let guests = Guests::open(&at)?;
            guests.small()?;
            guests.firmware()?;
            guests.pi4_tree()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pi(options) => pi::pi(&at, &options).map(|()| ExitCode::SUCCESS),
        Command::Hostd { arguments } => {
            let pack = web::pack(&at)?;
            let mut cargo = build::cargo(&at);
            cargo.args(["run", "--quiet", "--package", "hostd-pc", "--", "--web"]).arg(pack);
            let status = cargo.args(arguments).status()?;
            Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Pictures => browser::pictures(&at).map(|()| ExitCode::SUCCESS),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bramble", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_mib("512"), Ok(512));
        assert_eq!(parse_mib("512M"), Ok(512));
        assert_eq!(parse_mib("4GiB"), Ok(4096));
        assert_eq!(parse_mib("2g"), Ok(2048));
        assert!(parse_mib("4194304G").is_err());
        assert!(parse_mib("big").is_err());
    }
}
