//! What is there in [`crate::unix`]'s place on other systems: hosts are worked on, files and cards are not.

/// `bramblectl datastore`: it has no subcommands here.
#[derive(clap::Subcommand)]
pub enum DatastoreCommand {}

impl DatastoreCommand {
    pub fn run(self, _as_json: bool) -> anyhow::Result<std::process::ExitCode> {
        match self {}
    }
}

/// The terminal, as far as the standard library knows it.
pub mod terminal {
    use anyhow::{Context as _, Result};
    use std::io::{self, BufRead, IsTerminal};
    use std::path::Path;

    /// Writes a file in the user's own folder: the old one or the new one is there, never half of it.
    pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(new, path)
    }

    /// Nothing was changed.
    pub struct Restore;

    /// Lines are typed as a whole here.
    pub fn raw() -> Result<Restore> {
        Ok(Restore)
    }

    /// Asks for a password. Whoever looks on is told of; from a pipe nothing is shown.
    pub fn password(question: &str) -> Result<String> {
        if io::stdin().is_terminal() {
            eprint!("{question} (it is shown as you type): ");
        }
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).context("can't read the password")?;
        anyhow::ensure!(read > 0, "no password was given: type it, or pipe it in");
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
