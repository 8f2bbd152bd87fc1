//! A kernel package of Debian: its image, its device trees, and its modules in the order that they can be loaded in.

use crate::apt::Arm64;
use crate::run::{command, quiet};
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An unpacked kernel package.
pub struct Kernel {
    folder: PathBuf,
    package: String,
    release: String,
}

impl Kernel {
    /// Of the metapackage `meta`.
    pub fn of(packages: &Arm64, meta: &str) -> Result<Self> {
        let package = packages.stands_for(meta)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let folder = packages.unpacked(&package)?;
        let kernel = Self { folder, package, release };
        if !kernel.modules().join("modules.dep").is_file() {
            kernel.index_modules()?;
        }
        Ok(kernel)
    }

    fn modules(&self) -> PathBuf {
        let merged = self.folder.join("usr/lib/modules").join(&self.release);
        if merged.is_dir() { merged } else { self.folder.join("lib/modules").join(&self.release) }
    }

    /// What the package's own scripts do at installation: find out which module needs which.
    fn index_modules(&self) -> Result<()> {
        let lib = self.folder.join("lib");
        if !lib.exists() {
            std::os::unix::fs::symlink("usr/lib", &lib)?;
        }
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        quiet(command("depmod", ["-b"]).arg(&self.folder).arg(&self.release).env("PATH", path)).map(|_| ())
    }

    /// Copies the kernel's image, unchanged.
    pub fn copy_image(&self, to: &Path) -> Result<()> {
        let image = self.folder.join("boot").join(format!("vmlinuz-{}", self.release));
        fs::copy(&image, to).with_context(|| format!("no {}", image.display()))?;
        Ok(())
    }

    /// The package's name, and its image's bytes as they are in the package.
    pub fn packaged_image(&self, packages: &Arm64) -> Result<(&str, Vec<u8>)> {
        let bytes = packages.file_of(&self.package, &format!("boot/vmlinuz-{}", self.release))?;
        Ok((&self.package, bytes))
    }

    /// Copies a device tree.
    pub fn copy_tree(&self, name: &str, to: &Path) -> Result<()> {
        let tree = self.folder.join(format!("usr/lib/linux-image-{}", self.release)).join(name);
        fs::copy(&tree, to).with_context(|| format!("no {}", tree.display()))?;
        Ok(())
    }

    /// The modules `wanted` and all that they need, each after what it needs: name and content, not compressed.
    /// Modules that are built in are left out, and so is a `?name` that this kernel does not have.
    pub fn modules_in_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let needs = self.needs()?;
        let built_in = fs::read_to_string(self.modules().join("modules.builtin"))?;
        let mut order: Vec<String> = Vec::new();
        for name in wanted {
            let (name, optional) = name.strip_prefix('?').map_or((*name, false), |name| (name, true));
            let Some(path) = needs.keys().find(|path| module_name(path) == name) else {
                if optional || built_in.lines().any(|line| module_name(line) == name) {
                    continue;
                }
                bail!("kernel {} has no module {name}", self.release);
            };
            // modules.dep lists what a module needs with the deepest last.
            let chain = needs[path].iter().rev().chain([path]);
            for module in chain {
                if !order.contains(module) {
                    order.push(module.clone());
                }
            }
        }
        order.into_iter().map(|path| Ok((module_name(&path), self.read_module(&path)?))).collect()
    }

    fn needs(&self) -> Result<HashMap<String, Vec<String>>> {
        let text = fs::read_to_string(self.modules().join("modules.dep"))?;
        let line = |line: &str| {
            let (path, needs) = line.split_once(':')?;
            Some((path.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    fn read_module(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.modules().join(path);
        if !path.ends_with(".xz") {
            return fs::read(&file).with_context(|| format!("no {}", file.display()));
        }
        let output = Command::new("xz").args(["-dc"]).arg(&file).stderr(Stdio::inherit()).output()?;
        if output.status.success() { Ok(output.stdout) } else { bail!("can't decompress {}", file.display()) }
    }
}

/// `kernel/drivers/net/virtio_net.ko.xz` is `virtio_net`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}
