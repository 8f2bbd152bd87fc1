//! Any text as `host.toml`: reading ends, problems name lines that exist, and what is taken is consistent.
#![no_main]

use machine::{BootSpec, GicVersion};
use std::collections::BTreeSet;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let parsed = api::HostDocument::parse(text);
    let lines = text.lines().count();
    assert!(parsed.problems.iter().all(|problem| problem.line <= lines + 1));
    let vms = &parsed.document.vms;
    let names: BTreeSet<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names.len(), vms.len());
    for vm in vms {
        let boot = BootSpec::Firmware { bytes: 1 };
        let spec = vm.machine_spec(GicVersion::V3, boot).expect("sizes that were checked");
        spec.plan().expect("limits that were checked");
        assert!((0..vm.nics.len()).all(|index| vm.mac_address(index).is_some()));
    }
});
