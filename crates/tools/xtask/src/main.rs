//! The work behind `./bramble`: builds the image and the guests, boots them in QEMU, tests and measures.
//!
//! Everything that it makes goes to `target/`; what it installs comes from the machine's own package manager.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod browser;
mod build;
mod cli;
mod flat;
mod guests;
mod install;
mod pi;
mod rules;
mod run;
mod sim;
mod terminal;
mod test;
mod up;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bramble: {error:#}");
            ExitCode::FAILURE
        }
    }
}
