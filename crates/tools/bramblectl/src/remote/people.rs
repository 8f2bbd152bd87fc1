//! `bramblectl user …`, `token …`, `whoami`, `password`, `logout`: who may what on a host.

use super::Show;
use super::client::Client;
use super::contexts::Contexts;
use super::login::{self, LoginOptions};
use anyhow::{Context as _, Result, ensure};
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

/// What a user or a token may.
#[derive(Clone, Copy, ValueEnum)]
pub enum Role {
    /// See everything but secrets and users.
    Viewer,
    /// Power VMs, type into consoles, take snapshots, upload, too.
    Operator,
    /// Everything.
    Administrator,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

/// Work on a host's users.
#[derive(Subcommand)]
pub enum UserCommand {
    /// List the users.
    List,
    /// Show a user.
    Show { user: String },
    /// Make a user; the password is asked for, and is for the first login.
    Create {
        name: String,
        #[arg(long)]
        role: Role,
    },
    /// Change a user's role, or give a new password for the next login.
    Change {
        user: String,
        #[arg(long)]
        role: Option<Role>,
        /// Ask for a new password, which ends the user's sessions.
        #[arg(long)]
        reset_password: bool,
    },
    /// Delete a user, its sessions and its tokens.
    Delete { user: String },
    /// List one's own sessions (browsers'; tools have tokens); an administrator's are all of them.
    Sessions,
    /// End a session, by its id.
    EndSession { session: String },
    /// List who has to wait after wrong passwords.
    LockOuts,
    /// Have a user wait no more, by the lock-out's id.
    ClearLockOut { lock_out: String },
}

impl UserCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        let at = |user: &str| format!("/api/v1/users/{}", super::escaped(user));
        match self {
            Self::List => {
                let columns = ["name", "role", "must_change_password", "created_at"];
                show.list(&client.list("/api/v1/users")?, &columns);
            }
            Self::Show { user } => show.one(&client.get(&at(&user))?),
            Self::Create { name, role } => {
                let password = login::new_password(&format!("first password of {name}"))?;
                let new = json!({ "name": name, "role": role.name(), "password": password });
                show.one(&client.make("/api/v1/users", &new)?.json()?);
            }
            Self::Change { user, role, reset_password } => {
                ensure!(
                    role.is_some() || reset_password,
                    "say what to change: --role ROLE, --reset-password"
                );
                let mut change = Map::new();
                change.extend(role.map(|role| (String::from("role"), Value::from(role.name()))));
                if reset_password {
                    let password = login::new_password(&format!("next password of {user}"))?;
                    change.insert(String::from("password"), Value::from(password));
                }
                show.one(&client.json("PATCH", &at(&user), &Value::from(change))?.json()?);
            }
            Self::Delete { user } => drop(client.send("DELETE", &at(&user), "", &[])?),
            Self::Sessions => {
                let columns = ["id", "user", "from", "began_at", "used_at"];
                show.list(&client.list("/api/v1/sessions")?, &columns);
            }
            Self::EndSession { session } => {
                let path = format!("/api/v1/sessions/{}", super::escaped(&session));
                drop(client.send("DELETE", &path, "", &[])?);
            }
            Self::LockOuts => {
                let columns = ["id", "user", "from", "wrong", "seconds"];
                show.list(&client.list("/api/v1/lock-outs")?, &columns);
            }
            Self::ClearLockOut { lock_out } => {
                let path = format!("/api/v1/lock-outs/{}", super::escaped(&lock_out));
                drop(client.send("DELETE", &path, "", &[])?);
            }
        }
        Ok(())
    }
}

/// Work on the tokens of tools.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// List one's own tokens; an administrator's are all of them.
    List,
    /// Make a token for a tool. It is told once.
    Create {
        /// What it is for.
        name: String,
        #[arg(long)]
        role: Role,
        /// Days until it ends [default: 90].
        #[arg(long)]
        days: Option<u32>,
    },
    /// Delete a token, by its id.
    Delete { token: String },
}

impl TokenCommand {
    pub fn run(self, show: &Show) -> Result<()> {
        let client = show.client()?;
        match self {
            Self::List => {
                let columns = ["id", "name", "user", "role", "expires_at"];
                show.list(&client.list("/api/v1/tokens")?, &columns);
            }
            Self::Create { name, role, days } => {
                let mut new = json!({ "name": name, "role": role.name() });
                if let Some(days) = days {
                    new["days"] = Value::from(days);
                }
                let made = client.json("POST", "/api/v1/tokens", &new)?.json()?;
                if show.json {
                    println!("{made}");
                } else {
                    println!("{}", made["secret"].as_str().context("the host gives no token")?);
                }
            }
            Self::Delete { token } => {
                drop(client.send(
                    "DELETE",
                    &format!("/api/v1/tokens/{}", super::escaped(&token)),
                    "",
                    &[],
                )?);
            }
        }
        Ok(())
    }
}

/// Whose password is to be another.
#[derive(clap::Args)]
pub struct PasswordOptions {
    /// The user.
    #[arg(long, default_value = "admin")]
    user: String,
}

/// Changes one's own password: with the old one, since a token does not suffice for that.
pub fn change_password(show: &Show, options: &PasswordOptions) -> Result<()> {
    let context = Contexts::read()?.find(show.context.as_deref())?.clone();
    let mut client = Client::new(context)?;
    let login = LoginOptions { user: options.user.clone(), days: 1 };
    let (old, session) = login::begin(&mut client, &login)?;
    if session["must_change_password"] != true {
        login::change(&client, &old)?;
    }
    client.send("DELETE", "/api/v1/session", "", &[])?;
    eprintln!("the password of {} is changed", options.user);
    Ok(())
}

/// Who the token is.
pub fn who_am_i(show: &Show) -> Result<()> {
    let session = show.client()?.get("/api/v1/session")?;
    show.one(&session);
    Ok(())
}

/// Has the host forget this program's token, and forgets it.
pub fn log_out(show: &Show) -> Result<()> {
    let mut contexts = Contexts::read()?;
    let context = contexts.find(show.context.as_deref())?.clone();
    let name = context.name.clone();
    let id = context.token_id.clone();
    let client = Client::new(context)?;
    if let Some(id) = id {
        client.send("DELETE", &format!("/api/v1/tokens/{id}"), "", &[])?;
    }
    contexts.put_token(&name, None);
    contexts.write()?;
    eprintln!("logged out of {name}");
    Ok(())
}
