//! The virtual GIC, v2 and v3: Distributor, Redistributors, list-register packing. Sole owner of "pending".
#![no_std]
#![forbid(unsafe_code)]
