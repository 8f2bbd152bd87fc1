//! `/api/v1/tokens`: one's own; an administrator's are all of them.

use super::{Call, Outcome};
use crate::audit;
use crate::auth::Caller;
use crate::auth::directory::{Directory, TOKENS_MAX, TokenEntry};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{secret, unix_seconds};
use alloc::format;
use alloc::string::String;
use api::rest::{MadeToken, NewToken, Role, Token};

/// Days of a token whose maker does not say.
const DAYS: u32 = 90;

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let caller = call.caller()?;
    let tokens = call.management.authority.directory.read(|directory| {
        let tokens = directory.tokens.iter().map(|entry| &entry.shown);
        tokens.filter(|token| is_of(token, caller)).cloned().collect()
    });
    call.page(tokens)
}

pub(super) async fn create<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let caller = call.caller()?;
    let new: NewToken = call.json()?;
    check(&new, caller)?;
    let port = &call.management.port;
    let secret = format!("bramble_{}", secret::random_text(port)?);
    let hash = secret::kept(&secret);
    let now = unix_seconds(port);
    let days = u64::from(new.days.unwrap_or(DAYS));
    let token = Token {
        id: hash.chars().take(12).collect::<String>().replace(['-', '_'], "x"),
        name: new.name,
        user: caller.user.clone(),
        role: new.role,
        created_at: now,
        expires_at: Some(now.saturating_add(days.saturating_mul(86_400))),
    };
    let add = |directory: &mut Directory| {
        directory.tokens.retain(|entry| entry.shown.expires_at.is_none_or(|end| now < end));
        if directory.tokens.len() >= TOKENS_MAX {
            let detail = format!("there are {TOKENS_MAX} tokens, which is the most");
            return Err(Problem::new(409, "too-many-tokens", detail, "delete one that is not needed"));
        }
        directory.tokens.push(TokenEntry { shown: token.clone(), hash });
        Ok(())
    };
    call.management.authority.directory.change(port, add).await?;
    call.note("token.create", &token.id, None, audit::value(&token)).await;
    Ok(Response::json(201, &MadeToken { secret, token }).into())
}

pub(super) async fn delete<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let caller = call.caller()?;
    let id = call.segment(0);
    let remove = |directory: &mut Directory| {
        let at =
            directory.tokens.iter().position(|entry| entry.shown.id == id && is_of(&entry.shown, caller));
        at.map(|at| directory.tokens.remove(at).shown).ok_or_else(|| {
            let detail = format!("there is no token {id} of yours");
            Problem::new(404, "no-such-token", detail, "GET /api/v1/tokens lists them")
        })
    };
    let before = call.management.authority.directory.change(&call.management.port, remove).await?;
    call.note("token.delete", id, audit::value(&before), None).await;
    Ok(Response::empty(204).into())
}

fn is_of(token: &Token, caller: &Caller) -> bool {
    caller.role == Role::Administrator || token.user == caller.user
}

fn check(new: &NewToken, caller: &Caller) -> Result<(), Problem> {
    if !(1..=64).contains(&new.name.chars().count()) || new.name.chars().any(char::is_control) {
        let remedy = "say in 1 to 64 characters what it is for";
        return Err(Problem::new(422, "bad-name", "this is no name for a token", remedy).of_field("name"));
    }
    if new.role > caller.role {
        let remedy = "ask for at most what you may yourself";
        return Err(Problem::new(403, "role-too-high", "a token may not do more than its maker", remedy)
            .of_field("role"));
    }
    if new.days.is_some_and(|days| !(1..=3650).contains(&days)) {
        let remedy = "give 1 to 3650 days";
        return Err(Problem::new(422, "bad-days", "a token does not last so long", remedy).of_field("days"));
    }
    Ok(())
}
