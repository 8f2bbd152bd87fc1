//! A VM's configuration: JSON in the API, one `[[vm]]` of `host.toml` in the vmkernel. One schema, one parser.

use crate::problem::Problem;
use alloc::format;
use alloc::string::String;
use api::HostDocument;
use api::host::Vm;
use serde::Serialize;

/// A document with this VM alone.
#[derive(Serialize)]
struct Document<'v> {
    vm: [&'v Vm; 1],
}

/// As the vmkernel takes it, once the document's own rules hold.
pub fn to_document(vm: &Vm) -> Result<String, Problem> {
    let text = toml::to_string(&Document { vm: [vm] }).map_err(|error| {
        Problem::new(
            422,
            "bad-vm",
            format!("this can't be written as host.toml: {error}"),
            "see docs/host-toml.md",
        )
    })?;
    match HostDocument::parse(&text).problems.into_iter().next() {
        None => Ok(text),
        Some(fault) => {
            // `vm[web].disk[0].image` is the field `disk[0].image` here.
            let field = fault.field.split_once("].").map_or("", |(_, field)| field);
            let field = if fault.field.starts_with("vm[") { field } else { fault.field.as_str() };
            Err(Problem::new(422, "bad-vm", fault.what, fault.remedy).of_field(field))
        }
    }
}

/// From what the vmkernel keeps.
pub fn from_document(text: &str) -> Option<Vm> {
    let parsed = HostDocument::parse(text);
    parsed.document.vms.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use api::host::{Boot, Disk, Nic};

    fn vm() -> Vm {
        Vm {
            name: String::from("web"),
            vcpus: 2,
            memory: String::from("512MiB"),
            boot: Boot {
                kernel: Some(String::from("vmlinuz")),
                command_line: Some(String::from("a \"b\"")),
                ..Boot::default()
            },
            disks: vec![Disk { image: Some(String::from("a.img")), read_only: true, ..Disk::default() }],
            nics: vec![Nic::default(), Nic { mac: Some(String::from("52:54:00:12:34:56")) }],
            ..Vm::default()
        }
    }

    #[test]
    fn a_configuration_comes_back_as_it_went() {
        let text = to_document(&vm()).unwrap();
        assert_eq!(from_document(&text), Some(vm()));
    }

    #[test]
    fn a_fault_names_the_field_as_the_api_knows_it() {
        let mut bad = vm();
        bad.disks[0].host_disk = Some(String::from("SERIAL"));
        let problem = to_document(&bad).unwrap_err();
        assert!(problem.details().field.as_deref().unwrap().starts_with("disk[0]"), "{problem:?}");
        let problem = to_document(&Vm { memory: String::from("lots"), ..vm() }).unwrap_err();
        assert_eq!(problem.details().field.as_deref(), Some("memory"));
        let problem = to_document(&Vm { name: String::from("a\nb"), ..vm() }).unwrap_err();
        assert_eq!(problem.details().field.as_deref(), Some("name"));
    }
}
