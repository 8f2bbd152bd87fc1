//! `/api/v1/host`, its support bundle, and `/metrics` for Prometheus.

use super::{Call, Outcome};
use crate::http::{Content, Response};
use crate::inventory;
use crate::port::Port;
use crate::problem::Problem;
use crate::streams::Bundle;
use abi::ExitReason;
use abi::record::HostRecord;
use alloc::format;
use alloc::string::String;
use api::rest::{HostState, Power, Vm};
use core::fmt::Write;

pub(super) fn show<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    Ok(Response::json(200, &state(&call.management.port)?).into())
}

/// Begins the support bundle. That is noted: it takes out of the house what an administrator sees.
pub(super) async fn support_bundle<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let caller = call.caller()?.clone();
    call.note("host.support-bundle", "", None, None).await;
    let name = call.management.settings.current().name;
    let response = Response::with(200, "application/x-tar", Content::Chunks)
        .header("Content-Disposition", format!("attachment; filename=\"{name}-support.tar\""));
    Ok(Outcome::Bundle(response, Bundle { caller, peer: call.peer }))
}

fn state<P: Port>(port: &P) -> Result<HostState, Problem> {
    let mut buffer = [0; HostRecord::BYTES];
    port.call(abi::Call::InspectHost, &mut buffer, [0; 3]).map_err(super::refused)?;
    let record = HostRecord::from_bytes(&buffer);
    let [now, _, synchronized] = port.call(abi::Call::Time, &mut [], [0; 3]).map_err(super::refused)?;
    let reason = ExitReason::from_raw(record.last_reason).filter(|_| record.generation > 1);
    Ok(HostState {
        version: String::from(env!("CARGO_PKG_VERSION")),
        pes: record.pes,
        free_bytes: record.free_bytes,
        host_bytes: record.host_bytes,
        hostd_bytes: record.world_bytes,
        hostd_touched_bytes: record.world_touched_bytes,
        uptime_seconds: port.now().as_secs(),
        now,
        is_synchronized: synchronized == 1,
        generation: record.generation,
        last_end: reason.map(|reason| format!("{reason:?}").to_lowercase()),
    })
}

/// Source: Prometheus, "Exposition formats", text format 0.0.4.
pub(super) fn metrics<P: Port>(call: &Call<'_, P>) -> Result<Outcome, Problem> {
    let port = &call.management.port;
    let host = state(port)?;
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("bramble_uptime_seconds", "counter", "Since the host started.", host.uptime_seconds),
        ("bramble_pes", "gauge", "PEs that run.", u64::from(host.pes)),
        ("bramble_free_bytes", "gauge", "Memory that VMs can still have.", host.free_bytes),
        ("bramble_host_bytes", "gauge", "The host's own memory.", host.host_bytes),
        (
            "bramble_hostd_touched_bytes",
            "gauge",
            "hostd's memory that was touched.",
            host.hostd_touched_bytes,
        ),
        (
            "bramble_hostd_generation",
            "counter",
            "hostd's generation: 1 is the first.",
            u64::from(host.generation),
        ),
        ("bramble_connections", "gauge", "Connections to hostd.", call.management.connections() as u64),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let vms = inventory::list(port).map_err(super::refused)?;
    let vms: alloc::vec::Vec<Vm> = vms.iter().map(inventory::shown).collect();
    per_vm(&mut text, &vms, "bramble_vm_running", "gauge", "1: the VM runs.", |vm| {
        u64::from(vm.power == Power::Running)
    });
    per_vm(&mut text, &vms, "bramble_vm_memory_bytes", "gauge", "The VM's RAM.", |vm| vm.memory_bytes);
    per_vm(&mut text, &vms, "bramble_vm_touched_bytes", "gauge", "RAM that the VM touched.", |vm| {
        vm.touched_bytes
    });
    per_vm(&mut text, &vms, "bramble_vm_starts_total", "counter", "Starts of the VM.", |vm| vm.starts);
    text.push_str(
        "# HELP bramble_vm_exits_total Exits of the VM by reason.\n# TYPE bramble_vm_exits_total counter\n",
    );
    for vm in &vms {
        let exits = vm.exits;
        for (reason, count) in [
            ("call", exits.call),
            ("register", exits.register),
            ("device", exits.device),
            ("memory", exits.memory),
            ("wait", exits.wait),
            ("interrupt", exits.interrupt),
            ("other", exits.other),
        ] {
            let _ =
                writeln!(text, "bramble_vm_exits_total{{vm=\"{}\",reason=\"{reason}\"}} {count}", vm.name);
        }
    }
    let content = Content::Bytes(text.into_bytes().into());
    Ok(Response::with(200, "text/plain; version=0.0.4; charset=utf-8", content).into())
}

/// Names of VMs are a–z, 0–9 and `-`: they need no escapes.
fn per_vm(text: &mut String, vms: &[Vm], name: &str, kind: &str, help: &str, value: impl Fn(&Vm) -> u64) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for vm in vms {
        let _ = writeln!(text, "{name}{{vm=\"{}\"}} {}", vm.name, value(vm));
    }
}
