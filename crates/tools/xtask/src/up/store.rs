//! The disk of `up`'s host: a datastore with the demo's guests in it, which start with the host. `up` keeps it between
//! runs; `--check` makes its own.

use crate::run::step;
use anyhow::{Context, Result};
use api::host::Vm;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use system::store::StoreImage;
use system::{ArchiveBuilder, HostDisk};

/// Room for the demo's guests and some more; the file is sparse.
const MIB: u32 = 16 * 1024;
/// What the host calls its disk.
pub const SERIAL: &str = "datastore";

/// A VM's record: a host document with this VM and nothing else.
#[derive(Serialize)]
struct Record {
    vm: [Vm; 1],
}

/// The disk at `path`, made if it is not there: every VM of `archive` as a record, its files as objects, its disks of
/// `disks` as volumes.
pub fn disk(path: &Path, archive: &ArchiveBuilder, disks: &[HostDisk], fresh: bool) -> Result<HostDisk> {
    if fresh || !path.exists() {
        step("make a datastore with two Debian VMs", || make(path, archive, disks))?;
    }
    Ok(HostDisk { path: path.to_owned(), serial: String::from(SERIAL), snapshot: false })
}

fn make(path: &Path, archive: &ArchiveBuilder, disks: &[HostDisk]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    let part = path.with_extension("part");
    let store = StoreImage::make(&part, MIB)?;
    let mut volumes: BTreeMap<PathBuf, String> = BTreeMap::new();
    for vm in &archive.document.vms {
        let mut vm = vm.clone();
        for name in [&vm.boot.kernel, &vm.boot.initrd, &vm.boot.firmware].into_iter().flatten() {
            let file = archive.path_of(name).with_context(|| format!("no file {name}"))?;
            store.import(file, &format!("object:file:{name}"))?;
        }
        for (index, disk) in vm.disks.iter_mut().enumerate() {
            let Some(serial) = disk.host_disk.take() else { continue };
            let volume = if index == 0 { vm.name.clone() } else { format!("{}-{index}", vm.name) };
            let file = disks.iter().find(|disk| disk.serial == serial);
            let file = &file.with_context(|| format!("no disk {serial}"))?.path;
            // The second guest of the same disk costs nothing.
            match volumes.get(file) {
                Some(other) => store.clone_volume(other, &volume)?,
                None => store.import(file, &volume)?,
            }
            volumes.entry(file.clone()).or_insert_with(|| volume.clone());
            disk.volume = Some(volume);
        }
        let record = path.with_extension("record");
        fs::write(&record, toml::to_string(&Record { vm: [vm.clone()] })?)?;
        store.import(&record, &format!("object:vm:{}", vm.name))?;
        fs::remove_file(&record)?;
    }
    // Only now is it one: an interrupted making is not taken for it.
    fs::rename(&part, path).with_context(|| format!("can't write {}", path.display()))
}
