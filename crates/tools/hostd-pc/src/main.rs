//! `./bramble hostd`.
#![forbid(unsafe_code)]

use clap::Parser;
use hostd_pc::{Options, serve};
use std::io::Write;
use std::path::PathBuf;

/// hostd on this machine, over a vmkernel in RAM: for work on the web UI and on clients. On the loopback only;
/// everything is lost when it ends.
#[derive(Parser)]
#[command(name = "hostd", version)]
struct Arguments {
    /// The loopback port; 0 takes any that is free.
    #[arg(long, default_value_t = 8480)]
    port: u16,
    /// HTTPS instead of plain HTTP, with a CA and a certificate that are made now.
    #[arg(long)]
    tls: bool,
    /// Without a datastore and any VM.
    #[arg(long)]
    empty: bool,
    /// Without a datastore: with VMs of a boot archive alone.
    #[arg(long)]
    no_datastore: bool,
    /// The pack of the web UI, as `./bramble build` makes it.
    #[arg(long, value_name = "FILE")]
    web: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { port, tls, empty, no_datastore, web } = Arguments::parse();
    // Without anyone who reads it goes on.
    let say = |line: &str| drop(writeln!(std::io::stdout(), "hostd: {line}"));
    let scheme = if tls { "https" } else { "http" };
    let options = Options { port, tls, demo: !empty, datastore: !empty && !no_datastore, web };
    serve(options, |port| say(&format!("{scheme}://127.0.0.1:{port}")), say)
}
