//! A datastore in a file, made and looked at by `bramblectl`, as the disk or card of a host.

use crate::Artifacts;
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk image with a partition table, a FAT partition and a datastore.
#[derive(Clone, Debug)]
pub struct StoreImage {
    /// The file.
    pub path: PathBuf,
}

impl StoreImage {
    /// Makes a new one of `mib` MiB.
    pub fn make(path: &Path, mib: u32) -> Result<Self> {
        let _ = fs::remove_file(path);
        let image = Self { path: path.to_owned() };
        let size = format!("{mib}M");
        let arguments = ["--card", "--boot-size", "40M", "--size", &size].map(OsStr::new);
        image.command("create", &arguments)?;
        Ok(image)
    }

    /// `bramblectl datastore WHAT FILE …`; what it says.
    pub fn command(&self, what: &str, arguments: &[&OsStr]) -> Result<String> {
        let program = Artifacts::here().bramblectl();
        let output = Command::new(&program)
            .args(["datastore", what])
            .arg(&self.path)
            .args(arguments)
            .output()
            .with_context(|| format!("no {}: cargo build --package bramblectl", program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bramblectl datastore {what}: {said}{errors}");
        Ok(said.into_owned())
    }

    /// An empty volume.
    pub fn volume(&self, name: &str, mib: u32) -> Result<()> {
        self.command("volume", &[name.as_ref(), format!("{mib}M").as_ref()]).map(drop)
    }

    /// A volume or `object:NAME` with a file's contents.
    pub fn import(&self, file: &Path, name: &str) -> Result<()> {
        self.command("import", &[file.as_ref(), name.as_ref(), "--format".as_ref(), "raw".as_ref()]).map(drop)
    }

    /// A volume with what another one has.
    pub fn clone_volume(&self, from: &str, to: &str) -> Result<()> {
        self.command("clone", &[from.as_ref(), to.as_ref()]).map(drop)
    }

    /// A volume's contents as a file.
    pub fn export(&self, name: &str, file: &Path) -> Result<()> {
        let _ = fs::remove_file(file);
        self.command("export", &[name.as_ref(), file.as_ref(), "--format".as_ref(), "raw".as_ref()]).map(drop)
    }

    /// Every block is read and every count compared.
    pub fn check(&self) -> Result<()> {
        self.command("check", &["--data".as_ref()]).map(drop)
    }
}
