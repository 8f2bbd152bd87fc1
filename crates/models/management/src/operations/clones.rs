//! `/api/v1/vms/{vm}/clone`: a VM of a VM, or of a snapshot of it.

use super::power::accepted;
use super::{Call, Outcome, snapshots, storage, vms};
use crate::jobs::{Clone, Job};
use crate::port::Port;
use crate::problem::Problem;
use crate::{audit, configuration, inventory};
use abi::record;
use alloc::format;
use alloc::vec::Vec;
use api::host;
use api::rest::NewClone;

pub(super) async fn begin<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let new: NewClone = call.json()?;
    let port = &call.management.port;
    let vm = inventory::find(port, call.segment(0))?;
    let (source, ..) = vms::stored(port, &vm).await?;
    if inventory::find(port, &new.name).is_ok() {
        return Err(vms::exists(&new.name));
    }
    if let Some(id) = new.snapshot {
        snapshots::find(port, vm.handle, id).await.map_err(|problem| problem.of_field("snapshot"))?;
    }
    let (made, names) = renamed(&source, &new.name)?;
    let document = configuration::to_document(&made)?;
    let all = storage::volumes(port).await?;
    let mut volumes = Vec::new();
    for (from, to) in names {
        if all.iter().any(|volume| volume.name == to) {
            return Err(storage::volume_exists(&to).of_field("name"));
        }
        let source = all.iter().find(|volume| volume.name == from).ok_or_else(|| {
            let detail = format!("the VM's volume {from} is not there");
            Problem::new(409, "no-such-volume", detail, "change the VM so that it does not name it")
        })?;
        volumes.push((source.id, to));
    }
    let clone = Clone {
        vm: vm.handle,
        is_on: vm.power != record::OFF,
        snapshot: new.snapshot,
        name: new.name.clone(),
        document,
        volumes,
    };
    let task = call.management.begin(call.caller()?, "vm.clone", &new.name, Job::Clone(clone)).await?;
    call.note("vm.clone", &new.name, audit::value(&source), audit::value(&made)).await;
    Ok(accepted(&task))
}

/// A configuration under another name, and the volumes that it needs: what each is made of, and its name.
fn renamed(
    source: &host::Vm,
    name: &str,
) -> Result<(host::Vm, Vec<(alloc::string::String, alloc::string::String)>), Problem> {
    let mut made = host::Vm { name: name.into(), autostart: false, ..source.clone() };
    let mut volumes = Vec::new();
    for (index, disk) in made.disks.iter_mut().enumerate() {
        match &mut disk.volume {
            // What nobody writes both can have.
            Some(_) if disk.read_only => {}
            Some(volume) => {
                let new = format!("{name}-{index}");
                volumes.push((core::mem::replace(volume, new.clone()), new));
            }
            None if disk.read_only || disk.iso.is_some() => {}
            None => {
                let detail = format!("disk {index} is no volume of the datastore: it can't be cloned");
                let remedy = "import its contents to a volume, and make a VM with that";
                return Err(Problem::new(409, "not-cloneable", detail, remedy));
            }
        }
    }
    made.nics.iter_mut().for_each(|nic| nic.mac = None);
    Ok((made, volumes))
}
