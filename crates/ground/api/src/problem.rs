//! What is wrong with a host document, and where: line, field, fault and remedy.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// One thing that is wrong with a host document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line of the document, from 1; 0 where the whole document is meant.
    pub line: usize,
    /// The field, such as `vm[web].disk[0].image`; empty where there is none to name.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host.toml")?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// A table of the document: where a path into it leads, and what it is called.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub text: &'a str,
    pub table: &'a Spanned<DeValue<'a>>,
    /// Such as `vm[web]`.
    pub label: String,
}

impl Place<'_> {
    /// A problem of the value at `path`, such as `disk.0.image`; of the nearest table above where it is missing.
    pub fn problem(&self, path: &str, what: impl Into<String>, remedy: &str) -> Problem {
        Problem { line: self.line(path), field: self.field(path), what: what.into(), remedy: remedy.into() }
    }

    /// Line of the value at `path`.
    pub fn line(&self, path: &str) -> usize {
        let mut value = self.table;
        for step in path.split('.') {
            let inner = match value.get_ref() {
                DeValue::Table(table) => table.get(step),
                DeValue::Array(array) => step.parse::<usize>().ok().and_then(|index| array.get(index)),
                _ => None,
            };
            let Some(inner) = inner else { break };
            value = inner;
        }
        line_of(self.text, value.span().start)
    }

    fn field(&self, path: &str) -> String {
        let mut field = self.label.clone();
        for step in path.split('.').filter(|step| !step.is_empty()) {
            let is_index = step.bytes().all(|byte| byte.is_ascii_digit());
            let step = if is_index { format!("[{step}]") } else { format!(".{step}") };
            field.push_str(&step);
        }
        field.trim_start_matches('.').to_string()
    }

    /// The path to the innermost key or value that covers byte `at` of the text.
    pub fn path_at(&self, at: usize) -> String {
        let mut path = String::new();
        let mut value = self.table;
        loop {
            let step = match value.get_ref() {
                DeValue::Table(table) => table.iter().find_map(|(key, inner)| {
                    let covers = key.span().contains(&at) || covers(inner, at);
                    covers.then(|| (key.get_ref().to_string(), inner))
                }),
                DeValue::Array(array) => array
                    .iter()
                    .enumerate()
                    .find_map(|(index, inner)| covers(inner, at).then(|| (index.to_string(), inner))),
                _ => None,
            };
            let Some((step, inner)) = step else { return path };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&step);
            value = inner;
        }
    }
}

/// The span of a table is that of its header only, so its contents are asked too.
fn covers(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    value.span().contains(&at)
        || match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().any(|(key, inner)| key.span().contains(&at) || covers(inner, at))
            }
            DeValue::Array(array) => array.iter().any(|inner| covers(inner, at)),
            _ => false,
        }
}

/// The line of byte `at`, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
}
