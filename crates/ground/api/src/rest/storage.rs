//! Disks of the host, the datastore, volumes, objects, uploads.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What is on a disk of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DiskState {
    /// Nothing that is known: its first and last blocks are zero.
    Blank,
    /// A GPT without a datastore.
    Partitioned,
    /// The datastore that is in use.
    Datastore,
    /// A datastore that is not in use; the host's log says why.
    OtherDatastore,
    /// Something else.
    Foreign,
    /// It can't be read.
    Unreadable,
}

/// A disk of the host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Disk {
    /// Its serial number.
    pub serial: String,
    /// Its size.
    pub bytes: u64,
    /// What a datastore could have of it without losing anything.
    pub free_bytes: u64,
    /// What is on it.
    pub state: DiskState,
    /// It can't be written.
    pub read_only: bool,
}

/// The datastore.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Datastore {
    /// There is none: objects are kept in RAM until the host restarts, and volumes can't be made.
    pub is_volatile: bool,
    /// It takes no more writes; the host's log says why.
    pub is_read_only: bool,
    /// Its UUID; empty without a datastore.
    pub uuid: String,
    /// The serial number of its disk.
    pub disk: String,
    /// Its size.
    pub bytes: u64,
    /// What new data may take.
    pub free_bytes: u64,
    /// Written to the disk since the host started.
    pub written_bytes: u64,
    /// Number of volumes.
    pub volumes: u32,
    /// Number of objects.
    pub objects: u32,
}

/// A datastore to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewDatastore {
    /// The serial number of a disk: its free space is taken, or all of a blank one.
    pub disk: String,
    /// The serial number once more: the whole disk is taken, and **what is on it is lost**.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_disk: Option<String>,
}

/// A volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Volume {
    /// Its id: no other volume or snapshot of the datastore ever had it or will have it.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its snapshots.
    pub snapshots: u32,
    /// A VM names it.
    pub in_use: bool,
}

/// A volume to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewVolume {
    /// 1 to 64 bytes without control characters and `/`.
    pub name: String,
    /// Its size, a multiple of 4096; without it, `source` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// A volume or snapshot that it is to hold what that one holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u64>,
}

/// What is to change of a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VolumeChange {
    /// Its size, a multiple of 4096; **a smaller one loses what lies behind**.
    pub bytes: u64,
}

/// An object: an image, firmware, a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Object {
    /// Its name; the word before `:` says what it is.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// An upload to be begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// Name of the object that it becomes: `image:`, `iso:`, `firmware:` or `file:` (a kernel, an initrd) and 1 to 48
    /// bytes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of all of it, in hexadecimal: it becomes an object only if that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// An upload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Upload {
    /// Its id.
    pub id: String,
    /// Name of the object that it becomes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How much of it is there: `Upload-Offset` of the next piece.
    pub offset: u64,
    /// SHA-256 of all of it, in hexadecimal, once all of it is there and has become the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// An import: a raw image becomes a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewImport {
    /// Name of an object that is an image of a disk: qcow2 where it starts as one, else raw.
    pub object: String,
    /// Name of the volume that it becomes.
    pub volume: String,
}
