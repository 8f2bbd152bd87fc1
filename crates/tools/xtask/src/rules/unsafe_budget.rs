//! Rule `two-unsafe-crates`: only `el2` and `el1` hold unsafe code, and per file no more than is checked in.

use super::rust_text::{code_only, words};
use super::{list, read, rust_files};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const BUDGET: &str = "docs/rules/unsafe-budget.txt";
const HOLDERS: [&str; 2] = ["crates/el2/el2/", "crates/el1/el1/"];
const HEADER: &str = "\
# Rule two-unsafe-crates: how often the word `unsafe` stands in the code of each file that may have it.
# `./bramble test --bless` writes this file; a change of it is for review.
";

/// Compares the counts with the budget.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let budget = read(root, BUDGET)?;
    let budget: BTreeMap<&str, usize> =
        list(&budget).filter_map(|(file, count)| Some((file, count.parse().ok()?))).collect();
    let mut faults = Vec::new();
    for (file, count) in counts(root)? {
        if !HOLDERS.iter().any(|holder| file.starts_with(holder)) {
            faults.push(format!("{file}: {count} times unsafe, but only the crates el2 and el1 may hold it"));
            continue;
        }
        let allowed = budget.get(file.as_str()).copied().unwrap_or(0);
        if count > allowed {
            faults.push(format!("{file}: {count} times unsafe, {BUDGET} allows {allowed}"));
        }
    }
    Ok(faults)
}

/// Writes the counts of today as the budget.
pub fn bless(root: &Path) -> Result<()> {
    let mut text = String::from(HEADER);
    for (file, count) in counts(root)? {
        text.push_str(&format!("{file} {count}\n"));
    }
    fs::write(root.join(BUDGET), text)?;
    Ok(())
}

fn counts(root: &Path) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for file in rust_files(root)? {
        let count = unsafe_words(&read(root, &file)?);
        if count > 0 {
            counts.insert(file.display().to_string(), count);
        }
    }
    Ok(counts)
}

fn unsafe_words(text: &str) -> usize {
    words(&code_only(text)).filter(|word| *word == "unsafe").count()
}

#[cfg(test)]
mod tests {
    use super::unsafe_words;

    #[test]
    fn words_that_only_contain_it_do_not_count() {
        assert_eq!(unsafe_words("#![forbid(unsafe_code)] // unsafe\nfn f() { unsafe { g() } }"), 1);
        assert_eq!(unsafe_words("#[unsafe(no_mangle)]\npub unsafe fn f() {}"), 2);
    }
}
