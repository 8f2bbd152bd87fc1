//! `/api/v1/vms`: which there are, what they are, and how they are made, changed and deleted.

use super::{Call, Outcome};
use crate::configuration;
use crate::http::Response;
use crate::port::Port;
use crate::problem::Problem;
use crate::{ask, audit, inventory, secret};
use abi::RequestKind;
use abi::record::{self, VmRecord};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use api::host;
use api::rest::{Origin, VmDetail};
use serde::{Deserialize, Serialize};

pub(super) fn list<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let all = inventory::list(&call.management.port).map_err(super::refused)?;
    let mut vms: Vec<_> = all.iter().map(inventory::shown).collect();
    vms.sort_by(|one, other| one.name.cmp(&other.name));
    call.page(vms)
}

pub(super) async fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let vm = inventory::find(&call.management.port, call.segment(0))?;
    respond(call, 200, vm).await
}

pub(super) async fn create<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: host::Vm = call.json()?;
    let document = configuration::to_document(&new)?;
    let port = &call.management.port;
    if inventory::find(port, &new.name).is_ok() {
        return Err(exists(&new.name));
    }
    let handle = ask::send(port, RequestKind::PutVm, 0, 0, [document.as_bytes(), &[]]).await?;
    call.management.look_at_vms();
    call.note("vm.create", &new.name, None, audit::value(&new)).await;
    let vm = inventory::inspect(port, handle).map_err(super::refused)?;
    let Outcome::Response(response) = respond(call, 201, vm).await? else { return Err(lost()) };
    Ok(response.header("Location", format!("/api/v1/vms/{}", new.name)).into())
}

/// Changes a VM, as long as it is what the client saw (`If-Match`).
pub(super) async fn change<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: host::Vm = call.json()?;
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    if new.name != call.segment(0) {
        let remedy = "clone the VM under the new name";
        return Err(Problem::new(422, "name-is-fixed", "a VM keeps its name", remedy).of_field("name"));
    }
    let (before, origin, tag) = stored(port, &vm).await?;
    if origin == Origin::Boot {
        return Err(from_boot());
    }
    call.if_match(&tag)?;
    let document = configuration::to_document(&new)?;
    ask::send(port, RequestKind::PutVm, vm.handle, 0, [document.as_bytes(), &[]]).await?;
    remember(call, &vm, &before).await;
    call.note("vm.change", &new.name, audit::value(&before), audit::value(&new)).await;
    call.management.tell("vm.changed", &new.name, None);
    let vm = inventory::find(port, &new.name)?;
    respond(call, 200, vm).await
}

pub(super) async fn delete<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let (before, origin, tag) = stored(port, &vm).await?;
    if origin == Origin::Boot {
        return Err(from_boot());
    }
    if call.head.header("if-match").is_some() {
        call.if_match(&tag)?;
    }
    let with_volumes = call.head.parameter("volumes").as_deref() == Some("true");
    ask::ask(port, RequestKind::DeleteVm, vm.handle, u64::from(with_volumes)).await?;
    call.management.look_at_vms();
    let after = with_volumes.then(|| serde_json::json!({ "volumes": "deleted" }));
    call.note("vm.delete", call.segment(0), audit::value(&before), after).await;
    Ok(Response::empty(204).into())
}

/// Makes the firmware variables new.
pub(super) async fn reset_firmware<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let reset = ask::ask(port, RequestKind::ResetFirmwareVariables, vm.handle, 0).await;
    reset.map_err(|problem| match problem.details().status {
        404 => Problem::new(
            409,
            "no-firmware",
            "this VM boots a kernel: it has no variables",
            "nothing is to be done",
        ),
        409 => Problem::new(
            409,
            "vm-is-on",
            "the variables of a VM that runs can't be reset",
            "turn it off first",
        ),
        _ => problem,
    })?;
    // What the variables said is the guest's.
    let after = serde_json::json!({ "variables": "new" });
    call.note("vm.firmware.reset", call.segment(0), None, Some(after)).await;
    Ok(Response::empty(204).into())
}

/// That a name is taken.
pub(super) fn exists(name: &str) -> Problem {
    let detail = format!("there is a VM {name} already");
    Problem::new(409, "vm-exists", detail, "choose another name, or change that VM").of_field("name")
}

/// A VM that was changed while it ran: the configuration that it runs with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Waiting {
    name: String,
    /// Its start that this holds for.
    starts: u64,
    runs: host::Vm,
}

/// Notes what a VM runs with, when its configuration is changed the first time since its start.
async fn remember<P: Port>(call: &Call<'_, P>, vm: &VmRecord, before: &host::Vm) {
    if vm.power == record::OFF {
        return;
    }
    let name = ask::text(&vm.name);
    let change = |all: &mut Vec<Waiting>| {
        let is_known = |entry: &Waiting| entry.name == name && entry.starts == vm.starts;
        if !all.iter().any(is_known) {
            all.retain(|entry| entry.name != name);
            all.push(Waiting { name: name.clone(), starts: vm.starts, runs: before.clone() });
        }
    };
    let waiting = &call.management.waiting;
    let kept = waiting.change(&call.management.port, |all| {
        change(all);
        Ok(())
    });
    // Where it can't be written it is as true in memory.
    if kept.await.is_err() {
        waiting.touch(change);
    }
}

/// Which fields of its configuration a VM does not run with.
fn waits<P: Port>(call: &Call<'_, P>, vm: &VmRecord, now: &host::Vm) -> Vec<String> {
    let name = ask::text(&vm.name);
    let runs = call.management.waiting.read(|all| {
        let is_its = |entry: &&Waiting| entry.name == name && entry.starts == vm.starts;
        all.iter().find(is_its).map(|entry| entry.runs.clone())
    });
    let Some(runs) = runs.filter(|_| vm.power != record::OFF) else { return Vec::new() };
    let differs = [
        ("vcpus", runs.vcpus != now.vcpus),
        ("memory", runs.memory != now.memory),
        ("boot", runs.boot != now.boot),
        ("disk", runs.disks != now.disks),
        ("nic", runs.nics != now.nics),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| String::from(field)).collect()
}

async fn respond<P: Port>(call: &Call<'_, P>, status: u16, vm: VmRecord) -> Result<Outcome, Problem> {
    let (configuration, origin, tag) = stored(&call.management.port, &vm).await?;
    let addresses = super::network::addresses_of(&call.management.port, vm.handle).await;
    let waits_for_start = waits(call, &vm, &configuration);
    let detail = VmDetail { vm: inventory::shown(&vm), origin, addresses, configuration, waits_for_start };
    Ok(Response::json(status, &detail).header("ETag", tag).into())
}

/// A VM's configuration, where it is from, and its tag: another one for another configuration.
pub(super) async fn stored<P: Port>(port: &P, vm: &VmRecord) -> Result<(host::Vm, Origin, String), Problem> {
    let (origin, bytes) = ask::get(port, RequestKind::GetVm, vm.handle, 0, [&[], &[]]).await?;
    let text = String::from_utf8(bytes).map_err(|_| lost())?;
    let tag = secret::hex(secret::digest(text.as_bytes()).get(..8).unwrap_or_default());
    let configuration = configuration::from_document(&text).ok_or_else(lost)?;
    let origin = if origin == 1 { Origin::Boot } else { Origin::Datastore };
    Ok((configuration, origin, format!("\"{tag}\"")))
}

fn lost() -> Problem {
    Problem::new(500, "bad-record", "the VM's record can't be read", "the host's log says more")
}

fn from_boot() -> Problem {
    let detail = "this VM comes from the boot archive";
    Problem::new(
        409,
        "origin-boot",
        detail,
        "change host.toml in the boot archive, or make a VM in the datastore",
    )
}
