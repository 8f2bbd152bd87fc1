//! Builds the image, hostd inside it, and the test guests for bare metal, and makes them flat.

use crate::flat::flatten;
use crate::run::{command, has, quiet, shown, step};
use crate::web;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use system::Artifacts;

/// No floating point at EL2: the guests' registers stay in place.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";
const PROFILE: &str = "image";

/// Builds hostd with the web UI in it, which goes into the image; returns its ELF file.
fn hostd(at: &Artifacts) -> Result<PathBuf> {
    web::pack(at)?;
    step("build hostd", || {
        cargo_build(at, &["--package", "hostd"])?;
        fs::create_dir_all(at.out())?;
        flatten(&hostd_elf(at), &at.hostd())?;
        Ok(hostd_elf(at))
    })
}

/// hostd with its symbols, once it was built.
pub fn hostd_elf(at: &Artifacts) -> PathBuf {
    elf_folder(at).join("hostd")
}

/// Builds the image; returns its path.
pub fn image(at: &Artifacts) -> Result<PathBuf> {
    hostd(at)?;
    step("build the image", || {
        cargo_build(at, &["--package", "bramble", "--bin", "bramble"])?;
        fs::create_dir_all(at.out())?;
        let elf = elf_folder(at).join("bramble");
        fs::copy(&elf, at.image_elf()).with_context(|| format!("no {}", elf.display()))?;
        flatten(&elf, &at.image())
    })
    .map(|size| {
        eprintln!("bramble: {} has {} KiB", at.image().display(), size.div_ceil(1024));
        at.image()
    })
}

/// Builds the image that measures the Pi's drivers; returns its path.
pub fn bench_pi(at: &Artifacts) -> Result<PathBuf> {
    step("build the benchmark of the Pi's drivers", || {
        cargo_build(at, &["--package", "bramble", "--bin", "bench-pi"])?;
        let flat = at.out().join("bench-pi.img");
        flatten(&elf_folder(at).join("bench-pi"), &flat)?;
        Ok(flat)
    })
}

/// Builds every test guest; returns their names.
pub fn test_guests(at: &Artifacts) -> Result<Vec<String>> {
    if !at.root().join("crates/el1/test-guest").is_dir() {
        return Ok(Vec::new());
    }
    step("build the test guests", || {
        cargo_build(at, &["--package", "test-guest"])?;
        let folder = at.out().join("test-guest");
        fs::create_dir_all(&folder)?;
        let names = binaries_of(at, "test-guest")?;
        for name in &names {
            flatten(&elf_folder(at).join(name), &folder.join(format!("{name}.bin")))?;
        }
        Ok(names)
    })
}

fn cargo_build(at: &Artifacts, what: &[&str]) -> Result<()> {
    let mut cargo = cargo(at);
    cargo.args(["build", "--quiet", "--profile", PROFILE, "--target", TARGET]).args(what);
    // What crates/el2/bramble/build.rs includes.
    cargo.env("BRAMBLE_HOSTD", at.hostd());
    // … and crates/el1/hostd/build.rs.
    cargo.env("BRAMBLE_WEB", at.web());
    if !has_bare_metal_library()? {
        // Debian's compiler brings no bare-metal library, and no linker of its own. RUSTC_BOOTSTRAP lets a stable one
        // build the library from source.
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", "ld.lld")
            .args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"]);
    }
    shown(&mut cargo)
}

/// Cargo in the checkout.
pub fn cargo(at: &Artifacts) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(at.root());
    // Set by the `cargo run` that started us; they would make cargo believe that it builds xtask.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The folder that cargo puts bare-metal binaries in.
pub fn elf_folder(at: &Artifacts) -> PathBuf {
    at.root().join("target").join(TARGET).join(PROFILE)
}

fn has_bare_metal_library() -> Result<bool> {
    if has("rustup") {
        return Ok(true);
    }
    let sysroot = quiet(&mut command("rustc", ["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir())
}

fn binaries_of(at: &Artifacts, package: &str) -> Result<Vec<String>> {
    let metadata = metadata(at)?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let targets = packages.iter().filter(|p| p["name"] == package).flat_map(|p| p["targets"].as_array());
    Ok(targets
        .flatten()
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect())
}

/// The crates of these floors.
pub fn packages_on(at: &Artifacts, floors: &[&str]) -> Result<Vec<String>> {
    let crates = at.root().join("crates");
    let on = |manifest: &str| floors.iter().any(|floor| Path::new(manifest).starts_with(crates.join(floor)));
    Ok(names(&metadata(at)?, |package| package["manifest_path"].as_str().is_some_and(on)))
}

fn names(metadata: &serde_json::Value, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.filter(|package| wanted(package)).filter_map(|p| p["name"].as_str().map(str::to_owned)).collect()
}

/// What cargo says about the workspace's own crates.
pub fn metadata(at: &Artifacts) -> Result<serde_json::Value> {
    let text = quiet(cargo(at).args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    Ok(serde_json::from_str(&text)?)
}
