//! The VMs that the host knows, by the vmkernel's bounded calls.

use crate::ask;
use crate::port::Port;
use crate::problem::Problem;
use abi::record::{self, VmRecord};
use abi::{Call, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use api::rest::{Console, Exits, Power, Vm};

/// Consoles of a VM, in the order of their numbers.
pub const CONSOLES: [&str; 2] = ["uart", "virtio"];

/// All VMs.
pub fn list<P: Port>(port: &P) -> Result<Vec<VmRecord>, Status> {
    let mut handles = Vec::new();
    loop {
        let mut buffer = [0; 256];
        let [given, total, _] = port.call(Call::ListVms, &mut buffer, [handles.len() as u64, 0, 0])?;
        let given = usize::try_from(given).unwrap_or(0);
        handles.extend(buffer.as_chunks().0.iter().take(given).map(|raw| u64::from_le_bytes(*raw)));
        if given == 0 || handles.len() as u64 >= total {
            break;
        }
    }
    // One that went away meanwhile is none any more.
    Ok(handles.into_iter().filter_map(|handle| inspect(port, handle).ok()).collect())
}

/// One VM.
pub fn inspect<P: Port>(port: &P, handle: u64) -> Result<VmRecord, Status> {
    let mut buffer = [0; VmRecord::BYTES];
    port.call(Call::InspectVm, &mut buffer, [handle, 0, 0])?;
    Ok(VmRecord::from_bytes(&buffer))
}

/// A VM by its name.
pub fn find<P: Port>(port: &P, name: &str) -> Result<VmRecord, Problem> {
    let all = list(port).map_err(crate::operations::refused)?;
    all.into_iter().find(|vm| ask::text(&vm.name) == name).ok_or_else(|| {
        Problem::new(404, "no-such-vm", format!("there is no VM {name}"), "GET /api/v1/vms lists them")
    })
}

/// As the API shows it.
pub fn shown(vm: &VmRecord) -> Vm {
    let consoles = CONSOLES.iter().zip(vm.console_end);
    Vm {
        name: ask::text(&vm.name),
        power: power(vm.power),
        vcpus: vm.vcpus,
        memory_bytes: vm.ram_bytes,
        touched_bytes: vm.touched_bytes,
        starts: vm.starts,
        exits: exits(vm.exits),
        consoles: consoles.map(|(name, end)| Console { name: String::from(*name), end }).collect(),
    }
}

/// Numbers by the reason of exits.
pub const fn exits([call, register, device, memory, wait, interrupt, other]: [u64; 7]) -> Exits {
    Exits { call, register, device, memory, wait, interrupt, other }
}

/// What a VM does.
pub fn power(raw: u32) -> Power {
    match raw {
        record::OFF => Power::Off,
        record::RUNNING => Power::Running,
        record::STOPPING => Power::Stopping,
        record::PAUSED => Power::Paused,
        _ => Power::Unknown,
    }
}

/// Bytes of a console from a position on: the position of the first one given, the bytes, and the console's end.
pub fn read_console<P: Port>(
    port: &P,
    handle: u64,
    console: u64,
    from: u64,
) -> Result<(u64, Vec<u8>, u64), Status> {
    let mut bytes = vec![0; usize::try_from(Call::ReadConsole.buffer_max()).unwrap_or(0)];
    let [first, given, end] = port.call(Call::ReadConsole, &mut bytes, [handle, console, from])?;
    bytes.truncate(usize::try_from(given).unwrap_or(0));
    Ok((first, bytes, end))
}
