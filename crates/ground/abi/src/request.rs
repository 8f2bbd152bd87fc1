//! The call queue's requests: one table.
//!
//! A chain has, device-readable, a [`Request`] and after it what the kind sends; device-writable, an [`Answer`] and after
//! it room for what the kind gives back. What it sends or gives back is at most what [`RequestKind::send_max`] and
//! [`RequestKind::receive_max`] say; a kind without has exactly the two structs. How many bytes were given is the length
//! in the used ring, less the answer. The queue lies behind a virtio-mmio transport (virtio 1.2, 4.2) that a world alone
//! has, in the device tree as [`COMPATIBLE`].
//!
//! # Objects
//! Named byte strings. They are the datastore's, and survive what it survives; but for names that start with [`RUN`],
//! which the vmkernel keeps in RAM, at most [`RUN_BYTES`] in all: these outlive the world's generations, not the host's
//! restart. Without a datastore the others are kept like these ([`crate::record::DatastoreRecord::flags`] says so). A name
//! is 1 to 64 bytes of UTF-8 without control characters and `/`, then zeros; the word before `:` says what it is.

use crate::record::NAME_BYTES;
use crate::wire::wire;

/// In the device tree.
pub const COMPATIBLE: &str = "bramble,calls-1";
/// DeviceID of the transport: outside the numbers that virtio gives (1.2, 5 "Device Types").
pub const DEVICE_ID: u32 = 0x4252_0001;
/// Descriptors of the queue at most; a request takes two, and two more for what it sends and gets back.
pub const QUEUE_SIZE: u16 = 32;
/// Most bytes that a request sends or gets back beside its structs.
pub const PAYLOAD_MAX: u32 = 64 * 1024;
/// Bytes of the name of an object, a volume or a snapshot; the rest of the field is zero.
pub const OBJECT_NAME_BYTES: usize = 64;
/// Start of the names of objects that are kept in RAM.
pub const RUN: &str = "run:";
/// Start of the names of uploads: objects that grow. They are forgotten when the host restarts; `RenameObject` makes an
/// object of one.
pub const PART: &str = "part:";
/// Most bytes of all objects that are kept in RAM.
pub const RUN_BYTES: u64 = 512 * 1024;

// The same in the table's type.
const OBJECT: u32 = 64;
const NAME: u32 = 32;
const _: () = assert!(OBJECT as usize == OBJECT_NAME_BYTES && NAME as usize == NAME_BYTES);

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $number:literal, send $send:expr, receive $receive:expr;)*) => {
        /// What a request asks for. "→" is [`Answer::value`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum RequestKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl RequestKind {
            /// Every kind with its name, in order of its number.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            /// The kind of a number.
            pub const fn from_raw(raw: u32) -> Option<Self> {
                match raw {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Most bytes that follow the request.
            pub const fn send_max(self) -> u32 {
                match self {
                    $(Self::$name => $send,)*
                }
            }

            /// Most bytes that follow the answer.
            pub const fn receive_max(self) -> u32 {
                match self {
                    $(Self::$name => $receive,)*
                }
            }
        }
    };
}

requests! {
    /// Answered at once: the queue works. → `argument`.
    Echo = 0, send 0, receive 0;

    /// Starts a VM that does not run.
    PowerOn = 1, send 0, receive 0;
    /// Ends a VM; done when its RAM is free.
    PowerOff = 2, send 0, receive 0;
    /// Starts a VM anew; done when it has been started.
    Reset = 3, send 0, receive 0;
    /// Presses a VM's power button; done when it is pressed.
    ShutDown = 4, send 0, receive 0;
    /// A running VM's vCPUs run no more until `Resume`; done when none does.
    Pause = 5, send 0, receive 0;
    /// A paused VM goes on.
    Resume = 6, send 0, receive 0;

    /// Makes a VM, or changes the one of that name. Sends: its document, a `host.toml` with one `[[vm]]`. What a running
    /// VM can't take on waits for its next start. `target`: 0 to make one, else the handle of the one to change.
    /// → its handle. Receives where it is `Invalid`: why, as text.
    PutVm = 16, send 16 * 1024, receive 512;
    /// Receives: a VM's document. → 1 where it comes from the boot archive, and can't be changed.
    GetVm = 17, send 0, receive 16 * 1024;
    /// Forgets a VM that does not run. `argument` 1: with its volumes and snapshots.
    DeleteVm = 18, send 0, receive 0;
    /// Takes a snapshot of all of a VM's volumes at one moment. Sends: its name. → its id.
    SnapshotVm = 19, send OBJECT, receive 0;
    /// Puts a VM that does not run back to a snapshot. `argument`: its id.
    RevertVm = 20, send 0, receive 0;
    /// Deletes a snapshot of a VM. `argument`: its id.
    DeleteVmSnapshot = 21, send 0, receive 0;
    /// Receives: [`crate::record::SnapshotRecord`]s of a VM. `argument`: how many to leave out. → how many there are.
    ListVmSnapshots = 22, send 0, receive PAYLOAD_MAX;
    /// Makes the firmware variables of a VM that does not run as new ones are. `NotFound`: it has none.
    ResetFirmwareVariables = 23, send 0, receive 0;
    /// Makes a VM, as `PutVm` does, whose firmware variables begin as those of VM `target` are, or, with its snapshot
    /// `argument`, were then.
    CloneVm = 24, send 16 * 1024, receive 512;

    /// Receives: [`crate::record::DiskRecord`]s of the host's disks. → how many there are.
    ListDisks = 32, send 0, receive 4096;
    /// Makes a datastore. Sends: a disk's serial number of [`NAME_BYTES`] bytes. `argument`: 0 takes free space of its GPT,
    /// or the whole of a blank disk; 1 takes the whole disk and loses what is on it, which has to be sent as well: the
    /// serial number once more. Receives where it is refused: why, as text.
    MakeDatastore = 33, send 2 * NAME, receive 512;
    /// Receives: a [`crate::record::DatastoreRecord`].
    InspectDatastore = 34, send 0, receive 128;

    /// Sends: a prefix of names. Receives: [`crate::record::ObjectRecord`]s in order of their names.
    /// `argument`: how many to leave out. → how many there are.
    ListObjects = 48, send OBJECT, receive PAYLOAD_MAX;
    /// Sends: a name. Receives: bytes from offset `argument` on. → the object's size.
    ReadObject = 49, send OBJECT, receive PAYLOAD_MAX;
    /// Sends: a name, then all its bytes. The object is then these, whatever it was: all of it or nothing of it.
    WriteObject = 50, send OBJECT + PAYLOAD_MAX, receive 0;
    /// Sends: a name that starts with [`PART`] or [`RUN`], then bytes that are to follow. `argument`: the object's size
    /// before; with another one it is a `Conflict`, and → tells it. It is made where there is none, and 0 is meant.
    /// → its size.
    AppendObject = 51, send OBJECT + PAYLOAD_MAX, receive 0;
    /// Sends: a name.
    DeleteObject = 52, send OBJECT, receive 0;
    /// Sends: the name of an upload, and the one that it is to have; an object that has that one is replaced. All of it is
    /// safe from power cuts when this is done. → its size. Also from one name in RAM to another.
    RenameObject = 53, send 2 * OBJECT, receive 0;

    /// Receives: [`crate::record::VolumeRecord`]s. `argument`: how many to leave out. → how many there are.
    ListVolumes = 64, send 0, receive PAYLOAD_MAX;
    /// Makes a thin volume. Sends: its name. `argument`: its size in bytes, a multiple of 4096. → its id.
    CreateVolume = 65, send OBJECT, receive 0;
    /// Deletes a volume that no VM names, and its snapshots. `target`: its id.
    DeleteVolume = 66, send 0, receive 0;
    /// `target`: its id, `argument`: its size in bytes, a multiple of 4096; smaller loses what lies behind. No running VM
    /// may have the volume.
    ResizeVolume = 67, send 0, receive 0;
    /// Makes a volume that holds what another one, or a snapshot, holds. Sends: its name. `target`: the id of either.
    /// `argument`: 0, or the id of a VM's snapshot: what the volume `target` held then. → its id.
    CloneVolume = 68, send OBJECT, receive 0;
    /// Receives: bytes. `target`: a volume or a snapshot of one, `argument`: the offset; all a multiple of 512.
    ReadVolume = 69, send 0, receive PAYLOAD_MAX;
    /// Sends: bytes. `target`, `argument`: as for `ReadVolume`. No running VM may have the volume.
    WriteVolume = 70, send PAYLOAD_MAX, receive 0;
    /// What was written to a volume is safe from power cuts when this is done. `target`: its id.
    FlushVolume = 71, send 0, receive 0;

    /// Adds an entry to the audit chain; done when it is safe from power cuts, where there is a datastore. Sends: its
    /// text. → its number, from 1.
    AppendAudit = 80, send 4096, receive 0;
    /// Receives: whole entries from number `argument` on, each an [`crate::record::AuditRecord`] and its text, padded
    /// with zeros to 8 bytes; the longest takes 4,192. → the number of the last entry that there is.
    ReadAudit = 81, send 0, receive PAYLOAD_MAX;

    /// Ends all VMs and restarts the host. `argument` 1: guests' power buttons first, and 30 seconds.
    RestartHost = 96, send 0, receive 0;
    /// Ends all VMs and turns the host off. `argument`: as for `RestartHost`.
    TurnHostOff = 97, send 0, receive 0;

    /// Receives: [`crate::record::PortRecord`]s of the switch's ports. `argument`: how many to leave out. → how many there
    /// are.
    ListPorts = 112, send 0, receive PAYLOAD_MAX;
    /// Receives: [`crate::record::AddressRecord`]s, addresses that the switch saw cards use. `argument`: how many to leave
    /// out. → how many there are.
    ListAddresses = 113, send 0, receive PAYLOAD_MAX;
}

wire! {
    /// A request.
    Request, 32 bytes {
        /// [`RequestKind`].
        0 kind: u32,
        /// The world's generation: another one's request is refused as `Stale`.
        4 generation: u32,
        /// What it is about: a [`crate::VmHandle`] where the kind does not say otherwise.
        8 target: u64,
        /// As the kind says.
        16 argument: u64,
        /// Zero.
        24 reserved: u64,
    }
}

wire! {
    /// What comes back.
    Answer, 16 bytes {
        /// [`crate::Status`].
        0 status: i64,
        /// As the kind says.
        8 value: u64,
    }
}

impl Answer {
    /// Without a value.
    pub const fn of(status: crate::Status) -> Self {
        Self { status: status as i64, value: 0 }
    }
}
