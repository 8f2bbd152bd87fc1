//! What calls tell: structs that the vmkernel writes to a world's buffer.

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

wire! {
    /// A VM.
    VmRecord, 160 bytes {
        /// Its handle.
        0 handle: u64,
        /// Its name, without its end in zeros.
        8 name: [u8; 32],
        /// [`OFF`], [`RUNNING`] or [`STOPPING`].
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
