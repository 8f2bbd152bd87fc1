//! The boot archive: `host.toml` and the files that it names, as one cpio archive for the bootloader's initrd.

use crate::cpio::CpioWriter;
use anyhow::{Context, Result, bail};
use api::host::{Disk, HostDocument, Nic, Vm};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// A boot archive to be written; `api::BootArchive` reads it.
#[derive(Clone, Default)]
pub struct ArchiveBuilder {
    /// What `host.toml` will say.
    pub document: HostDocument,
    raw_document: Option<String>,
    files: BTreeMap<String, PathBuf>,
}

impl ArchiveBuilder {
    /// An archive without VMs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a host document; the files that it names lie beside it.
    pub fn from_document(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        let parsed = HostDocument::parse(&text);
        if !parsed.problems.is_empty() {
            let problems: Vec<String> =
                parsed.problems.iter().map(|problem| format!("    {problem}")).collect();
            bail!("{}:\n{}", path.display(), problems.join("\n"));
        }
        let document = parsed.document;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut archive = Self { document, ..Self::default() };
        for name in archive.named_files() {
            archive.file(&name, &folder.join(&name))?;
        }
        Ok(archive)
    }

    /// Puts this text in as `host.toml`, right or wrong, in the place of the document.
    pub fn raw_document(mut self, text: &str) -> Self {
        self.raw_document = Some(text.to_owned());
        self
    }

    /// Adds a file under `name`; adding the same one twice is fine.
    pub fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        if let Some(other) = self.files.get(name)
            && other != path
        {
            bail!("the boot archive has {name} twice: {} and {}", other.display(), path.display());
        }
        self.files.insert(name.to_owned(), path.to_owned());
        Ok(())
    }

    /// Adds a VM.
    pub fn vm(&mut self, vm: Vm) {
        self.document.vms.push(vm);
    }

    /// Adds everything of `other`.
    pub fn append(&mut self, other: Self) -> Result<()> {
        self.document.vms.extend(other.document.vms);
        for (name, path) in other.files {
            self.file(&name, &path)?;
        }
        Ok(())
    }

    /// The path of the file called `name`.
    pub fn path_of(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// Writes the archive.
    pub fn write(&self, to: &Path) -> Result<()> {
        let out = File::create(to).with_context(|| format!("can't create {}", to.display()))?;
        let mut cpio = CpioWriter::new(BufWriter::new(out));
        let document = match &self.raw_document {
            Some(text) => text.clone(),
            None => toml::to_string(&self.document)?,
        };
        cpio.file("host.toml", 0o644, document.as_bytes())?;
        for (name, path) in &self.files {
            let data = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
            cpio.file(name, 0o644, &data)?;
        }
        cpio.finish()?;
        Ok(())
    }

    fn named_files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for vm in &self.document.vms {
            let boot = &vm.boot;
            names.extend([&boot.kernel, &boot.initrd, &boot.firmware].into_iter().flatten().cloned());
            names.extend(vm.disks.iter().filter_map(|disk| disk.image.clone()));
        }
        names
    }
}

/// A VM with `vcpus` and `memory_mib` and nothing else.
pub fn vm(name: &str, vcpus: u8, memory_mib: u32) -> Vm {
    Vm { name: name.to_owned(), vcpus, memory: format!("{memory_mib} MiB"), ..Vm::default() }
}

/// A disk in RAM, from a file of the archive.
pub fn image_disk(name: &str, read_only: bool) -> Disk {
    Disk { image: Some(name.to_owned()), read_only, ..Disk::default() }
}

/// A disk of the host, by its serial number.
pub fn host_disk(serial: &str) -> Disk {
    Disk { host_disk: Some(serial.to_owned()), ..Disk::default() }
}

/// A volume of the host's datastore.
pub fn volume(name: &str) -> Disk {
    Disk { volume: Some(name.to_owned()), ..Disk::default() }
}

/// A network card with the address that the host makes for it.
pub fn nic() -> Nic {
    Nic::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_survives_the_way_through_the_archive() {
        let mut archive = ArchiveBuilder::new();
        let mut one = vm("one", 2, 256);
        one.boot.kernel = Some("kernel".into());
        one.disks = vec![image_disk("root.img", false), host_disk("debian"), volume("data")];
        one.nics.push(nic());
        archive.vm(one);
        let text = toml::to_string(&archive.document).unwrap();
        let parsed = HostDocument::parse(&text);
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.document, archive.document);
    }

    #[test]
    fn one_name_for_two_files_is_refused() {
        let mut archive = ArchiveBuilder::new();
        archive.file("kernel", Path::new("a")).unwrap();
        archive.file("kernel", Path::new("a")).unwrap();
        assert!(archive.file("kernel", Path::new("b")).is_err());
    }
}
