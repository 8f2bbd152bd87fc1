//! Work on a host, through its API.
//!
//! | what | module |
//! |---|---|
//! | which hosts, which CA, which token | [`contexts`] |
//! | requests and answers | [`client`] over [`connection`], [`chunks`], [`websocket`] |
//! | logins, users, tokens | [`login`], [`people`] |
//! | VMs | [`vms`], [`configure`], [`console`] |
//! | storage | [`storage`], [`transfer`] |
//! | the host | [`host`], [`settings`], [`audit`], [`bundle`] |

mod audit;
mod bundle;
mod chunks;
mod client;
mod configure;
mod connection;
mod console;
mod contexts;
mod host;
mod login;
mod people;
mod settings;
mod storage;
mod transfer;
mod vms;
mod websocket;

pub use audit::AuditCommand;
pub use bundle::write as support_bundle;
pub use contexts::ContextCommand;
pub use host::{ApiOptions, EventsOptions, HostCommand, TaskCommand};
pub use login::{LoginOptions, log_in};
pub use people::{PasswordOptions, TokenCommand, UserCommand, change_password, log_out, who_am_i};
pub use storage::StorageCommand;
pub use transfer::ImportOptions;
pub use vms::VmCommand;

use crate::system::terminal;
use anyhow::Result;
use client::Client;
use contexts::Contexts;
use serde_json::Value;

/// How answers are shown.
#[derive(clap::Args, Clone, Default)]
pub struct Show {
    /// The host to work on, instead of the one chosen by `context use`.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Print what the API answers, or what is found in a datastore, as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Show {
    fn client(&self) -> Result<Client> {
        Client::new(Contexts::read()?.find(self.context.as_deref())?.clone())
    }

    /// Prints the items of a list: as JSON, or these fields in columns.
    fn list(&self, items: &[Value], columns: &[&str]) {
        if self.json {
            return println!("{}", Value::from(items));
        }
        let mut rows =
            vec![columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect::<Vec<_>>()];
        rows.extend(items.iter().map(|item| columns.iter().map(|name| text(&item[*name])).collect()));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Prints a resource: as JSON, or a field a line.
    fn one(&self, resource: &Value) {
        match resource.as_object() {
            Some(fields) if !self.json => {
                let width = fields.keys().map(String::len).max().unwrap_or(0);
                for (name, value) in fields {
                    println!("{name:width$}  {}", text(value));
                }
            }
            _ => println!("{resource}"),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::from("-"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A name as a path or a query takes it (RFC 3986, 2.1).
fn escaped(name: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    let escape =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stay_within_their_segment() {
        assert_eq!(super::escaped("image:a b/c?d%e"), "image:a%20b%2Fc%3Fd%25e");
    }
}
