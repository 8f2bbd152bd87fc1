//! Addresses, ids and bit layouts, named as in the manuals. No behaviour.
//!
//! Used by every crate; uses nothing. Each module names its source: specification, section number and title.
#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
pub mod arm64_image;
pub mod cfi;
pub mod gic;
pub mod id;
pub mod mac;
pub mod pl011;
pub mod pl031;
pub mod pl061;
pub mod psci;
pub mod virtio;

pub use addr::{Ipa, IpaRange, Pa};
pub use id::{Intid, PeId, VcpuIndex, VmId};
pub use mac::MacAddress;
