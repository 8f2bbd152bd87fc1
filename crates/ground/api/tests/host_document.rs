//! `host.toml`: what is taken, what is refused, and that each refusal names line, field and remedy.
//!
//! Not under Miri: what takes its time there is the TOML parser, and `boot_archive` reads a document too.

#![cfg(not(miri))]

use api::HostDocument;
use api::host::ConsoleMode;
use machine::{BootSpec, GicVersion};
use proptest::prelude::*;

const GOOD: &str = r#"
[host]
name = "attic"
console = "merged"

[[vm]]
name = "web"
vcpus = 2
memory = "512MiB"
[vm.boot]
kernel = "vmlinuz"
initrd = "initrd.img"
command_line = "console=ttyAMA0"
[[vm.disk]]
image = "web.img"
[[vm.disk]]
host_disk = "SN1"
partition = 2
read_only = true
[[vm.nic]]

[[vm]]
name = "uefi"
vcpus = 1
memory = "1 GiB"
[vm.boot]
firmware = "QEMU_EFI.fd"
[[vm.nic]]
mac = "52:54:00:12:34:56"
"#;

/// The problems of a document as text, and the names of the VMs that are left.
fn outcome(text: &str) -> (Vec<String>, Vec<String>) {
    let parsed = HostDocument::parse(text);
    let problems = parsed.problems.iter().map(ToString::to_string).collect();
    (problems, parsed.document.vms.into_iter().map(|vm| vm.name).collect())
}

/// A VM whose table continues with `rest`.
fn vm(name: &str, rest: &str) -> String {
    let boot = if rest.contains("boot") { "" } else { "boot.kernel = \"k\"\n" };
    format!("[[vm]]\nname = \"{name}\"\nvcpus = 1\nmemory = \"64MiB\"\n{boot}{rest}\n")
}

#[test]
fn a_good_document_is_read_whole() {
    let parsed = HostDocument::parse(GOOD);
    assert_eq!(parsed.problems, []);
    let document = parsed.document;
    assert_eq!((document.host.name.as_str(), document.host.console), ("attic", ConsoleMode::Merged));
    let [web, uefi] = document.vms.as_slice() else { panic!("{document:?}") };
    assert_eq!((web.vcpus, web.disks.len(), web.nics.len()), (2, 2, 1));
    assert_eq!(web.disks[1].partition, Some(2));
    assert_eq!(uefi.boot.firmware.as_deref(), Some("QEMU_EFI.fd"));
    assert_eq!(uefi.mac_address(0).unwrap().to_string(), "52:54:00:12:34:56");
    let spec = uefi.machine_spec(GicVersion::V2, BootSpec::Firmware { bytes: 1 }).unwrap();
    assert_eq!((spec.ram_bytes, spec.disks, spec.nics), (1 << 30, 0, 1));
}

#[test]
fn an_empty_document_is_a_host_without_vms() {
    let parsed = HostDocument::parse("");
    assert_eq!((parsed.problems.len(), parsed.document.host.name.as_str()), (0, "bramble"));
}

/// Each row: the rest of a VM's table, and the problem as the user sees it.
#[test]
fn each_fault_names_line_field_and_remedy() {
    let rows = [
        (
            "colour = 1\n",
            "host.toml:6: vm[a].colour: unknown field `colour`, expected one of `name`, `vcpus`, `memory`, `autostart`, `start_order`, `start_delay`, `boot`, `disk`, `nic`; remove it or correct its spelling; docs/host-toml.md has every field",
        ),
        (
            "boot.firmware = 7\n",
            "host.toml:5: vm[a].boot.firmware: invalid type: integer `7`, expected a string; give the name of a file in quotes",
        ),
        (
            "boot.firmware = \"f\"\nboot.kernel = \"k\"\n",
            "host.toml:5: vm[a].boot.firmware: this VM has a kernel too; keep one of kernel and firmware",
        ),
        (
            "boot.firmware = \"f\"\nboot.initrd = \"i\"\n",
            "host.toml:6: vm[a].boot.initrd: this goes with a kernel only; remove it, or give a kernel",
        ),
        (
            "boot = {}\n",
            "host.toml:5: vm[a].boot: there is nothing to start; give one of kernel and firmware",
        ),
        (
            "[[vm.disk]]\n",
            "host.toml:6: vm[a].disk[0]: this disk has no source; give exactly one of image, host_disk, volume and iso",
        ),
        (
            "[[vm.disk]]\nimage = \"i\"\n[[vm.disk]]\nimage = \"i\"\nhost_disk = \"d\"\n",
            "host.toml:10: vm[a].disk[1].host_disk: this disk has an image too; give exactly one of image, host_disk, volume and iso",
        ),
        (
            "[[vm.disk]]\nhost_disk = \"d\"\npartition = 0\n",
            "host.toml:8: vm[a].disk[0].partition: there is no partition 0; partitions count from 1",
        ),
        (
            "[[vm.disk]]\nimage = \"i\"\npartition = 1\n",
            "host.toml:8: vm[a].disk[0].partition: an image, a volume or an ISO is used whole; remove it, or give a host_disk",
        ),
        (
            "[[vm.disk]]\niso = \"a/b\"\n",
            "host.toml:7: vm[a].disk[0].iso: no object can have this name; give 1 to 59 bytes without control characters and '/'",
        ),
        (
            "[[vm.disk]]\nimage = \"i\"\nread_only = \"yes\"\n",
            "host.toml:8: vm[a].disk[0].read_only: invalid type: string \"yes\", expected a boolean; write true or false",
        ),
        (
            "[vm.disk]\nimage = \"i\"\n",
            "host.toml:6: vm[a].disk: invalid type: map, expected a sequence; write [[vm.disk]], with two brackets, before each disk",
        ),
        (
            "[[vm.nic]]\nmac = \"52-54-00-12-34-56\"\n",
            "host.toml:7: vm[a].nic[0].mac: this is no MAC address; write six pairs of hexadecimal digits, such as \"52:54:00:12:34:56\"",
        ),
        (
            "[[vm.nic]]\nmac = \"01:00:5e:00:00:01\"\n",
            "host.toml:7: vm[a].nic[0].mac: 01:00:5e:00:00:01 can't be a card's address; give one of a single station: the second digit is even, and not all are 0",
        ),
    ];
    for (rest, problem) in rows {
        let (problems, names) = outcome(&vm("a", rest));
        assert_eq!(problems, [problem], "{rest}");
        assert!(names.is_empty());
    }
}

#[test]
fn sizes_and_names_have_limits() {
    let text = |name: &str, vcpus: i64, memory: &str| {
        format!("[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\nboot.kernel = \"k\"\n")
    };
    let problem_at = |text: &str| HostDocument::parse(text).problems.first().map(|problem| problem.line);
    assert_eq!(problem_at(&text("a-1", 8, "255GiB")), None);
    for name in ["", "A", "a b", "ä", "012345678901234567890123456789012"] {
        assert_eq!(problem_at(&text(name, 1, "2MiB")), Some(2), "{name}");
    }
    for vcpus in [0, 9, 256, -1] {
        assert_eq!(problem_at(&text("a", vcpus, "2MiB")), Some(3), "{vcpus}");
    }
    for memory in
        ["", "MiB", "512", "512M", "-2MiB", "1.5GiB", "0MiB", "3MiB", "257GiB", "99999999999999999999GiB"]
    {
        assert_eq!(problem_at(&text("a", 1, memory)), Some(4), "{memory}");
    }
}

#[test]
fn a_missing_field_is_named_where_its_vm_starts() {
    let (problems, _) = outcome("\n[[vm]]\nname = \"a\"\nvcpus = 1\nboot.kernel = \"k\"\n");
    let wanted = "host.toml:2: vm[a]: missing field `memory`; give a size in quotes, such as \"512MiB\"";
    assert_eq!(problems, [wanted]);
}

#[test]
fn a_bad_vm_leaves_the_good_ones() {
    let text = vm("a", "") + &vm("b", "colour = 1") + &vm("c", "boot = {}") + &vm("d", "");
    let (problems, names) = outcome(&text);
    assert_eq!(problems.len(), 2);
    assert_eq!(names, ["a", "d"]);
}

#[test]
fn a_syntax_error_costs_its_vm_only() {
    for broken in ["colour = ", "colour = \"red", "[vm.nic", "x = [1, 2", "= 3"] {
        let text = vm("a", "") + &vm("b", broken) + &vm("c", "") + "[host]\nname = \"attic\"\n";
        let parsed = HostDocument::parse(&text);
        let names: Vec<&str> = parsed.document.vms.iter().map(|vm| vm.name.as_str()).collect();
        assert_eq!(names, ["a", "c"], "{broken}: {:?}", parsed.problems);
        assert_eq!(parsed.problems[0].line, 12, "{broken}: {:?}", parsed.problems);
        assert!(parsed.problems[0].what.starts_with("this is not TOML: "));
        assert_eq!(parsed.document.host.name, "attic");
    }
}

#[test]
fn an_unclosed_quote_at_the_end_is_blamed_there() {
    let (problems, names) = outcome(&(vm("a", "") + &vm("b", "x = '''")));
    assert_eq!(names, ["a"]);
    assert!(problems[0].starts_with("host.toml:12: this is not TOML"), "{problems:?}");
}

#[test]
fn the_same_name_twice_names_both_places() {
    let (problems, names) = outcome(&(vm("a", "") + "\n" + &vm("a", "")));
    let wanted =
        "host.toml:9: vm[a].name: line 2 has a VM of this name already; give each VM a name of its own";
    assert_eq!((problems, names.len()), (vec![wanted.to_string()], 1));
}

#[test]
fn a_name_of_the_hosts_own_is_refused() {
    let (problems, names) = outcome(&vm("hostd", ""));
    let wanted = "host.toml:2: vm[hostd].name: hostd is the host's own; give the VM another name";
    assert_eq!((problems, names.len()), (vec![wanted.to_string()], 0));
}

#[test]
fn a_disk_is_written_by_one_only() {
    let disk = |more: &str| format!("[[vm.disk]]\nhost_disk = \"SN1\"\n{more}");
    let both = |one: &str, two: &str| outcome(&(vm("a", &disk(one)) + &vm("b", &disk(two)))).0;
    let wanted = "host.toml:15: vm[b].disk[0].host_disk: VM a uses this disk at line 7, and one of them writes; \
                  give each its own disk or partition, or make both read_only";
    assert_eq!(both("", ""), [wanted]);
    assert_eq!(both("partition = 1", "").len(), 1);
    assert_eq!(both("partition = 1", "partition = 1").len(), 1);
    assert_eq!(both("read_only = true", "").len(), 1);
    assert!(both("partition = 1", "partition = 2").is_empty());
    assert!(both("read_only = true", "read_only = true").is_empty());
    let (problems, _) = outcome(&vm("a", &(disk("") + "\n" + &disk(""))));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_volume_is_written_by_one_only() {
    let disk = |more: &str| format!("[[vm.disk]]\nvolume = \"root of a\"\n{more}");
    let both = |one: &str, two: &str| outcome(&(vm("a", &disk(one)) + &vm("b", &disk(two)))).0;
    let wanted = "host.toml:15: vm[b].disk[0].volume: VM a uses this volume at line 7, and one of them writes; \
                  give each its own volume, or make both read_only";
    assert_eq!(both("", ""), [wanted]);
    assert!(both("read_only = true", "read_only = true").is_empty());
    let host_disk = "[[vm.disk]]\nhost_disk = \"root of a\"\n";
    assert!(outcome(&(vm("a", &disk("")) + &vm("b", host_disk))).0.is_empty());
    let (problems, _) = outcome(&vm("a", &disk("image = \"i\"\n")));
    let wanted = "host.toml:7: vm[a].disk[0].volume: this disk has an image too; \
                  give exactly one of image, host_disk, volume and iso";
    assert_eq!(problems, [wanted]);
    assert_eq!(outcome(&vm("a", &disk("partition = 1"))).0.len(), 1);
    assert_eq!(outcome(&vm("a", "[[vm.disk]]\nvolume = \"a/b\"\n")).0.len(), 1);
}

#[test]
fn when_a_vm_starts_is_said_and_kept() {
    let parsed = HostDocument::parse(
        &(vm("a", "start_order = 2\nstart_delay = 30\n") + &vm("b", "autostart = false\n")),
    );
    let facts: Vec<_> =
        parsed.document.vms.iter().map(|vm| (vm.autostart, vm.start_order, vm.start_delay)).collect();
    assert_eq!((parsed.problems, facts), (vec![], vec![(true, 2, 30), (false, 0, 0)]));
}

#[test]
fn a_refused_vm_holds_nothing_that_others_want() {
    let disk = "[[vm.disk]]\nhost_disk = \"SN1\"\n";
    let (problems, names) = outcome(&(vm("a", &format!("colour = 1\n{disk}")) + &vm("a", disk)));
    assert_eq!((problems.len(), names), (1, vec![String::from("a")]));
}

#[test]
fn the_same_address_twice_names_both_places() {
    let nic = "[[vm.nic]]\nmac = \"52:54:00:12:34:56\"\n";
    let (problems, names) = outcome(&(vm("a", nic) + &vm("b", nic)));
    assert_eq!(names, ["a"]);
    let wanted = "host.toml:15: vm[b].nic[0].mac: VM a has the address 52:54:00:12:34:56 at line 7; \
                  give each card an address of its own";
    assert_eq!(problems, [wanted]);
}

#[test]
fn a_made_address_is_stable_local_and_different() {
    let document =
        HostDocument::parse(&(vm("a", "[[vm.nic]]\n[[vm.nic]]\n") + &vm("b", "[[vm.nic]]\n"))).document;
    let macs = [(0, 0), (0, 1), (1, 0)].map(|(vm, nic)| document.vms[vm].mac_address(nic).unwrap());
    assert_eq!(macs[0].to_string(), "b6:73:ab:07:39:07");
    assert!(macs[0] != macs[1] && macs[0] != macs[2] && macs[1] != macs[2]);
    assert!(macs.iter().all(|mac| mac.0[0] & 3 == 2));
    assert_eq!(document.vms[0].mac_address(2), None);
}

#[test]
fn top_level_mistakes_are_named() {
    let (problems, names) = outcome(&(vm("a", "") + "[[vms]]\nname = \"b\"\n"));
    assert_eq!(names, ["a"]);
    let wanted = "host.toml:7: vms: there is no such field or table; \
                  a document has one [host] and a [[vm]] for each VM";
    assert_eq!(problems, [wanted]);
    let (problems, _) = outcome("[vm]\nname = \"a\"\n");
    assert_eq!(
        problems,
        ["host.toml:1: vm: this is no list of VMs; write [[vm]], with two brackets, before each VM"]
    );
    let (problems, _) = outcome("[host]\nname = \"No\"\n");
    assert_eq!(problems, ["host.toml:2: host.name: this is no name; use 1 to 32 of a-z, 0-9 and -"]);
}

#[test]
fn files_that_are_missing_are_named() {
    let parsed = HostDocument::parse_with_files(GOOD, &|name| name != "web.img");
    let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    let wanted = "host.toml:15: vm[web].disk[0].image: there is no file \"web.img\" beside this document; \
                  add the file to the boot archive, or correct its name";
    assert_eq!(problems, [wanted]);
    assert_eq!(parsed.document.vms.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever is done to one place of a good document, reading it ends, and what it takes is consistent.
    #[test]
    fn a_damaged_document_is_survived(at in 0..GOOD.len(), with in "[\\[\\]\"'= a-z0-9\n]{0,4}", cut in 0_usize..8) {
        let mut text = String::from(GOOD);
        text.replace_range(at..(at + cut).min(GOOD.len()), &with);
        let parsed = HostDocument::parse(&text);
        prop_assert!(parsed.document.vms.len() <= 3);
        let lines = text.lines().count();
        prop_assert!(parsed.problems.iter().all(|problem| problem.line <= lines + 1));
    }
}

/// The manual's example is read without a problem, and the manual has every field of the schema.
#[test]
fn the_manual_is_true() {
    let manual = include_str!("../../../../docs/host-toml.md");
    let example = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let parsed = HostDocument::parse(example);
    assert_eq!((parsed.problems, parsed.document.vms.len()), (vec![], 2));
    let unknown = "[host]\nx = 1\n[[vm]]\nx = 1\n[[vm]]\nboot.x = 1\n[[vm]]\ndisk = [{ x = 1 }]\n[[vm]]\nnic = [{ x = 1 }]\n";
    let problems = HostDocument::parse(unknown).problems;
    assert_eq!(problems.len(), 5);
    // What the schema expects instead of `x` is quoted in the problem.
    let fields = problems.iter().flat_map(|problem| problem.what.split('`').skip(3).step_by(2));
    for field in fields.filter(|field| !["boot", "disk", "nic"].contains(field)) {
        assert!(manual.contains(&format!("| `{field}` |")), "docs/host-toml.md lacks {field}");
    }
}
