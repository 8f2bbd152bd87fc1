//! What is Unix's of this program's work on hosts: the raw terminal, a password that is not shown, a private file.

use anyhow::{Context as _, Result};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file that only the user can read: the old one or the new one is there, never half of it.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

/// The terminal as it was before; put back when this is dropped.
pub struct Restore(Option<Termios>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

fn change(change: impl FnOnce(&mut Termios)) -> Result<Restore> {
    if !io::stdin().is_terminal() {
        return Ok(Restore(None));
    }
    let before = termios::tcgetattr(io::stdin())?;
    let mut after = before.clone();
    change(&mut after);
    termios::tcsetattr(io::stdin(), OptionalActions::Flush, &after)?;
    Ok(Restore(Some(before)))
}

/// Every key goes to whoever reads standard input, and none is shown.
pub fn raw() -> Result<Restore> {
    change(Termios::make_raw)
}

/// Asks for a password; from a pipe it is a line.
pub fn password(question: &str) -> Result<String> {
    if io::stdin().is_terminal() {
        eprint!("{question}: ");
    }
    let restore = change(|modes| modes.local_modes.remove(LocalModes::ECHO))?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("can't read the password")?;
    drop(restore);
    if io::stdin().is_terminal() {
        eprintln!();
    }
    anyhow::ensure!(read > 0, "no password was given");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
