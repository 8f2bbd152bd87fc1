//! How calls and requests end, and why worlds do.

macro_rules! numbers {
    ($(#[$doc:meta])* $type:ident: $repr:ident { $($(#[$each:meta])* $name:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr($repr)]
        pub enum $type {
            $($(#[$each])* $name = $number,)*
        }

        impl $type {
            /// Each with its name.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            /// By its number.
            pub const fn from_raw(raw: $repr) -> Option<Self> {
                match raw {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    /// How a call or request ends.
    Status: i64 {
        /// Done.
        Ok = 0,
        /// No such call (the value of SMCCC's NOT_SUPPORTED).
        NotSupported = -1,
        /// An argument is outside its range, or a buffer is not in RAM that the caller has touched.
        Invalid = -2,
        /// The handle is of an earlier generation of what it names.
        Stale = -3,
        /// The caller's manifest does not allow it.
        Denied = -4,
        /// There is no such thing.
        NotFound = -5,
        /// It is not in a state for that: a VM that runs already, or does not run.
        Conflict = -6,
        /// The random generator has no seed yet.
        Unseeded = -7,
        /// It was tried and can't be done; the host log says why.
        Failed = -8,
        /// Later: what was asked before is being done.
        Busy = -9,
        /// The datastore is full, or at a limit: delete something.
        NoSpace = -10,
        /// The datastore takes no writes; the host log says why.
        ReadOnly = -11,
        /// A disk failed, or what it holds is damaged; the host log says where.
        Io = -12,
        /// It needs a datastore, and there is none.
        NoDatastore = -13,
    }
}

numbers! {
    /// Why a world ended.
    ExitReason: u32 {
        /// It wanted to.
        Wanted = 0,
        /// It panicked.
        Panic = 1,
        /// Its memory was exhausted.
        Memory = 2,
        /// It gave no sign of life.
        Hang = 3,
        /// It touched an address where it has nothing.
        Fault = 4,
        /// It turned its machine off, or restarted it.
        Power = 5,
        /// The vmkernel stopped it: a check failed, or memory for its tables was short.
        Host = 6,
    }
}
