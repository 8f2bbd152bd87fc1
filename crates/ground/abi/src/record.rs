//! What calls and requests tell: structs that the vmkernel writes to a world's buffer.

use crate::request::OBJECT_NAME_BYTES;
use crate::wire::wire;

/// Bytes of a name; the rest of the field is zero.
pub const NAME_BYTES: usize = 32;
/// Reasons of exits in [`VmRecord::exits`]: call, register, device, memory, wait, interrupt, other.
pub const EXIT_REASONS: usize = 7;
/// Bytes of a world's last words.
pub const WORDS_BYTES: usize = 256;

/// [`VmRecord::power`]: it does not run.
pub const OFF: u32 = 0;
/// [`VmRecord::power`]: it runs.
pub const RUNNING: u32 = 1;
/// [`VmRecord::power`]: it is about to stop, or to start anew.
pub const STOPPING: u32 = 2;
/// [`VmRecord::power`]: it runs, but its vCPUs do not get a PE until it is resumed.
pub const PAUSED: u32 = 3;

wire! {
    /// A VM.
    VmRecord, 160 bytes {
        /// Its handle.
        0 handle: u64,
        /// Its name, without its end in zeros.
        8 name: [u8; 32],
        /// [`OFF`], [`RUNNING`], [`STOPPING`] or [`PAUSED`].
        40 power: u32,
        /// vCPUs.
        44 vcpus: u32,
        /// RAM.
        48 ram_bytes: u64,
        /// RAM that it has touched.
        56 touched_bytes: u64,
        /// How often it was powered on.
        64 starts: u64,
        /// Exits by reason since it was powered on, as of the last look; asking has the vmkernel look anew.
        72 exits: [u64; 7],
        /// Positions after the last byte of its consoles: UART, virtio-console.
        128 console_end: [u64; 2],
        /// Zero.
        144 reserved: [u64; 2],
    }
}

wire! {
    /// Where a VM's time goes, since it was powered on. Times are nanoseconds, summed over its vCPUs.
    VmStatistics, 192 bytes {
        /// When this was asked for, in nanoseconds since the host started.
        0 at: u64,
        /// When it was powered on.
        8 started_at: u64,
        /// Exits by reason, as in [`VmRecord::exits`].
        16 exits: [u64; 7],
        /// The time that the host took for them, by the same reasons. One exit in some is measured and stands for the
        /// others, so that the rare and the short ones are known only roughly.
        72 exit_time: [u64; 7],
        /// They had a PE; `exit_time` is a part of it.
        128 run_time: u64,
        /// They wanted a PE, and another vCPU had it.
        136 ready_time: u64,
        /// Bytes that it read from its disks.
        144 disk_read: u64,
        /// Bytes that it wrote to its disks.
        152 disk_written: u64,
        /// Zero.
        160 reserved: [u64; 4],
    }
}

wire! {
    /// How busy the host is. Times are nanoseconds since it started.
    HostUse, 64 bytes {
        /// When this was asked for.
        0 at: u64,
        /// All PEs slept so long, summed.
        8 idle_time: u64,
        /// PEs that run.
        16 pes: u64,
        /// Bytes that came in by the uplink; 0 where there is none.
        24 uplink_in: u64,
        /// Bytes that went out by the uplink.
        32 uplink_out: u64,
        /// Seconds since 1970, as [`crate::Call::Time`] tells them.
        40 unix_seconds: u64,
        /// Zero.
        48 reserved: [u64; 2],
    }
}

wire! {
    /// The host, and the world that asks.
    HostRecord, 64 bytes {
        /// The world's generation.
        0 generation: u32,
        /// Restarts since the host started.
        4 restarts: u32,
        /// Why the generation before ended, as [`crate::ExitReason`]; meaningless for the first.
        8 last_reason: u32,
        /// PEs that run.
        12 pes: u32,
        /// Free for VMs.
        16 free_bytes: u64,
        /// The host's own memory: image and heap.
        24 host_bytes: u64,
        /// The world's RAM.
        32 world_bytes: u64,
        /// Of it, what was touched.
        40 world_touched_bytes: u64,
        /// Exits of the world's vCPUs since its start, as of the last look.
        48 world_exits: u64,
        /// Nanoseconds since the host started when this generation did.
        56 started_at: u64,
    }
}

wire! {
    /// How a world's generation ended.
    CrashRecord, 600 bytes {
        /// Which.
        0 generation: u32,
        /// [`crate::ExitReason`].
        4 reason: u32,
        /// Nanoseconds since the host started.
        8 at: u64,
        /// What the reason is about: the address of a fault.
        16 address: u64,
        /// Which vCPU.
        24 vcpu: u32,
        /// Bytes of `words` in use.
        28 words_bytes: u32,
        /// x0 to x30.
        32 x: [u64; 31],
        /// PC.
        280 pc: u64,
        /// PSTATE as in SPSR_EL2.
        288 pstate: u64,
        /// 1: `x`, `pc` and `pstate` were taken; 0: the vCPU was not on a PE.
        296 has_registers: u32,
        /// Zero.
        300 reserved: u32,
        /// The world's last words.
        304 words: [u8; 256],
        /// Zero.
        560 reserved_end: [u64; 5],
    }
}

/// [`DiskRecord::state`]: nothing on it that is known: its first and last blocks are zero.
pub const BLANK: u32 = 0;
/// [`DiskRecord::state`]: a GPT without a datastore of ours.
pub const PARTITIONED: u32 = 1;
/// [`DiskRecord::state`]: it holds the datastore that is in use.
pub const DATASTORE: u32 = 2;
/// [`DiskRecord::state`]: it holds a datastore that is not in use; the host log says why.
pub const OTHER_DATASTORE: u32 = 3;
/// [`DiskRecord::state`]: it holds something else.
pub const FOREIGN: u32 = 4;
/// [`DiskRecord::state`]: it can't be read.
pub const UNREADABLE: u32 = 5;

wire! {
    /// A disk of the host.
    DiskRecord, 64 bytes {
        /// Its serial number, without its end in zeros.
        0 serial: [u8; NAME_BYTES],
        /// Its size.
        32 bytes: u64,
        /// The longest run of its GPT that no partition has; of a blank disk all that a datastore could have.
        40 free_bytes: u64,
        /// [`BLANK`] to [`UNREADABLE`].
        48 state: u32,
        /// 1: it can't be written.
        52 read_only: u32,
        /// Zero.
        56 reserved: u64,
    }
}

/// [`DatastoreRecord::flags`]: there is none: objects are kept in RAM, and volumes can't be made.
pub const VOLATILE: u32 = 1;
/// [`DatastoreRecord::flags`]: it takes no more writes; the host log says why.
pub const READ_ONLY: u32 = 2;

wire! {
    /// The datastore.
    DatastoreRecord, 128 bytes {
        /// Its UUID.
        0 uuid: [u8; 16],
        /// The serial number of its disk.
        16 serial: [u8; NAME_BYTES],
        /// Its size.
        48 bytes: u64,
        /// What new data may take.
        56 free_bytes: u64,
        /// Written to the disk below since the host started.
        64 written_bytes: u64,
        /// Number of volumes.
        72 volumes: u32,
        /// Number of objects.
        76 objects: u32,
        /// [`VOLATILE`], [`READ_ONLY`].
        80 flags: u32,
        /// Zero.
        84 reserved: u32,
        /// Zero.
        88 reserved_end: [u64; 5],
    }
}

wire! {
    /// An object.
    ObjectRecord, 80 bytes {
        /// Its name, without its end in zeros.
        0 name: [u8; OBJECT_NAME_BYTES],
        /// Its size.
        64 bytes: u64,
        /// Zero.
        72 reserved: u64,
    }
}

wire! {
    /// A volume.
    VolumeRecord, 96 bytes {
        /// Its name, without its end in zeros.
        0 name: [u8; OBJECT_NAME_BYTES],
        /// Its id: no other volume or snapshot of the datastore ever had or will have it.
        64 id: u64,
        /// Its size.
        72 bytes: u64,
        /// Its snapshots.
        80 snapshots: u32,
        /// 1: a VM names it.
        84 in_use: u32,
        /// Zero.
        88 reserved: u64,
    }
}

wire! {
    /// A snapshot of a VM: one of each of its volumes, of one moment.
    SnapshotRecord, 96 bytes {
        /// Its name, without its end in zeros.
        0 name: [u8; OBJECT_NAME_BYTES],
        /// Its id.
        64 id: u64,
        /// The one that it was taken after, or 0.
        72 parent: u64,
        /// Seconds since 1970.
        80 created: u64,
        /// 1: what the VM has now came from this one.
        88 is_current: u32,
        /// Zero.
        92 reserved: u32,
    }
}

/// [`PortRecord::kind`]: a network card of the host.
pub const UPLINK: u32 = 0;
/// [`PortRecord::kind`]: a card of a VM.
pub const VM_CARD: u32 = 1;
/// [`PortRecord::kind`]: the card of the world that manages the host.
pub const WORLD_CARD: u32 = 2;
/// [`PortRecord::policy`]: it gets the frames of others, too.
pub const PROMISCUOUS: u32 = 1;
/// [`PortRecord::policy`]: frames come to it by other addresses than its own.
pub const MAC_CHANGES: u32 = 2;
/// [`PortRecord::policy`]: it may send from other addresses than its own.
pub const FORGED_TRANSMITS: u32 = 4;

wire! {
    /// A port of the switch.
    PortRecord, 144 bytes {
        /// Its number.
        0 port: u32,
        /// [`UPLINK`], [`VM_CARD`] or [`WORLD_CARD`].
        4 kind: u32,
        /// The VM's handle, or 0.
        8 vm: u64,
        /// Which of the VM's cards.
        16 card: u32,
        /// Its VLAN, 1–4094; 0: untagged.
        20 vlan: u32,
        /// [`PROMISCUOUS`], [`MAC_CHANGES`], [`FORGED_TRANSMITS`].
        24 policy: u32,
        /// 1: the link is up.
        28 link: u32,
        /// The card's MAC address, and two zeros.
        32 mac: [u8; 8],
        /// Its port group's name, without its end in zeros; an uplink has none.
        40 group: [u8; NAME_BYTES],
        /// Frames that came in by it.
        72 frames_in: u64,
        /// Their bytes.
        80 bytes_in: u64,
        /// Frames that went out by it.
        88 frames_out: u64,
        /// Their bytes.
        96 bytes_out: u64,
        /// Frames to it that found no buffer.
        104 undelivered: u64,
        /// Frames that it might not send: a false address, a tag, addresses that no switch passes on.
        112 refused: u64,
        /// Zero.
        120 reserved: [u64; 3],
    }
}

/// [`AddressRecord::family`]: an address of IPv4, in the first 4 bytes.
pub const IPV4: u32 = 4;
/// [`AddressRecord::family`]: an address of IPv6.
pub const IPV6: u32 = 6;

wire! {
    /// An address that a card was seen to use.
    AddressRecord, 64 bytes {
        /// The VM's handle, 0: the world that manages the host.
        0 vm: u64,
        /// Which of its cards.
        8 card: u32,
        /// [`IPV4`] or [`IPV6`].
        12 family: u32,
        /// The address; the rest is zero.
        16 address: [u8; 16],
        /// The card's MAC address, and two zeros.
        32 mac: [u8; 8],
        /// When it was first seen, in nanoseconds since the host started.
        40 since: u64,
        /// Zero.
        48 reserved: [u64; 2],
    }
}

wire! {
    /// Stands before the text of an entry of the audit chain.
    AuditRecord, 96 bytes {
        /// From 1.
        0 number: u64,
        /// Seconds since 1970.
        8 unix_seconds: u64,
        /// Nanoseconds since the host started.
        16 uptime: u64,
        /// The world's generation.
        24 generation: u32,
        /// Bytes of the text that follows.
        28 text_bytes: u32,
        /// SHA-256 of the entry before, 0 before the first.
        32 before: [u8; 32],
        /// SHA-256 of this record up to here, and the text.
        64 hash: [u8; 32],
    }
}
