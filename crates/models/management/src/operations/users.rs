//! `/api/v1/users`.

use super::{Call, Outcome};
use crate::audit;
use crate::auth::directory::{Directory, USERS_MAX, UserEntry};
use crate::auth::password;
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::unix_seconds;
use alloc::format;
use api::rest::{NewUser, Role, User, UserChange};

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let users = call.management.authority.directory.read(|d| d.users.iter().map(UserEntry::shown).collect());
    call.page(users)
}

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let user = call.management.authority.directory.read(|d| d.user(call.segment(0)).map(UserEntry::shown));
    user.map(|user| Response::json(200, &user).into()).ok_or_else(|| no_such_user(call.segment(0)))
}

pub(super) async fn create<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewUser = call.json()?;
    check_name(&new.name)?;
    password::check("password", &new.password, &new.name, None)?;
    let (authority, port) = (&call.management.authority, &call.management.port);
    authority.directory.read(|directory| may_add(directory, &new.name))?;
    let entry = UserEntry {
        name: new.name.clone(),
        role: new.role,
        password: authority.hasher.hash(port, call.source(), &new.password).await?,
        must_change_password: true,
        created_at: unix_seconds(port),
    };
    let user = entry.shown();
    let add = |directory: &mut Directory| {
        may_add(directory, &new.name)?;
        directory.users.push(entry);
        Ok(())
    };
    authority.directory.change(port, add).await?;
    call.note("user.create", &user.name, None, audit::value(&user)).await;
    let location = format!("/api/v1/users/{}", user.name);
    Ok(Response::json(201, &user).header("Location", location).into())
}

pub(super) async fn change<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let change: UserChange = call.json()?;
    let name = call.segment(0);
    let (authority, port) = (&call.management.authority, &call.management.port);
    let before =
        authority.directory.read(|d| d.user(name).map(UserEntry::shown)).ok_or_else(|| no_such_user(name))?;
    let hash = match &change.password {
        Some(new) => {
            password::check("password", new, name, None)?;
            Some(authority.hasher.hash(port, call.source(), new).await?)
        }
        None => None,
    };
    let ends_sessions = hash.is_some();
    let after = authority.directory.change(port, |directory| {
        if change.role.is_some_and(|role| role != Role::Administrator)
            && directory.is_last_administrator(name)
        {
            return Err(last_administrator().of_field("role"));
        }
        let user = directory.user_mut(name).ok_or_else(|| no_such_user(name))?;
        user.role = change.role.unwrap_or(user.role);
        if let Some(hash) = hash {
            user.password = hash;
            user.must_change_password = true;
        }
        Ok(user.shown())
    });
    let after: User = after.await?;
    if ends_sessions {
        authority.end_sessions(port, name).await?;
    }
    let what = if ends_sessions { "user.reset" } else { "user.change" };
    call.note(what, name, audit::value(&before), audit::value(&after)).await;
    Ok(Response::json(200, &after).into())
}

pub(super) async fn delete<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let name = call.segment(0);
    let (authority, port) = (&call.management.authority, &call.management.port);
    let remove = |directory: &mut Directory| {
        let before = directory.user(name).map(UserEntry::shown).ok_or_else(|| no_such_user(name))?;
        if directory.is_last_administrator(name) {
            return Err(last_administrator());
        }
        directory.remove(name);
        Ok(before)
    };
    let before = authority.directory.change(port, remove).await?;
    authority.end_sessions(port, name).await?;
    call.note("user.delete", name, audit::value(&before), None).await;
    Ok(Response::empty(204).into())
}

fn may_add(directory: &Directory, name: &str) -> Result<(), Problem> {
    if directory.user(name).is_some() {
        let detail = format!("there is a user {name} already");
        return Err(Problem::new(409, "user-exists", detail, "choose another name").of_field("name"));
    }
    if directory.users.len() >= USERS_MAX {
        let detail = format!("there are {USERS_MAX} users, which is the most");
        return Err(Problem::new(409, "too-many-users", detail, "delete one that is not needed"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_good = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    if is_good {
        return Ok(());
    }
    let remedy = "give 1 to 32 characters of a-z, 0-9, '.', '_' and '-'";
    Err(Problem::new(422, "bad-name", "this is no name for a user", remedy).of_field("name"))
}

fn no_such_user(name: &str) -> Problem {
    Problem::new(404, "no-such-user", format!("there is no user {name}"), "GET /api/v1/users lists them")
}

fn last_administrator() -> Problem {
    let remedy = "make another user an administrator first";
    Problem::new(409, "last-administrator", "nobody could manage the host without this user", remedy)
}
