//! The call queue's requests: one table.
//!
//! A chain has [`Request::BYTES`] bytes to read and [`Answer::BYTES`] bytes to write. The queue lies behind a virtio-mmio
//! transport (virtio 1.2, 4.2) that a world alone has, in the device tree as [`COMPATIBLE`].

use crate::wire::wire;

/// In the device tree.
pub const COMPATIBLE: &str = "bramble,calls-1";
/// DeviceID of the transport: outside the numbers that virtio gives (1.2, 5 "Device Types").
pub const DEVICE_ID: u32 = 0x4252_0001;
/// Descriptors of the queue at most; a request takes two.
pub const QUEUE_SIZE: u16 = 32;

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a request asks for.
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
        }
    };
}

requests! {
    /// Answered at once: the queue works.
    Echo = 0,
    /// Starts a VM that does not run.
    PowerOn = 1,
    /// Ends a VM; done when its RAM is free.
    PowerOff = 2,
    /// Starts a VM anew; done when it has been started.
    Reset = 3,
}

wire! {
    /// A request.
    Request, 32 bytes {
        /// [`RequestKind`].
        0 kind: u32,
        /// The world's generation: another one's request is refused as `Stale`.
        4 generation: u32,
        /// What it is about: a [`crate::VmHandle`].
        8 target: u64,
        /// For `Echo`: comes back as [`Answer::value`].
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
