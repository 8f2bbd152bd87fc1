//! The hosts that this user works on: address, pinned CA, token; in one file that only the user can read.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All of them.
#[derive(Default, Serialize, Deserialize)]
pub struct Contexts {
    /// The one that is taken where none is named.
    current: Option<String>,
    hosts: Vec<Context>,
}

/// A host.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Context {
    pub name: String,
    pub url: String,
    /// The host's CA, as PEM: no other is trusted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Its name in its certificate, where it is not the address's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Of the last login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the host calls that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

/// A token, and what the host calls it.
pub struct Secret {
    pub token: String,
    pub id: String,
}

/// Which hosts there are.
#[derive(Subcommand)]
pub enum ContextCommand {
    /// Add a host, and choose it.
    Add {
        /// What it is called here.
        name: String,
        /// Its address: https://NAME or https://NAME:PORT.
        url: String,
        /// The host's CA certificate, as PEM.
        #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
        ca: Option<PathBuf>,
        /// SHA-256 of the host's CA, as its console shows it: the CA is then fetched and pinned.
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
        /// The host's name in its certificate, where it is not the address's: behind a forwarded port.
        #[arg(long, value_name = "NAME")]
        server_name: Option<String>,
    },
    /// List the hosts; the chosen one has a star.
    List,
    /// Choose a host.
    Use {
        /// Its name.
        name: String,
    },
    /// Forget a host.
    Remove {
        /// Its name.
        name: String,
    },
}

fn path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BRAMBLECTL_CONTEXTS") {
        return Ok(path.into());
    }
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let home = home.context("neither HOME nor XDG_CONFIG_HOME is set: set BRAMBLECTL_CONTEXTS to a file")?;
    Ok(home.join("bramble/contexts.json"))
}

impl Contexts {
    pub fn read() -> Result<Self> {
        let path = path()?;
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged: correct it, or remove it and add the hosts anew", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    pub fn write(&self) -> Result<()> {
        let path = path()?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        let bytes = serde_json::to_vec_pretty(self)?;
        crate::system::terminal::write_private(&path, &bytes)
            .with_context(|| format!("can't write {}", path.display()))
    }

    /// A host by its name, or the chosen one.
    pub fn find(&self, name: Option<&str>) -> Result<&Context> {
        let name = name.or(self.current.as_deref());
        let name =
            name.context("no host is chosen: `bramblectl context add NAME URL --fingerprint HEX` adds one")?;
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .with_context(|| format!("there is no host {name}: `bramblectl context list` names them"))
    }

    /// Puts a host's token there.
    pub fn put_token(&mut self, name: &str, secret: Option<Secret>) {
        if let Some(host) = self.hosts.iter_mut().find(|host| host.name == name) {
            (host.token, host.token_id) = secret.map(|secret| (secret.token, secret.id)).unzip();
        }
    }
}

impl ContextCommand {
    pub fn run(self) -> Result<()> {
        let mut contexts = Contexts::read()?;
        match self {
            Self::Add { name, url, ca, fingerprint, server_name } => {
                ensure!(
                    contexts.hosts.iter().all(|host| host.name != name),
                    "there is a host {name} already"
                );
                super::connection::Address::parse(&url)?;
                let read = |path: PathBuf| {
                    std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
                };
                let ca = match fingerprint {
                    Some(fingerprint) => Some(super::client::ca_of(&url, &fingerprint)?),
                    None => ca.map(read).transpose()?,
                };
                if url.starts_with("https://") && ca.is_none() {
                    bail!(
                        "give the CA's SHA-256 from the host's console by --fingerprint, or the CA by --ca FILE"
                    );
                }
                contexts.current = Some(name.clone());
                contexts.hosts.push(Context { name, url, ca, server_name, token: None, token_id: None });
                contexts.write()?;
                println!("now log in: bramblectl login");
                Ok(())
            }
            Self::List => {
                for host in &contexts.hosts {
                    let star = if contexts.current.as_ref() == Some(&host.name) { '*' } else { ' ' };
                    println!("{star} {}  {}", host.name, host.url);
                }
                Ok(())
            }
            Self::Use { name } => {
                contexts.find(Some(&name))?;
                contexts.current = Some(name);
                contexts.write()
            }
            Self::Remove { name } => {
                contexts.find(Some(&name))?;
                contexts.hosts.retain(|host| host.name != name);
                contexts.current = contexts.current.filter(|current| *current != name);
                contexts.write()
            }
        }
    }
}
