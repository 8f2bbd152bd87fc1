//! The PC side: works on datastores, and on hosts.
mod convert;
mod datastore_commands;
mod device;
mod fuse;
mod measure;
mod nbd;
mod remote;
mod session;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Works on Bramble datastores and hosts.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    show: remote::Show,
}

#[derive(Subcommand)]
enum Command {
    /// Work on a datastore: in a file, on a partition, or on a whole card.
    #[command(subcommand)]
    Datastore(datastore_commands::DatastoreCommand),
    /// Say which hosts there are, and choose one.
    #[command(subcommand)]
    Context(remote::ContextCommand),
    /// Log in to a host.
    Login(remote::LoginOptions),
    /// Work on a host's VMs.
    #[command(subcommand)]
    Vm(remote::VmCommand),
    /// Work on a host's storage.
    #[command(subcommand)]
    Storage(remote::StorageCommand),
    /// Work on a host's audit chain.
    #[command(subcommand)]
    Audit(remote::AuditCommand),
}

impl Command {
    fn run(self, show: &remote::Show) -> anyhow::Result<ExitCode> {
        match self {
            Self::Datastore(command) => return command.run(),
            Self::Context(command) => command.run(),
            Self::Login(options) => remote::log_in(show, &options),
            Self::Vm(command) => command.run(show),
            Self::Storage(command) => command.run(show),
            Self::Audit(command) => command.run(show),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

fn main() -> ExitCode {
    let Arguments { command, show } = Arguments::parse();
    match command.run(&show) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bramblectl: {error:#}");
            ExitCode::from(2)
        }
    }
}
