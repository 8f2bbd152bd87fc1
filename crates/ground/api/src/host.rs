//! `host.toml`: the only schema of a host's configuration (design §9 "One document").
//!
//! File names are names of files in the boot archive that carries the document.

use alloc::string::String;
use alloc::vec::Vec;
use machine::{BootSpec, GicVersion, MachineSpec};
use serde::{Deserialize, Serialize};
use specs::MacAddress;

/// A whole `host.toml`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostDocument {
    /// The host itself.
    #[serde(default)]
    pub host: Host,
    /// Its VMs.
    #[serde(default, rename = "vm")]
    pub vms: Vec<Vm>,
}

/// `[host]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// The host's name: 1 to 32 characters of a–z, 0–9 and `-`.
    pub name: String,
    /// How the one serial line is shared.
    pub console: ConsoleMode,
    /// Each start of the host makes a new one-time password for the administrator, as long as this stands here.
    #[serde(rename = "reset-admin", skip_serializing_if = "is_no")]
    pub reset_admin: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self { name: String::from("bramble"), console: ConsoleMode::Menu, reset_admin: false }
    }
}

/// How the serial line is shared between the host log and the guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConsoleMode {
    /// One stream at a time, chosen with Ctrl-].
    #[default]
    Menu,
    /// Every guest's complete lines are shown too, each after `NAME| `. Input goes where the menu points.
    Merged,
}

/// `[[vm]]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "VmConfiguration"))]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Unique on the host; 1 to 32 characters of a–z, 0–9 and `-`.
    pub name: String,
    /// 1 to 8.
    pub vcpus: u8,
    /// RAM: a number with the suffix KiB, MiB or GiB, a multiple of 2 MiB.
    pub memory: String,
    /// It starts with the host.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub autostart: bool,
    /// Its place among the VMs that start with the host: lower ones first, equal ones in the order of their names or of
    /// the document.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_order: u32,
    /// Seconds from the start of the VM before it to its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_delay: u32,
    /// What it boots.
    pub boot: Boot,
    /// Its disks, in the order of their device numbers.
    #[serde(default, rename = "disk")]
    pub disks: Vec<Disk>,
    /// Its network cards.
    #[serde(default, rename = "nic")]
    pub nics: Vec<Nic>,
}

impl Default for Vm {
    /// As a document without any field would say, if it could.
    fn default() -> Self {
        Self {
            name: String::new(),
            vcpus: 1,
            memory: String::new(),
            autostart: true,
            start_order: 0,
            start_delay: 0,
            boot: Boot::default(),
            disks: Vec::new(),
            nics: Vec::new(),
        }
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_no(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// `[vm.boot]`: a kernel, or firmware.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "VmBoot"))]
#[serde(deny_unknown_fields, default)]
pub struct Boot {
    /// A flat image: an arm64 Linux Image, or any code for the start of RAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Goes with `kernel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Goes with `kernel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// Goes to flash bank 0 (EDK2, U-Boot); excludes `kernel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
}

/// `[[vm.disk]]`: exactly one of `image`, `host_disk`, `volume` and `iso`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "VmDisk"))]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// A file of the boot archive, copied to RAM: writes last until the host restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The serial number of a disk of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_disk: Option<String>,
    /// A partition of `host_disk`, from 1; the whole disk without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The name of a volume of the host's datastore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// A CD: the object `iso:NAME` or `file:NAME` of the host's datastore, by its NAME. Nobody writes to it, whatever
    /// `read_only` says, and any number of VMs may have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<String>,
    /// The guest may not write.
    pub read_only: bool,
}

/// `[[vm.nic]]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "VmNic"))]
#[serde(deny_unknown_fields, default)]
pub struct Nic {
    /// `aa:bb:cc:dd:ee:ff`; made from the VM's name and the card's place without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

impl Vm {
    /// The machine that it asks for, once its files are known; `None` where a number is out of range (a parsed
    /// document has no such VM).
    pub fn machine_spec(&self, gic: GicVersion, boot: BootSpec) -> Option<MachineSpec> {
        Some(MachineSpec {
            gic,
            vcpus: self.vcpus,
            ram_bytes: parse_memory(&self.memory)?,
            boot,
            disks: u8::try_from(self.disks.len()).ok()?,
            nics: u8::try_from(self.nics.len()).ok()?,
            world: false,
        })
    }

    /// The address of its card `index`: the one given, or one made from the VM's name and the card's place, the same
    /// at each start. `None` where there is no such card or the text is no address.
    pub fn mac_address(&self, index: usize) -> Option<MacAddress> {
        match &self.nics.get(index)?.mac {
            Some(text) => text.parse().ok(),
            None => Some(made_mac(&self.name, index)),
        }
    }
}

/// A size such as `512MiB` in bytes.
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit: u64 = match unit.trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// FNV-1a over name and place, cut to 48 bits: spread well enough that two cards of a network rarely meet.
fn made_mac(name: &str, index: usize) -> MacAddress {
    let bytes = name.bytes().chain([0]).chain((index as u64).to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    MacAddress::local([a ^ g, b ^ h, c, d, e, f])
}
