//! Rule `floors`: a crate depends on its own floor or on lower ones.

use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// The floors, lowest first. `el2` and `el1` stand side by side: neither may know the other.
const FLOORS: [&[&str]; 4] = [&["ground"], &["models"], &["el2", "el1"], &["tools", "tests"]];
const BANNED: [&str; 8] = ["util", "common", "core", "base", "misc", "helper", "manager", "types"];

/// Upward edges among the crates that `cargo metadata` describes, and crates with banned names.
pub fn check(root: &Path, metadata: &Value) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        if BANNED.iter().any(|banned| name == *banned || name == format!("{banned}s")) {
            faults.push(format!("{name} is a name that says nothing"));
        }
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let Some(floor) = floor_of(root, Path::new(manifest)) else {
            faults.push(format!("{name} lies on no floor ({manifest})"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(path) = dependency["path"].as_str() else { continue };
            let manifest = Path::new(path).join("Cargo.toml");
            let on = floor_of(root, &manifest);
            if !on.is_some_and(|on| may_use(floor, on)) {
                let other = dependency["name"].as_str().unwrap_or_default();
                faults
                    .push(format!("{name} (floor {floor}) depends on {other} (floor {})", on.unwrap_or("?")));
            }
        }
    }
    Ok(faults)
}

fn height(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&floor))
}

fn may_use(floor: &str, on: &str) -> bool {
    let lower = height(on) < height(floor);
    // Programs for a PC talk to the vmkernel by `abi` and `api`; they never link what runs at EL2 or EL1.
    let reaches_into_a_frame = height(floor) == Some(3) && height(on) == Some(2);
    (lower && !reaches_into_a_frame) || floor == on || (height(floor) == Some(3) && height(on) == Some(3))
}

/// `crates/FLOOR/CRATE/Cargo.toml`, or `tests/…`.
fn floor_of<'a>(root: &Path, manifest: &'a Path) -> Option<&'a str> {
    let inside = manifest.strip_prefix(root).ok()?;
    let mut parts = inside.iter().filter_map(|part| part.to_str());
    let floor = match parts.next()? {
        "crates" => parts.next()?,
        first => first,
    };
    height(floor).map(|_| floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(from: &str, to: &str) -> usize {
        let metadata = json!({ "packages": [{
            "name": "a",
            "manifest_path": format!("/r/{from}/Cargo.toml"),
            "dependencies": [{ "name": "b", "path": format!("/r/{to}") }, { "name": "serde", "path": null }],
        }]});
        check(Path::new("/r"), &metadata).unwrap().len()
    }

    #[test]
    fn edges_go_down() {
        assert_eq!(faults("crates/models/vgic", "crates/ground/specs"), 0);
        assert_eq!(faults("crates/models/vgic", "crates/models/ports"), 0);
        assert_eq!(faults("tests/system", "crates/ground/api"), 0);
        assert_eq!(faults("crates/tools/xtask", "tests/system"), 0);
        assert_eq!(faults("crates/ground/specs", "crates/models/ports"), 1);
        assert_eq!(faults("crates/el1/test-guest", "crates/el2/el2"), 1);
        assert_eq!(faults("crates/tools/bramblectl", "crates/el2/vmkernel"), 1);
    }
}
