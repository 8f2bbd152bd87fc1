//! `/api/v1/host/settings`, `…/network` and `…/time`.

use super::{Call, Outcome};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{audit, secret, settings};
use alloc::format;
use alloc::string::String;
use api::rest::{HostSettings, HostTime};

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    shown(call)
}

/// The tag is of the settings alone: a trial's seconds go by without a change.
fn tag(settings: &HostSettings) -> String {
    let text = serde_json::to_vec(settings).unwrap_or_default();
    format!("\"{}\"", secret::hex(secret::digest(&text).get(..8).unwrap_or_default()))
}

fn shown<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let state = call.management.settings.state(call.management.port.now());
    let tag = tag(&state.settings);
    Ok(Response::json(200, &state).header("ETag", tag).into())
}

pub(super) async fn change<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: HostSettings = call.json()?;
    settings::check(&new)?;
    let (settings, port) = (&call.management.settings, &call.management.port);
    let before = settings.current();
    call.if_match(&tag(&before))?;
    settings.change(port, new.clone()).await?;
    call.note("settings.change", "", audit::value(&before), audit::value(&new)).await;
    call.management.tell("settings", "", None);
    shown(call)
}

pub(super) async fn confirm<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let settings = &call.management.settings;
    let before = settings.confirmed();
    settings.confirm(&call.management.port).await?;
    call.note("settings.confirm", "", audit::value(&before), audit::value(&settings.current())).await;
    call.management.tell("settings", "", None);
    shown(call)
}

pub(super) async fn revert<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let settings = &call.management.settings;
    let before = settings.current();
    settings.revert(&call.management.port).await?;
    call.note("settings.revert", "", audit::value(&before), audit::value(&settings.current())).await;
    call.management.tell("settings", "", None);
    shown(call)
}

pub(super) fn show_network<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &*call.management.settings.network.borrow()).into())
}

pub(super) fn show_time<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let time = call.management.port.call(abi::Call::Time, &mut [], [0; 3]).map_err(super::refused)?;
    let [now, _, known] = time;
    let servers = call.management.settings.servers.borrow().clone();
    Ok(Response::json(200, &HostTime { now, is_synchronized: known == 1, servers }).into())
}
