//! `/api/v1/vms/{vm}/statistics`, `/api/v1/vms/{vm}/history`, `/api/v1/host/history`.

use super::{Call, Outcome};
use crate::http::Response;
use crate::inventory;
use crate::port::Port;
use crate::problem::Problem;
use crate::usage::{SECONDS_MAX, statistics};
use alloc::format;
use api::rest::VmStatistics;

/// Most values of a series in one answer.
const VALUES_MAX: u64 = 1200;

pub(super) fn vm_statistics<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let of = statistics(port, vm.handle).ok_or_else(|| {
        let detail = format!("{} is off: nothing is counted", call.segment(0));
        Problem::new(409, "vm-is-off", detail, "start it first")
    })?;
    let exit_ns = inventory::exits(of.exit_time);
    let host_ns = of.exit_time.iter().fold(0_u64, |sum, time| sum.saturating_add(*time)).min(of.run_time);
    let whole = of.at.saturating_sub(of.started_at).saturating_mul(u64::from(vm.vcpus));
    let shown = VmStatistics {
        uptime_ns: of.at,
        started_ns: of.started_at,
        vcpus: vm.vcpus,
        exits: inventory::exits(of.exits),
        exit_ns,
        guest_ns: of.run_time.saturating_sub(host_ns),
        host_ns,
        ready_ns: of.ready_time,
        idle_ns: whole.saturating_sub(of.run_time).saturating_sub(of.ready_time),
    };
    Ok(Response::json(200, &shown).into())
}

pub(super) fn vm_history<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let vm = inventory::find(&call.management.port, call.segment(0))?;
    let (seconds, step) = span(call)?;
    Ok(Response::json(200, &call.management.usage.of_vm(vm.handle, seconds, step)).into())
}

pub(super) fn host_history<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let (seconds, step) = span(call)?;
    Ok(Response::json(200, &call.management.usage.of_host(seconds, step)).into())
}

/// How many seconds, and how many of them a value stands for: by itself so many that an answer stays small.
fn span<P>(call: &Call<'_, P>) -> Result<(usize, usize), Problem> {
    let most = SECONDS_MAX as u64;
    let seconds = call.number("seconds", 300)?;
    if !(1..=most).contains(&seconds) {
        let remedy = format!("give 1 to {most}");
        let detail = "so many seconds are not remembered";
        return Err(Problem::new(400, "bad-parameter", detail, remedy).of_field("seconds"));
    }
    let least = seconds.div_ceil(VALUES_MAX);
    let step = call.number("step", least)?;
    if !(least..=seconds).contains(&step) {
        let remedy = format!("give {least} to {seconds}: at most {VALUES_MAX} values go into an answer");
        let detail = "this is no number of seconds for a value";
        return Err(Problem::new(400, "bad-parameter", detail, remedy).of_field("step"));
    }
    let number = |value: u64| usize::try_from(value).unwrap_or(1);
    Ok((number(seconds), number(step)))
}
