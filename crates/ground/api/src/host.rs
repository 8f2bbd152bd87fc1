//! `host.toml`: the only schema of a host's configuration (design §9 "One document").
//!
//! File names are names of files in the boot archive that carries the document.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A whole `host.toml`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// How the one serial line is shared.
    pub console: ConsoleMode,
}

impl Default for Host {
    fn default() -> Self {
        Self { name: String::from("bramble"), console: ConsoleMode::Menu }
    }
}

/// How the serial line is shared between the host log and the guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Unique on the host; 1 to 32 characters of a–z, 0–9 and `-`.
    pub name: String,
    /// 1 to 8.
    pub vcpus: u8,
    /// RAM: a number with the suffix KiB, MiB or GiB, a multiple of 2 MiB.
    pub memory: String,
    /// What it boots.
    pub boot: Boot,
    /// Its disks, in the order of their device numbers.
    #[serde(default, rename = "disk")]
    pub disks: Vec<Disk>,
    /// Its network cards.
    #[serde(default, rename = "nic")]
    pub nics: Vec<Nic>,
}

/// `[vm.boot]`: a kernel, or firmware.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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

/// `[[vm.disk]]`: exactly one of `image` and `host_disk`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
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
    /// The guest may not write.
    pub read_only: bool,
}

/// `[[vm.nic]]`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nic {
    /// `aa:bb:cc:dd:ee:ff`; made from the VM's name and the card's place without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}
