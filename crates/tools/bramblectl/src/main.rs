//! The PC side: works on datastores, and later on hosts.
mod convert;
mod datastore_commands;
mod device;
mod fuse;
mod measure;
mod nbd;
mod session;
mod table;

use clap::{Parser, Subcommand};

/// Works on Bramble datastores and hosts.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Work on a datastore: in a file, on a partition, or on a whole card.
    #[command(subcommand)]
    Datastore(datastore_commands::DatastoreCommand),
}

fn main() -> std::process::ExitCode {
    let Arguments { command: Command::Datastore(command) } = Arguments::parse();
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bramblectl: {error:#}");
            std::process::ExitCode::from(2)
        }
    }
}
