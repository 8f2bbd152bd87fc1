//! THE contract between worlds and the vmkernel: calls, structs, errors, version.
//!
//! A call is an HVC with immediate 0 and a function id of the vendor-specific hypervisor service range
//! (SMC Calling Convention, DEN0028, 2.5 "SMC32/HVC32 argument passing" and 6 "Function identifier ranges");
//! it is bounded (≤ 5,000 instructions) and never waits. Arguments in x1–x6, result in x0, values in x1–x3.
#![no_std]
#![forbid(unsafe_code)]

/// Version of this contract; raised when a call or a struct changes its meaning.
pub const VERSION: u32 = 1;

/// First function id: SMC64, fast call, vendor-specific hypervisor service (owner 6).
pub const BASE: u32 = 0xC600_0000;

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A call, by its function id.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Call {
            $($(#[$doc])* $name = BASE + $number,)*
        }

        impl Call {
            /// Every call with its name, in order of its number: the golden table.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            /// The call of a function id.
            pub const fn from_function_id(id: u32) -> Option<Self> {
                match id {
                    $(x if x == BASE + $number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

calls! {
    /// → x1: [`VERSION`], x2: the caller's generation.
    Version = 0,
    /// A sign of life. → nothing.
    Heartbeat = 1,
    /// x1: a byte for the caller's log in the host log. → nothing.
    Log = 2,
    /// The world ends itself; x1: reason. Does not return.
    Exit = 3,
}

/// How a call ends: x0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i64)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such call (the value of SMCCC's NOT_SUPPORTED).
    NotSupported = -1,
    /// An argument is outside its range.
    Invalid = -2,
    /// The handle is of an earlier generation of what it names.
    Stale = -3,
    /// The caller's manifest does not allow it.
    Denied = -4,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_golden() {
        let table: &[(u32, &str)] = &[
            (0xC600_0000, "Version"),
            (0xC600_0001, "Heartbeat"),
            (0xC600_0002, "Log"),
            (0xC600_0003, "Exit"),
        ];
        assert_eq!(Call::ALL.len(), table.len());
        for ((call, name), (id, golden)) in Call::ALL.iter().zip(table) {
            assert_eq!((*call as u32, *name), (*id, *golden));
            assert_eq!(Call::from_function_id(*id), Some(*call));
        }
    }
}
