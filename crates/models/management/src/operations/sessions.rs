//! `/api/v1/sessions`: one's own; an administrator's are all of them. `/api/v1/lock-outs`: who has to wait.

use super::{Call, Outcome};
use crate::audit;
use crate::auth::sessions::{SessionEntry, Sessions, millis};
use crate::auth::{By, Caller};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::unix_seconds;
use alloc::format;
use api::rest::{OpenSession, Role};

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (caller, now) = (call.caller()?, call.management.port.now());
    let sessions = call.management.authority.sessions.read(|sessions| {
        sessions
            .open(now)
            .filter(|entry| is_of(entry, caller))
            .map(|entry| shown(call, caller, entry))
            .collect()
    });
    call.page(sessions)
}

fn is_of(entry: &SessionEntry, caller: &Caller) -> bool {
    caller.role == Role::Administrator || entry.user == caller.user
}

fn shown<P: Port>(call: &Call<'_, P>, caller: &Caller, entry: &SessionEntry) -> OpenSession {
    let (unix, now_ms) = (unix_seconds(&call.management.port), millis(call.management.port.now()));
    let at = |then_ms: u64| unix.saturating_sub(now_ms.saturating_sub(then_ms) / 1000);
    OpenSession {
        id: entry.id.clone(),
        user: entry.user.clone(),
        from: entry.from.clone(),
        began_at: at(entry.began_ms),
        used_at: at(entry.used_ms),
        is_own: matches!(&caller.by, By::Session { id, .. } if *id == entry.id),
    }
}

pub(super) async fn end<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (caller, id, now) = (call.caller()?, call.segment(0), call.management.port.now());
    let end = |sessions: &mut Sessions| {
        let ended = sessions.open(now).find(|entry| entry.id == id && is_of(entry, caller)).cloned();
        sessions.entries.retain(|entry| ended.as_ref().is_none_or(|ended| ended.hash != entry.hash));
        ended.ok_or_else(|| {
            let detail = format!("there is no session {id} of yours");
            Problem::new(404, "no-such-session", detail, "GET /api/v1/sessions lists them")
        })
    };
    let ended = call.management.authority.sessions.change(&call.management.port, end).await?;
    call.note("session.end", id, audit::value(&shown(call, caller, &ended)), None).await;
    Ok(Response::empty(204).into())
}

pub(super) fn lock_outs<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let now = call.management.port.now();
    call.page(call.management.authority.limits.borrow().lock_outs(now).collect())
}

pub(super) async fn clear<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (id, now) = (call.segment(0), call.management.port.now());
    let cleared = call.management.authority.limits.borrow_mut().clear(id, now).ok_or_else(|| {
        let detail = format!("there is no lock-out {id}: it may be over");
        Problem::new(404, "no-such-lock-out", detail, "GET /api/v1/lock-outs lists them")
    })?;
    call.note("lock-out.clear", id, audit::value(&cleared), None).await;
    Ok(Response::empty(204).into())
}
