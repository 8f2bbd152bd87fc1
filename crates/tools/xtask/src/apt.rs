//! Debian's packages for arm64, without touching the machine: an apt state of its own under `target/`.
//!
//! Sources, keys and proxies are the machine's own; lists, cache and "installed" status (always empty) are ours, so
//! that no foreign architecture is added. apt checks the signatures as always.

mod sources;

pub use sources::machine_sources;

use crate::run::{command, quiet, step};
use anyhow::{Context, Result, bail};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use system::Artifacts;

/// After this the lists are read anew.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// The apt state for arm64.
pub struct Arm64 {
    folder: PathBuf,
    /// The suite of the machine, which is the guests' too.
    pub suite: String,
    /// What apt has told of packages: it reads all its lists each time.
    told: RefCell<BTreeMap<String, String>>,
}

impl Arm64 {
    /// Opens the state, making it and reading the package lists when needed.
    pub fn open(at: &Artifacts) -> Result<Self> {
        let state = Self { folder: at.out().join("apt"), suite: debian_suite()?, told: RefCell::default() };
        for folder in ["lists/partial", "archives/partial", "sources", "unpacked"] {
            fs::create_dir_all(state.folder.join(folder))?;
        }
        fs::write(state.folder.join("status"), "")?;
        let text = state.sources()?;
        let list = state.folder.join("sources/arm64.sources");
        let stamp = state.folder.join("updated");
        let fresh =
            || fs::metadata(&stamp).ok()?.modified().ok()?.elapsed().ok().filter(|age| *age < LISTS_LAST);
        if fs::read_to_string(&list).unwrap_or_default() != text || fresh().is_none() {
            fs::write(&list, text)?;
            step("read Debian's package lists for arm64", || quiet(state.apt("apt-get").arg("update")))?;
            fs::write(&stamp, "")?;
        }
        Ok(state)
    }

    fn sources(&self) -> Result<String> {
        let mut text = String::new();
        for source in machine_sources(&self.suite)? {
            // A Pi's firmware is all that we take of the latter, and only for `./bramble pi`.
            text.push_str(&source.with_architecture("arm64").with_component("non-free-firmware").text());
        }
        if text.is_empty() {
            bail!("apt has no source with the suite {}: guests can't be made", self.suite);
        }
        Ok(text)
    }

    fn apt(&self, program: &str) -> Command {
        let folder = |name: &str| self.folder.join(name).display().to_string();
        let mut apt = command(program, ["-q"]);
        apt.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        for option in [
            String::from("APT::Get::Assume-Yes=true"),
            String::from("APT::Architecture=arm64"),
            String::from("APT::Architectures::=arm64"),
            String::from("APT::Install-Recommends=false"),
            // Files under target/ belong to whoever builds; apt's own user could not write there.
            format!("APT::Sandbox::User={}", std::env::var("USER").unwrap_or_else(|_| "root".into())),
            format!("Dir::State={}", folder("")),
            format!("Dir::State::lists={}", folder("lists/")),
            format!("Dir::State::status={}", folder("status")),
            format!("Dir::Cache={}", folder("")),
            format!("Dir::Cache::archives={}", folder("archives/")),
            String::from("Dir::Etc::sourcelist=/dev/null"),
            format!("Dir::Etc::sourceparts={}", folder("sources/")),
            String::from("Dir::Etc::preferencesparts=/dev/null"),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }

    /// Downloads `packages` with everything that they depend on, and returns the files.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let plan = quiet(self.apt("apt-get").args(["--simulate", "install"]).args(packages))?;
        let files: Vec<PathBuf> = plan
            .lines()
            .filter_map(planned_file)
            .map(|name| self.folder.join("archives").join(name))
            .collect();
        if files.is_empty() {
            bail!("apt plans nothing for {packages:?}");
        }
        if files.iter().any(|file| !file.is_file()) {
            let what = format!("download {} Debian packages for arm64", files.len());
            step(&what, || quiet(self.apt("apt-get").args(["--download-only", "install"]).args(packages)))?;
        }
        match files.iter().find(|file| !file.is_file()) {
            Some(missing) => bail!("apt did not bring {}", missing.display()),
            None => Ok(files),
        }
    }

    /// The bytes of one file of a package, straight from the package.
    pub fn file_of(&self, package: &str, path: &str) -> Result<Vec<u8>> {
        let folder = self.unpacked(package)?;
        let name = folder.file_name().context("a package without a name")?.to_string_lossy().into_owned();
        let deb = self.folder.join("archives").join(name + ".deb");
        let script = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO \"./$2\"";
        let output = command("sh", ["-c", script, "sh"]).arg(&deb).arg(path).output()?;
        match output.stdout {
            bytes if output.status.success() && !bytes.is_empty() => Ok(bytes),
            _ => bail!("{} has no {path}", deb.display()),
        }
    }

    /// Downloads and unpacks `packages` with everything that they depend on; returns a folder for each.
    pub fn closure_unpacked(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for file in self.closure(packages)? {
            let name = file.file_stem().context("a package without a name")?;
            let to = self.folder.join("unpacked").join(name);
            if !to.is_dir() {
                unpack(&file, &to)?;
            }
            folders.push(to);
        }
        Ok(folders)
    }

    /// The value of a field of a package.
    fn field(&self, package: &str, name: &str) -> Result<String> {
        let mut told = self.told.borrow_mut();
        let text = match told.entry(package.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(quiet(self.apt("apt-cache").args(["show", "--no-all-versions", package]))?)
            }
        };
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value
            .with_context(|| format!("Debian {} has no package {package} with a field {name}", self.suite))?;
        Ok(value.trim().to_owned())
    }

    /// The version of a package.
    pub fn version(&self, package: &str) -> Result<String> {
        self.field(package, "Version")
    }

    /// Unpacks one package (not what it depends on); returns the folder.
    pub fn unpacked(&self, package: &str) -> Result<PathBuf> {
        let name = file_name(package, &self.version(package)?, &self.field(package, "Architecture")?);
        let to = self.folder.join("unpacked").join(name.trim_end_matches(".deb"));
        if to.is_dir() {
            return Ok(to);
        }
        let archives = self.folder.join("archives");
        if !archives.join(&name).is_file() {
            step(&format!("download {package}"), || {
                quiet(self.apt("apt-get").args(["download", package]).current_dir(&archives))
            })?;
        }
        unpack(&archives.join(&name), &to)?;
        Ok(to)
    }

    /// The package that the metapackage `package` stands for: its first dependency.
    pub fn stands_for(&self, package: &str) -> Result<String> {
        let depends = self.field(package, "Depends")?;
        let first = depends.split([',', '(']).next().map(str::trim).filter(|first| !first.is_empty());
        first.map(str::to_owned).with_context(|| format!("{package} stands for no other package"))
    }
}

/// Unpacks a package file into a folder that appears only when it is whole.
fn unpack(deb: &Path, to: &Path) -> Result<()> {
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    quiet(command("dpkg-deb", ["-x"]).arg(deb).arg(&partial))?;
    fs::rename(&partial, to)?;
    Ok(())
}

/// The file of a line `Inst NAME (VERSION REPOSITORY [ARCHITECTURE])` of apt's simulation.
fn planned_file(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (what, _) = rest.strip_prefix('(')?.split_once(')')?;
    let version = what.split(' ').next()?;
    let architecture = what.rsplit_once('[')?.1.strip_suffix(']')?;
    Some(file_name(name.split(':').next()?, version, architecture))
}

fn file_name(package: &str, version: &str, architecture: &str) -> String {
    format!("{package}_{}_{architecture}.deb", version.replace(':', "%3a"))
}

/// The code name of the machine's Debian.
pub fn debian_suite() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("no /etc/os-release: which Linux is this?")?;
    match (os_field(&text, "ID"), os_field(&text, "VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite.to_owned()),
        _ => bail!(
            "the guests are made from the machine's Debian sources; this machine is not a Debian release"
        ),
    }
}

/// Its number.
pub fn debian_version() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("no /etc/os-release: which Linux is this?")?;
    os_field(&text, "VERSION_ID").map(str::to_owned).context("this Debian has no number")
}

fn os_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_files_carry_the_epoch_as_apt_writes_it() {
        let line = "Inst passwd (1:4.13+dfsg1-1+deb12u1 Debian:12.12/oldstable [arm64]) [libc6:arm64 ]";
        assert_eq!(planned_file(line).as_deref(), Some("passwd_1%3a4.13+dfsg1-1+deb12u1_arm64.deb"));
        assert_eq!(planned_file("Conf passwd (1 x [arm64])"), None);
    }
}
