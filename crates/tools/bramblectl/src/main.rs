//! The PC side: works on datastores, and on hosts.
mod command_line;
#[cfg(not(unix))]
mod elsewhere;
#[cfg(not(unix))]
use elsewhere as system;
mod remote;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

use clap::Parser;
use command_line::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bramblectl: {error:#}");
            ExitCode::from(2)
        }
    }
}
