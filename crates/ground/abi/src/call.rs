//! The calls by HVC: one table.
//!
//! x0: function id. x1, x2: address and bytes of the buffer, in RAM that the caller has touched; 0 for a call without
//! one. x3–x5: arguments. Back come x0: [`crate::Status`], x1–x3: values.

/// First function id: SMC64, fast call, vendor-specific hypervisor service (owner 6).
pub const BASE: u32 = 0xC600_0000;

/// No call takes more instructions at EL2, buffers and everything.
pub const INSTRUCTIONS_MAX: u32 = 5_000;

/// What `ReadPresence` tells: a key of the console's menu.
pub const PRESENCE_KEY: u64 = 1;
/// What `ReadPresence` tells: `reset-admin = true` in the boot archive's host.toml.
pub const PRESENCE_DOCUMENT: u64 = 2;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:literal, buffer $buffer:literal;)*) => {
        /// A call, by its function id.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Call {
            $($(#[$doc])* $name = BASE + $number,)*
        }

        impl Call {
            /// Every call with its name, in order of its number.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            /// The call of a function id.
            pub const fn from_function_id(id: u32) -> Option<Self> {
                match id {
                    $(x if x == BASE + $number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The most bytes of its buffer; 0: it has none.
            pub const fn buffer_max(self) -> u64 {
                match self {
                    $(Self::$name => $buffer,)*
                }
            }
        }
    };
}

calls! {
    /// → x1: [`crate::VERSION`], x2: the caller's generation.
    Version = 0, buffer 0;
    /// A sign of life of the calling vCPU.
    Heartbeat = 1, buffer 0;
    /// Buffer: a line for the host log, without its end. `Busy`: there are too many already, which are being written.
    Log = 2, buffer 96;
    /// The world ends itself. Buffer: its last words, or none. x3: [`crate::ExitReason`]. Does not return.
    Exit = 3, buffer 256;
    /// Buffer: filled with random bytes, or `Unseeded`.
    Random = 4, buffer 32;
    /// → x1: seconds since 1970, x2: nanoseconds since the host started, x3: 1 where the first is known to be right.
    Time = 5, buffer 0;
    /// Buffer: filled with [`crate::VmHandle`]s of 8 bytes. x3: place of the first in the list. → x1: how many were
    /// given, x2: how many there are.
    ListVms = 6, buffer 256;
    /// Buffer: a [`crate::record::VmRecord`]. x3: handle.
    InspectVm = 7, buffer 160;
    /// Buffer: filled from the ring of a console. x3: handle, x4: 0 for the UART, 1 for virtio-console, x5: position of
    /// the first byte wanted. → x1: position of the first byte given (later than wanted where the ring forgot some),
    /// x2: bytes given, x3: position after the last byte that there is. Handle 0, console 0: the host log.
    ReadConsole = 8, buffer 1024;
    /// Buffer: bytes typed into a console. x3, x4 as for `ReadConsole`. → x1: bytes taken.
    WriteConsole = 9, buffer 16;
    /// Buffer: a [`crate::record::HostRecord`].
    InspectHost = 10, buffer 64;
    /// Buffer: the [`crate::record::CrashRecord`] of a generation that ended. x3: how many ended after it, 0 for the last
    /// one. `NotFound`: there is none, or it is no longer kept.
    ReadCrash = 11, buffer 600;
    /// Where a VM's time goes. Buffer: a [`crate::record::VmStatistics`], as of the last look; asking has the vmkernel
    /// look anew. x3: handle. `Conflict`: it is off.
    GetVmStatistics = 12, buffer 192;
    /// Buffer: a [`crate::record::HostUse`].
    GetHostUse = 13, buffer 64;
    /// Whether somebody showed that he is at the machine, and wants to have a new administrator's password.
    /// → x1: number of the notice, 0: there is none that was not acknowledged; x2: [`PRESENCE_KEY`] or
    /// [`PRESENCE_DOCUMENT`], x3: nanoseconds since the host started.
    ReadPresence = 14, buffer 0;
    /// The notice has been acted on. x3: its number. `NotFound`: it is not, or no longer, the present one.
    AcknowledgePresence = 15, buffer 0;
    /// It was `x3` nanoseconds after 1970 when the host had run for `x4` nanoseconds: from now on `Time` is known to be
    /// right. The vmkernel keeps the time in the datastore. `Invalid`: before the build, or before a time that was kept.
    SetTime = 16, buffer 0;
}
