//! PL011, PL031, PL061, CFI flash, timers and PSCI of the guest machine.
#![no_std]
#![forbid(unsafe_code)]
