//! The meaning of a host document: what the schema alone can't refuse.
//!
//! VMs are taken in the order of the text. Where two of them want the same thing the first has it, and the problem
//! names both places.

use crate::host::{Boot, Disk, Host, Vm, parse_memory};
use crate::problem::{Place, Problem};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use machine::layout;
use specs::MacAddress;

/// Checks VM after VM, and remembers what the good ones use.
pub(crate) struct Checker<'e> {
    exists: &'e dyn Fn(&str) -> bool,
    pub problems: Vec<Problem>,
    names: Vec<(String, Use)>,
    disks: Vec<(SharedDisk, Use)>,
    macs: Vec<(MacAddress, Use)>,
}

/// Who uses something, and where it says so.
#[derive(Clone)]
struct Use {
    vm: String,
    line: usize,
}

#[derive(Clone, PartialEq)]
enum Shared {
    HostDisk { serial: String, partition: Option<u32> },
    Volume(String),
}

/// A disk that another VM could name, too.
#[derive(Clone)]
struct SharedDisk {
    what: Shared,
    read_only: bool,
}

impl SharedDisk {
    /// Whether both reach a sector that one of them writes.
    fn conflicts_with(&self, other: &Self) -> bool {
        let same_sectors = match (&self.what, &other.what) {
            (
                Shared::HostDisk { serial: one, partition: Some(first) },
                Shared::HostDisk { serial: two, partition: Some(second) },
            ) => one == two && first == second,
            (Shared::HostDisk { serial: one, .. }, Shared::HostDisk { serial: two, .. }) => one == two,
            (one, two) => one == two,
        };
        same_sectors && !(self.read_only && other.read_only)
    }
}

/// What one VM asks of the host; remembered only if it has no problem.
#[derive(Default)]
struct Wants {
    disks: Vec<(SharedDisk, Use)>,
    macs: Vec<(MacAddress, Use)>,
    problems: Vec<Problem>,
}

impl<'e> Checker<'e> {
    pub fn new(exists: &'e dyn Fn(&str) -> bool) -> Self {
        Self { exists, problems: Vec::new(), names: Vec::new(), disks: Vec::new(), macs: Vec::new() }
    }

    /// The host's table, with what is wrong replaced by its default.
    pub fn check_host(&mut self, mut host: Host, place: &Place<'_>) -> Host {
        if !is_name(&host.name) {
            host.name = Host::default().name;
            self.problems.push(place.problem("name", "this is no name", NAME_REMEDY));
        }
        host
    }

    /// Whether a VM can be taken.
    pub fn check_vm(&mut self, vm: &Vm, place: Place<'_>) -> bool {
        let mut wants = Wants::default();
        self.check_name(vm, &place, &mut wants);
        self.check_size(vm, &place, &mut wants);
        self.check_boot(&vm.boot, &place, &mut wants);
        for (index, disk) in vm.disks.iter().enumerate() {
            self.check_disk(vm, disk, index, &place, &mut wants);
        }
        for index in 0..vm.nics.len() {
            self.check_nic(vm, index, &place, &mut wants);
        }
        let good = wants.problems.is_empty();
        self.problems.append(&mut wants.problems);
        if good {
            self.names.push((vm.name.clone(), Use { vm: vm.name.clone(), line: place.line("name") }));
            self.disks.append(&mut wants.disks);
            self.macs.append(&mut wants.macs);
        }
        good
    }

    fn check_name(&self, vm: &Vm, place: &Place<'_>, wants: &mut Wants) {
        if !is_name(&vm.name) {
            wants.problems.push(place.problem("name", "this is no name", NAME_REMEDY));
        }
        if RESERVED.contains(&vm.name.as_str()) {
            let what = format!("{} is the host's own", vm.name);
            wants.problems.push(place.problem("name", what, "give the VM another name"));
        }
        if let Some((_, user)) = self.names.iter().find(|(name, _)| *name == vm.name) {
            let what = format!("line {} has a VM of this name already", user.line);
            wants.problems.push(place.problem("name", what, "give each VM a name of its own"));
        }
    }

    fn check_size(&self, vm: &Vm, place: &Place<'_>, wants: &mut Wants) {
        let mut refuse = |path, what: String, remedy| wants.problems.push(place.problem(path, what, remedy));
        if !(1..=layout::MAX_VCPUS).contains(&vm.vcpus) {
            refuse("vcpus", format!("a VM can't have {} vCPUs", vm.vcpus), "give a number from 1 to 8");
        }
        match parse_memory(&vm.memory) {
            None => refuse(
                "memory",
                format!("{:?} is no size", vm.memory),
                "give a whole number with KiB, MiB or GiB, such as \"512MiB\"",
            ),
            Some(bytes) if bytes == 0 || !bytes.is_multiple_of(layout::RAM_UNIT) => {
                refuse("memory", format!("{:?} is no multiple of 2 MiB", vm.memory), "round it to 2 MiB");
            }
            Some(bytes) if bytes > layout::MAX_RAM_BYTES => {
                refuse("memory", format!("{:?} is more than 255 GiB", vm.memory), "give less");
            }
            Some(_) => {}
        }
        if vm.disks.len() > usize::from(layout::MAX_DISKS) {
            refuse("disk", format!("{} disks", vm.disks.len()), "give a VM at most 16 disks");
        }
        if vm.nics.len() > usize::from(layout::MAX_NICS) {
            refuse("nic", format!("{} network cards", vm.nics.len()), "give a VM at most 14 network cards");
        }
    }

    fn check_boot(&self, boot: &Boot, place: &Place<'_>, wants: &mut Wants) {
        match (&boot.kernel, &boot.firmware) {
            (Some(_), Some(_)) => {
                let what = "this VM has a kernel too";
                wants.problems.push(place.problem("boot.firmware", what, "keep one of kernel and firmware"));
            }
            (None, None) => {
                let what = "there is nothing to start";
                wants.problems.push(place.problem("boot", what, "give one of kernel and firmware"));
            }
            _ => {}
        }
        let extras =
            [("boot.initrd", boot.initrd.is_some()), ("boot.command_line", boot.command_line.is_some())];
        for (path, _) in extras.into_iter().filter(|(_, given)| *given && boot.kernel.is_none()) {
            let what = "this goes with a kernel only";
            wants.problems.push(place.problem(path, what, "remove it, or give a kernel"));
        }
        if boot.command_line.as_ref().is_some_and(|line| line.len() > 2047 || line.contains('\0')) {
            let what = "Linux can't read this command line";
            let remedy = "give at most 2047 bytes, none of them zero";
            wants.problems.push(place.problem("boot.command_line", what, remedy));
        }
        let files =
            [("boot.kernel", &boot.kernel), ("boot.initrd", &boot.initrd), ("boot.firmware", &boot.firmware)];
        for (path, file) in files {
            self.check_file(file.as_deref(), path, place, wants);
        }
    }

    fn check_file(&self, file: Option<&str>, path: &str, place: &Place<'_>, wants: &mut Wants) {
        let Some(file) = file.filter(|file| !(self.exists)(file)) else { return };
        let what = format!("there is no file {file:?} beside this document");
        wants.problems.push(place.problem(
            path,
            what,
            "add the file to the boot archive, or correct its name",
        ));
    }

    fn check_disk(&self, vm: &Vm, disk: &Disk, index: usize, place: &Place<'_>, wants: &mut Wants) {
        let path = |field: &str| format!("disk.{index}.{field}");
        let mut refuse = |field: &str, what: String, remedy| {
            wants.problems.push(place.problem(&path(field), what, remedy));
        };
        let sources = [
            ("image", disk.image.is_some()),
            ("host_disk", disk.host_disk.is_some()),
            ("volume", disk.volume.is_some()),
            ("iso", disk.iso.is_some()),
        ];
        let mut given = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => {
                refuse(second, format!("this disk has {} {first} too", article(first)), ONE_SOURCE);
            }
            (None, _) => refuse("", String::from("this disk has no source"), ONE_SOURCE),
            _ => {}
        }
        if disk.partition == Some(0) {
            refuse("partition", String::from("there is no partition 0"), "partitions count from 1");
        }
        if disk.partition.is_some() && disk.host_disk.is_none() {
            let what = String::from("an image, a volume or an ISO is used whole");
            refuse("partition", what, "remove it, or give a host_disk");
        }
        if disk.volume.as_deref().is_some_and(|name| !is_volume_name(name)) {
            let what = String::from("no volume can have this name");
            refuse("volume", what, "give 1 to 64 bytes without control characters and '/'");
        }
        // `file:` comes before it.
        if disk.iso.as_deref().is_some_and(|name| name.len() > 59 || !is_volume_name(name)) {
            let what = String::from("no object can have this name");
            refuse("iso", what, "give 1 to 59 bytes without control characters and '/'");
        }
        self.check_file(disk.image.as_deref(), &path("image"), place, wants);
        let partition = disk.partition;
        let host_disk = disk.host_disk.clone().map(|serial| Shared::HostDisk { serial, partition });
        let volume = disk.volume.clone().map(Shared::Volume);
        for (field, what) in [("host_disk", host_disk), ("volume", volume)] {
            let Some(what) = what else { continue };
            let wanted = SharedDisk { what, read_only: disk.read_only };
            self.check_shared(vm, wanted, &path(field), place, wants);
        }
    }

    fn check_shared(&self, vm: &Vm, wanted: SharedDisk, path: &str, place: &Place<'_>, wants: &mut Wants) {
        let taken =
            self.disks.iter().chain(&wants.disks).find(|(other, _)| other.conflicts_with(&wanted)).cloned();
        if let Some((_, user)) = taken {
            let (thing, remedy) = match wanted.what {
                Shared::HostDisk { .. } => {
                    ("disk", "give each its own disk or partition, or make both read_only")
                }
                Shared::Volume(_) => ("volume", "give each its own volume, or make both read_only"),
            };
            let what =
                format!("VM {} uses this {thing} at line {}, and one of them writes", user.vm, user.line);
            wants.problems.push(place.problem(path, what, remedy));
        }
        wants.disks.push((wanted, Use { vm: vm.name.clone(), line: place.line(path) }));
    }

    fn check_nic(&self, vm: &Vm, index: usize, place: &Place<'_>, wants: &mut Wants) {
        let path = format!("nic.{index}.mac");
        let Some(mac) = vm.mac_address(index) else {
            let remedy = "write six pairs of hexadecimal digits, such as \"52:54:00:12:34:56\"";
            wants.problems.push(place.problem(&path, "this is no MAC address", remedy));
            return;
        };
        if mac.is_group() || mac == MacAddress::default() {
            let remedy = "give one of a single station: the second digit is even, and not all are 0";
            wants.problems.push(place.problem(&path, format!("{mac} can't be a card's address"), remedy));
            return;
        }
        let taken = self.macs.iter().chain(&wants.macs).find(|(other, _)| *other == mac).cloned();
        if let Some((_, user)) = taken {
            let what = format!("VM {} has the address {mac} at line {}", user.vm, user.line);
            wants.problems.push(place.problem(&path, what, "give each card an address of its own"));
        }
        wants.macs.push((mac, Use { vm: vm.name.clone(), line: place.line(&path) }));
    }
}

/// Names of what the host itself runs.
const RESERVED: [&str; 1] = ["hostd"];
const NAME_REMEDY: &str = "use 1 to 32 of a-z, 0-9 and -";
const ONE_SOURCE: &str = "give exactly one of image, host_disk, volume and iso";

const fn article(noun: &str) -> &'static str {
    if matches!(noun.as_bytes(), [b'i', ..]) { "an" } else { "a" }
}

/// As the datastore and the contract with worlds have it.
fn is_volume_name(name: &str) -> bool {
    let good = |c: char| !c.is_control() && c != '/';
    (1..=64).contains(&name.len()) && name.chars().all(good) && name != "." && name != ".."
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(good)
}
