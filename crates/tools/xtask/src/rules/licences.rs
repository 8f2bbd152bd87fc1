//! Licences and sources of all crates that are built: what cargo-deny would check, without minutes of building it
//! (docs/adr/0010-cargo-deny-and-our-own-check.md).

use anyhow::Result;
use serde_json::Value;

/// Licences that go with "Apache-2.0 OR MIT".
const ACCEPTED: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
];

/// Crates with a licence that is not accepted, or from elsewhere than crates.io.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = format!("{} {}", text(package, "name"), text(package, "version"));
        let licence = text(package, "license");
        if !accepted(licence) {
            faults.push(format!("{name}: licence {licence:?} is not accepted"));
        }
        if let Some(source) = package["source"].as_str()
            && !source.starts_with("registry+")
        {
            faults.push(format!("{name} comes from {source}, not from a registry"));
        }
    }
    Ok(faults)
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// An SPDX expression with some choice whose every part is accepted. `/` is the old way to write OR.
fn accepted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    if let Some((open, close)) =
        expression.rfind('(').and_then(|open| Some((open, open + expression[open..].find(')')?)))
    {
        // Innermost parentheses first: their verdict stands for them.
        let verdict = if accepted(&expression[open + 1..close]) { "MIT" } else { "refused" };
        return accepted(&format!("{}{verdict}{}", &expression[..open], &expression[close + 1..]));
    }
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(|part| ACCEPTED.contains(&part.trim())))
}

#[cfg(test)]
mod tests {
    use super::{ACCEPTED, accepted};

    #[test]
    fn cargo_deny_accepts_the_same() {
        let document: toml::Value = toml::from_str(include_str!("../../../../../deny.toml")).unwrap();
        let allowed = document["licenses"]["allow"].as_array().unwrap();
        assert_eq!(allowed.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>(), ACCEPTED);
    }

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "(GPL-2.0) OR ISC",
        ] {
            assert!(accepted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND MPL-2.0"] {
            assert!(!accepted(bad), "{bad}");
        }
    }
}
