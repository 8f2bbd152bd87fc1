//! `/api/v1/vms/{vm}/snapshots`.

use super::{Call, Outcome};
use crate::http::Response;
use crate::kept::name_field;
use crate::port::Port;
use crate::problem::Problem;
use crate::{ask, audit, inventory};
use abi::RequestKind;
use abi::record::SnapshotRecord;
use alloc::format;
use alloc::vec::Vec;
use api::rest::{NewSnapshot, Snapshot};

pub(super) async fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let vm = inventory::find(&call.management.port, call.segment(0))?;
    call.page(all(&call.management.port, vm.handle).await?)
}

async fn all<P: Port>(port: &P, handle: u64) -> Result<Vec<Snapshot>, Problem> {
    ask::list(port, RequestKind::ListVmSnapshots, handle, &[], |bytes| {
        let record = SnapshotRecord::from_bytes(bytes);
        Snapshot {
            id: record.id,
            name: ask::text(&record.name),
            parent: Some(record.parent).filter(|parent| *parent != 0),
            created_at: record.created,
            is_current: record.is_current == 1,
        }
    })
    .await
}

pub(super) async fn create<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let NewSnapshot { name } = call.json()?;
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let field = checked_name(&name)?;
    let id = ask::send(port, RequestKind::SnapshotVm, vm.handle, 0, [&field, &[]]).await?;
    let made = serde_json::json!({ "id": id, "name": name });
    call.note("vm.snapshot", call.segment(0), None, Some(made)).await;
    let snapshot = find(port, vm.handle, id).await?;
    let location = format!("/api/v1/vms/{}/snapshots/{id}", call.segment(0));
    Ok(Response::json(201, &snapshot).header("Location", location).into())
}

pub(super) async fn revert<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let snapshot = find(port, vm.handle, call.id(1)?).await?;
    // What the VM had came after this one.
    let before = all(port, vm.handle).await?.into_iter().find(|snapshot| snapshot.is_current);
    ask::ask(port, RequestKind::RevertVm, vm.handle, snapshot.id).await?;
    let before = before.and_then(|before| audit::value(&before));
    call.note("vm.revert", call.segment(0), before, audit::value(&snapshot)).await;
    Ok(Response::empty(204).into())
}

pub(super) async fn delete<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let snapshot = find(port, vm.handle, call.id(1)?).await?;
    ask::ask(port, RequestKind::DeleteVmSnapshot, vm.handle, snapshot.id).await?;
    call.note("vm.snapshot.delete", call.segment(0), audit::value(&snapshot), None).await;
    Ok(Response::empty(204).into())
}

/// A snapshot of a VM.
pub(super) async fn find<P: Port>(port: &P, handle: u64, id: u64) -> Result<Snapshot, Problem> {
    let snapshot = all(port, handle).await?.into_iter().find(|snapshot| snapshot.id == id);
    snapshot.ok_or_else(|| no_such_snapshot(id))
}

fn no_such_snapshot(id: u64) -> Problem {
    let remedy = "GET /api/v1/vms/{vm}/snapshots lists them";
    Problem::new(404, "no-such-snapshot", format!("the VM has no snapshot {id}"), remedy)
}

/// A name of a volume or a snapshot.
pub(super) fn checked_name(name: &str) -> Result<[u8; abi::request::OBJECT_NAME_BYTES], Problem> {
    let is_good = !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '/');
    name_field(name).filter(|_| is_good).ok_or_else(|| {
        let remedy = "give 1 to 64 bytes without control characters and '/'";
        Problem::new(422, "bad-name", "this is no name", remedy).of_field("name")
    })
}
