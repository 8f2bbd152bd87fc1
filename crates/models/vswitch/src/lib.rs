//! The switch: learning, port groups, VLAN, policy.
#![no_std]
#![forbid(unsafe_code)]
