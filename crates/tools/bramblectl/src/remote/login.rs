//! `bramblectl login`: a password once, a token from then on.

use super::client::Client;
use super::contexts::{Contexts, Secret};
use super::{Show, terminal};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// Who logs in.
#[derive(clap::Args)]
pub struct LoginOptions {
    /// The user.
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// Days until this login ends.
    #[arg(long, default_value_t = 30)]
    pub days: u32,
}

pub fn log_in(show: &Show, options: &LoginOptions) -> Result<()> {
    let mut contexts = Contexts::read()?;
    let context = contexts.find(show.context.as_deref())?.clone();
    let name = context.name.clone();
    let mut client = Client::new(context)?;
    let (_, session) = begin(&mut client, options)?;
    let token = json!({ "name": "bramblectl", "role": session["role"], "days": options.days });
    let made = client.json("POST", "/api/v1/tokens", &token)?.json()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let secret = text(&made["secret"]).context("the host gives no token")?;
    let id = text(&made["token"]["id"]).context("the host gives its token no id")?;
    contexts.put_token(&name, Some(Secret { token: secret, id }));
    contexts.write()?;
    client.send("DELETE", "/api/v1/session", "", &[])?;
    eprintln!("logged in to {name} as {} for {} days", options.user, options.days);
    Ok(())
}

/// Begins a session with a password, which is changed where it is for one login; the password, and the session.
pub fn begin(client: &mut Client, options: &LoginOptions) -> Result<(String, Value)> {
    client.lines.clear();
    let name = client.context.name.clone();
    let password = terminal::password(&format!("password of {} on {name}", options.user))?;
    let login = json!({ "user": options.user, "password": password });
    let answer = client.json("POST", "/api/v1/session", &login)?;
    let session = answer.json()?;
    let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.context("the host gives no session")?;
    let csrf = session["csrf"].as_str().unwrap_or_default();
    client.lines = format!("Cookie: {cookie}\r\nX-Bramble-CSRF: {csrf}\r\n");
    if session["must_change_password"] == true {
        eprintln!("this password is for one login: choose another");
        change(client, &password)?;
    }
    Ok((password, session))
}

/// Changes the password of the session's user.
pub fn change(client: &Client, old: &str) -> Result<()> {
    let new = new_password("new password")?;
    client.json("POST", "/api/v1/session/password", &json!({ "current": old, "new": new }))?;
    Ok(())
}

/// Asks for a password twice.
pub fn new_password(question: &str) -> Result<String> {
    let new = terminal::password(question)?;
    ensure!(new == terminal::password("once more")?, "these are two passwords: begin again");
    Ok(new)
}
