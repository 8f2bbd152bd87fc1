//! `bramblectl login`: a password once, a token from then on.

use super::client::Client;
use super::contexts::Contexts;
use super::{Show, terminal};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

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
    let mut context = contexts.find(show.context.as_deref())?.clone();
    context.token = None;
    let name = context.name.clone();
    let mut client = Client::new(context)?;
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
        let new = terminal::password("new password")?;
        ensure!(new == terminal::password("once more")?, "these are two passwords: log in again");
        client.json("POST", "/api/v1/session/password", &json!({ "current": password, "new": new }))?;
    }
    let token = json!({ "name": "bramblectl", "role": session["role"], "days": options.days });
    let made = client.json("POST", "/api/v1/tokens", &token)?.json()?;
    let secret = made["secret"].as_str().context("the host gives no token")?.to_owned();
    contexts.put_token(&name, Some(secret));
    contexts.write()?;
    client.send("DELETE", "/api/v1/session", "", &[])?;
    eprintln!("logged in to {name} as {} for {} days", options.user, options.days);
    Ok(())
}
