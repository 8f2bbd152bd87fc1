//! The machine's own package sources, in both forms that apt reads (sources.list(5)).
//!
//! No address of a mirror stands anywhere in this repository: it always comes from here.

use anyhow::Result;
use std::fs;
use std::path::PathBuf;

/// One stanza: fields in order, continuation lines kept in their value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source(Vec<(String, String)>);

impl Source {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// The suites that it offers.
    pub fn suites(&self) -> impl Iterator<Item = &str> {
        self.get("Suites").unwrap_or_default().split_whitespace()
    }

    /// The same for another suite of the same place.
    pub fn with_suite(mut self, suite: &str) -> Self {
        self.set("Suites", suite);
        self
    }

    /// The same for one architecture.
    pub fn with_architecture(mut self, architecture: &str) -> Self {
        self.set("Architectures", architecture);
        self
    }

    /// The same with one more component of Debian's, where this is Debian's.
    pub fn with_component(mut self, component: &str) -> Self {
        let present = self.get("Components").unwrap_or_default().to_owned();
        let has = |name: &str| present.split_whitespace().any(|word| word == name);
        if has("main") && !has(component) {
            self.set("Components", &format!("{present} {component}"));
        }
        self
    }

    /// As a stanza of a `.sources` file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (field, value) in &self.0 {
            text.push_str(&format!("{field}: {value}\n"));
        }
        text + "\n"
    }

    fn is_active(&self) -> bool {
        let types = self.get("Types").unwrap_or_default().split_whitespace().any(|kind| kind == "deb");
        types && self.get("Enabled").is_none_or(|value| value.trim() != "no")
    }
}

/// The machine's sources of binary packages of `suite` and its siblings (`-updates`, `-security`, `-backports`).
pub fn machine_sources(suite: &str) -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => found.extend(stanzas(&text)),
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            _ => {}
        }
    }
    Ok(found.into_iter().filter(Source::is_active).filter_map(|source| of_suite(source, suite)).collect())
}

fn of_suite(mut source: Source, suite: &str) -> Option<Source> {
    let sibling =
        |name: &&str| *name == suite || name.strip_prefix(suite).is_some_and(|rest| rest.starts_with('-'));
    let kept: Vec<String> = source.suites().filter(sibling).map(str::to_owned).collect();
    source.set("Types", "deb");
    source.set("Suites", &kept.join(" "));
    (!kept.is_empty()).then_some(source)
}

fn stanzas(text: &str) -> Vec<Source> {
    let mut all = Vec::new();
    let mut current = Source::default();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !current.0.is_empty() {
                all.push(std::mem::take(&mut current));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = current.0.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            current.0.push((field.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

/// `deb [signed-by=KEY arch=amd64] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let mut source = Source::default();
    source.set("Types", "deb");
    source.set("URIs", words.next()?);
    source.set("Suites", words.next()?);
    source.set("Components", &words.collect::<Vec<_>>().join(" "));
    for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
        match name {
            "signed-by" => source.set("Signed-By", value),
            "trusted" => source.set("Trusted", value),
            _ => {}
        }
    }
    Some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let text = "# note\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates sid\n\
                    Components: main\nSigned-By:\n -----BEGIN\n abc\n\nTypes: deb\nEnabled: no\nSuites: bookworm\n";
        let read = stanzas(text);
        assert_eq!(read.len(), 2);
        assert!(read[0].is_active() && !read[1].is_active());
        let source = of_suite(read[0].clone(), "bookworm").unwrap().with_architecture("arm64");
        assert_eq!(source.suites().collect::<Vec<_>>(), ["bookworm", "bookworm-updates"]);
        assert!(source.text().contains("Signed-By: \n -----BEGIN\n abc\n"));
        assert!(source.text().contains("Architectures: arm64\n"));

        let source =
            one_line("deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib")
                .unwrap();
        assert!(source.is_active());
        assert_eq!(source.get("Signed-By"), Some("/k.gpg"));
        assert_eq!(source.get("Components"), Some("main contrib"));
        assert_eq!(of_suite(source, "bookworm"), None);
        assert_eq!(one_line("deb-src http://mirror.example/debian trixie main"), None);
    }
}
