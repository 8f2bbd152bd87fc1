//! `/api/v1/tasks`.

use super::{Call, Outcome};
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use alloc::format;
use api::rest::{Role, Task, TaskState};

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    call.page(call.management.tasks.kept.read(|tasks| tasks.iter().rev().cloned().collect()))
}

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &find(call)?).into())
}

/// Asks a task to end: one's own, an administrator any.
pub(super) async fn cancel<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let task = find(call)?;
    let caller = call.caller()?;
    if task.user != caller.user && caller.role < Role::Administrator {
        let remedy = "ask that user or an administrator";
        return Err(Problem::new(403, "not-yours", "another user began this task", remedy));
    }
    if task.state != TaskState::Running || !call.management.tasks.cancel(&task.id) {
        let detail = "this task has ended, or can't be cancelled";
        return Err(Problem::new(409, "not-cancellable", detail, "see its state and can_cancel"));
    }
    let after = serde_json::json!({ "cancelling": true });
    call.note("task.cancel", &task.id, crate::audit::value(&task), Some(after)).await;
    Ok(Response::json(202, &task).into())
}

fn find<P: Port>(call: &Call<'_, P>) -> Result<Task, Problem> {
    let id = call.segment(0);
    call.management.tasks.find(id).ok_or_else(|| {
        let detail = format!("there is no task {id}, or it is forgotten");
        Problem::new(404, "no-such-task", detail, "GET /api/v1/tasks lists them")
    })
}
