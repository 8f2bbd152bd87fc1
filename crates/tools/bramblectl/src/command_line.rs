//! The command line: its words, what they call, its completions and its manual.

use crate::remote::{self, Show};
use crate::system::DatastoreCommand;
use anyhow::{Context as _, Result};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Works on Bramble datastores and hosts.
#[derive(Parser)]
#[command(name = "bramblectl", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    show: Show,
}

#[derive(Subcommand)]
enum Command {
    /// Work on a datastore: in a file, on a partition, or on a whole card.
    #[command(subcommand)]
    Datastore(DatastoreCommand),
    /// Say which hosts there are, and choose one.
    #[command(subcommand)]
    Context(remote::ContextCommand),
    /// Log in to a host.
    Login(remote::LoginOptions),
    /// Give the login up: the host forgets its token.
    Logout,
    /// Say who is logged in, and what he may.
    Whoami,
    /// Change one's own password.
    Password(remote::PasswordOptions),
    /// Work on a host's VMs.
    #[command(subcommand)]
    Vm(remote::VmCommand),
    /// Work on a host's storage.
    #[command(subcommand)]
    Storage(remote::StorageCommand),
    /// Upload a disk image (raw, qcow2 or VMDK), and make a volume of it.
    Import(remote::ImportOptions),
    /// Work on a host itself.
    #[command(subcommand)]
    Host(remote::HostCommand),
    /// Work on a host's users.
    #[command(subcommand)]
    User(remote::UserCommand),
    /// Work on the tokens of tools.
    #[command(subcommand)]
    Token(remote::TokenCommand),
    /// Look after long work.
    #[command(subcommand)]
    Task(remote::TaskCommand),
    /// Print what happens on a host, as it happens.
    Events(remote::EventsOptions),
    /// Work on a host's audit chain.
    #[command(subcommand)]
    Audit(remote::AuditCommand),
    /// Ask for a path of the API as it is: what this version has no command for.
    Api(remote::ApiOptions),
    /// Write what helps to find a fault to a file: the host, its VMs, settings, log, audit chain, counters, crashes of hostd.
    /// No secrets are in it, and nothing that guests said.
    SupportBundle {
        /// A tar file.
        file: PathBuf,
    },
    /// Print a completion script for a shell.
    Completions { shell: Shell },
    /// Write the manual's pages to a folder: `man -l FOLDER/bramblectl.1`.
    Man { folder: PathBuf },
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> Result<ExitCode> {
        let show = &self.show;
        match self.command {
            Command::Datastore(command) => return command.run(show.json),
            Command::Context(command) => command.run(),
            Command::Login(options) => remote::log_in(show, &options),
            Command::Logout => remote::log_out(show),
            Command::Whoami => remote::who_am_i(show),
            Command::Password(options) => remote::change_password(show, &options),
            Command::Vm(command) => command.run(show),
            Command::Storage(command) => command.run(show),
            Command::Import(options) => options.run(show),
            Command::Host(command) => command.run(show),
            Command::User(command) => command.run(show),
            Command::Token(command) => command.run(show),
            Command::Task(command) => command.run(show),
            Command::Events(options) => options.run(show),
            Command::Audit(command) => command.run(show),
            Command::Api(options) => options.run(show),
            Command::SupportBundle { file } => remote::support_bundle(show, &file),
            Command::Completions { shell } => {
                clap_complete::generate(
                    shell,
                    &mut Arguments::command(),
                    "bramblectl",
                    &mut std::io::stdout(),
                );
                Ok(())
            }
            Command::Man { folder } => write_manual(&folder),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// A page for the program and one for each of its commands.
fn write_manual(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let pages = clap_mangen::generate_to(Arguments::command(), folder);
    pages.with_context(|| format!("can't write to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
