//! `/api/v1/session`: log in, who am I, change one's password, log out.

use super::{Call, Outcome};
use crate::auth::limits::Try;
use crate::auth::sessions::IDLE;
use crate::auth::{self, By, COOKIE, Caller, password};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{audit, secret};
use alloc::borrow::ToOwned;
use alloc::format;
use api::rest::{AuditText, Login, PasswordChange, Session};

pub(super) async fn log_in<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    auth::is_from_here(call.head)?;
    let login: Login = call.json()?;
    let who = Try::new(&login.user, call.source());
    let (authority, port) = (&call.management.authority, &call.management.port);
    wait(call, &who)?;
    let known =
        authority.directory.read(|directory| directory.user(&login.user).map(|user| user.password.clone()));
    let is_right = authority.hasher.is_right(port, call.source(), &login.password, known.as_ref()).await;
    // Others may have tried meanwhile.
    wait(call, &who)?;
    if !is_right {
        return Err(refuse(call, &login, &who).await);
    }
    authority.limits.borrow_mut().right(&who);
    let cookie = secret::random_text(port)?;
    let csrf = secret::random_text(port)?;
    let now = port.now();
    let from = call.address();
    let begin = |sessions: &mut auth::sessions::Sessions| {
        Ok(sessions.begin((&cookie, csrf), (&login.user, from), now))
    };
    let entry = authority.sessions.change(port, begin).await?;
    let caller = authority.directory.read(|directory| {
        let user = directory.user(&login.user)?;
        let by = By::Session { id: entry.id.clone(), csrf: entry.csrf.clone() };
        let must_change_password = user.must_change_password;
        Some(Caller { user: user.name.clone(), role: user.role, must_change_password, by })
    });
    // Deleted while its password was being hashed.
    let caller = caller.ok_or_else(wrong)?;
    let text = audit::text(Some(&caller), call.address(), "login");
    audit::append(port, &text).await;
    let response = Response::json(201, &shown(&caller)).header("Set-Cookie", set_cookie(&cookie));
    Ok(response.into())
}

fn set_cookie(cookie: &str) -> alloc::string::String {
    format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict")
}

fn wait<P: Port>(call: &Call<'_, P>, who: &Try) -> Result<(), Problem> {
    let wait = call.management.authority.limits.borrow_mut().wait(who, call.management.port.now());
    if wait.is_zero() {
        return Ok(());
    }
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    let detail = "too many wrong passwords for this user from this address";
    Err(Problem::new(429, "locked-out", detail, format!("try again in {seconds} seconds")).after(seconds))
}

async fn refuse<P: Port>(call: &Call<'_, P>, login: &Login, who: &Try) -> Problem {
    let now = call.management.port.now();
    call.management.authority.limits.borrow_mut().wrong(who, now);
    let user = login.user.chars().filter(|c| !c.is_control()).take(32).collect();
    let text = AuditText { who: user, refused: Some("wrong-password".to_owned()), ..call.text("login") };
    if let Some(text) = call.management.refusals.add(text, now) {
        audit::append(&call.management.port, &text).await;
    }
    wrong()
}

fn wrong() -> Problem {
    let remedy = "check both; a lost password is reset at the host's console";
    Problem::new(401, "wrong-password", "the user or the password is wrong", remedy)
}

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &shown(call.caller()?)).into())
}

fn shown(caller: &Caller) -> Session {
    let csrf = match &caller.by {
        By::Session { csrf, .. } => Some(csrf.clone()),
        By::Token(_) => None,
    };
    Session {
        user: caller.user.clone(),
        role: caller.role,
        must_change_password: caller.must_change_password,
        idle_seconds: csrf.as_ref().map(|_| IDLE.as_secs()),
        csrf,
    }
}

pub(super) async fn log_out<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let By::Session { id, .. } = &call.caller()?.by else {
        let remedy = "delete the token by DELETE /api/v1/tokens/{id}";
        return Err(Problem::new(
            409,
            "no-session",
            "this request came with a token, not with a session",
            remedy,
        ));
    };
    let end = |sessions: &mut auth::sessions::Sessions| {
        sessions.entries.retain(|session| session.id != *id);
        Ok(())
    };
    call.management.authority.sessions.change(&call.management.port, end).await?;
    call.note("logout", "", None, None).await;
    let gone = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(Response::empty(204).header("Set-Cookie", gone).into())
}

pub(super) async fn change_password<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let caller = call.caller()?;
    let By::Session { id, .. } = &caller.by else {
        let remedy = "log in with the password";
        return Err(Problem::new(403, "session-needed", "a token does not change a password", remedy));
    };
    let change: PasswordChange = call.json()?;
    let (authority, port) = (&call.management.authority, &call.management.port);
    let who = Try::new(&caller.user, call.source());
    wait(call, &who)?;
    password::check("new", &change.new, &caller.user, Some(&change.current))?;
    let known =
        authority.directory.read(|directory| directory.user(&caller.user).map(|user| user.password.clone()));
    if !authority.hasher.is_right(port, call.source(), &change.current, known.as_ref()).await {
        let login = Login { user: caller.user.clone(), password: change.current };
        return Err(refuse(call, &login, &who).await.of_field("current"));
    }
    let hash = authority.hasher.hash(port, call.source(), &change.new).await?;
    let (before, after) = authority
        .directory
        .change(port, |directory| {
            let user = directory.user_mut(&caller.user).ok_or_else(wrong)?;
            let before = user.shown();
            user.password = hash;
            user.must_change_password = false;
            Ok((before, user.shown()))
        })
        .await?;
    let end_others = |sessions: &mut auth::sessions::Sessions| {
        sessions.entries.retain(|session| session.user != caller.user || session.id == *id);
        Ok(())
    };
    authority.sessions.change(port, end_others).await?;
    call.note("password.change", &caller.user, audit::value(&before), audit::value(&after)).await;
    Ok(Response::empty(204).into())
}
