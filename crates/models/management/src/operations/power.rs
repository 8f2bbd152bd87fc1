//! `/api/v1/vms/{vm}/power` and `/api/v1/host/power`.

use super::{Call, Outcome};
use crate::http::Response;
use crate::inventory;
use crate::jobs::Job;
use crate::port::Port;
use crate::problem::Problem;
use abi::RequestKind;
use alloc::format;
use api::rest::{HostAction, HostPowerRequest, PowerAction, PowerRequest, Task};

pub(super) async fn vm<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let PowerRequest { action } = call.json()?;
    let vm = inventory::find(&call.management.port, call.segment(0))?;
    let (kind, what) = match action {
        PowerAction::On => (RequestKind::PowerOn, "vm.power.on"),
        PowerAction::ShutDown => (RequestKind::ShutDown, "vm.power.shut-down"),
        PowerAction::Off => (RequestKind::PowerOff, "vm.power.off"),
        PowerAction::Reset => (RequestKind::Reset, "vm.power.reset"),
        PowerAction::Pause => (RequestKind::Pause, "vm.power.pause"),
        PowerAction::Resume => (RequestKind::Resume, "vm.power.resume"),
    };
    let before = serde_json::json!({ "power": inventory::power(vm.power) });
    let task = call.management.begin(call.caller()?, what, call.segment(0), Job::Vm(kind, vm.handle)).await?;
    call.note(what, call.segment(0), Some(before), Some(serde_json::json!({ "task": task.id }))).await;
    Ok(accepted(&task))
}

pub(super) async fn host<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let HostPowerRequest { action, at_once } = call.json()?;
    let (kind, what) = match action {
        HostAction::Restart => (RequestKind::RestartHost, "host.restart"),
        HostAction::TurnOff => (RequestKind::TurnHostOff, "host.turn-off"),
    };
    // Before it is done: afterwards nobody is there to write it.
    call.note(what, "", None, Some(serde_json::json!({ "at_once": at_once }))).await;
    let job = Job::Host(kind, u64::from(!at_once));
    Ok(accepted(&call.management.begin(call.caller()?, what, "", job).await?))
}

/// A task that was begun.
pub(super) fn accepted(task: &Task) -> Outcome {
    Response::json(202, task).header("Location", format!("/api/v1/tasks/{}", task.id)).into()
}
