//! `bramblectl host settings …`: the host's name, addresses and servers.

use super::Show;
use super::client::Client;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/host/settings";

/// What shall be set; without any option the settings are shown. Another address is on trial for two minutes: have it kept
/// by `host confirm`, through the new address.
#[derive(clap::Args, Clone, Default)]
pub struct HostSettings {
    /// The host's name. Another name is another CA, whose fingerprint the console shows.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// `dhcp`, `off`, or an address as A.B.C.D/N, with a gateway behind a comma.
    #[arg(long, value_name = "ADDRESS")]
    ipv4: Option<String>,
    /// `auto`, `link-local`, or an address as X::Y/N, with a gateway behind a comma.
    #[arg(long, value_name = "ADDRESS")]
    ipv6: Option<String>,
    /// A DNS server. May be repeated; the servers are then these, and none with an empty one.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// An NTP server. May be repeated; the servers are then these, and none with an empty one.
    #[arg(long, value_name = "SERVER")]
    ntp: Vec<String>,
}

impl HostSettings {
    pub fn run(&self, client: &Client, show: &Show) -> Result<()> {
        let answer = client.send("GET", PATH, "", &[])?;
        let state = answer.json()?;
        let mut settings = state["settings"].clone();
        if !self.apply(&mut settings) {
            show.one(&state);
            return Ok(());
        }
        let tag = answer.header("etag").context("the host does not say which settings these are")?;
        let lines = format!("Content-Type: application/json\r\nIf-Match: {tag}\r\n");
        let body = serde_json::to_vec(&settings)?;
        let state = client.send("PUT", PATH, &lines, &body)?.json()?;
        show.one(&state);
        if let Some(seconds) = state["trial"]["seconds_left"].as_u64() {
            eprintln!(
                "The address before this one is back in {seconds} seconds, unless you say `bramblectl host confirm`; \
                 point the context to the new address first."
            );
        }
        Ok(())
    }

    /// Whether anything is to be set.
    fn apply(&self, settings: &mut Value) -> bool {
        let before = settings.clone();
        if let Some(name) = &self.name {
            settings["name"] = json!(name);
        }
        for (field, text) in [("ipv4", &self.ipv4), ("ipv6", &self.ipv6)] {
            if let Some(text) = text {
                settings[field] = address(text);
            }
        }
        for (field, servers) in [("dns", &self.dns), ("ntp", &self.ntp)] {
            if !servers.is_empty() {
                settings[field] = servers.iter().filter(|server| !server.is_empty()).cloned().collect();
            }
        }
        *settings != before
    }
}

fn address(text: &str) -> Value {
    match text.split_once(',') {
        Some((address, gateway)) => json!({ "method": "static", "address": address, "gateway": gateway }),
        None if text.contains('/') => json!({ "method": "static", "address": text }),
        // The host says which there are.
        None => json!({ "method": text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_what_they_name() {
        let before = json!({
            "name": "bramble", "ipv4": { "method": "dhcp" }, "ipv6": { "method": "auto" }, "dns": [], "ntp": ["a"]
        });
        let mut settings = before.clone();
        assert!(!HostSettings::default().apply(&mut settings));
        let wanted = HostSettings {
            ipv4: Some("10.0.0.2/24,10.0.0.1".into()),
            ipv6: Some("link-local".into()),
            ntp: vec![String::new()],
            ..HostSettings::default()
        };
        assert!(wanted.apply(&mut settings));
        let after = json!({
            "name": "bramble", "ipv4": { "method": "static", "address": "10.0.0.2/24", "gateway": "10.0.0.1" },
            "ipv6": { "method": "link-local" }, "dns": [], "ntp": []
        });
        assert_eq!(settings, after);
    }
}
