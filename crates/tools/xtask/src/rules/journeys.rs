//! Rule `journeys`: every `crate::path::item` in ARCHITECTURE.md is in the sources.
//!
//! A path leads from a crate through files (modules) to an item: `crate::module::item`, or `crate::module::Type::method`.
//! What a crate re-exports may be named without its module.

use super::rust_text::code_only;
use anyhow::Result;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [&str; 9] = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "macro_rules!"];

/// Paths of the document that lead nowhere.
pub fn check(document: &str, metadata: &Value) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in paths(document) {
        let segments: Vec<&str> = path.split("::").collect();
        let [name, rest @ ..] = segments.as_slice() else { continue };
        // Paths of other people's crates, `std::…`, are not ours to check.
        let Some(root) = crate_root(metadata, name) else { continue };
        if !leads_somewhere(&root, rest)? {
            faults.push(format!("ARCHITECTURE.md: {path} is not there"));
        }
    }
    Ok(faults)
}

/// What stands between backticks and has `::` in it.
fn paths(document: &str) -> Vec<&str> {
    let is_path = |text: &&str| {
        text.contains("::")
            && text.split("::").all(|part| part.chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    let quoted = document.split('`').skip(1).step_by(2);
    quoted.map(|text| text.trim_end_matches("()")).filter(is_path).collect()
}

/// `lib.rs` or `main.rs` of a crate of ours.
fn crate_root(metadata: &Value, name: &str) -> Option<PathBuf> {
    let packages = metadata["packages"].as_array()?;
    let package =
        packages.iter().find(|p| p["name"].as_str().is_some_and(|n| n.replace('-', "_") == name))?;
    let targets = package["targets"].as_array()?;
    let of_kind = |kind: &str| targets.iter().find(|target| target["kind"][0] == kind);
    of_kind("lib").or_else(|| of_kind("bin"))?["src_path"].as_str().map(PathBuf::from)
}

fn leads_somewhere(root: &Path, segments: &[&str]) -> Result<bool> {
    let Some(source) = root.parent() else { return Ok(false) };
    let mut folder = source.to_owned();
    let mut file = root.to_owned();
    let mut rest = segments;
    while let [module, after @ ..] = rest {
        let (flat, nested) = (folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs"));
        let Some(next) = [flat, nested].into_iter().find(|path| path.is_file()) else { break };
        file = next;
        folder.push(module);
        rest = after;
    }
    let code = code_only(&fs::read_to_string(&file)?);
    Ok(match rest {
        [] => true,
        [item] => defines(&code, item) || (re_exports(&code, item) && in_any_file(source, &[item])?),
        [.., owner, item] => {
            (defines(&code, owner) || re_exports(&code, owner)) && in_any_file(source, &[owner, item])?
        }
    })
}

fn defines(code: &str, item: &str) -> bool {
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!').collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| KINDS.contains(&pair[0]) && pair[1] == item)
}

fn re_exports(code: &str, item: &str) -> bool {
    code.split(';').filter_map(|statement| statement.split("pub use ").nth(1)).any(|names| {
        names.split(|c: char| !c.is_alphanumeric() && c != '_').any(|name| name == item)
            || names.trim().ends_with('*')
    })
}

/// Whether one file of the crate mentions all but the last of `items` and defines the last (a method's `impl` may be
/// in another file than its type; an enum's variants are only mentioned).
fn in_any_file(source: &Path, items: &[&str]) -> Result<bool> {
    let Some((last, owners)) = items.split_last() else { return Ok(false) };
    let mut files = Vec::new();
    super::collect(source, &mut files)?;
    for file in files {
        let code = code_only(&fs::read_to_string(file)?);
        let mentions = |name: &str| super::rust_text::words(&code).any(|word| word == name);
        if owners.iter().all(|owner| mentions(owner))
            && (defines(&code, last) || (!owners.is_empty() && mentions(last)))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_this_crate() {
        let main = concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs");
        let metadata = json!({ "packages": [{
            "name": "xtask", "targets": [{ "kind": ["bin"], "src_path": main }],
        }]});
        let document = "`xtask::rules::journeys::check` `xtask::apt::Arm64::closure` `xtask::apt::machine_sources` \
                        `std::vec::Vec` `xtask::main()` `not a path`";
        assert_eq!(check(document, &metadata).unwrap(), Vec::<String>::new());
        let wrong = "`xtask::rules::journeys::chuck` `xtask::apt::Arm64::opened` `xtask::gone::x`";
        assert_eq!(check(wrong, &metadata).unwrap().len(), 3);
    }
}
